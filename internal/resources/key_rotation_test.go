package resources_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
	"github.com/ccctl/terraform-provider-cc/internal/testhost"
)

// rotationStarts is how many enclaves start while keys move.
const rotationStarts = 1000

// TestKeyRotation applies examples/key-rotation while enclaves start at random moments: each of them fetches its key and
// opens its model, and none may fail.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	if err := deploy.KeyServerSupported(); err != nil {
		t.Skip(err)
	}
	r := newRotation(t)
	r.apply("g1")

	var starts atomic.Int64
	var group sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	for range 4 {
		group.Go(func() {
			for ctx.Err() == nil {
				if err := r.start(r.current()); err != nil {
					t.Errorf("an enclave that started with generation %s: %v", r.current(), err)
					stop()
					return
				}
				starts.Add(1)
				time.Sleep(rand.N(3 * time.Millisecond))
			}
		})
	}
	// The starts are spread over two rotations.
	await := func(n int64) {
		for starts.Load() < n && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
	}
	await(rotationStarts / 5)
	r.apply("g1", "g2")
	if got := r.current(); got != "g2" {
		t.Errorf("enclaves are started with %q", got)
	}
	// An enclave that was started before the move starts again.
	if err := r.start("g1"); err != nil {
		t.Errorf("an old enclave: %v", err)
	}
	await(starts.Load() + rotationStarts/5) // by now every enclave is of g2
	r.apply("g2")
	var refused *sgxsim.EnclaveError
	if err := r.start("g1"); !errors.As(err, &refused) {
		t.Errorf("the retired key is still released: %v", err)
	}
	r.apply("g2", "g3")
	await(rotationStarts)
	stop()
	group.Wait()
	t.Logf("%d enclaves started and opened their model", starts.Load())
	if starts.Load() < rotationStarts {
		t.Errorf("only %d enclaves started", starts.Load())
	}
	if _, err := os.Stat(filepath.Join(r.dir, "keys", "g1")); err != nil {
		t.Errorf("the retired key's file: %v", err)
	}
}

// rotation is a folder with the example, and a platform for its enclaves.
type rotation struct {
	t        *testing.T
	w        *workspace
	dir      string
	listen   string
	platform *sgxsim.Platform
	identity sgxsim.Identity
	model    []byte
	vars     []string
}

func newRotation(t *testing.T) *rotation {
	t.Helper()
	r := &rotation{t: t, w: newWorkspace(t, ""), listen: testhost.FreeAddress(t), model: []byte(strings.Repeat("weights ", 2048))}
	remove(t, filepath.Join(r.w.dir, "main.tf"))
	if err := os.CopyFS(r.w.dir, os.DirFS(filepath.Join(examples, "key-rotation"))); err != nil {
		t.Fatal(err)
	}
	r.dir = filepath.Join(r.w.dir, "rotation")
	var err error
	if r.platform, err = sgxsim.New(sgxsim.Options{}); err != nil {
		t.Fatal(err)
	}
	r.identity.MRENCLAVE[0], r.identity.MRSIGNER[0] = 0x7d, 0xb1
	collateral, err := r.platform.CollateralFile(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"collateral.json": collateral, "root.pem": r.platform.RootPEM(), "model.pb": r.model} {
		mustWrite(t, filepath.Join(r.w.dir, name), text, 0o600)
	}
	r.w.env = []string{"PATH=" + filepath.Dir(ccctlPath(t)) + string(os.PathListSeparator) + os.Getenv("PATH")}
	r.vars = []string{
		"-var=model=model.pb", "-var=collateral_bundle=collateral.json", "-var=trusted_root=root.pem", "-var=listen=" + r.listen,
		fmt.Sprintf("-var=mr_enclave=[%q]", hex.EncodeToString(r.identity.MRENCLAVE[:])),
	}
	t.Cleanup(func() {
		r.w.terraform(append([]string{"destroy", "-auto-approve", `-var=generations=["g2","g3"]`}, r.vars...)...)
	})
	return r
}

func (r *rotation) apply(generations ...string) {
	r.t.Helper()
	list := fmt.Sprintf(`-var=generations=["%s"]`, strings.Join(generations, `","`))
	r.w.terraform(append([]string{"apply", "-auto-approve", list}, r.vars...)...)
}

// current is the generation that enclaves are started with.
func (r *rotation) current() string {
	text, err := os.ReadFile(filepath.Join(r.dir, "upload", "current"))
	if err != nil {
		r.t.Error(err)
	}
	return string(text)
}

// start is what an enclave does when it starts: it fetches its key and opens its model.
func (r *rotation) start(generation string) error {
	ca, err := os.ReadFile(filepath.Join(r.dir, "attestation", "ca_cert.pem"))
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(r.listen)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	enclave := sgxsim.Enclave{
		Quoter: r.platform.Quoter(r.identity), Servers: generation + ".attestation.example.com:" + port, CA: ca,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) { // the names are in no DNS
			var d net.Dialer
			return d.DialContext(ctx, network, r.listen)
		},
	}
	delivery, err := enclave.Provision(ctx)
	if err != nil {
		return err
	}
	raw, err := delivery.Key()
	if err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(r.dir, "upload", "models", generation, "1", "saved_model.pb"))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	file, err := protectedfile.NewReader(f, info.Size(), protectedfile.Key(raw), protectedfile.ReaderOptions{Path: "models/" + generation + "/1/saved_model.pb"})
	if err != nil {
		return err
	}
	plain := make([]byte, file.Size())
	if _, err := file.ReadAt(plain, 0); err != nil {
		return err
	}
	if string(plain) != string(r.model) {
		return errors.New("the model differs")
	}
	return nil
}
