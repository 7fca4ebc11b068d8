package doccheck

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// scratch holds what the tests build once; TestMain removes it.
var scratch string

func TestMain(m *testing.M) {
	if err := prepare(); err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	m.Run() // the testing package exits with its result
}

func prepare() error {
	if _, err := exec.LookPath("terraform"); err != nil {
		return errors.New("the documentation's tests need terraform 1.11 or newer on PATH")
	}
	var err error
	if scratch, err = os.MkdirTemp("", "cc-doccheck-"); err != nil {
		return err
	}
	for _, v := range os.Environ() { // a developer's own account and settings
		name, _, _ := strings.Cut(v, "=")
		if strings.HasPrefix(name, "ALICLOUD_") || strings.HasPrefix(name, "ALIBABA") || strings.HasPrefix(name, "VAULT_") || strings.HasPrefix(name, "TF_") {
			if err := os.Unsetenv(name); err != nil {
				return err
			}
		}
	}
	for name, value := range map[string]string{
		"ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true", "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1", "TF_INPUT": "0",
	} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return nil
}

// programs builds what the documentation speaks of and returns their folder.
var programs = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(scratch, "bin")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", dir+string(filepath.Separator), ".", "./cmd/ccctl", "./cmd/ccsim")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s", cmd, err, out)
	}
	return dir, nil
})

// terraformrc returns a file of settings that lets Terraform use the provider as it is built here.
func terraformrc(t *testing.T) string {
	t.Helper()
	bin, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "dev.tfrc")
	write(t, file, fmt.Sprintf("provider_installation {\n  dev_overrides {\n    \"ccctl/cc\" = %q\n  }\n  direct {}\n}\n", bin))
	return file
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
