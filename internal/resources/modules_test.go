package resources_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
	"github.com/ccctl/terraform-provider-cc/internal/testhost"
)

// moduleNames lists the reusable modules.
func moduleNames(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join("..", "..", "modules"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	if want := []string{"client", "confidential-serving", "key-server", "serving-model"}; !slices.Equal(names, want) {
		t.Fatalf("the modules are %v, want %v", names, want)
	}
	return names
}

// moduleTree is a copy of the modules that Terraform may write into, with the
// repository's other folders where they are from there.
func moduleTree(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	if err := os.CopyFS(filepath.Join(root, "modules"), os.DirFS(filepath.Join("..", "..", "modules"))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"examples", "internal"} {
		target, err := filepath.Abs(filepath.Join("..", "..", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// withCcctl is PATH with the built ccctl before everything else.
func withCcctl(t *testing.T) string {
	t.Helper()
	return "PATH=" + filepath.Dir(ccctlPath(t)) + string(os.PathListSeparator) + os.Getenv("PATH")
}

// moduleWorkspace is the folder of a module in a simulated region that has a
// network and a key pair.
func moduleWorkspace(t *testing.T, module string) *workspace {
	t.Helper()
	w := newWorkspace(t, "")
	w.dir = filepath.Join(moduleTree(t), "modules", module)
	c := newCloud(t, ecssim.Options{Runner: ecssim.DirectoryRunner{Dir: t.TempDir(), Prepare: ecssim.AlibabaLinux3}})
	c.importKey("ops", testhost.NewKey(t, filepath.Join(t.TempDir(), "key")))
	w.env = append(c.environment(), withCcctl(t), "TF_LOG=", "TF_VAR_vpc_id="+c.vpc, "TF_VAR_vswitch_id="+c.vswitch, "TF_VAR_key_name=ops")
	return w
}

// importKey makes a key pair.
func (c *cloud) importKey(name, public string) {
	c.t.Helper()
	c.do("ImportKeyPair", "KeyPairName", map[string]string{"KeyPairName": name, "PublicKeyBody": public})
}

var testResult = regexp.MustCompile(`(?m)^Success! (\d+) passed, 0 failed\.$`)

// TestModules runs terraform test in every module: its files make it once, plan
// its variants, and fail each validation.
func TestModules(t *testing.T) {
	t.Parallel()
	for _, module := range moduleNames(t) {
		t.Run(module, func(t *testing.T) {
			t.Parallel()
			w := moduleWorkspace(t, module)
			w.terraform("get")
			out := w.terraform("test")
			m := testResult.FindStringSubmatch(out)
			if m == nil {
				t.Fatalf("terraform test does not say that all is well:\n%s", out)
			}
			if passed, err := strconv.Atoi(m[1]); err != nil || passed < 5 {
				t.Errorf("only %s runs", m[1])
			}
		})
	}
}
