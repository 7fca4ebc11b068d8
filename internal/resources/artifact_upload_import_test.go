package resources

import (
	"strings"
	"testing"
)

func TestParseHostImport(t *testing.T) {
	t.Setenv("HOME", "/home/tester")
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEPYfUyFAVQo8jkwhKAjqUfP3M5JPtBOGRfFPZ7cvS4X"
	for _, tt := range []struct{ id, want string }{
		{"/srv/models", "/srv/models"},
		{"ssh://192.0.2.7/srv/models", "ssh://192.0.2.7:22/srv/models user= known=/home/tester/.ssh/known_hosts keys=0"},
		{"ssh://admin@[2001:db8::7]:2222/srv/models?known_hosts=kh&private_key_file=id&sudo=true", "ssh://[2001:db8::7]:2222/srv/models user=admin known=kh keys=0"},
		{"ssh://h/srv/models?host_key=" + strings.ReplaceAll(key, " ", "%20"), "ssh://h:22/srv/models user= known= keys=1"},
		{"srv/models", "it is neither an absolute path nor ssh://HOST/DIRECTORY"},
		{"http://h/srv", "it is neither an absolute path nor ssh://HOST/DIRECTORY"},
		{"ssh://h", "it is neither an absolute path nor ssh://HOST/DIRECTORY"},
		{"ssh://h:x/srv", "it is neither an absolute path nor a URL"},
		{"ssh://root:hunter2@h/srv", "read import id: it has a password in it, and there is no use for one"},
		{"ssh://h/srv?password=x", `the parameter "password" is unknown`},
		{"ssh://h/srv?sudo=true&sudo=true", `the parameter "sudo" is there twice`},
		{"ssh://h/srv?sudo=yes", `sudo is not "true"`},
		{"ssh://h/srv?%zz", "its parameters are malformed"},
		{"ssh://h/srv?host_key=AAAA", "host.ssh.host_keys[0]"},
		{"ssh://h/srv?known_hosts=k&host_key=" + strings.ReplaceAll(key, " ", "%20"), "has not exactly one of host_keys and known_hosts"},
	} {
		h, directory, err := parseHostImport(tt.id)
		got := h.name() + directory
		if err == nil && h.SSH != nil {
			got += " user=" + h.SSH.User.ValueString() + " known=" + h.SSH.KnownHosts.ValueString() + " keys=" + string(rune('0'+len(h.SSH.HostKeys)))
		}
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, tt.want) || strings.Contains(got, "hunter2") {
			t.Errorf("%s: got %q, want %q", tt.id, got, tt.want)
		}
	}
}
