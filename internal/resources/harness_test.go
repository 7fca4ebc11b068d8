package resources_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"

	"github.com/ccctl/terraform-provider-cc/internal/provider"
	"github.com/ccctl/terraform-provider-cc/internal/testhost"
)

// scratch holds what the tests build once; TestMain removes it.
var scratch string

// TestMain pins the terraform on PATH, so that no test looks for another one
// on the network, and hides the developer's own settings from it. Tests wait
// for processes more than they compute, so more of them run than there are
// cores.
func TestMain(m *testing.M) {
	flag.Parse()
	parallel := flag.Lookup("test.parallel")
	if err := parallel.Value.Set(strconv.Itoa(max(4, runtime.GOMAXPROCS(0)))); err != nil {
		panic(err)
	}
	if err := prepare(); err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	defer testhost.StopDocker()
	m.Run() // the testing package exits with its result
}

func prepare() error {
	terraform, err := exec.LookPath("terraform")
	if err != nil {
		return fmt.Errorf("the acceptance tests need terraform 1.11 or newer on PATH: %w", err)
	}
	scratch, err = os.MkdirTemp("", "cc-resources-test-")
	if err != nil {
		return err
	}
	noConfig := filepath.Join(scratch, "empty.tfrc")
	if err := os.WriteFile(noConfig, nil, 0o600); err != nil {
		return err
	}
	for _, v := range os.Environ() { // a developer's own account
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "ALICLOUD_") || strings.HasPrefix(name, "ALIBABA") {
			if err := os.Unsetenv(name); err != nil {
				return err
			}
		}
	}
	for name, value := range map[string]string{
		"ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true",
		"TF_ACC_TERRAFORM_PATH":               terraform,
		"TF_CLI_CONFIG_FILE":                  noConfig,
		"CHECKPOINT_DISABLE":                  "1",
		"TF_LOG":                              "",
		"TF_LOG_PATH":                         "",
		// A thousand short runs of terraform spend a quarter of their time
		// collecting garbage.
		"GOGC": "400",
	} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return nil
}

// buildOnce compiles a program of this module into a folder of its own and
// returns the folder.
func buildOnce(pkg string) func() (string, error) {
	return sync.OnceValues(func() (string, error) {
		dir, err := os.MkdirTemp(scratch, "bin-")
		if err != nil {
			return "", err
		}
		cmd := exec.Command("go", "build", "-o", dir+string(filepath.Separator), pkg)
		cmd.Dir = filepath.Join("..", "..")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as it is released: a container image takes no other
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%v: %w\n%s", cmd, err, out)
		}
		return dir, nil
	})
}

var (
	buildProvider = buildOnce(".")
	buildCcctl    = buildOnce("./cmd/ccctl")
)

// providerDir returns a folder with the built provider alone in it.
func providerDir(t *testing.T) string {
	t.Helper()
	dir, err := buildProvider()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// ccctlPath returns the path of a built ccctl.
func ccctlPath(t *testing.T) string {
	t.Helper()
	dir, err := buildCcctl()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "ccctl")
}

// accept runs the steps with the real terraform against the provider in this
// process, then destroys what they made.
func accept(t *testing.T, steps ...resource.TestStep) {
	t.Helper()
	acceptWith(t, nil, steps...)
}

// acceptWith is accept for a provider with options, such as another clock.
func acceptWith(t *testing.T, options []provider.Option, steps ...resource.TestStep) {
	t.Helper()
	resource.UnitTest(t, resource.TestCase{
		ProtoV6ProviderFactories: map[string]func() (tfprotov6.ProviderServer, error){
			"cc": providerserver.NewProtocol6WithError(provider.New("test", options...)()),
		},
		Steps: steps,
	})
}

// rejects plans each configuration and expects an error that contains want,
// whatever way Terraform breaks its lines.
func rejects(t *testing.T, tests []rejection) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			accept(t, resource.TestStep{Config: tt.config, PlanOnly: true, ExpectError: says(tt.want)})
		})
	}
}

// rejection is a configuration that must not be planned.
type rejection struct{ name, config, want string }

// says matches a sentence in Terraform's output, which is broken into lines
// with a frame before each.
func says(sentence string) *regexp.Regexp {
	words := strings.Fields(sentence)
	for i := range words {
		words[i] = regexp.QuoteMeta(words[i])
	}
	return regexp.MustCompile(strings.Join(words, `[\s│]+`))
}

// quote writes a Go string as an HCL one.
func quote(s string) string {
	return strings.NewReplacer("${", "$${", "%{", "%%{").Replace(fmt.Sprintf("%q", s))
}

// inDir is filepath.Join as an HCL string.
func inDir(dir string, names ...string) string {
	return quote(filepath.Join(append([]string{dir}, names...)...))
}

// mustWrite writes a file, or fails the test.
func mustWrite(t *testing.T, path string, data []byte, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // WriteFile keeps an old mode and obeys the umask
		t.Fatal(err)
	}
}

// mustRead reads a file, or fails the test.
func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// mustBeGone fails the test if the file exists.
func mustBeGone(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("%s is still there (%v)", path, err)
	}
}
