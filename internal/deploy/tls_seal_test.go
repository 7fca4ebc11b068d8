package deploy

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/serving/tlsmaterials"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

func sealedTestSpec(t *testing.T, dir string) TLSSpec {
	t.Helper()
	key, err := protectedfile.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	spec := tlsTestSpec(dir)
	spec.Seal = &SSLConfigSeal{EnclavePath: "./ssl.cfg", Key: key}
	return spec
}

// openSealed is what the enclave finds in the encrypted ssl.cfg.
func openSealed(t *testing.T, spec TLSSpec) *tlsmaterials.SSLConfig {
	t.Helper()
	var text bytes.Buffer
	_, err := DecryptTo(t.Context(), &text, DecryptSpec{
		Source: filepath.Join(spec.Directory, "ssl.cfg.pf"), Key: spec.Seal.Key, Options: protectedfile.ReaderOptions{Path: spec.Seal.EnclavePath},
	})
	if err != nil {
		t.Fatal(err)
	}
	config, err := tlsmaterials.ParseSSLConfig(text.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// privateParts are the bytes that make a private key, by name.
func privateParts(t *testing.T, pemText string) map[string][]byte {
	t.Helper()
	key, err := tlsmaterials.ParsePrivateKey([]byte(pemText))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(pemText))
	parts := map[string][]byte{"PKCS #8": block.Bytes}
	switch k := key.Signer().(type) {
	case *ecdsa.PrivateKey:
		scalar, err := k.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		parts["scalar"] = scalar
	case *rsa.PrivateKey:
		parts["exponent"], parts["prime"], parts["other prime"] = k.D.Bytes(), k.Primes[0].Bytes(), k.Primes[1].Bytes()
	default:
		t.Fatalf("%T", k)
	}
	return parts
}

// findPrivate names the first part of a private key that a text has: raw, in hex, or in base64 at any alignment, also
// broken into lines.
func findPrivate(text []byte, parts map[string][]byte) string {
	joined := bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("\n"), nil), []byte(`\n"`), nil)
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		part := parts[name]
		forms := []string{string(part), hex.EncodeToString(part)}
		for shift := range 3 {
			padded := append(make([]byte, shift), part...)
			forms = append(forms, base64.StdEncoding.EncodeToString(padded)[(shift*8+5)/6:len(padded)*8/6])
		}
		for _, form := range forms {
			if bytes.Contains(text, []byte(form)) || bytes.Contains(joined, []byte(form)) {
				return name
			}
		}
	}
	return ""
}

// serves has a server with the configuration and a client with the set's files meet.
func serves(t *testing.T, config *tlsmaterials.SSLConfig, dir string, at time.Time) error {
	t.Helper()
	pair, err := tls.X509KeyPair([]byte(config.ServerCert), []byte(config.ServerKey))
	if err != nil {
		t.Fatal(err)
	}
	clients, servers := x509.NewCertPool(), x509.NewCertPool()
	clients.AppendCertsFromPEM([]byte(config.CustomCA))
	ca, err := os.ReadFile(filepath.Join(dir, "ca_cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	servers.AppendCertsFromPEM(ca)
	client, err := tls.LoadX509KeyPair(filepath.Join(dir, "client/cert.pem"), filepath.Join(dir, "client/key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	now := func() time.Time { return at }
	a, b := net.Pipe()
	defer func() { _ = a.Close(); _ = b.Close() }()
	server := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12, Time: now})
	done := make(chan error, 1)
	go func() {
		err := server.Handshake()
		if err == nil {
			_, err = server.Write([]byte{1})
		}
		done <- err
	}()
	conn := tls.Client(b, &tls.Config{Certificates: []tls.Certificate{client}, RootCAs: servers, ServerName: "grpc.tf-serving.service.com", MinVersion: tls.VersionTLS12, Time: now})
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		return err
	}
	return <-done
}

// expectSealed wants the server's private key in the encrypted file and in no other.
func expectSealed(t *testing.T, spec TLSSpec, at time.Time) *tlsmaterials.SSLConfig {
	t.Helper()
	config := openSealed(t, spec)
	if err := serves(t, config, spec.Directory, at); err != nil {
		t.Errorf("server and client do not get along: %v", err)
	}
	parts := privateParts(t, config.ServerKey)
	if findPrivate([]byte(config.ServerKey), parts) == "" {
		t.Fatal("the search is blind")
	}
	for name, data := range snapshot(t, spec.Directory) {
		if part := findPrivate([]byte(data), parts); part != "" {
			t.Errorf("the server's private key (%s) is in %s", part, name)
		}
	}
	return config
}

var sealedFiles = []string{
	"ca_cert.pem", "ca_key.pem", "client/cert.pem", "client/key.pem", "clients/batch.example.com/cert.pem", "clients/batch.example.com/key.pem", "server/cert.pem", "ssl.cfg.pf",
}

func TestSealedSSLConfig(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []tlsmaterials.KeyAlgorithm{tlsmaterials.ECDSAP256, tlsmaterials.RSA3072} {
		t.Run(string(algorithm), func(t *testing.T) {
			t.Parallel()
			spec := sealedTestSpec(t, filepath.Join(t.TempDir(), "tls"))
			spec.KeyAlgorithm, spec.FurtherClients = algorithm, nil
			m, err := CreateTLSMaterials(spec, tlsTestTime, false)
			if err != nil {
				t.Fatal(err)
			}
			if !m.Leaf(tlsmaterials.ServerPlace).Key.IsZero() {
				t.Error("the result has the server's private key")
			}
			expectSealed(t, spec, tlsTestTime)
		})
	}
}

// sealedWorld goes through changes of a sealed set.
func newSealedWorld(t *testing.T) *tlsWorld {
	t.Helper()
	w := &tlsWorld{t: t, spec: sealedTestSpec(t, filepath.Join(t.TempDir(), "tls")), at: tlsTestTime}
	w.record = createTLS(t, w.spec)
	return w
}

// TestSealedChanges renews and changes a sealed set. Its key cannot be read back, so whatever changes ssl.cfg takes a new
// one; the authority stays.
func TestSealedChanges(t *testing.T) {
	t.Parallel()
	other, err := protectedfile.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(*SSLConfigSeal)) func(*TLSSpec) {
		return func(s *TLSSpec) {
			seal := *s.Seal
			change(&seal)
			s.Seal = &seal
		}
	}
	nothing := func(*TLSSpec) {}
	tests := []struct {
		name   string
		before func(t *testing.T, w *tlsWorld)
		wish   func(*TLSSpec)
		reason string // why the server gets a certificate; empty: it gets none
		all    bool   // the clients get one too
	}{
		{name: "nothing", wish: nothing},
		{name: "path in other words", wish: with(func(s *SSLConfigSeal) { s.EnclavePath = "ssl.cfg" })},
		{name: "no key, and nothing to do", wish: with(func(s *SSLConfigSeal) { s.Key = protectedfile.Key{} })},
		{name: "renewal", before: func(_ *testing.T, w *tlsWorld) { w.at = w.at.Add(336 * 24 * time.Hour) }, wish: nothing, reason: "the present one ends on ", all: true},
		{name: "names", wish: func(s *TLSSpec) { s.ServerNames = []string{"grpc.tf-serving.service.com"} }, reason: "its names change"},
		{name: "key", wish: with(func(s *SSLConfigSeal) { s.Key = other }), reason: "the wrap key of ssl.cfg changes"},
		{name: "key that may be another", wish: with(func(s *SSLConfigSeal) { s.KeyOpen, s.KeyPending = true, true }), reason: "the wrap key of ssl.cfg changes"},
		{name: "path", wish: with(func(s *SSLConfigSeal) { s.EnclavePath = "/etc/ssl.cfg" }), reason: "ssl.cfg is encrypted for another path or in another format"},
		{name: "format", wish: with(func(s *SSLConfigSeal) { s.Format = protectedfile.FormatV2 }), reason: "ssl.cfg is encrypted for another path or in another format"},
		{name: "next authority trusted", wish: func(s *TLSSpec) { s.Rotation = trustNext }, reason: "ssl.cfg.pf has to be written, and the private key in the present one serves no other"},
		{name: "file gone", before: func(t *testing.T, w *tlsWorld) { rm(t, w.spec.Directory, "ssl.cfg.pf") }, wish: nothing, reason: "ssl.cfg.pf has to be written, "},
		{name: "file gone, kept elsewhere", before: func(t *testing.T, w *tlsWorld) { rm(t, w.spec.Directory, "ssl.cfg.pf") }, wish: func(s *TLSSpec) { s.IgnoreMissing = true }},
		{name: "file changed", before: func(t *testing.T, w *tlsWorld) {
			name := filepath.Join(w.spec.Directory, "ssl.cfg.pf")
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			data[100] ^= 1
			if err := os.WriteFile(name, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}, wish: nothing, reason: "ssl.cfg.pf has to be written, "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newSealedWorld(t)
			old := openSealed(t, w.spec)
			if tt.before != nil {
				tt.before(t, w)
			}
			spec := w.spec
			tt.wish(&spec)
			w.at = w.at.Add(time.Hour)
			o := ObserveTLSMaterials(spec.Directory, w.record)
			c, err := PlanTLSMaterials(spec, w.spec, o, w.at)
			if err != nil {
				t.Fatal(err)
			}
			reason := ""
			if len(c.Reasons) > 0 {
				reason = strings.TrimPrefix(c.Reasons[0], "the server needs a certificate: ")
			}
			if (tt.reason == "") != (reason == "") || !strings.HasPrefix(reason, tt.reason) {
				t.Fatalf("the reason is %q, want %q", reason, tt.reason)
			}
			if want := map[bool]int{true: 3, false: 1}[tt.all]; tt.reason != "" && len(c.Issue) != want {
				t.Errorf("issued %v", c.Issue)
			}
			if slices.Contains(c.Write, "server/key.pem") || slices.Contains(c.Write, "ssl.cfg") || (tt.reason != "") != slices.Contains(c.Write, "ssl.cfg.pf") {
				t.Errorf("to be written: %v", c.Write)
			}
			m, err := UpdateTLSMaterials(spec, c, o, w.at)
			if err != nil {
				t.Fatal(err)
			}
			if tt.reason == "" {
				return
			}
			now := expectSealed(t, spec, w.at)
			if now.ServerKey == old.ServerKey || now.ServerCert == old.ServerCert {
				t.Error("the server has its old key")
			}
			again := ObserveTLSMaterials(spec.Directory, tlsRecord(m))
			spec.Seal.KeyOpen = false
			if next, err := PlanTLSMaterials(spec, spec, again, w.at); err != nil || !next.Empty() || len(again.Problems) > 0 {
				t.Errorf("the next plan has %+v, %v, %v", next, err, again.Problems)
			}
			if read, findings, err := ReadTLSMaterials(spec.Directory); err != nil || len(append(findings, read.Check(w.at)...)) > 0 {
				t.Errorf("reading the directory: %v, %v", findings, err)
			}
		})
	}
}

// TestSealAndUnseal goes over to an encrypted ssl.cfg and back. A key that has lain in clear is used no more.
func TestSealAndUnseal(t *testing.T) {
	t.Parallel()
	w := newTLSWorld(t)
	inClear, err := os.ReadFile(filepath.Join(w.spec.Directory, "server/key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	seal := sealedTestSpec(t, "").Seal
	c := w.do(func(s *TLSSpec) { s.Seal = seal })
	if c.Reasons[0] != "the server needs a certificate: the private key of the present one lies in clear" || len(c.Issue) != 1 {
		t.Errorf("issued %v because %v", c.Issue, c.Reasons)
	}
	if diff := cmp.Diff(sealedFiles, slices.Sorted(maps.Keys(snapshot(t, w.spec.Directory)))); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if config := expectSealed(t, w.spec, w.at); config.ServerKey == string(inClear) {
		t.Error("the key that lay in clear is used")
	}
	c = w.do(func(s *TLSSpec) { s.Seal = nil })
	if c.Reasons[0] != "the server needs a certificate: the private key of the present one is in the encrypted ssl.cfg alone" {
		t.Errorf("issued because %v", c.Reasons)
	}
	if diff := cmp.Diff(allTLSFiles, slices.Sorted(maps.Keys(snapshot(t, w.spec.Directory)))); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	w.do(func(s *TLSSpec) { s.Seal = seal })
	w.do(func(s *TLSSpec) { s.Seal, s.SSLConfig = nil, false })
	if names := existing(w.spec.Directory, []string{"ssl.cfg", "ssl.cfg.pf"}); len(names) > 0 {
		t.Errorf("left: %v", names)
	}
}

func TestSealedRotation(t *testing.T) {
	t.Parallel()
	w := newSealedWorld(t)
	for _, stage := range []tlsmaterials.Rotation{trustNext, useNext, rotationNone} {
		w.rotate(stage)
		expectSealed(t, w.spec, w.at)
	}
}

func TestSealedMoveReplaceRemove(t *testing.T) {
	t.Parallel()
	w := newSealedWorld(t)
	from, to := w.spec.Directory, filepath.Join(t.TempDir(), "moved")
	before := snapshot(t, from)
	if err := MoveTLSMaterials(from, to, ObserveTLSMaterials(from, w.record)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, snapshot(t, to)); diff != "" || len(snapshot(t, from)) > 0 {
		t.Errorf("moving changes (-before +after):\n%s", diff)
	}
	spec := w.spec
	spec.Directory = to
	if _, err := CreateTLSMaterials(spec, tlsTestTime, false); !errors.Is(err, fs.ErrExist) || !strings.HasSuffix(err.Error(), "ssl.cfg.pf") {
		t.Errorf("creating it again: %v", err)
	}
	plain := spec
	plain.Seal = nil
	for _, s := range []TLSSpec{plain, spec} { // the other form leaves nothing
		m, err := CreateTLSMaterials(s, tlsTestTime, true)
		if err != nil {
			t.Fatal(err)
		}
		w.record = tlsRecord(m)
		want := map[bool][]string{true: sealedFiles, false: allTLSFiles}[s.Seal != nil]
		if diff := cmp.Diff(want, slices.Sorted(maps.Keys(snapshot(t, to)))); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
	}
	if left, err := RemoveTLSMaterials(to, ObserveTLSMaterials(to, w.record)); err != nil || len(left) > 0 {
		t.Errorf("removing: %v, %v left", err, left)
	}
	if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory is left: %v", err)
	}
}

// TestSealedAdopted reads a sealed set that another tool has made, as an import does: with the wrap key at hand it is what
// is wished, and keeps its certificate.
func TestSealedAdopted(t *testing.T) {
	t.Parallel()
	w := newSealedWorld(t)
	adopted := func(change func(*TLSSpec)) *TLSChange {
		t.Helper()
		m, findings, err := ReadTLSMaterials(w.spec.Directory)
		if err != nil || len(findings) > 0 || m.Sealed == nil || m.Sealed.HeaderSHA256 != w.record.Sealed.HeaderSHA256 {
			t.Fatalf("read %+v, %v, %v", m, findings, err)
		}
		spec := w.spec
		change(&spec)
		o := ObserveTLSMaterials(spec.Directory, tlsRecord(m))
		c, err := PlanTLSMaterials(spec, TLSSpec{Lifetime: spec.Lifetime}, o, w.at)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := adopted(func(*TLSSpec) {})
	if diff := cmp.Diff(w.record.Sealed, c.Sealed); diff != "" || !c.Empty() {
		t.Errorf("the plan has %+v; adopted (-want +got):\n%s", c, diff)
	}
	otherKey := sealedTestSpec(t, "").Seal.Key
	for name, change := range map[string]func(*SSLConfigSeal){
		"another key":  func(s *SSLConfigSeal) { s.Key = otherKey },
		"another path": func(s *SSLConfigSeal) { s.EnclavePath = "other" },
	} {
		if c := adopted(func(s *TLSSpec) { seal := *s.Seal; change(&seal); s.Seal = &seal }); len(c.Issue) != 1 {
			t.Errorf("%s: issued %v", name, c.Issue)
		}
	}
}

func TestSealErrors(t *testing.T) {
	t.Parallel()
	w := newSealedWorld(t)
	for _, tt := range []struct {
		name, want string
		wish       func(*TLSSpec, *SSLConfigSeal)
	}{
		{"no key", "encrypt ssl.cfg in " + w.spec.Directory + ": the wrap key is not at hand", func(spec *TLSSpec, s *SSLConfigSeal) {
			spec.ServerNames, s.Key = []string{"new.example.com"}, protectedfile.Key{}
		}},
		{"no key after all", "the wrap key is not at hand", func(spec *TLSSpec, s *SSLConfigSeal) {
			spec.ServerNames, s.Key, s.KeyPending = []string{"new.example.com"}, protectedfile.Key{}, true
		}},
		{"no path", "enclave path of ssl.cfg: ", func(_ *TLSSpec, s *SSLConfigSeal) { s.EnclavePath = "" }},
		{"no ssl.cfg", "an encrypted ssl.cfg is asked for, and no ssl.cfg", func(spec *TLSSpec, _ *SSLConfigSeal) { spec.SSLConfig = false }},
	} {
		before := snapshot(t, w.spec.Directory)
		_, err := w.try(func(spec *TLSSpec) {
			seal := *spec.Seal
			spec.Seal = &seal
			tt.wish(spec, spec.Seal)
		})
		if !strings.Contains(deployErr(err), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if names := changedFiles(before, snapshot(t, w.spec.Directory)); len(names) > 0 {
			t.Errorf("%s: changed %v", tt.name, names)
		}
	}
	spec := sealedTestSpec(t, filepath.Join(t.TempDir(), "x"))
	spec.Seal.Key = protectedfile.Key{}
	if _, err := CreateTLSMaterials(spec, tlsTestTime, false); !strings.Contains(deployErr(err), "the wrap key is not at hand") {
		t.Errorf("create: %v", err)
	}
	if _, err := os.Stat(spec.Directory); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something is written: %v", err)
	}
}

// TestSealedSurvivesCrashes goes over to an encrypted ssl.cfg and stops before the files in clear are removed: the next
// plan, made with the state as it was, completes it.
func TestSealedSurvivesCrashes(t *testing.T) {
	t.Parallel()
	w := newTLSWorld(t)
	before := snapshot(t, w.spec.Directory)
	was, record := w.spec, w.record
	seal := sealedTestSpec(t, "").Seal
	w.do(func(s *TLSSpec) { s.Seal = seal })
	for _, file := range []string{"server/key.pem", "ssl.cfg"} {
		if err := os.WriteFile(filepath.Join(w.spec.Directory, file), []byte(before[file]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.spec, w.record = was, record
	w.do(func(s *TLSSpec) { s.Seal = seal })
	if diff := cmp.Diff(sealedFiles, slices.Sorted(maps.Keys(snapshot(t, w.spec.Directory)))); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	expectSealed(t, w.spec, w.at)
}
