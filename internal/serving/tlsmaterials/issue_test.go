package tlsmaterials

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestNewAuthority(t *testing.T) {
	ca := newTestAuthority(t)
	c := ca.Certificate
	if !c.IsCA || !c.BasicConstraintsValid || c.MaxPathLen != 0 || !c.MaxPathLenZero {
		t.Errorf("basic constraints: CA %t, path length %d", c.IsCA, c.MaxPathLen)
	}
	if c.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign || len(c.ExtKeyUsage) != 0 {
		t.Errorf("key usage %b, extended %v", c.KeyUsage, c.ExtKeyUsage)
	}
	if len(c.SubjectKeyId) != 20 || string(c.SubjectKeyId) != string(c.AuthorityKeyId) {
		t.Errorf("subject key id %x, authority key id %x", c.SubjectKeyId, c.AuthorityKeyId)
	}
	if want := testTime.Add(-Backdate).Truncate(time.Second); !c.NotBefore.Equal(want) {
		t.Errorf("valid from %s, want %s", c.NotBefore, want)
	}
	if want := testTime.Add(DefaultAuthorityLifetime).Truncate(time.Second); !c.NotAfter.Equal(want) {
		t.Errorf("valid until %s, want %s", c.NotAfter, want)
	}
	if err := c.CheckSignatureFrom(c); err != nil {
		t.Error(err)
	}
	if other := newTestAuthority(t); other.Certificate.Subject.CommonName == c.Subject.CommonName {
		t.Errorf("two authorities are both named %q", c.Subject.CommonName)
	}
}

// TestIssuedChainVerifies asks crypto/x509, for every algorithm on either level.
func TestIssuedChainVerifies(t *testing.T) {
	for _, caAlgorithm := range []KeyAlgorithm{ECDSAP256, RSA3072} {
		ca := must[*KeyPair](t)(NewAuthority(AuthorityRequest{KeyAlgorithm: caAlgorithm, At: testTime}))
		roots := x509.NewCertPool()
		roots.AddCert(ca.Certificate)
		for _, algorithm := range []KeyAlgorithm{"", ECDSAP256, RSA3072} {
			names := []string{"grpc.example.com", "*.svc.example.com", "10.1.2.3", "2001:db8::7"}
			server := must[*KeyPair](t)(ca.Issue(LeafRequest{Usage: Server, Names: names, KeyAlgorithm: algorithm, At: testTime}))
			for _, name := range []string{"grpc.example.com", "x.svc.example.com", "10.1.2.3", "2001:db8::7"} {
				_, err := server.Certificate.Verify(x509.VerifyOptions{
					Roots: roots, DNSName: name, CurrentTime: testTime, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
				})
				if err != nil {
					t.Errorf("%s under %s: %v", algorithm, caAlgorithm, err)
				}
			}
			if _, err := server.Certificate.Verify(x509.VerifyOptions{
				Roots: roots, CurrentTime: testTime, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
			}); err == nil {
				t.Error("a server's certificate passes as a client's")
			}
			want := algorithm
			if want == "" {
				want = ECDSAP256
			}
			if got := KeyAlgorithmOf(server.Certificate); got != string(want) {
				t.Errorf("key algorithm %s, want %s", got, want)
			}
		}
	}
}

func TestServerNamesInCertificate(t *testing.T) {
	ca := newTestAuthority(t)
	long := strings.Repeat("a", 60) + ".example.com"
	for _, tt := range []struct {
		names, dns []string
		ips        []net.IP
		cn         string
	}{
		{[]string{"a.example.com", "b.example.com"}, []string{"a.example.com", "b.example.com"}, nil, "a.example.com"},
		// What Gramine before 1.8 needs to accept an address.
		{[]string{"127.0.0.1"}, []string{"127.0.0.1"}, []net.IP{net.IPv4(127, 0, 0, 1).To4()}, "127.0.0.1"},
		{[]string{"::1", "localhost"}, []string{"localhost"}, []net.IP{net.IPv6loopback}, "::1"},
		{[]string{long, "short.example.com"}, []string{long, "short.example.com"}, nil, "short.example.com"},
		{[]string{long}, []string{long}, nil, ""},
	} {
		c := issueServer(t, ca, tt.names...).Certificate
		if diff := cmp.Diff(tt.dns, c.DNSNames); diff != "" {
			t.Errorf("%q: DNS names (-want +got):\n%s", tt.names, diff)
		}
		if diff := cmp.Diff(tt.ips, c.IPAddresses); diff != "" {
			t.Errorf("%q: addresses (-want +got):\n%s", tt.names, diff)
		}
		if c.Subject.CommonName != tt.cn {
			t.Errorf("%q: common name %q, want %q", tt.names, c.Subject.CommonName, tt.cn)
		}
	}
}

func TestCertifiedNamesAreTheRequestedOnes(t *testing.T) {
	names := []string{"grpc.example.com", "10.0.0.1", "2001:db8::1"}
	if diff := cmp.Diff(names, CertifiedNames(issueServer(t, newTestAuthority(t), names...).Certificate)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSerialNumbers(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		n := newSerial()
		if n.Sign() <= 0 || n.BitLen() != 127 {
			t.Fatalf("serial number %x has %d bits", n, n.BitLen())
		}
		if seen[n.String()] {
			t.Fatalf("serial number %x twice", n)
		}
		seen[n.String()] = true
	}
}

func TestLeafNeverOutlivesItsAuthority(t *testing.T) {
	ca := must[*KeyPair](t)(NewAuthority(AuthorityRequest{At: testTime, Lifetime: 48 * time.Hour}))
	later := testTime.Add(24 * time.Hour)
	c := must[*KeyPair](t)(ca.Issue(LeafRequest{Usage: Server, Names: []string{"a.b"}, At: later, Lifetime: 72 * time.Hour})).Certificate
	if !c.NotAfter.Equal(ca.Certificate.NotAfter) {
		t.Errorf("leaf ends %s, authority %s", c.NotAfter, ca.Certificate.NotAfter)
	}
	// Issued in the minute in which the authority was made, it must not begin before it either.
	c = must[*KeyPair](t)(ca.Issue(LeafRequest{Usage: Server, Names: []string{"a.b"}, At: ca.Certificate.NotBefore})).Certificate
	if c.NotBefore.Before(ca.Certificate.NotBefore) {
		t.Errorf("leaf begins %s, authority %s", c.NotBefore, ca.Certificate.NotBefore)
	}
}

func TestIssueErrors(t *testing.T) {
	ca := newTestAuthority(t)
	other := newTestAuthority(t)
	notCA := issueServer(t, ca, "a.b")
	mayNotSign := certify(t, nil, &x509.Certificate{
		Subject: pkix.Name{CommonName: "crl only"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCRLSign,
	})
	request := func(change func(*LeafRequest)) LeafRequest {
		req := LeafRequest{Usage: Server, Names: []string{"a.b"}, At: testTime}
		change(&req)
		return req
	}
	for _, tt := range []struct {
		name string
		ca   *KeyPair
		req  LeafRequest
		want string
	}{
		{"no usage", ca, request(func(r *LeafRequest) { r.Usage = 0 }), "issue usage 0 certificate: a certificate is for a server or a client"},
		{"no names", ca, request(func(r *LeafRequest) { r.Names = nil }), "issue server certificate: no server name: give the name by which clients reach the server"},
		{"bad name", ca, request(func(r *LeafRequest) { r.Names = []string{"a_b"} }), `issue server certificate: server name "a_b": an underscore`},
		{"two clients", ca, LeafRequest{Usage: Client, Names: []string{"a.b", "c.d"}, At: testTime}, "issue client certificate: found 2 names, want one"},
		{"client address", ca, LeafRequest{Usage: Client, Names: []string{"10.0.0.1"}, At: testTime}, "an address does not tell clients apart"},
		{"no time", ca, request(func(r *LeafRequest) { r.At = time.Time{} }), "the authority begins on 2026-11-23T12:25:15Z, later than now, 0001-01-01T00:00:00Z: is the clock right?"},
		{"before", ca, request(func(r *LeafRequest) { r.At = testTime.Add(-time.Hour) }), "the authority begins on 2026-11-23T12:25:15Z, later than now, 2026-11-23T11:30:15Z: is the clock right?"},
		{"after", ca, request(func(r *LeafRequest) { r.At = testTime.Add(DefaultAuthorityLifetime + time.Hour) }), "the authority ended on 2031-11-22T12:30:15Z"},
		{"short", ca, request(func(r *LeafRequest) { r.Lifetime = time.Second }), "a lifetime of 1s is too short: give at least a minute"},
		{"negative", ca, request(func(r *LeafRequest) { r.Lifetime = -time.Hour }), "a lifetime of -1h0m0s is too short"},
		{"long", ca, request(func(r *LeafRequest) { r.Lifetime = 30 * 365 * 24 * time.Hour }), "ends after 2049"},
		{"algorithm", ca, request(func(r *LeafRequest) { r.KeyAlgorithm = "ed25519" }), `key algorithm "ed25519" is unknown: choose ecdsa-p256, rsa-3072, rsa-4096`},
		{"empty authority", &KeyPair{}, request(func(*LeafRequest) {}), "there is no authority"},
		{"no key", &KeyPair{Certificate: ca.Certificate}, request(func(*LeafRequest) {}), "the authority's private key is not at hand"},
		{"wrong key", &KeyPair{Certificate: ca.Certificate, Key: other.Key}, request(func(*LeafRequest) {}), "the authority's private key does not belong to its certificate"},
		{"not an authority", notCA, request(func(*LeafRequest) {}), "CN=a.b is not a certificate authority"},
		{"may not sign", mayNotSign, request(func(*LeafRequest) {}), "CN=crl only may not sign certificates (its key usage says so)"},
	} {
		got, err := tt.ca.Issue(tt.req)
		if got != nil || !strings.Contains(errText(err), tt.want) {
			t.Errorf("%s: %v, %q, want %q", tt.name, got, errText(err), tt.want)
		}
	}
}

func TestNewAuthorityErrors(t *testing.T) {
	for _, tt := range []struct {
		req  AuthorityRequest
		want string
	}{
		{AuthorityRequest{}, "make certificate authority: no time of issue is given"},
		{AuthorityRequest{At: testTime, CommonName: strings.Repeat("x", 65)}, "has 65 octets, more than 64"},
		{AuthorityRequest{At: testTime, KeyAlgorithm: "dsa"}, `key algorithm "dsa" is unknown`},
		{AuthorityRequest{At: testTime, Lifetime: 24 * 365 * 24 * time.Hour}, "ends after 2049, the last year that every peer reads: give less"},
	} {
		if got, err := NewAuthority(tt.req); got != nil || !strings.Contains(errText(err), tt.want) {
			t.Errorf("%+v: %q, want %q", tt.req, errText(err), tt.want)
		}
	}
}
