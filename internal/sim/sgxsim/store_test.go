package sgxsim_test

import (
	"bytes"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

func TestCreateAndOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "below", "platform")
	made := must(sgxsim.Create(dir, sgxsim.Options{At: now}))(t)
	opened := must(sgxsim.Open(dir))(t)
	if !bytes.Equal(made.PCKChain(), opened.PCKChain()) || !bytes.Equal(made.TCBSigningChain(), opened.TCBSigningChain()) {
		t.Error("the opened platform has other certificates")
	}
	if diff := cmp.Diff(must(made.Collateral(now))(t), must(opened.Collateral(now))(t)); diff != "" {
		t.Errorf("the opened platform makes other collateral:\n%s", diff)
	}
	// What one process quotes, another's collateral verifies.
	if _, err := verify(t, opened, makeQuote(t, made, identity), now); err != nil {
		t.Error(err)
	}
	root := must(os.ReadFile(filepath.Join(dir, sgxsim.RootFile)))(t)
	if !bytes.Equal(root, opened.RootPEM()) {
		t.Errorf("%s is not the root", sgxsim.RootFile)
	}
	checkModes(t, dir)
}

func checkModes(t *testing.T, dir string) {
	t.Helper()
	if mode := must(os.Stat(dir))(t).Mode().Perm(); mode != 0o700 {
		t.Errorf("directory has mode %o, want 700", mode)
	}
	keys := 0
	for _, entry := range must(os.ReadDir(dir))(t) {
		text := must(os.ReadFile(filepath.Join(dir, entry.Name())))(t)
		mode := must(entry.Info())(t).Mode().Perm()
		if bytes.Contains(text, []byte("PRIVATE KEY")) {
			keys++
			if mode != 0o600 {
				t.Errorf("%s holds a key and has mode %o", entry.Name(), mode)
			}
		}
	}
	if keys != 6 {
		t.Errorf("found %d keys, want 6", keys)
	}
}

// TestSettingsSurvive changes what platform.json holds.
func TestSettingsSurvive(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "p")
	p := must(sgxsim.Create(dir, sgxsim.Options{At: now, CA: "processor"}))(t)
	p.Standard.Levels[0].Status = "Revoked"
	p.Standard.EvaluationNumber = 19
	p.QE.ISVSVN = 7
	p.RevokedPCK = []*big.Int{big.NewInt(1), new(big.Int).Lsh(big.NewInt(1), 150)}
	p.RevokedByRoot = []*big.Int{big.NewInt(2)}
	if err := p.Save(dir); err != nil {
		t.Fatal(err)
	}
	q := must(sgxsim.Open(dir))(t)
	big := cmp.Comparer(func(a, b *big.Int) bool { return a.Cmp(b) == 0 })
	for _, diff := range []string{
		cmp.Diff(p.Standard, q.Standard), cmp.Diff(p.Early, q.Early), cmp.Diff(p.Machine, q.Machine),
		cmp.Diff(p.RevokedPCK, q.RevokedPCK, big), cmp.Diff(p.RevokedByRoot, q.RevokedByRoot, big),
		cmp.Diff(p.QE.ISVSVN, q.QE.ISVSVN), cmp.Diff(p.QE.ID, q.QE.ID),
	} {
		if diff != "" {
			t.Errorf("settings differ after saving (-saved +opened):\n%s", diff)
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "p")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	must(sgxsim.Create(dir, sgxsim.Options{At: now}))(t) // an empty directory is as good as none
	before := must(os.ReadFile(filepath.Join(dir, sgxsim.RootFile)))(t)
	_, err := sgxsim.Create(dir, sgxsim.Options{At: now})
	if !errors.Is(err, fs.ErrExist) || !strings.HasPrefix(err.Error(), "create simulated SGX platform in "+dir+": directory is not empty") {
		t.Errorf("error %v", err)
	}
	if after := must(os.ReadFile(filepath.Join(dir, sgxsim.RootFile)))(t); !bytes.Equal(before, after) {
		t.Error("the platform was replaced")
	}
	if left := must(os.ReadDir(filepath.Dir(dir)))(t); len(left) != 1 {
		t.Errorf("%d entries beside the platform, want none", len(left)-1)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(file func(name string) string) error
		text   string
	}{
		{"settings are missing", func(f func(string) string) error { return os.Remove(f("platform.json")) }, "open "},
		{"settings are not JSON", func(f func(string) string) error { return os.WriteFile(f("platform.json"), []byte("{"), 0o600) }, "read platform.json: unexpected EOF"},
		{"unknown setting", func(f func(string) string) error {
			return os.WriteFile(f("platform.json"), []byte(`{"machines":{}}`), 0o600)
		}, `read platform.json: json: unknown field "machines"`},
		{"no CA", func(f func(string) string) error { return os.WriteFile(f("platform.json"), []byte(`{}`), 0o600) }, `read platform.json: machine.ca is "", want "platform" or "processor"`},
		{"key is missing", func(f func(string) string) error { return os.Remove(f("pck-key.pem")) }, "open "},
		{"certificate is not PEM", func(f func(string) string) error { return os.WriteFile(f("pck.pem"), []byte("x"), 0o600) }, "want one PEM block \"CERTIFICATE\" and nothing else"},
		{"key of another certificate", func(f func(string) string) error { return os.Rename(f("root-ca-key.pem"), f("pck-key.pem")) }, ""},
		{"certificate in place of the key", func(f func(string) string) error { return os.Rename(f("pck.pem"), f("attestation-key.pem")) }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "p")
			must(sgxsim.Create(dir, sgxsim.Options{At: now}))(t)
			if err := tt.change(func(name string) string { return filepath.Join(dir, name) }); err != nil {
				t.Fatal(err)
			}
			_, err := sgxsim.Open(dir)
			if err == nil || !strings.HasPrefix(err.Error(), "open simulated SGX platform in "+dir+": ") || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error %v, want %q", err, tt.text)
			}
		})
	}
}

// TestOpenOrCreateRaces starts several at once: all must end up with the same platform.
func TestOpenOrCreateRaces(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "p")
	var wg sync.WaitGroup
	var mu sync.Mutex
	found := map[string]bool{}
	for range 8 {
		wg.Go(func() {
			p, err := sgxsim.OpenOrCreate(dir, sgxsim.Options{At: now})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
				return
			}
			found[string(p.RootPEM())] = true
		})
	}
	wg.Wait()
	if len(found) != 1 {
		t.Errorf("%d different platforms, want one", len(found))
	}
}

func TestOpenOrCreateRefusesAnotherDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis.doc"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sgxsim.OpenOrCreate(dir, sgxsim.Options{At: now}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("error %v, want %v", err, fs.ErrExist)
	}
}
