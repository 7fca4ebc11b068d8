package keyref_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/keysource"
	"github.com/ccctl/terraform-provider-cc/internal/keysource/keyref"
)

func TestParse(t *testing.T) {
	t.Parallel()
	environ := keysource.NewEnviron()
	defer environ.Close()
	for _, tt := range []struct {
		ref, want string // want starts with "error " for one that is refused
		file      bool
	}{
		{"keys/wrap-key", "file keys/wrap-key", true},
		{"./env:x", "file ./env:x", true},
		{"env:WRAP_KEY", "environment variable WRAP_KEY", false},
		{"env:a-b", "error \"a-b\" is not a name of a variable", false},
		{"credential:wrap-key", "credential wrap-key", false},
		{"credential:../x", "error \"../x\" is not a name of a credential", false},
		{"vault:kv:secret/a#b", "Vault, field b of secret/a", false},
		{"kms:keys/wrap-key.kms", "keys/wrap-key.kms, encrypted by Alibaba Cloud KMS", false},
		{"kms:a=b@keys/wrap-key.kms", "keys/wrap-key.kms, encrypted by Alibaba Cloud KMS", false},
		{"kms:", "error it names no file", false},
		{"./kms:x", "file ./kms:x", true},
		{"vault:x", "error reference \"vault:x\"", false},
	} {
		source, err := keyref.Parse(tt.ref, environ)
		if want, bad := strings.CutPrefix(tt.want, "error "); bad {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %v, want %q", tt.ref, err, want)
			}
		} else if err != nil || source.String() != tt.want {
			t.Errorf("%s: %v, %v; want %s", tt.ref, source, err, tt.want)
		}
		if keyref.IsFile(tt.ref) != tt.file {
			t.Errorf("%s: is a file: %t", tt.ref, !tt.file)
		}
	}
}

func TestReadVariable(t *testing.T) {
	t.Setenv("CC_TEST_WRAP_KEY", "30313233343536373839616263646566")
	environ := keysource.NewEnviron()
	defer environ.Close()
	source, err := keyref.Parse("env:CC_TEST_WRAP_KEY", environ)
	if err != nil {
		t.Fatal(err)
	}
	var key [keysource.Size]byte
	if err := source.Read(t.Context(), &key); err != nil || string(key[:]) != "0123456789abcdef" {
		t.Errorf("%v", err)
	}
	missing, err := keyref.Parse(filepath.Join(t.TempDir(), "none"), environ)
	if err != nil {
		t.Fatal(err)
	}
	if err := missing.Read(t.Context(), &key); err == nil || key != [keysource.Size]byte{} {
		t.Errorf("error %v", err)
	}
}
