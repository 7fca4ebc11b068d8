package tlsmaterials

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFilesAndBack(t *testing.T) {
	m := newTestMaterials(t)
	files := must[[]File](t)(m.Files())
	var paths []string
	for _, f := range files {
		paths = append(paths, f.Path)
		if f.Secret != strings.Contains(string(f.Data), "PRIVATE KEY") {
			t.Errorf("%s: secret %t", f.Path, f.Secret)
		}
	}
	want := []string{
		"ca_key.pem", "ca_cert.pem", "server/key.pem", "server/cert.pem", "client/key.pem", "client/cert.pem",
		"clients/batch.example.com/key.pem", "clients/batch.example.com/cert.pem", "ssl.cfg",
	}
	if diff := cmp.Diff(want, paths); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(append([]string{"ca_next_key.pem", "ca_previous_key.pem"}, want...), Paths(m.Places(), true)); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}

	again, findings := ParseFiles(fileMap(t, m))
	findings = append(findings, again.Check(testTime)...)
	if diff := cmp.Diff([]Finding(nil), findings); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	againFiles := must[[]File](t)(again.Files())
	if diff := cmp.Diff(files, againFiles, cmp.Comparer(func(a, b File) bool { return a.Path == b.Path && string(a.Data) == string(b.Data) })); diff != "" {
		t.Errorf("files after reading back (-want +got):\n%s", diff)
	}
}

// TestSealedFiles encodes and reads a set whose ssl.cfg is a protected file, which somebody else writes.
func TestSealedFiles(t *testing.T) {
	m := newTestMaterials(t)
	m.Sealed = &SealedSSLConfig{EnclavePath: "ssl.cfg", Format: 1}
	files, err := m.Files()
	if err != nil {
		t.Fatal(err)
	}
	data := map[string][]byte{SealedSSLConfigFile: []byte("GRAFS_PF")}
	var names []string
	for _, f := range files {
		names = append(names, f.Path)
		data[f.Path] = f.Data
	}
	paths := SealedPaths(Paths(m.Places(), true))
	for _, name := range []string{ServerKeyFile, SSLConfigFile} {
		if slices.Contains(names, name) || slices.Contains(paths, name) {
			t.Errorf("%s is among the files", name)
		}
	}
	if paths[len(paths)-1] != SealedSSLConfigFile {
		t.Errorf("the paths are %v", paths)
	}
	read, findings := ParseFiles(data)
	if findings = append(findings, read.Check(testTime)...); len(findings) > 0 || read.Sealed == nil || !read.SSLConfig || !read.Leaf(ServerPlace).Key.IsZero() {
		t.Errorf("read %+v, %v", read, findings)
	}
	data[ServerKeyFile] = m.Leaf(ServerPlace).Key.PEM() // somebody has encrypted the file of a set in clear, beside it
	if read, _ := ParseFiles(data); read.Sealed != nil || read.Leaf(ServerPlace).Key.IsZero() {
		t.Error("a set with the server's key in clear passes for sealed")
	}
	delete(data, ServerKeyFile)
	delete(data, SealedSSLConfigFile)
	if _, findings := ParseFiles(data); len(findings) != 1 || findings[0].Problem != Missing {
		t.Errorf("without the encrypted file: %v", findings)
	}
}

func TestPlaces(t *testing.T) {
	m := &Materials{}
	var pairs [5]KeyPair
	for i := range pairs {
		pairs[i].Certificate = &x509.Certificate{SerialNumber: big.NewInt(int64(i))}
	}
	m.Set(FurtherClientPlace("b"), pairs[0])
	m.Set(ServerPlace, pairs[1])
	m.Set(FurtherClientPlace("a"), pairs[2])
	m.Set(ClientPlace, pairs[3])
	m.Set(ServerPlace, pairs[4]) // replaces
	var got []string
	for _, l := range m.Leaves {
		got = append(got, fmt.Sprintf("%s, %s, %d", l.Place, l.CertificateFile, l.Certificate.SerialNumber))
	}
	want := []string{
		"the server, server/cert.pem, 4", "the client, client/cert.pem, 3", "client a, clients/a/cert.pem, 2", "client b, clients/b/cert.pem, 0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("leaves (-want +got):\n%s", diff)
	}
	if FurtherClientPlace("a").FurtherClient() != "a" || ClientPlace.FurtherClient() != "" {
		t.Error("the names of further clients")
	}
	if l := m.Leaf(FurtherClientPlace("c")); l != nil {
		t.Errorf("found %v where nothing is", l.Place)
	}
}

func TestFilesWithoutKeys(t *testing.T) {
	m := newTestMaterials(t)
	m.Authority.Key, server(m).Key, client(m).Key = PrivateKey{}, PrivateKey{}, PrivateKey{}
	var paths []string
	for _, f := range must[[]File](t)(m.Files()) {
		paths = append(paths, f.Path)
	}
	want := []string{
		"ca_cert.pem", "server/cert.pem", "client/cert.pem", "clients/batch.example.com/key.pem", "clients/batch.example.com/cert.pem",
	}
	if diff := cmp.Diff(want, paths); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if _, err := (&Materials{}).Files(); errText(err) != "encode TLS materials: the authority's certificate is missing" {
		t.Errorf("empty set: %v", err)
	}
}

// TestRotation goes through the stages and reads each of them back from its files.
func TestRotation(t *testing.T) {
	old := newTestAuthority(t)
	next := must[*KeyPair](t)(NewAuthority(AuthorityRequest{At: testTime.Add(time.Hour)}))
	leaves := newTestMaterials(t)
	for _, tt := range []struct {
		m       Materials
		keys    []string
		without Rotation // as read when no key is there
	}{
		{Materials{Authority: *old}, []string{"ca_key.pem"}, ""},
		{
			Materials{Authority: *old, Trusted: []*x509.Certificate{next.Certificate}, TrustedKey: next.Key, Rotation: RotationTrustNext},
			[]string{"ca_next_key.pem", "ca_key.pem"}, RotationTrustNext,
		},
		{
			Materials{Authority: *next, Trusted: []*x509.Certificate{old.Certificate}, TrustedKey: old.Key, Rotation: RotationUseNext},
			[]string{"ca_previous_key.pem", "ca_key.pem"}, RotationUseNext,
		},
		{ // back again
			Materials{Authority: *next, Trusted: []*x509.Certificate{old.Certificate}, TrustedKey: old.Key, Rotation: RotationTrustNext},
			[]string{"ca_next_key.pem", "ca_key.pem"}, RotationUseNext,
		},
	} {
		m := tt.m
		for _, l := range leaves.Leaves {
			m.Set(l.Place, *must[*KeyPair](t)(m.Authority.Issue(LeafRequest{Usage: l.Usage, Names: CertifiedNames(l.Certificate), At: testTime.Add(time.Hour)})))
		}
		m.SSLConfig = true
		files := fileMap(t, &m)
		var keys []string
		for _, f := range must[[]File](t)(m.Files()) {
			if strings.HasPrefix(f.Path, "ca_") && f.Secret {
				keys = append(keys, f.Path)
			}
		}
		if diff := cmp.Diff(tt.keys, keys); diff != "" {
			t.Errorf("%s: keys (-want +got):\n%s", m.Rotation, diff)
		}
		again, findings := ParseFiles(files)
		if findings = append(findings, again.Check(testTime.Add(time.Hour))...); len(findings) > 0 {
			t.Errorf("%s: findings %v", m.Rotation, findings)
		}
		if again.Rotation != m.Rotation || again.TrustedKey.Fingerprint() != m.TrustedKey.Fingerprint() {
			t.Errorf("%s reads as %s, second key %s", m.Rotation, again.Rotation, again.TrustedKey.Fingerprint())
		}
		for _, file := range AuthorityKeyFiles() {
			delete(files, file)
		}
		if again, _ = ParseFiles(files); again.Rotation != tt.without {
			t.Errorf("%s without keys reads as %s, want %s", m.Rotation, again.Rotation, tt.without)
		}
	}
}

// TestRotationCrash: the keys tell whose they are, whatever file they are in.
func TestRotationCrash(t *testing.T) {
	m := newTestMaterials(t)
	next := newTestAuthority(t)
	m.Trusted, m.TrustedKey, m.Rotation = []*x509.Certificate{next.Certificate}, next.Key, RotationTrustNext
	files := fileMap(t, m)
	files[PreviousAuthorityKeyFile], files[AuthorityKeyFile] = m.Authority.Key.PEM(), next.Key.PEM()
	again, findings := ParseFiles(files)
	if findings = append(findings, again.Check(testTime)...); len(findings) > 0 {
		t.Errorf("findings %v", findings)
	}
	if again.Authority.Key.Fingerprint() != m.Authority.Key.Fingerprint() || again.TrustedKey.Fingerprint() != next.Key.Fingerprint() {
		t.Error("the keys are taken for each other's")
	}
	files[NextAuthorityKeyFile] = server(m).Key.PEM()
	_, findings = ParseFiles(files)
	want := []Finding{{"ca_next_key.pem", Mismatch, "the key belongs to none of the authorities in ca_cert.pem"}}
	if diff := cmp.Diff(want, findings); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

func TestTutorialMaterials(t *testing.T) {
	m, findings := ParseFiles(tutorialFiles(t))
	at := server(m).Certificate.NotBefore.Add(time.Hour)
	findings = append(findings, m.Check(at)...)
	end := date(m.Authority.Certificate.NotAfter)
	const noName = "the certificate has no subject alternative name: gRPC, Go and browsers do not look at its common name, "
	const noUsage = "the certificate names no usage, so a client's passes as a server's and the other way round"
	want := []Finding{
		{"server/cert.pem", Unusable, noName + `"grpc.tf-serving.service.com"`},
		{"server/cert.pem", Doubtful, noUsage},
		{"server/cert.pem", Doubtful, "it outlives its authority, which ends on " + end},
		{"client/cert.pem", Unusable, noName + `"client.tf-serving.service.com"`},
		{"client/cert.pem", Doubtful, noUsage},
		{"client/cert.pem", Doubtful, "it outlives its authority, which ends on " + end},
		{"client/cert.pem", Doubtful, "its serial number, 01, is also another certificate's of this authority"},
	}
	if diff := cmp.Diff(want, findings); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	if !m.SSLConfig {
		t.Error("ssl.cfg is not there")
	}
}

func TestFindings(t *testing.T) {
	base := newTestMaterials(t)
	foreign := newTestMaterials(t)
	edCertificate, _ := edPair(t)
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serverEKU := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	type files = map[string][]byte
	for _, tt := range []struct {
		name   string
		change func(files)
		at     time.Time
		want   []string
	}{
		{"nothing", func(files) {}, testTime, nil},
		{"authority's key elsewhere", func(f files) { delete(f, AuthorityKeyFile) }, testTime, nil},
		{"other files", func(f files) {
			f["README"], f["server/cert.csr"], f["clients/README"], f["clients/a/b/key.pem"] = nil, nil, nil, nil
		}, testTime, nil},
		{"one-way", func(f files) {
			m := *base
			m.Leaves = m.Leaves[:1]
			clear(f)
			for path, data := range fileMap(t, &m) {
				f[path] = data
			}
		}, testTime, nil},
		{"empty", func(f files) { clear(f) }, testTime, []string{
			"ca_cert.pem: missing: the file is missing", "server/cert.pem: missing: the file is missing", "server/key.pem: missing: the file is missing",
		}},
		{"client's key", func(f files) { delete(f, ClientKeyFile) }, testTime, []string{"client/key.pem: missing: the file is missing"}},
		{"further client's certificate", func(f files) { delete(f, "clients/batch.example.com/cert.pem") }, testTime, []string{
			"clients/batch.example.com/cert.pem: missing: the file is missing",
		}},
		{"swapped keys", func(f files) { f[ServerKeyFile], f[ClientKeyFile] = f[ClientKeyFile], f[ServerKeyFile] }, testTime, []string{
			"server/key.pem: mismatch: the key does not belong to the certificate beside it",
			"client/key.pem: mismatch: the key does not belong to the certificate beside it",
		}},
		{"swapped pairs", func(f files) {
			f[ServerKeyFile], f[ClientKeyFile] = f[ClientKeyFile], f[ServerKeyFile]
			f[ServerCertificateFile], f[ClientCertificateFile] = f[ClientCertificateFile], f[ServerCertificateFile]
		}, testTime, []string{
			"ssl.cfg: mismatch: the server certificate in it is not that of server/cert.pem",
			"server/cert.pem: unusable: its extended key usage does not allow server authentication",
			"client/cert.pem: unusable: its extended key usage does not allow client authentication",
		}},
		{"authority of another set", func(f files) {
			f[AuthorityCertificateFile], f[AuthorityKeyFile] = foreign.Authority.CertificatePEM(), foreign.Authority.Key.PEM()
		}, testTime, []string{
			"ssl.cfg: mismatch: custom_ca lacks an authority that ca_cert.pem has",
			"server/cert.pem: mismatch: the certificate was not issued by ca_cert.pem",
			"client/cert.pem: mismatch: the certificate was not issued by ca_cert.pem",
			"clients/batch.example.com/cert.pem: mismatch: the certificate was not issued by ca_cert.pem",
		}},
		{"authority's key of another set", func(f files) { f[AuthorityKeyFile] = foreign.Authority.Key.PEM() }, testTime, []string{
			"ca_key.pem: mismatch: the key does not belong to the certificate beside it",
		}},
		{"client of another set", func(f files) {
			f[ClientCertificateFile], f[ClientKeyFile] = client(foreign).CertificatePEM(), client(foreign).Key.PEM()
		}, testTime, []string{
			"client/cert.pem: mismatch: the certificate was not issued by ca_cert.pem",
		}},
		{"ssl.cfg with another key", func(f files) {
			c := must[*SSLConfig](t)(ParseSSLConfig(f[SSLConfigFile]))
			var b strings.Builder
			writeField(&b, "server_key", string(server(foreign).Key.PEM()))
			writeField(&b, "server_cert", c.ServerCert)
			f[SSLConfigFile] = []byte(b.String())
		}, testTime, []string{
			"ssl.cfg: mismatch: server_key is not the private key of server_cert; a chain must begin with the server's own certificate",
		}},
		{"unparseable", func(f files) {
			for path := range f {
				f[path] = []byte("x")
			}
		}, testTime, []string{
			`ca_cert.pem: unparseable: parse certificate: PEM block 1: found other text where "-----BEGIN" should be`,
			`ca_key.pem: unparseable: parse private key: PEM block 1: found other text where "-----BEGIN" should be`,
			`server/cert.pem: unparseable: parse certificate: PEM block 1: found other text where "-----BEGIN" should be`,
			`server/key.pem: unparseable: parse private key: PEM block 1: found other text where "-----BEGIN" should be`,
			`client/cert.pem: unparseable: parse certificate: PEM block 1: found other text where "-----BEGIN" should be`,
			`client/key.pem: unparseable: parse private key: PEM block 1: found other text where "-----BEGIN" should be`,
			`clients/batch.example.com/cert.pem: unparseable: parse certificate: PEM block 1: found other text where "-----BEGIN" should be`,
			`clients/batch.example.com/key.pem: unparseable: parse private key: PEM block 1: found other text where "-----BEGIN" should be`,
			`ssl.cfg: unparseable: parse ssl.cfg: line 1: unknown field "x": the fields are server_key, server_cert, custom_ca and client_verify`,
		}},
		{"leaves expired", func(files) {}, testTime.Add(DefaultLifetime + time.Hour), []string{
			"server/cert.pem: expired: it ended on 2027-11-23T12:30:15Z",
			"client/cert.pem: expired: it ended on 2027-11-23T12:30:15Z",
			"clients/batch.example.com/cert.pem: expired: it ended on 2027-11-23T12:30:15Z",
		}},
		{"too early", func(f files) { delete(f, ClientCertificateFile); delete(f, ClientKeyFile); delete(f, SSLConfigFile) }, testTime.Add(-time.Hour), []string{
			"ca_cert.pem: not yet valid: it begins on 2026-11-23T12:25:15Z",
			"server/cert.pem: not yet valid: it begins on 2026-11-23T12:25:15Z",
			"clients/batch.example.com/cert.pem: not yet valid: it begins on 2026-11-23T12:25:15Z",
		}},
		{"Ed25519", func(f files) {
			f[ServerCertificateFile] = edCertificate
			delete(f, ServerKeyFile)
			delete(f, SSLConfigFile)
		}, testTime, []string{
			"server/key.pem: missing: the file is missing",
			"server/cert.pem: unusable: its key is of a kind (Ed25519) that Gramine's clients do not know",
			"server/cert.pem: mismatch: the certificate was not issued by ca_cert.pem",
		}},
		{"P-224", func(f files) {
			template := &x509.Certificate{
				SerialNumber: big.NewInt(5), DNSNames: []string{"a.b"}, NotBefore: testTime, NotAfter: testTime.Add(time.Hour), ExtKeyUsage: serverEKU,
			}
			der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, base.Authority.Certificate, &p224.PublicKey, base.Authority.Key.Signer()))
			f[ServerCertificateFile] = EncodeCertificates(&x509.Certificate{Raw: der})
			delete(f, ServerKeyFile)
			delete(f, SSLConfigFile)
		}, testTime, []string{
			"server/key.pem: missing: the file is missing",
			"server/cert.pem: unusable: its ECDSA key is on curve P-224, smaller than P-256",
		}},
		{"authority without CA constraint", func(f files) {
			fake := certify(t, nil, &x509.Certificate{Subject: pkix.Name{CommonName: "fake"}, DNSNames: []string{"a.b"}})
			clear(f)
			f[AuthorityCertificateFile], f[ServerCertificateFile], f[ServerKeyFile] = fake.CertificatePEM(), fake.CertificatePEM(), fake.Key.PEM()
		}, testTime, []string{
			"ca_cert.pem: unusable: the certificate is not an authority's (no basic constraint CA): clients accept it only for the very server that presents it",
			"server/cert.pem: doubtful: the certificate names no usage, so a client's passes as a server's and the other way round",
		}},
		{"authority that may not sign", func(f files) {
			ca := certify(t, nil, &x509.Certificate{
				Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCRLSign,
			})
			f[AuthorityCertificateFile], f[AuthorityKeyFile] = ca.CertificatePEM(), ca.Key.PEM()
			for path := range f {
				if strings.HasPrefix(path, "client") || path == SSLConfigFile {
					delete(f, path)
				}
			}
			leaf := certify(t, ca, &x509.Certificate{DNSNames: []string{"a.b"}, ExtKeyUsage: serverEKU})
			f[ServerCertificateFile], f[ServerKeyFile] = leaf.CertificatePEM(), leaf.Key.PEM()
		}, testTime, []string{"ca_cert.pem: unusable: its key usage does not allow it to sign certificates"}},
		{"issuer's name differs", func(f files) {
			renamed := *base.Authority.Certificate
			renamed.RawSubject, renamed.Subject = nil, pkix.Name{CommonName: "other name"}
			leaf := certify(t, &KeyPair{&renamed, base.Authority.Key}, &x509.Certificate{DNSNames: []string{"a.b"}, ExtKeyUsage: serverEKU})
			f[ServerCertificateFile], f[ServerKeyFile] = leaf.CertificatePEM(), leaf.Key.PEM()
			delete(f, SSLConfigFile)
		}, testTime, []string{
			`server/cert.pem: mismatch: its issuer is "CN=other name", the authority's name is "` + base.Authority.Certificate.Subject.String() + `"`,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := fileMap(t, base)
			tt.change(files)
			m, findings := ParseFiles(files)
			var got []string
			for _, f := range append(findings, m.Check(tt.at)...) {
				got = append(got, f.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCheckAgainst(t *testing.T) {
	m := newTestMaterials(t)
	oneWay := *m
	oneWay.Leaves = m.Leaves[:1]
	other := newTestAuthority(t).Certificate
	staged := *m
	staged.Trusted = []*x509.Certificate{other}
	config := func(m *Materials) SSLConfig {
		return *must[*SSLConfig](t)(ParseSSLConfig(must[[]byte](t)(m.MarshalSSLConfig())))
	}
	reordered := config(&staged)
	reordered.CustomCA = string(EncodeCertificates(other, m.Authority.Certificate))
	withRoots := config(&oneWay)
	withRoots.CustomCA = string(m.AuthoritiesPEM())
	for _, tt := range []struct {
		name string
		c    SSLConfig
		m    *Materials
		want string
	}{
		{"same", config(m), m, ""},
		{"one-way", config(&oneWay), &oneWay, ""},
		{"one-way with authorities that are not used", withRoots, &oneWay, ""},
		{"staged", config(&staged), &staged, ""},
		{"order of authorities", reordered, &staged, ""},
		{"two-way for one-way", config(m), &oneWay, "client_verify is true, but no client has a certificate"},
		{"one-way for two-way", config(&oneWay), m, "client_verify is false, although clients have certificates"},
		{"authority missing", config(m), &staged, "custom_ca lacks an authority that ca_cert.pem has"},
		{"authority too many", config(&staged), m, "custom_ca has authorities that ca_cert.pem does not have"},
		{"another server", config(newTestMaterials(t)), m, "the server certificate in it is not that of server/cert.pem"},
		{"no server", config(m), &Materials{}, "the server certificate in it is not that of server/cert.pem"},
		{"empty", SSLConfig{}, m, "server_key: parse private key: found no PEM block"},
	} {
		if got := errText(tt.c.CheckAgainst(tt.m)); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestWeakRSAKey(t *testing.T) {
	k := &checker{materials: &Materials{}, at: testTime}
	n := new(big.Int).Lsh(big.NewInt(1), 1023)
	k.strength("server/cert.pem", &x509.Certificate{PublicKey: &rsa.PublicKey{N: n, E: 65537}, SignatureAlgorithm: x509.SHA1WithRSA})
	want := []Finding{
		{"server/cert.pem", Unusable, "its RSA key has 1024 bits, fewer than 2048"},
		{"server/cert.pem", Unusable, "it is signed with SHA1-RSA"},
	}
	if diff := cmp.Diff(want, k.findings); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

func TestDescribe(t *testing.T) {
	m := newTestMaterials(t)
	got := Describe(server(m).Certificate)
	want := Description{
		Subject: "CN=grpc.tf-serving.service.com", Issuer: m.Authority.Certificate.Subject.String(),
		Names: []string{"grpc.tf-serving.service.com"}, Usage: []string{"server"}, KeyAlgorithm: "ecdsa-p256",
		Serial: got.Serial, NotBefore: time.Date(2026, 11, 23, 12, 25, 15, 0, time.UTC), NotAfter: time.Date(2027, 11, 23, 12, 30, 15, 0, time.UTC),
		SHA256: CertificateFingerprint(server(m).Certificate), KeySHA256: server(m).Key.Fingerprint(),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(got.Serial) != 32 || len(got.SHA256) != 64 {
		t.Errorf("serial %q, fingerprint %q", got.Serial, got.SHA256)
	}
	if usage := Describe(m.Authority.Certificate).Usage; len(usage) != 1 || usage[0] != "authority" {
		t.Errorf("authority's usage %q", usage)
	}
}
