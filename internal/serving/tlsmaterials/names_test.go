package tlsmaterials

import (
	"strings"
	"testing"
)

func TestValidateServerName(t *testing.T) {
	long := strings.Repeat("a", 63)
	for _, tt := range []struct{ name, want string }{
		{"grpc.tf-serving.service.com", ""},
		{"localhost", ""},
		{"a.b", ""},
		{"*.example.com", ""},
		{"xn--bcher-kva.example", ""},
		{"1.example.com", ""},
		{"10.0.0.1", ""},
		{"127.0.0.1", ""},
		{"2001:db8::1", ""},
		{"::1", ""},
		{long + "." + long + "." + long + "." + strings.Repeat("a", 61), ""},
		{"", "the name is empty"},
		{".", "names in certificates have no final dot"},
		{"example.com.", `names in certificates have no final dot: write "example.com"`},
		{".example.com", "two dots follow each other, or the first character is a dot"},
		{"a..b", "two dots follow each other"},
		{"Example.com", `write it in lower case, "example.com"`},
		{"https://example.com", `give the host alone, without "https://" and path`},
		{"example.com:4433", "give the host alone, without port"},
		{"example.com/x", "give the host alone, without path"},
		{"[::1]:4433", "write an IPv6 address without brackets and port"},
		{"[::1]", "write an IPv6 address without brackets and port"},
		{"tf_serving", "an underscore is not allowed in a host name; use a hyphen"},
		{"bücher.example", "character 'ü' is not ASCII: write the name as it is in DNS, in punycode (labels that begin with xn--)"},
		{"a\xffb", "byte 1 is not valid UTF-8"},
		{"a b", "character ' ' is not allowed in a host name"},
		{"a\nb", `character '\n' is not allowed in a host name`},
		{"a\x00b", `character '\x00' is not allowed in a host name`},
		{"-a.b", `label "-a" begins or ends with a hyphen`},
		{"a.b-", `label "b-" begins or ends with a hyphen`},
		{long + "a.b", "has 64 characters, more than 63"},
		{long + "." + long + "." + long + "." + strings.Repeat("a", 62), "the name has 254 characters, more than 253"},
		{"*", "a wildcard must be the whole first label, as in *.example.com"},
		{"*.com", "a wildcard needs at least two labels behind it"},
		{"*.*.example.com", "character '*' is not allowed in a host name"},
		{"a*.example.com", "a wildcard must be the whole first label"},
		{"www.*.com", "a wildcard must be the whole first label"},
		{"*.10.0.0.1", "the last label is a number"},
		{"1.2.3", "the last label is a number, and the whole is not a valid address"},
		{"256.1.1.1", "the last label is a number, and the whole is not a valid address"},
		{"010.0.0.1", "the last label is a number, and the whole is not a valid address"},
		{"0.0.0.0", "this is an address to listen on; give the one that clients connect to"},
		{"::", "this is an address to listen on"},
		{"224.0.0.1", "a multicast address cannot be a server's"},
		{"2001:DB8::1", "write the address as 2001:db8::1"},
		{"2001:db8:0::1", "write the address as 2001:db8::1"},
		{"::ffff:10.0.0.1", "write the IPv4 address itself, 10.0.0.1"},
		{"fe80::1%eth0", "an address in a certificate has no zone"},
	} {
		got := errText(ValidateServerName(tt.name))
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("ValidateServerName(%q) = %q, want %q", tt.name, got, tt.want)
		}
		if got != "" && !strings.HasPrefix(got, "server name \"") {
			t.Errorf("ValidateServerName(%q) = %q does not begin with the name", tt.name, got)
		}
	}
}

func TestValidateClientName(t *testing.T) {
	for _, tt := range []struct{ name, want string }{
		{"client.tf-serving.service.com", ""},
		{"batch", ""},
		{"10.0.0.1", `client name "10.0.0.1": an address does not tell clients apart: give a DNS name`},
		{"*.example.com", `client name "*.example.com": a wildcard does not tell clients apart: give a DNS name`},
		{"../../etc", `client name "../../etc": give the host alone, without path`},
		{"..", `client name "..": names in certificates have no final dot: write ""`},
		{"", `client name "": the name is empty`},
	} {
		if got := errText(ValidateClientName(tt.name)); got != tt.want {
			t.Errorf("ValidateClientName(%q) = %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestValidateServerNames(t *testing.T) {
	for _, tt := range []struct {
		names []string
		want  string
	}{
		{[]string{"a.example.com", "10.0.0.1"}, ""},
		{nil, "no server name: give the name by which clients reach the server"},
		{[]string{"a.example.com", "b", "a.example.com"}, `server name "a.example.com" is given twice`},
		{[]string{"A", "ok", "_"}, "server name \"A\": write it in lower case, \"a\": clients compare without regard to case, plans do not\n" +
			"server name \"_\": an underscore is not allowed in a host name; use a hyphen"},
	} {
		if got := errText(ValidateServerNames(tt.names)); got != tt.want {
			t.Errorf("ValidateServerNames(%q) = %q, want %q", tt.names, got, tt.want)
		}
	}
}
