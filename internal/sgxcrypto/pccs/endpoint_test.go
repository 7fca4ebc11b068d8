package pccs

import (
	"strings"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
)

func TestNormalizeURL(t *testing.T) {
	const path = "/sgx/certification/v4/"
	for _, tt := range []struct {
		raw, want string
		err       string // a part of the error; empty: none
	}{
		{raw: "pccs.example.com", want: "https://pccs.example.com" + path},
		{raw: "pccs.example.com:8081", want: "https://pccs.example.com:8081" + path},
		{raw: "https://pccs.example.com", want: "https://pccs.example.com" + path},
		{raw: "https://pccs.example.com/", want: "https://pccs.example.com" + path},
		{raw: "https://pccs.example.com/sgx/certification/v4", want: "https://pccs.example.com" + path},
		{raw: "https://pccs.example.com/sgx/certification/v4/", want: "https://pccs.example.com" + path},
		{raw: "https://gate.example.com/pccs", want: "https://gate.example.com/pccs" + path},
		{raw: "https://gate.example.com/pccs/sgx/certification/v4//", want: "https://gate.example.com/pccs" + path},
		{raw: "http://127.0.0.1:8081", want: "http://127.0.0.1:8081" + path},
		{raw: "http://[::1]:8081", want: "http://[::1]:8081" + path},
		{raw: "http://localhost:8081/", want: "http://localhost:8081" + path},
		{raw: IntelURL, want: IntelURL},

		{raw: "", err: `read collateral service URL "": it is empty`},
		{raw: "http://pccs.example.com", err: "plain http is for loopback addresses only; use https"},
		{raw: "http://127.0.0.1.example.com", err: "plain http is for loopback addresses only"},
		{raw: "http://10.0.0.1", err: "plain http is for loopback addresses only"},
		{raw: "ftp://pccs.example.com", err: `scheme "ftp" is not https`},
		{raw: "https://", err: "it has no host"},
		{raw: "https://pccs.example.com/sgx/certification/v3/", err: "that version of the API has been retired"},
		{raw: "https://pccs.example.com/sgx/certification/v5/", err: "does not end in /sgx/certification/v4/"},
		{raw: "https://pccs.example.com/sgx/certification/v4/tcb", err: "does not end in /sgx/certification/v4/"},
		{raw: "https://pccs.example.com/tdx/certification/v4/", err: "does not end in /sgx/certification/v4/"},
		{raw: "https://pccs.example.com/?x=1", err: "it has a query or a fragment"},
		{raw: "https://pccs.example.com/#v4", err: "it has a query or a fragment"},
		{raw: "https://user:hunter2@pccs.example.com", err: `"https://[redacted]@pccs.example.com": it holds a user name or password`},
		{raw: "https://user:hunter2@pccs.example.com:bad", err: `"https://[redacted]@pccs.example.com:bad"`},
		{raw: "https://pccs.example.com:port", err: "invalid port"},
	} {
		got, err := NormalizeURL(tt.raw)
		switch {
		case tt.err == "" && err != nil:
			t.Errorf("%q: %v", tt.raw, err)
		case got != tt.want:
			t.Errorf("%q becomes %q, want %q", tt.raw, got, tt.want)
		case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("%q: error %v, want %q", tt.raw, err, tt.err)
		case err != nil && strings.Contains(err.Error(), "hunter2"):
			t.Errorf("%q: the error repeats the password: %v", tt.raw, err)
		}
	}
}

func TestAlibabaURL(t *testing.T) {
	for _, tt := range []struct {
		region  string
		network Network
		want    string
		err     string
	}{
		{"cn-beijing", NetworkPublic, "https://sgx-dcap-server.cn-beijing.aliyuncs.com/sgx/certification/v4/", ""},
		{"cn-beijing", "", "https://sgx-dcap-server.cn-beijing.aliyuncs.com/sgx/certification/v4/", ""},
		{"ap-southeast-1", NetworkVPC, "https://sgx-dcap-server-vpc.ap-southeast-1.aliyuncs.com/sgx/certification/v4/", ""},
		{"cn-bejing", NetworkPublic, "", `region "cn-bejing" is not among ap-southeast-1, ap-southeast-5, cn-beijing`},
		{"evil.example.com/", NetworkPublic, "", "is not among"},
		{"cn-beijing", "internet", "", `network is "internet", want "public" or "vpc"`},
	} {
		got, err := AlibabaURL(tt.region, tt.network)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("AlibabaURL(%q, %q) = %q, %v; want %q, %q", tt.region, tt.network, got, err, tt.want, tt.err)
		}
	}
	for _, region := range AlibabaRegions() {
		for _, network := range []Network{NetworkPublic, NetworkVPC} {
			u, err := AlibabaURL(region, network)
			if err != nil {
				t.Fatal(err)
			}
			if normal, err := NormalizeURL(u); err != nil || normal != u {
				t.Errorf("the preset %s is not a service URL: %q, %v", u, normal, err)
			}
		}
	}
}

func TestParseFMSPC(t *testing.T) {
	for _, tt := range []struct {
		text string
		want string
		ok   bool
	}{
		{"00606A000000", "00606A000000", true},
		{"00606a000000", "00606A000000", true},
		{"00606A00000", "", false},
		{"00606A0000000", "", false},
		{"00606A00000g", "", false},
		{"", "", false},
	} {
		got, err := ParseFMSPC(tt.text)
		if (err == nil) != tt.ok || tt.ok && got.String() != tt.want || !tt.ok && got != (dcap.FMSPC{}) {
			t.Errorf("ParseFMSPC(%q) = %v, %v", tt.text, got, err)
		}
	}
}

func TestNewClientChecksItsOptions(t *testing.T) {
	for _, tt := range []struct {
		opts ClientOptions
		err  string
	}{
		{ClientOptions{URL: "pccs.example.com"}, ""},
		{ClientOptions{URL: "pccs.example.com", RootCACRLURL: "https://crl.example.com/root.der"}, ""},
		{ClientOptions{}, "it is empty"},
		{ClientOptions{URL: "pccs.example.com", RootCACRLURL: "http://crl.example.com/root.der"}, "plain http is for loopback"},
		{ClientOptions{URL: "pccs.example.com", RootCACRLURL: "root.der"}, "not of the form https://host/path"},
		{ClientOptions{URL: "pccs.example.com", RootCACRLURL: "https://u:hunter2@crl.example.com/"}, "not of the form https://host/path"},
		{ClientOptions{URL: "pccs.example.com", Update: "soon"}, `update is "soon", want "standard" or "early"`},
	} {
		_, err := NewClient(tt.opts)
		if (err == nil) != (tt.err == "") || err != nil && (!strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("NewClient(%+v): %v, want %q", tt.opts, err, tt.err)
		}
	}
	for base, want := range map[string]string{
		IntelURL:                "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der",
		"pccs.example.com/gate": "https://pccs.example.com/gate/sgx/certification/v4/rootcacrl",
	} {
		c, err := NewClient(ClientOptions{URL: base})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.rootCRL.String(); got != want {
			t.Errorf("root CA CRL of %s is at %s, want %s", base, got, want)
		}
	}
}
