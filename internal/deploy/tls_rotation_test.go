package deploy

import (
	"crypto/x509"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/serving/tlsmaterials"
)

const (
	rotationNone = tlsmaterials.RotationNone
	trustNext    = tlsmaterials.RotationTrustNext
	useNext      = tlsmaterials.RotationUseNext
)

// tlsWorld is a set that goes through changes, as a state and a directory hold it.
type tlsWorld struct {
	t      *testing.T
	spec   TLSSpec
	record *tlsmaterials.Materials
	at     time.Time
}

func newTLSWorld(t *testing.T) *tlsWorld {
	t.Helper()
	w := &tlsWorld{t: t, spec: tlsTestSpec(filepath.Join(t.TempDir(), "tls")), at: tlsTestTime}
	w.record = createTLS(t, w.spec)
	return w
}

// try plans and applies a wish and keeps it if that succeeds.
func (w *tlsWorld) try(wish func(*TLSSpec)) (*TLSChange, error) {
	w.t.Helper()
	spec := w.spec
	wish(&spec)
	w.at = w.at.Add(time.Hour)
	o := ObserveTLSMaterials(spec.Directory, w.record)
	c, err := PlanTLSMaterials(spec, w.spec, o, w.at)
	if err != nil {
		return nil, err
	}
	m, err := UpdateTLSMaterials(spec, c, o, w.at)
	if err != nil {
		return c, err
	}
	w.spec, w.record = spec, tlsRecord(m)

	again := ObserveTLSMaterials(spec.Directory, w.record)
	if findings := again.Set.Check(w.at); len(again.Problems)+len(findings) > 0 {
		w.t.Errorf("afterwards: problems %v, findings %v", again.Problems, findings)
	}
	if next, err := PlanTLSMaterials(spec, spec, again, w.at); err != nil || !next.Empty() {
		w.t.Errorf("the next plan has %+v, %v", next, err)
	}
	read, findings, err := ReadTLSMaterials(spec.Directory)
	if err != nil || len(findings) > 0 {
		w.t.Errorf("reading the directory: %v, %v", findings, err)
	} else if !read.Authority.Certificate.Equal(m.Authority.Certificate) || len(read.Trusted) != len(m.Trusted) {
		w.t.Error("the directory says something else than the update returned")
	}
	return c, nil
}

func (w *tlsWorld) do(wish func(*TLSSpec)) *TLSChange {
	w.t.Helper()
	c, err := w.try(wish)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *tlsWorld) rotate(r tlsmaterials.Rotation) *TLSChange {
	w.t.Helper()
	return w.do(func(s *TLSSpec) { s.Rotation = r })
}

func (w *tlsWorld) keys() []string {
	return existing(w.spec.Directory, tlsmaterials.AuthorityKeyFiles())
}

// connects tells whether a peer that trusts one set's authorities accepts another set's leaves.
func connects(trusting, presenting *tlsmaterials.Materials, at time.Time) bool {
	roots := x509.NewCertPool()
	for _, c := range append([]*x509.Certificate{trusting.Authority.Certificate}, trusting.Trusted...) {
		roots.AddCert(c)
	}
	return !slices.ContainsFunc(presenting.Leaves, func(l tlsmaterials.Leaf) bool {
		_, err := l.Certificate.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		return err != nil
	})
}

// TestRotateAuthority goes through a rotation. In each stage, peers with the files of the stage before and with those of
// the present one must get along, whichever of them presents and whichever trusts.
func TestRotateAuthority(t *testing.T) {
	w := newTLSWorld(t)
	first := w.record.Authority.Certificate
	before := snapshot(t, w.spec.Directory)

	stages := []*tlsmaterials.Materials{w.record}
	c := w.rotate(trustNext)
	if diff := cmp.Diff([]string{"ca_cert.pem", "ca_next_key.pem", "ssl.cfg"}, changedFiles(before, snapshot(t, w.spec.Directory))); diff != "" {
		t.Errorf("introducing the next authority changes (-want +got):\n%s", diff)
	}
	if len(c.Issue) > 0 || len(w.record.Trusted) != 1 {
		t.Errorf("issued %v, %d further authorities", c.Issue, len(w.record.Trusted))
	}
	stages = append(stages, w.record)

	c = w.rotate(useNext)
	if len(c.Issue) != 3 || c.Reasons[0] != "the server needs a certificate: the authority changes" {
		t.Errorf("issued %v because %v", c.Issue, c.Reasons)
	}
	if diff := cmp.Diff([]string{"ca_previous_key.pem", "ca_key.pem"}, w.keys()); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	stages = append(stages, w.record)

	w.rotate(rotationNone)
	if diff := cmp.Diff([]string{"ca_key.pem"}, w.keys()); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	if w.record.Authority.Certificate.Equal(first) || len(w.record.Trusted) != 0 {
		t.Error("the first authority is still there")
	}
	stages = append(stages, w.record)

	for i, a := range stages {
		for j, b := range stages {
			if near := i-j <= 1 && j-i <= 1; near && !connects(a, b, w.at) {
				t.Errorf("a peer that trusts the files of stage %d refuses those of stage %d", i, j)
			}
		}
	}
	if connects(stages[0], stages[2], w.at) || connects(stages[3], stages[1], w.at) {
		t.Error("the stages show no difference")
	}
	w.rotate(trustNext) // and again
}

func TestRotationGoesBack(t *testing.T) {
	w := newTLSWorld(t)
	first := w.record.Authority.Certificate
	w.rotate(trustNext)
	next := w.record.Trusted[0]
	w.rotate(useNext)
	c := w.rotate(trustNext)
	if !w.record.Authority.Certificate.Equal(first) || !w.record.Trusted[0].Equal(next) || len(c.Issue) != 3 {
		t.Errorf("back again: issuing %s, issued %v", w.record.Authority.Certificate.Subject, c.Issue)
	}
	if diff := cmp.Diff([]string{"ca_next_key.pem", "ca_key.pem"}, w.keys()); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	w.rotate(rotationNone) // given up
	if !w.record.Authority.Certificate.Equal(first) || len(w.keys()) != 1 {
		t.Errorf("given up: issuing %s, keys %v", w.record.Authority.Certificate.Subject, w.keys())
	}
}

func TestRotationErrors(t *testing.T) {
	w := newTLSWorld(t)
	_, err := w.try(func(s *TLSSpec) { s.Rotation = useNext })
	var known *Error
	if !errors.As(err, &known) || known.Summary != "Rotation skips a stage" || !strings.Contains(deployErr(err), "use the next authority in "+w.spec.Directory+": there is none yet that peers trust") {
		t.Errorf("skipping: %v", err)
	}
	w.rotate(trustNext)
	rm(t, w.spec.Directory, "ca_next_key.pem")
	_, err = w.try(func(s *TLSSpec) { s.Rotation = useNext })
	if !errors.As(err, &known) || known.Summary != "Authority's private key missing" {
		t.Errorf("next key missing: %v", err)
	}
	spec := tlsTestSpec(filepath.Join(t.TempDir(), "x"))
	spec.Rotation = trustNext
	if _, err := CreateTLSMaterials(spec, tlsTestTime, false); !strings.Contains(deployErr(err), "there is no authority yet to rotate from") {
		t.Errorf("create: %v", err)
	}
}

// TestRotationSurvivesCrashes stops a switch after each of its file replacements, and expects that the same apply, done
// again with the state as it was before, completes it.
func TestRotationSurvivesCrashes(t *testing.T) {
	model := newTLSWorld(t)
	model.rotate(trustNext)
	total := len(tlsmaterials.Paths(model.record.Places(), true)) - 1 // one of the key files goes
	for stop := 0; stop <= total; stop++ {
		w := newTLSWorld(t)
		w.rotate(trustNext)
		next := w.record.Trusted[0]
		spec := w.spec
		spec.Rotation = useNext
		o := ObserveTLSMaterials(spec.Directory, w.record)
		c, err := PlanTLSMaterials(spec, w.spec, o, w.at)
		if err != nil {
			t.Fatal(err)
		}
		m := *o.Set
		m.Leaves = slices.Clone(o.Set.Leaves)
		if err := c.stepAuthority(spec, o, &m, w.at); err != nil {
			t.Fatal(err)
		}
		if err := issueLeaves(spec, &m, c.Issue, w.at); err != nil {
			t.Fatal(err)
		}
		files, err := m.Files()
		if err != nil {
			t.Fatal(err)
		}
		if len(files) != total {
			t.Fatalf("%d files, want %d", len(files), total)
		}
		if err := replaceTLSFiles(spec.Directory, files[:stop]); err != nil {
			t.Fatal(err)
		}
		// Whatever is on the disk, no key is beside a certificate that it would be loaded with by mistake.
		w.rotate(useNext)
		if !w.record.Authority.Certificate.Equal(next) {
			t.Errorf("stopped after %d files: %s issues", stop, w.record.Authority.Certificate.Subject)
		}
		if diff := cmp.Diff([]string{"ca_previous_key.pem", "ca_key.pem"}, w.keys()); diff != "" {
			t.Errorf("stopped after %d files: keys (-want +got):\n%s", stop, diff)
		}
	}
}

// company is an authority that exists already.
func company(t *testing.T) *tlsmaterials.KeyPair {
	t.Helper()
	ca, err := tlsmaterials.NewAuthority(tlsmaterials.AuthorityRequest{CommonName: "Company CA", At: tlsTestTime})
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func TestGivenAuthority(t *testing.T) {
	ca := company(t)
	spec := tlsTestSpec(filepath.Join(t.TempDir(), "tls"))
	spec.Issuer = ca
	m, err := CreateTLSMaterials(spec, tlsTestTime, false)
	if err != nil {
		t.Fatal(err)
	}
	if !m.Authority.Key.IsZero() || len(existing(spec.Directory, tlsmaterials.AuthorityKeyFiles())) > 0 {
		t.Error("the given authority's key is kept")
	}
	w := &tlsWorld{t: t, spec: spec, record: tlsRecord(m), at: tlsTestTime}
	if !w.record.Authority.Certificate.Equal(ca.Certificate) {
		t.Error("another authority issues")
	}

	// Without its key, everything goes that issues nothing.
	public := &tlsmaterials.KeyPair{Certificate: ca.Certificate}
	w.do(func(s *TLSSpec) { s.Issuer = public; s.FurtherClients = nil })
	_, err = w.try(func(s *TLSSpec) { s.ServerNames = []string{"new.example.com"} })
	var known *Error
	if !errors.As(err, &known) || known.Summary != "Given authority not usable" || !strings.Contains(known.Remedy, "private_key_wo") {
		t.Errorf("without key: %v", err)
	}
	spec = w.spec
	spec.ServerNames, spec.IssuerKeyPending = []string{"new.example.com"}, true
	if c, err := PlanTLSMaterials(spec, w.spec, ObserveTLSMaterials(spec.Directory, w.record), w.at); err != nil || len(c.Issue) != 1 {
		t.Errorf("key promised: %+v, %v", c, err)
	}
	w.do(func(s *TLSSpec) { s.Issuer, s.ServerNames = ca, []string{"new.example.com"} })

	// Another one, and then one of the set's own.
	other := company(t)
	if c := w.do(func(s *TLSSpec) { s.Issuer = other }); c.Authority != TLSAuthorityReplaced || len(c.Issue) != 2 {
		t.Errorf("another: %+v", c)
	}
	w.do(func(s *TLSSpec) { s.Issuer = nil })
	if diff := cmp.Diff([]string{"ca_key.pem"}, w.keys()); diff != "" {
		t.Errorf("own: keys (-want +got):\n%s", diff)
	}
	w.rotate(trustNext)
	w.do(func(s *TLSSpec) { s.Issuer, s.Rotation = ca, "" })
	if len(w.keys()) > 0 || len(w.record.Trusted) > 0 {
		t.Errorf("given again: keys %v, %d further authorities", w.keys(), len(w.record.Trusted))
	}
}

func TestGivenAuthorityErrors(t *testing.T) {
	ca := company(t)
	leaf, err := ca.Issue(tlsmaterials.LeafRequest{Usage: tlsmaterials.Server, Names: []string{"a.b"}, At: tlsTestTime})
	if err != nil {
		t.Fatal(err)
	}
	intermediate := *company(t).Certificate
	intermediate.Signature = slices.Clone(intermediate.Signature)
	intermediate.Signature[9] ^= 1
	for _, tt := range []struct {
		name   string
		change func(*TLSSpec)
		want   string
	}{
		{"no authority", func(s *TLSSpec) { s.Issuer = leaf }, "the given certificate, CN=a.b, is not an authority's"},
		{"not self-signed", func(s *TLSSpec) { s.Issuer = &tlsmaterials.KeyPair{Certificate: &intermediate} }, "the given authority, CN=Company CA, is not self-signed: gRPC takes nothing else for a root of trust"},
		{"key of another", func(s *TLSSpec) { s.Issuer = &tlsmaterials.KeyPair{Certificate: ca.Certificate, Key: leaf.Key} }, "the given private key does not belong to the given authority, CN=Company CA"},
		{"rotation", func(s *TLSSpec) { s.Rotation = trustNext }, "the rotation of a given authority is not this set's: give the next authority when every peer trusts it"},
	} {
		spec := tlsTestSpec(filepath.Join(t.TempDir(), "tls"))
		spec.Issuer = ca
		tt.change(&spec)
		if _, err := CreateTLSMaterials(spec, tlsTestTime, false); !strings.Contains(deployErr(err), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}
