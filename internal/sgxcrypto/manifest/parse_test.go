package manifest_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/manifest"
)

func TestParse(t *testing.T) {
	t.Parallel()
	got, err := manifest.Parse([]byte(`
# {{ a comment may have anything }}
loader.log_level = "error"
loader.argv = ["tensorflow_model_server", "--port=8500"]
loader.env.LD_PRELOAD = "libsecret_prov_attest.so"
loader.env.A = { value = "b" }
loader.env.C = { passthrough = true }
fs.insecure__keys.default = "ffeeddccbbaa99887766554433221100"
fs.mounts = [
  { path = "/lib//x/", uri = "file:/usr/lib" },
  { type = "encrypted", path = "/models", uri = "file:models/" },
  { type = "tmpfs", path = "/tmp" },
]
sgx.remote_attestation = "dcap"
sgx.isvprodid = 7
sgx.allowed_files = ["file:a"]
[[sgx.trusted_files]]
uri = "file:ca.pem"
sha256 = "ABCD"
`))
	if err != nil {
		t.Fatal(err)
	}
	want := &manifest.Manifest{
		RemoteAttestation: "dcap", FileCheckPolicy: "strict", ISVProdID: 7,
		Mounts: []manifest.Mount{
			{Type: "chroot", Path: "/", URI: "file:."},
			{Type: "chroot", Path: "/lib/x", URI: "file:/usr/lib"},
			{Type: "encrypted", Path: "/models", URI: "file:models/", Key: "default"},
			{Type: "tmpfs", Path: "/tmp"},
		},
		Allowed: []string{"file:a"}, Trusted: []manifest.TrustedFile{{URI: "file:ca.pem", SHA256: "abcd"}},
		Env:  map[string]manifest.Variable{"LD_PRELOAD": {Value: "libsecret_prov_attest.so"}, "A": {Value: "b"}, "C": {Passthrough: true}},
		Argv: []string{"tensorflow_model_server", "--port=8500"}, InsecureKeys: []string{"default"}, LogLevel: "error",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for below, want := range map[string]string{"": "models", "1/saved_model.pb": "models/1/saved_model.pb", "/a/../b": "models/b"} {
		if p, err := got.Mounts[2].HostPath(below); err != nil || p != want {
			t.Errorf("host path of %q is %q, %v; want %q", below, p, err, want)
		}
	}
}

// TestParseOldForms reads what Gramine 1.0 took.
func TestParseOldForms(t *testing.T) {
	t.Parallel()
	got, err := manifest.Parse([]byte(`
fs.mount.lib.type = "chroot"
fs.mount.lib.path = "/lib"
fs.mount.lib.uri = "file:/usr/lib"
fs.mount.lib.deep.path = "ignored: the table above is the mount"
fs.mount.group.inner.path = "/lib/inner"
fs.mount.group.inner.uri = "file:inner"
sgx.remote_attestation = true
sgx.trusted_files.ca = "file:ca.pem"
sgx.protected_files.model = "file:model.pb"
sgx.insecure__protected_files_key = "00112233445566778899aabbccddeeff"
`))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Mounts) != 3 || got.Mounts[1].Path != "/lib" || got.Mounts[2].Path != "/lib/inner" || got.RemoteAttestation != "on" ||
		got.Trusted[0].URI != "file:ca.pem" || got.LegacyProtectedFiles[0] != "file:model.pb" || len(got.InsecureKeys) != 1 {
		t.Errorf("%+v", got)
	}
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text, want string
		is               error
	}{
		{"template", "libos.entrypoint = \"/x\"\nloader.log_level = \"{{ log_level }}\"", "line 2 has a Jinja expression, so this is a template: render it with gramine-manifest first", manifest.ErrTemplate},
		{"block", "{% set x = 1 %}\n", "line 1 has a Jinja expression", manifest.ErrTemplate},
		{"syntax", "loader.env = [", "read manifest: it is no Gramine manifest: line 1:", manifest.ErrFormat},
		{"another file", "[package]\nname = \"x\"", "it has none of the tables loader, libos, fs and sgx", manifest.ErrFormat},
		{"empty", "", "it has none of the tables", manifest.ErrFormat},
		{"type", "sgx.debug = \"no\"", "is no Gramine manifest", manifest.ErrFormat},
		{"passthrough false", "loader.env.A = { passthrough = false }", "loader.env.A needs either a value or passthrough = true", manifest.ErrFormat},
		{"both", "loader.env.A = { value = \"x\", passthrough = true }", "loader.env.A needs either", manifest.ErrFormat},
		{"number", "loader.env.A = 1", "loader.env.A is neither a string nor a table", manifest.ErrFormat},
		{"relative mount", "fs.mounts = [{ path = \"lib\", uri = \"file:x\" }]", `has the path "lib", want an absolute one`, manifest.ErrFormat},
		{"no uri", "fs.mounts = [{ path = \"/lib\" }]", "the mount at /lib has no uri", manifest.ErrFormat},
		{"attestation", "sgx.remote_attestation = 3", "sgx.remote_attestation is 3, want a string", manifest.ErrFormat},
		{"list", "sgx.allowed_files = \"file:x\"", "sgx.allowed_files is no list", manifest.ErrFormat},
		{"entry", "sgx.trusted_files = [1]", "an entry of sgx.trusted_files is neither a URI nor a table", manifest.ErrFormat},
		{"no uri in entry", "sgx.trusted_files = [{ sha256 = \"00\" }]", "an entry of sgx.trusted_files has no uri", manifest.ErrFormat},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := manifest.Parse([]byte(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) || !errors.Is(err, tt.is) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("sgx.trusted_files = [{ uri = \"file:x\" }]"))
	f.Add([]byte("fs.mount.a.path = \"/x\"\nfs.mount.a.uri = \"file:y\""))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := manifest.Parse(text)
		if (err == nil) == (m == nil) {
			t.Fatalf("manifest %v, error %v", m, err)
		}
		if err == nil {
			if findings := manifest.Check(m, manifest.Options{}); len(findings) == 0 {
				t.Error("nothing was checked")
			}
		}
	})
}
