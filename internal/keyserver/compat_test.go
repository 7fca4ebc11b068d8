package keyserver

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/ratls"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

// gramine is releases of Gramine that are one to a server (tools/sgx/ra-tls and subprojects/mbedtls-*.wrap at each
// tag): what TLS they speak, with what key, what evidence they carry and in what form they want the secret.
type gramine struct {
	releases              []string
	tls, evidence, client string // as the log has them
	hex                   bool
}

var generations = []gramine{
	{[]string{"1.0", "1.1", "1.2"}, "TLS 1.2", `"legacy quote"`, `"Gramine 1.0 to 1.3.1"`, true}, // RSA-3072
	{[]string{"1.3", "1.3.1"}, "TLS 1.2", `"legacy quote"`, `"Gramine 1.0 to 1.3.1"`, false},
	{[]string{"1.4", "1.5", "1.6", "1.7"}, "TLS 1.2", `"legacy quote"`, `"Gramine 1.4 to 1.7"`, false}, // P-384 from here on
	{[]string{"1.8"}, "TLS 1.3", "DICE", `"Gramine 1.8 or later"`, false},                              // dies of a session ticket
	{[]string{"1.9"}, "TLS 1.3", "DICE", `"Gramine 1.8 or later"`, false},
}

func generationOf(t *testing.T, release string) *gramine {
	t.Helper()
	for i := range generations {
		if slices.Contains(generations[i].releases, release) {
			return &generations[i]
		}
	}
	t.Fatalf("Gramine %s is of no generation", release)
	return nil
}

// wants is the secret as that generation takes it.
func (g *gramine) wants() []byte {
	if g.hex {
		return append([]byte(hex.EncodeToString(canary[:])), 0)
	}
	return canary[:]
}

// check compares a delivery, and what the log says of it.
func (g *gramine) check(t *testing.T, d *sgxsim.Delivery, line string) {
	t.Helper()
	if !bytes.Equal(d.Secret, g.wants()) || tls.VersionName(d.TLSVersion) != g.tls {
		t.Errorf("%d bytes over %s", len(d.Secret), tls.VersionName(d.TLSVersion))
	}
	if key, err := d.Key(); err != nil || key != canary {
		t.Errorf("the enclave makes another key of it: %v", err)
	}
	for _, word := range []string{fmt.Sprintf("tls=%q", g.tls), "evidence=" + g.evidence + " ", "client=" + g.client + " "} {
		if !strings.Contains(line, word) {
			t.Errorf("the log line has no %s: %s", word, line)
		}
	}
}

// TestGenerations: one release of each against a server with an RSA key, and also with the CBOR of a Gramine that was
// linked with another libcbor. TestEveryReleaseOfGramineGetsItsKey has them all, against an ECDSA key.
func TestGenerations(t *testing.T) {
	w := newWorld(t)
	w.issueRSA("127.0.0.1", "old.example.com")
	s := w.start(w.base() + "rules:\n" +
		w.rule("old", "model-hex", "server_name: [old.example.com]") + w.rule("new", "model"))
	for i := range generations {
		g := &generations[i]
		if g.releases[0] == "1.3" {
			continue // as 1.0 before the request, and making its RSA key takes seconds
		}
		for _, padded := range []bool{false, true} {
			if padded && g.evidence != "DICE" {
				continue
			}
			t.Run(fmt.Sprintf("%s, padded %v", g.releases[0], padded), func(t *testing.T) {
				w.log.reset()
				e := w.enclave(s)
				e.Release = g.releases[0]
				e.Certificate = func(o *ratls.CertificateOptions) { o.PaddedCBOR = padded }
				if g.hex {
					e.Servers, e.Dial = "old.example.com:4433", dialTo(s.addr)
				}
				d, err := provision(t, e)
				if err != nil {
					t.Fatalf("%v\n%s", err, w.log.String())
				}
				g.check(t, d, w.log.waitFor(t, `msg="secret sent"`))
			})
		}
	}
}

// issueRSA makes the server's certificate with an RSA key, under the same name rules as issue.
func (w *world) issueRSA(dnsNames ...string) {
	w.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		w.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "key server"}, DNSNames: dnsNames, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		w.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		w.t.Fatal(err)
	}
	w.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	w.write("server.pem", w.ca)
	w.write("server-key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

func (b *logBuffer) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf.Reset()
}

// hello is what is particular to a generation's ClientHello, in mbedTLS's order. What comes after the first dozen suites
// is the same everywhere and none that crypto/tls would choose.
type hello struct {
	name      string
	mbedTLS   string
	groups    []uint16
	schemes   []uint16
	suites    []uint16
	supports3 bool
}

var hellos = []hello{
	{
		name: "1.0", mbedTLS: "2.26.0",
		// P-521, brainpoolP512r1, P-384, brainpoolP384r1, P-256, secp256k1, brainpoolP256r1, secp224k1, P-224, secp192k1, P-192,
		// X25519, X448.
		groups:  []uint16{25, 28, 24, 27, 23, 22, 26, 20, 21, 18, 19, 29, 30},
		schemes: []uint16{0x0603, 0x0601, 0x0503, 0x0501, 0x0403, 0x0401, 0x0303, 0x0301, 0x0203, 0x0201},
		suites:  []uint16{0xcca8, 0xcca9, 0xccaa, 0xc02c, 0xc030, 0x009f, 0xc0ad, 0xc09f, 0xc02b, 0xc02f, 0x009e, 0x00ff},
	},
	{
		name: "1.5", mbedTLS: "3.4.0",
		groups:  []uint16{29, 23, 24, 30, 25, 26, 27, 28},
		schemes: []uint16{0x0603, 0x0601, 0x0503, 0x0501, 0x0403, 0x0401},
		suites:  []uint16{0xcca8, 0xcca9, 0xccaa, 0xc02c, 0xc030, 0x009f, 0xc0ad, 0xc09f, 0xc02b, 0xc02f, 0x009e, 0x00ff},
	},
	{
		name: "1.9", mbedTLS: "3.6.3",
		groups:    []uint16{29, 23, 24, 30, 25, 26, 27, 28, 0x100, 0x101, 0x102, 0x103, 0x104},
		schemes:   []uint16{0x0403, 0x0503, 0x0603, 0x0806, 0x0805, 0x0804, 0x0601, 0x0501, 0x0401},
		suites:    []uint16{0x1303, 0x1302, 0x1301, 0x1304, 0x1305, 0xcca8, 0xcca9, 0xccaa, 0xc02c, 0xc030, 0xc02b, 0xc02f, 0x00ff},
		supports3: true,
	},
}

// marshal writes the record, with the extensions that mbedTLS sends.
func (h *hello) marshal(serverName string) []byte {
	list := func(values []uint16) []byte {
		b := binary.BigEndian.AppendUint16(nil, uint16(2*len(values)))
		for _, v := range values {
			b = binary.BigEndian.AppendUint16(b, v)
		}
		return b
	}
	vector := func(b []byte) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...) }
	var extensions []byte
	extension := func(kind uint16, body []byte) {
		extensions = binary.BigEndian.AppendUint16(extensions, kind)
		extensions = append(extensions, vector(body)...)
	}
	extension(0, vector(append([]byte{0}, vector([]byte(serverName))...)))
	session := []byte{0}
	if h.supports3 {
		extension(43, []byte{4, 3, 4, 3, 3})
		extension(51, vector(append([]byte{0, 29}, vector(bytes.Repeat([]byte{9}, 32))...)))
		extension(45, []byte{1, 1})
		session = append([]byte{32}, bytes.Repeat([]byte{7}, 32)...)
	}
	extension(10, list(h.groups))
	extension(13, list(h.schemes))
	extension(11, []byte{1, 0})
	extension(22, nil) // encrypt-then-MAC
	extension(23, nil) // extended master secret
	extension(35, nil) // session ticket
	body := append([]byte{3, 3}, bytes.Repeat([]byte{5}, 32)...)
	body = append(body, session...)
	body = append(body, list(h.suites)...)
	body = append(body, 1, 0)
	body = append(body, vector(extensions)...)
	message := append([]byte{1, 0, byte(len(body) >> 8), byte(len(body))}, body...)
	return append([]byte{22, 3, 1}, vector(message)...)
}

// TestClientHellos shows the server what mbedTLS sends at the wire, groups and suites in its order, and looks at what
// the server chooses: no curve that costs it several times as much, no session ticket, a certificate asked for.
func TestClientHellos(t *testing.T) {
	w := newWorld(t)
	s := w.start(w.config())
	for _, h := range hellos {
		t.Run(h.name, func(t *testing.T) {
			conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err := conn.Write(h.marshal("127.0.0.1")); err != nil {
				t.Fatal(err)
			}
			messages := readHandshake(t, conn, h.supports3)
			serverHello := messages[2]
			if serverHello == nil {
				t.Fatalf("no ServerHello among %d messages", len(messages))
			}
			if bytes.Equal(serverHello[2:34], helloRetry) {
				t.Fatal("it asks for another hello")
			}
			rest := serverHello[35+int(serverHello[34]):] // after the session id
			suite := binary.BigEndian.Uint16(rest)
			if !slices.Contains(h.suites, suite) {
				t.Errorf("it chose suite %#x, which was not offered", suite)
			}
			extensions := map[uint16][]byte{}
			for b := rest[5:]; len(b) >= 4; {
				n := 4 + int(binary.BigEndian.Uint16(b[2:]))
				extensions[binary.BigEndian.Uint16(b)] = b[4:n]
				b = b[n:]
			}
			if _, ticket := extensions[35]; ticket {
				t.Error("it offers a session ticket")
			}
			if h.supports3 {
				if !bytes.Equal(extensions[43], []byte{3, 4}) || !bytes.HasPrefix(extensions[51], []byte{0, 29}) || suite>>8 != 0x13 {
					t.Errorf("version %x, key share %x, suite %#x", extensions[43], extensions[51][:2], suite)
				}
				return
			}
			if _, version := extensions[43]; version || !bytes.Equal(serverHello[:2], []byte{3, 3}) {
				t.Errorf("it chose another version than 1.2: %x", serverHello[:2])
			}
			if _, secret := extensions[23]; !secret {
				t.Error("it does without the extended master secret")
			}
			exchange := messages[12]
			if len(exchange) < 4 || exchange[0] != 3 {
				t.Fatalf("no elliptic curve in the key exchange: %x", exchange)
			}
			if curve := binary.BigEndian.Uint16(exchange[1:]); curve != 23 && curve != 29 {
				t.Errorf("it chose curve %d, want P-256 or X25519", curve)
			}
			if scheme := binary.BigEndian.Uint16(exchange[4+int(exchange[3]):]); !slices.Contains(h.schemes, scheme) {
				t.Errorf("it signed by %#x, which was not offered", scheme)
			}
			request := messages[13]
			if request == nil {
				t.Fatal("it asks for no certificate")
			}
			// Certificate types, then the algorithms by which the client may sign: RSA with PKCS #1 v1.5 and P-384 among them.
			schemes := request[1+int(request[0]):]
			for _, want := range []uint16{0x0401, 0x0403, 0x0503} {
				found := false
				for b := schemes[2 : 2+binary.BigEndian.Uint16(schemes)]; len(b) > 0; b = b[2:] {
					found = found || binary.BigEndian.Uint16(b) == want
				}
				if !found {
					t.Errorf("the client may not sign by %#x", want)
				}
			}
		})
	}
}

// helloRetry is the random of a ServerHello that asks for another ClientHello (RFC 8446, 4.1.3).
var helloRetry, _ = hex.DecodeString("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")

// readHandshake reads handshake messages in clear, by type, until the server waits for the client: under TLS 1.3 that is
// all that is in clear after the first.
func readHandshake(t *testing.T, conn net.Conn, first bool) map[byte][]byte {
	t.Helper()
	messages := map[byte][]byte{}
	var pending []byte
	for {
		var header [5]byte
		if _, err := io.ReadFull(conn, header[:]); err != nil {
			t.Fatal(err)
		}
		record := make([]byte, binary.BigEndian.Uint16(header[3:]))
		if _, err := io.ReadFull(conn, record); err != nil {
			t.Fatal(err)
		}
		if header[0] != 22 {
			t.Fatalf("a record of type %d: %x", header[0], record)
		}
		pending = append(pending, record...)
		for len(pending) >= 4 {
			n := 4 + int(pending[1])<<16 + int(pending[2])<<8 + int(pending[3])
			if len(pending) < n {
				break
			}
			messages[pending[0]] = pending[4:n]
			done := pending[0] == 14 || first
			pending = pending[n:]
			if done {
				return messages
			}
		}
	}
}
