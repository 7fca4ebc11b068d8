package deploy

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/testfault"
	"github.com/ccctl/terraform-provider-cc/internal/testhost"
)

// memoryContainer is a server whose secrets are on no disk.
func memoryContainer(t *testing.T) KeyServerContainer {
	t.Helper()
	k := testContainer(t)
	k.InMemory, k.Restart = true, restartNever
	return k
}

func TestContainerSecretsInMemory(t *testing.T) {
	t.Parallel()
	k := memoryContainer(t)
	dir := filepath.Dir(k.Config.TLS.Certificate)
	disk := k
	disk.InMemory, disk.Restart = false, ""
	applyContainer(t, disk) // what it has left there goes
	applyContainer(t, k)
	noSecretsBelow(t, k, k.Directory)
	id := func() string { return docker(t, "inspect", "-f", "{{.Id}} {{.State.StartedAt}}", k.Name) }
	if got := docker(t, "inspect", "-f", "{{.HostConfig.RestartPolicy.Name}} {{json .Config}} {{json .Args}}", k.Name); !strings.HasPrefix(got, "no ") ||
		strings.Contains(got, string(readFile(t, k.Config.Secrets[0].File))) {
		t.Errorf("container is %s", got)
	}

	// Rules are reloaded as ever.
	first := id()
	k.Config.Rules[0].Name = "another"
	run := applyContainer(t, k)
	if id() != first {
		t.Error("a rule was not reloaded")
	}
	// Other secrets take another container.
	newTestKey(t, filepath.Join(dir, "wrap.key"))
	if status := observeContainer(t, k, run); status != "changed: secrets.model is another than the server has loaded" {
		t.Errorf("another key: %q", status)
	}
	run = applyContainer(t, k)
	if id() == first {
		t.Error("another key without another container")
	}
	noSecretsBelow(t, k, k.Directory)

	// A new version that fails gives way to the old one, which has kept its secrets.
	first = id()
	bad := k
	bad.Program = ownProgram(t)
	bad.Probe = testhost.FreeAddress(t)
	_, err := bad.Apply(t.Context())
	if err == nil || !strings.Contains(full(err), "It has been started with its former version again.") || id() != first {
		t.Errorf("nobody at the address: %s", full(err))
	}
	if status := observeContainer(t, k, run); status != KeyServerRunning {
		t.Errorf("after a failed version: %q", status)
	}
	if err := probeOf(t, k); err != nil {
		t.Errorf("after a failed version: %v", err)
	}

	// What was stopped has nothing any more, and is made anew.
	docker(t, "stop", k.Name)
	run = applyContainer(t, k)
	// One that waits for its secrets, after a break between its start and them.
	docker(t, "restart", k.Name)
	status := observeContainer(t, k, run)
	if !strings.HasPrefix(status, "changed: it does not answer; ") {
		t.Errorf("without secrets: %q", status)
	}
	testfault.Expect(t, "Container started again, with secrets in memory alone", testfault.Provider, status)
	applyContainer(t, k)

	if status := observeContainer(t, func() KeyServerContainer { k := k; k.InMemory, k.Restart = false, ""; return k }(), run); !strings.Contains(status, "its secrets are in memory alone") {
		t.Errorf("observed as one with a disk: %q", status)
	}
	if err := k.Remove(t.Context()); err != nil {
		t.Fatal(full(err))
	}
	if left := containers(t, k); left != "" {
		t.Errorf("left: %s", left)
	}
}

// probeOf shakes hands with a server.
func probeOf(t *testing.T, k KeyServerContainer) error {
	t.Helper()
	p, err := k.prepare(t.Context())
	if err != nil {
		t.Fatal(full(err))
	}
	return p.probe(t.Context())
}

// noSecretsBelow reads every file of a directory.
func noSecretsBelow(t *testing.T, k KeyServerContainer, dir string) {
	t.Helper()
	secrets := [][]byte{readFile(t, k.Config.Secrets[0].File), readFile(t, k.Config.TLS.PrivateKey)}
	files := 0
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		data, err := os.ReadFile(path)
		for _, s := range secrets {
			if bytes.Contains(data, s) {
				t.Errorf("%s holds a secret", path)
			}
		}
		return err
	})
	if err != nil || files == 0 {
		t.Errorf("looked at %d files: %v", files, err)
	}
}

func tarOf(t *testing.T, headers ...tar.Header) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(bytes.Repeat([]byte("x"), int(h.Size))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func TestReceiveFiles(t *testing.T) {
	t.Parallel()
	many := make([]tar.Header, maxHanded+1)
	for i := range many {
		many[i].Name = fmt.Sprint(i)
	}
	whole := tarOf(t, tar.Header{Name: "a", Size: 3}, tar.Header{Name: "b"})
	for _, tt := range []struct {
		name string
		in   io.Reader
		want string
	}{
		{"none", tarOf(t), "receive files: there are none"},
		{"empty", strings.NewReader(""), "receive files: there are none"},
		{"no archive", strings.NewReader(strings.Repeat("key ", 500)), "receive files: read archive: "},
		{"cut", bytes.NewReader(tarOf(t, tar.Header{Name: "a", Size: 2000}).Bytes()[:1024]), "unexpected EOF"},
		{"path", tarOf(t, tar.Header{Name: "../a"}), `"../a" is not the name of a regular file in one directory`},
		{"absolute", tarOf(t, tar.Header{Name: "/a"}), `"/a" is not the name`},
		{"hidden", tarOf(t, tar.Header{Name: "..", Size: 1}), `".." is not the name`},
		{"link", tarOf(t, tar.Header{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}), `"a" is not the name of a regular file`},
		{"directory", tarOf(t, tar.Header{Name: "a", Typeflag: tar.TypeDir}), `is not the name of a regular file`},
		{"twice", tarOf(t, tar.Header{Name: "a"}, tar.Header{Name: "a"}), "write a: open "},
		{"many", tarOf(t, many...), "it has more than 256 files"},
		{"long", tarOf(t, tar.Header{Name: "a", Size: maxHandedOver}), "unexpected EOF"},
		{"good", bytes.NewReader(whole.Bytes()), ""},
	} {
		base := t.TempDir()
		dir := filepath.Join(base, "files")
		err := ReceiveFiles(tt.in, dir)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if tt.want != "" {
			if left := names(t, base); left != "" {
				t.Errorf("%s has left %s", tt.name, left)
			}
			continue
		}
		if got := names(t, dir); got != "a b" || string(readFile(t, filepath.Join(dir, "a"))) != "xxx" {
			t.Errorf("files are %s", got)
		}
		if info, err := os.Stat(filepath.Join(dir, "a")); err != nil || info.Mode().Perm() != 0o400 {
			t.Errorf("%v, %v", info, err)
		}
		if err := ReceiveFiles(whole, dir); err == nil || !strings.Contains(err.Error(), "is there already") {
			t.Errorf("again: %v", err)
		}
	}
}

func TestAwaitFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "files")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := AwaitFiles(ctx, dir); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "wait for files in "+dir) {
			t.Errorf("none come: %v", err)
		}
		time.AfterFunc(time.Minute, func() { _ = os.Mkdir(dir, 0o700) })
		begun := time.Now()
		if err := AwaitFiles(t.Context(), dir); err != nil || time.Since(begun) < time.Minute {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
	})
}
