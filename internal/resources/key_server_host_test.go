package resources

import (
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/types"
)

func sshHost(address string, jump bool) hostModel {
	h := hostModel{SSH: &sshHostModel{sshAccessModel: sshAccessModel{Address: types.StringValue(address)}}}
	if jump {
		h.SSH.Jump = &sshAccessModel{Address: types.StringValue("jump")}
	}
	return h
}

func TestProbeAddress(t *testing.T) {
	t.Parallel()
	local := hostModel{Local: &struct{}{}}
	for _, tt := range []struct {
		name         string
		host         hostModel
		listen, want string
	}{
		{"everywhere here", local, ":4433", "127.0.0.1:4433"},
		{"one address here", local, "192.0.2.1:4433", "192.0.2.1:4433"},
		{"everywhere there", sshHost("192.0.2.7", false), "0.0.0.0:4433", "192.0.2.7:4433"},
		{"everywhere, IPv6", sshHost("[2001:db8::7]:2222", false), "[::]:4433", "[2001:db8::7]:4433"},
		{"one address there", sshHost("192.0.2.7", false), "198.51.100.3:4433", "198.51.100.3:4433"},
		{"loopback there", sshHost("192.0.2.7", false), "127.0.0.1:4433", ""},
		{"loopback of a name", sshHost("example.com", false), "127.0.0.1:4433", ""},
		{"loopback through a loopback", sshHost("127.0.0.1:2222", false), "127.0.0.1:4433", "127.0.0.1:4433"},
		{"behind a jump host", sshHost("10.0.0.7", true), ":4433", ""},
		{"malformed", local, "4433", ""},
	} {
		if got := tt.host.probeAddress(tt.listen); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestHostName(t *testing.T) {
	t.Parallel()
	for want, h := range map[string]hostModel{
		"": {Local: &struct{}{}}, "ssh://h:22": sshHost("h", false), "ssh://h:2222": sshHost("h:2222", true), "ssh://[2001:db8::7]:22": sshHost("2001:db8::7", false),
	} {
		if got := h.name(); got != want {
			t.Errorf("name is %q, want %q", got, want)
		}
	}
}
