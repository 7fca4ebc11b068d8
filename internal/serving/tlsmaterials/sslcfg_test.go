package tlsmaterials

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// textFormatCase is an input with TensorFlow's own answer: the four fields, strings in hexadecimal, or null where the
// parser refuses. The answers were recorded with tf.io.decode_proto(message_format="text") of TensorFlow 2.21, which
// runs the same google::protobuf::TextFormat as TensorFlow Serving.
type textFormatCase struct {
	In   string `json:"in"`
	Want []any  `json:"want"`
}

func textFormatCases(t testing.TB) []textFormatCase {
	t.Helper()
	var cases []textFormatCase
	if err := json.Unmarshal(must[[]byte](t)(os.ReadFile("testdata/textformat.json")), &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 300 {
		t.Fatalf("only %d cases", len(cases))
	}
	return cases
}

func TestParseSSLConfigAgreesWithTensorFlow(t *testing.T) {
	for _, tt := range textFormatCases(t) {
		in := string(must[[]byte](t)(hex.DecodeString(tt.In)))
		got, err := ParseSSLConfig([]byte(in))
		if (err != nil) != (tt.Want == nil) {
			t.Errorf("%q: error %v, TensorFlow says %v", in, err, tt.Want)
			continue
		}
		if err != nil {
			continue
		}
		fields := []any{
			hex.EncodeToString([]byte(got.ServerKey)), hex.EncodeToString([]byte(got.ServerCert)),
			hex.EncodeToString([]byte(got.CustomCA)), got.ClientVerify,
		}
		if diff := cmp.Diff(tt.Want, fields); diff != "" {
			t.Errorf("%q (-TensorFlow +got):\n%s", in, diff)
		}
	}
}

func TestParseSSLConfigErrors(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{`server_key: "a`, "parse ssl.cfg: line 1: field server_key: the string has no closing quote"},
		{`server_key: "a\`, "field server_key: the string has no closing quote"},
		{"\n\nserver_key: \"a\nb\"", `line 3: field server_key: the string goes over the end of the line: write each line of PEM as "...\n" in its own quotes`},
		{"server_key: \"\x00\"", "the string contains a NUL byte"},
		{`server_key "a"`, "expected a colon after server_key"},
		{`server_key`, "expected a colon after server_key"},
		{`server_key: true`, "field server_key: expected a string in quotes"},
		{"server_key: \"a\"\nserver_key: \"b\"", "line 2: field server_key is given twice"},
		{`client_verify: true client_verify: false`, "field client_verify is given twice"},
		{`client_verify: "true"`, "field client_verify: expected true or false"},
		{`client_verify: yes`, "field client_verify: expected true or false"},
		{`client_verify: 2`, "field client_verify: expected true, false, 1 or 0"},
		{`server_cert: "\z"`, "field server_cert: a backslash is followed by a character that has no meaning there"},
		{`server_cert: "\xg"`, `field server_cert: expected hexadecimal digits after \x`},
		{`server_cert: "\u12"`, "field server_cert: expected 4 hexadecimal digits"},
		{`server_cert: "\U0012"`, "field server_cert: expected 8 hexadecimal digits"},
		{`server_cert: "\Uffffffff"`, "field server_cert: the code point is beyond Unicode"},
		{`: "a"`, "expected a field name"},
		{`serverkey: "a"`, `unknown field "serverkey": the fields are server_key, server_cert, custom_ca and client_verify`},
		{`MIIEvQIBADANBgkqhkiG9w0BAQEFAASC: "a"`, "line 1: unknown field: the fields are"}, // may be a piece of a key
		{strings.Repeat(" ", maxSSLConfig+1), "parse ssl.cfg: 1048577 bytes, more than 1048576"},
	} {
		c, err := ParseSSLConfig([]byte(tt.in))
		if c != nil || !strings.Contains(errText(err), tt.want) {
			t.Errorf("%.40q: %q, want %q", tt.in, errText(err), tt.want)
		}
		if len(errText(err)) > 200 {
			t.Errorf("%.40q: the error has %d characters", tt.in, len(errText(err)))
		}
	}
}

func TestSSLConfigRoundTrip(t *testing.T) {
	m := newTestMaterials(t)
	data := must[[]byte](t)(m.MarshalSSLConfig())
	c := must[*SSLConfig](t)(ParseSSLConfig(data))
	want := SSLConfig{
		ServerKey: string(server(m).Key.PEM()), ServerCert: string(server(m).CertificatePEM()),
		CustomCA: string(m.Authority.CertificatePEM()), ClientVerify: true,
	}
	if *c != want {
		t.Error("the values change when written and read")
	}
	if again := must[[]byte](t)(c.Marshal()); string(again) != string(data) {
		t.Error("equal configurations give different bytes")
	}
}

func TestSSLConfigIsReadable(t *testing.T) {
	m := newTestMaterials(t)
	lines := strings.Split(string(must[[]byte](t)(m.MarshalSSLConfig())), "\n")
	var shape []string
	for _, line := range lines {
		if strings.HasPrefix(line, `  "`) && !strings.Contains(line, "-----") {
			continue
		}
		shape = append(shape, line)
	}
	want := []string{
		"server_key:", `  "-----BEGIN PRIVATE KEY-----\n"`, `  "-----END PRIVATE KEY-----\n"`,
		"server_cert:", `  "-----BEGIN CERTIFICATE-----\n"`, `  "-----END CERTIFICATE-----\n"`,
		"custom_ca:", `  "-----BEGIN CERTIFICATE-----\n"`, `  "-----END CERTIFICATE-----\n"`,
		"client_verify: true", "",
	}
	if diff := cmp.Diff(want, shape); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOneWaySSLConfig(t *testing.T) {
	m := newTestMaterials(t)
	m.Leaves = m.Leaves[:1]
	data := string(must[[]byte](t)(m.MarshalSSLConfig()))
	if !strings.HasSuffix(data, "custom_ca: \"\"\nclient_verify: false\n") {
		t.Errorf("ends with %q", data[len(data)-40:])
	}
}

func TestMarshalSSLConfigErrors(t *testing.T) {
	m := newTestMaterials(t)
	good := SSLConfig{
		ServerKey: string(server(m).Key.PEM()), ServerCert: string(server(m).CertificatePEM()),
		CustomCA: string(m.AuthoritiesPEM()), ClientVerify: true,
	}
	for _, tt := range []struct {
		name   string
		change func(*SSLConfig)
		want   string
	}{
		{"good", func(*SSLConfig) {}, ""},
		{"chain", func(c *SSLConfig) { c.ServerCert += string(m.AuthoritiesPEM()) }, ""},
		{"one-way", func(c *SSLConfig) { c.CustomCA, c.ClientVerify = "", false }, ""},
		{"CA unused", func(c *SSLConfig) { c.ClientVerify = false }, ""},
		{"no key", func(c *SSLConfig) { c.ServerKey = "" }, "write ssl.cfg: server_key: parse private key: found no PEM block"},
		{"no certificate", func(c *SSLConfig) { c.ServerCert = "" }, "write ssl.cfg: server_cert: parse certificate: found no PEM block"},
		{"path", func(c *SSLConfig) { c.ServerCert = "server/cert.pem" }, `server_cert: parse certificate: PEM block 1: found other text`},
		{"wrong key", func(c *SSLConfig) { c.ServerKey = string(m.Authority.Key.PEM()) }, "server_key is not the private key of server_cert; a chain must begin with the server's own certificate"},
		{"chain upside down", func(c *SSLConfig) { c.ServerCert = string(m.AuthoritiesPEM()) + c.ServerCert }, "a chain must begin with the server's own certificate"},
		{"public CAs", func(c *SSLConfig) { c.CustomCA = "" }, "client_verify without custom_ca would admit the clients of every public authority"},
		{"CA not PEM", func(c *SSLConfig) { c.CustomCA = "x" }, "custom_ca: parse certificate: PEM block 1"},
		{"CA a leaf", func(c *SSLConfig) { c.CustomCA = c.ServerCert }, "custom_ca: CN=grpc.tf-serving.service.com is not a certificate authority"},
	} {
		c := good
		tt.change(&c)
		data, err := c.Marshal()
		got := errText(err)
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) || (data == nil) != (err != nil) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		if strings.Contains(got, "BEGIN") && !strings.Contains(got, "-----BEGIN\" should be") {
			t.Errorf("%s: the error shows the value: %q", tt.name, got)
		}
	}
}

// TestFieldRoundTrip writes arbitrary strings and reads them back.
func TestFieldRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := SSLConfig{
			ServerKey: string(rapid.SliceOf(rapid.Byte()).Draw(t, "key")),
			CustomCA:  rapid.String().Draw(t, "ca"), ClientVerify: rapid.Bool().Draw(t, "verify"),
		}
		var b strings.Builder
		writeField(&b, "server_key", want.ServerKey)
		writeField(&b, "custom_ca", want.CustomCA)
		fmt.Fprintf(&b, "client_verify: %t", want.ClientVerify)
		got, err := ParseSSLConfig([]byte(b.String()))
		if err != nil {
			t.Fatal(err)
		}
		if *got != want {
			t.Fatalf("wrote %q, read back another value", b.String())
		}
		if strings.IndexFunc(b.String(), func(r rune) bool { return r > 0x7e || r < 0x20 && r != '\n' }) >= 0 {
			t.Fatalf("not plain ASCII: %q", b.String())
		}
	})
}

func FuzzParseSSLConfig(f *testing.F) {
	for _, tt := range textFormatCases(f) {
		f.Add(must[[]byte](f)(hex.DecodeString(tt.In)))
	}
	f.Add(tutorialFiles(f)[SSLConfigFile])
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseSSLConfig(data)
		if err != nil {
			if c != nil {
				t.Error("a value comes with the error")
			}
			return
		}
		var b strings.Builder
		writeField(&b, "server_key", c.ServerKey)
		writeField(&b, "server_cert", c.ServerCert)
		writeField(&b, "custom_ca", c.CustomCA)
		fmt.Fprintf(&b, "client_verify: %t", c.ClientVerify)
		again, err := ParseSSLConfig([]byte(b.String()))
		if err != nil || *again != *c {
			t.Errorf("values do not survive writing: %v", err)
		}
	})
}

func FuzzParsePEM(f *testing.F) {
	m := newTestMaterials(f)
	f.Add(m.AuthoritiesPEM())
	f.Add(server(m).Key.PEM())
	f.Add(tutorialFiles(f)[ClientCertificateFile])
	f.Fuzz(func(t *testing.T, data []byte) {
		if certs, err := ParseCertificates(data); err == nil {
			again, err := ParseCertificates(EncodeCertificates(certs...))
			if err != nil || len(again) != len(certs) {
				t.Errorf("certificates do not survive writing: %v", err)
			}
		}
		if key, err := ParsePrivateKey(data); err == nil {
			again, err := ParsePrivateKey(key.PEM())
			if err != nil || again.Fingerprint() != key.Fingerprint() {
				t.Errorf("the key does not survive writing: %v", err)
			}
		}
		ParseFiles(map[string][]byte{AuthorityCertificateFile: data, ServerKeyFile: data, SSLConfigFile: data, "clients/x/key.pem": data})
	})
}
