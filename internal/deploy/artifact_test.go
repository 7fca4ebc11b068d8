package deploy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/remote"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

// sealed is a protected file with some content.
func sealed(t *testing.T, content string) []byte {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var key protectedfile.Key
	key[0] = 1
	_, err = protectedfile.EncryptReproducible(t.Context(), f, strings.NewReader(content), int64(len(content)), key,
		protectedfile.WriterOptions{Path: "model", Format: protectedfile.FormatV1})
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func writeAll(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, data := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// tree is what is in a directory: mode and content by name.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && file == dir {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		text := ""
		if d.Type().IsRegular() {
			data, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			text = hexDigest(data)
		}
		found[filepath.ToSlash(name)] = info.Mode().String() + " " + text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// files are the regular files of a tree, without the list.
func filesOf(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	for _, name := range slices.Sorted(maps.Keys(tree(t, dir))) {
		if info, err := os.Lstat(filepath.Join(dir, name)); err == nil && info.Mode().IsRegular() && filepath.Base(name) != artifactListName {
			all = append(all, name)
		}
	}
	return all
}

func TestArtifactScan(t *testing.T) {
	t.Parallel()
	model := sealed(t, "weights")
	pem := []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n")
	long := strings.Repeat("x", maxArtifactBase+1)
	many := map[string][]byte{}
	for i := range maxNamed + 3 {
		many[fmt.Sprintf("plain-%02d", i)] = []byte("x")
	}
	type files = map[string][]byte
	for _, tt := range []struct {
		name      string
		files     files
		plaintext []string
		change    func(t *testing.T, dir string)
		want      string // of the names, or the error
		summary   string
	}{
		{name: "directory", files: files{"models/1/saved_model.pb": model, "ssl.cfg": model}, want: "models/1/saved_model.pb ssl.cfg"},
		{name: "plaintext that is named", files: files{"ca.crt": []byte("cert"), "m": model}, plaintext: []string{"ca.crt"}, want: "ca.crt m"},
		{name: "plaintext", files: files{"m": model, "a/model.pb": []byte("weights"), "b": nil}, summary: "Plaintext not sent", want: "these are no protected files: a/model.pb, b"},
		{name: "much plaintext", files: many, want: "plain-09, and 3 more", summary: "Plaintext not sent"},
		{name: "plaintext by another name", files: files{"a/ca.crt": []byte("cert")}, plaintext: []string{"ca.crt"}, want: "no protected files: a/ca.crt", summary: "Plaintext not sent"},
		{name: "half a protected file", files: files{"m": model[:5000%len(model)]}, want: "no protected files: m", summary: "Plaintext not sent"},
		{name: "appended to", files: files{"m": append(bytes.Clone(model), 'x')}, want: "no protected files: m", summary: "Plaintext not sent"},
		{name: "version 3", files: files{"m": append([]byte("GRAFS_PF\x03"), model[9:]...)}, want: "no protected files: m", summary: "Plaintext not sent"},
		{name: "private key", files: files{"server.pem": pem}, plaintext: []string{"server.pem"}, summary: "Private key not sent", want: "it holds a private key, which is not sent in plaintext, named or not"},
		{name: "empty", change: func(*testing.T, string) {}, summary: "Nothing to send", want: "there is none"},
		{name: "nothing but directories", change: func(t *testing.T, dir string) { mustDo(t, os.MkdirAll(filepath.Join(dir, "a/b"), 0o700)) }, summary: "Nothing to send", want: "there is none"},
		{name: "absent", change: func(t *testing.T, dir string) { mustDo(t, os.Remove(dir)) }, want: "no such file or directory"},
		{name: "a file", change: func(t *testing.T, dir string) { mustDo(t, os.Remove(dir)); mustDo(t, os.WriteFile(dir, model, 0o600)) },
			want: `"." is not a relative path`, summary: "File name not usable"},
		{name: "link", files: files{"m": model}, change: func(t *testing.T, dir string) { mustDo(t, os.Symlink("m", filepath.Join(dir, "link"))) },
			want: "neither files nor directories are link", summary: "File not sendable"},
		{name: "link to a directory", files: files{"a/m": model}, change: func(t *testing.T, dir string) { mustDo(t, os.Symlink("a", filepath.Join(dir, "latest"))) },
			want: "neither files nor directories are latest", summary: "File not sendable"},
		{name: "pipe", files: files{"m": model}, change: func(t *testing.T, dir string) { mustDo(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600)) },
			want: "neither files nor directories are pipe", summary: "File not sendable"},
		{name: "odd names", files: files{"a b": model, "-rf": model, "$HOME 'x'": model, "模型/1/模型.pb": model, `back\slash`: model, "*": model},
			want: `$HOME 'x' * -rf a b back\slash 模型/1/模型.pb`},
		{name: "newline", files: files{"a\nb": model}, want: `"a\nb" holds a control character`, summary: "File name not usable"},
		{name: "not UTF-8", files: files{"a\xff": model}, want: `"a\xff" is not UTF-8`, summary: "File name not usable"},
		{name: "long", files: files{long: model}, want: fmt.Sprintf("is longer than %d bytes", maxArtifactBase), summary: "File name not usable"},
		{name: "the list", files: files{"a/" + artifactListName: model}, want: "is a name that an upload uses itself", summary: "File name not usable"},
		{name: "half a file", files: files{".cc-tmp-00": model}, want: "is a name that an upload uses itself", summary: "File name not usable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			writeAll(t, dir, tt.files)
			if tt.change != nil {
				tt.change(t, dir)
			}
			s := ArtifactSource{Directory: dir, Plaintext: tt.plaintext}
			all, err := s.Scan(t.Context())
			if err != nil {
				var known *Error
				if !strings.Contains(err.Error(), tt.want) || errors.As(err, &known) != (tt.summary != "") || known != nil && known.Summary != tt.summary {
					t.Errorf("error %q (%+v), want %q", err, known, tt.want)
				}
				return
			}
			if got := strings.Join(artifactNames(all), " "); got != tt.want || tt.summary != "" {
				t.Errorf("names %q, want %q", got, tt.want)
			}
			for _, a := range all {
				data, err := os.ReadFile(a.Path)
				if err != nil || a.SHA256 != hexDigest(data) || a.Size != int64(len(data)) {
					t.Errorf("%+v is not what is in the file (%v)", a, err)
				}
			}
		})
	}
}

func mustDo(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestArtifactSourceOfSingleFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeAll(t, dir, map[string][]byte{"m": sealed(t, "x"), "plain": []byte("x")})
	m := filepath.Join(dir, "m")
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"good", map[string]string{"models/1/m": m, "b": m}, "b models/1/m"},
		{"none", nil, "exactly one of a directory and single files is needed"},
		{"absent", map[string]string{"m": m, "n": m + "x"}, "no such file or directory"},
		{"plaintext before what is absent", map[string]string{"a": m + "x", "p": filepath.Join(dir, "plain")}, "no protected files: p"},
		{"a directory", map[string]string{"m": dir}, "it is not a regular file"},
		{"upwards", map[string]string{"../m": m}, `"../m" is not a relative path without . and .. in it`},
		{"absolute", map[string]string{"/m": m}, `"/m" is not a relative path`},
		{"not clean", map[string]string{"a//m": m}, `"a//m" is not a relative path`},
		{"file and directory", map[string]string{"a": m, "a/b/c": m}, `send file "a/b/c": "a" is a file too`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			all, err := ArtifactSource{Files: tt.files}.Scan(t.Context())
			got := strings.Join(artifactNames(all), " ")
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	if _, err := (ArtifactSource{Files: map[string]string{"m": m}, Plaintext: []string{"n"}}).complete(t.Context()); err == nil ||
		!strings.Contains(err.Error(), `plaintext names "n", and there is no such file`) {
		t.Errorf("a name in plaintext that is no file's: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (ArtifactSource{Files: map[string]string{"m": m}}).Scan(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

func TestArtifactSourceTooLarge(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i := range maxArtifacts + 1 {
		mustDo(t, os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o600))
	}
	start := time.Now()
	_, err := ArtifactSource{Directory: dir}.Scan(t.Context())
	if want := "it has more than 10000 files"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
	t.Logf("refused after %v", time.Since(start))
}

// uploadFixture is an upload to a directory of this machine.
type uploadFixture struct {
	t      *testing.T
	source string
	upload ArtifactUpload
	record ArtifactRecord
}

func newUpload(t *testing.T, files map[string][]byte) *uploadFixture {
	t.Helper()
	requireGNU(t)
	f := &uploadFixture{t: t, source: filepath.Join(t.TempDir(), "upload")}
	writeAll(t, f.source, files)
	f.upload = ArtifactUpload{
		Source: ArtifactSource{Directory: f.source}, Directory: filepath.Join(t.TempDir(), "host", "serving"), FileMode: 0o644, DirectoryMode: 0o755, Host: remote.Local{},
	}
	return f
}

// requireGNU skips where this machine is not one that could be uploaded to.
func requireGNU(t *testing.T) {
	t.Helper()
	if _, err := remote.Output(t.Context(), remote.Local{}, "stat", "--printf=%f", "--", "/"); err != nil {
		t.Skipf("no GNU programs here: %v", err)
	}
}

func (f *uploadFixture) apply() {
	f.t.Helper()
	record, err := f.upload.Apply(f.t.Context(), f.record)
	if err != nil {
		f.t.Fatal(full(err))
	}
	f.record = record
	if status := f.observe(); status != ArtifactsInPlace {
		f.t.Fatalf("after apply the status is %q", status)
	}
}

func (f *uploadFixture) observe() string {
	f.t.Helper()
	status, err := f.upload.Observe(f.t.Context(), f.record)
	if err != nil {
		f.t.Fatal(err)
	}
	return status
}

func (f *uploadFixture) host(name string) string { return filepath.Join(f.upload.Directory, name) }

func (f *uploadFixture) refused(want string) {
	f.t.Helper()
	_, err := f.upload.Apply(f.t.Context(), f.record)
	if err == nil || !strings.Contains(said(err), want) {
		f.t.Errorf("error %v, want %q", err, want)
	}
}

// said is an error with its remedy in one line.
func said(err error) string { return strings.ReplaceAll(full(err), "\n", ". ") }

func TestArtifactUpload(t *testing.T) {
	t.Parallel()
	a, b := sealed(t, "a"), sealed(t, strings.Repeat("b", 9000))
	f := newUpload(t, map[string][]byte{"models/模型/1/saved_model.pb": b, "ssl.cfg": a, "-n 'odd' \\": a})
	var sent []string
	f.upload.Progress = func(a Artifact) func(int64) {
		sent = append(sent, a.Name)
		return func(n int64) {
			if n > a.Size {
				t.Errorf("%d of %d bytes of %s", n, a.Size, a.Name)
			}
		}
	}
	expectSent := func(what string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, sent); diff != "" {
			t.Errorf("%s: sent (-want +got)\n%s", what, diff)
		}
		sent = nil
	}
	f.apply()
	expectSent("first", "-n 'odd' \\", "models/模型/1/saved_model.pb", "ssl.cfg")
	for name, want := range map[string]string{
		".": "drwxr-xr-x ", "models/模型/1": "drwxr-xr-x ", "models/模型/1/saved_model.pb": "-rw-r--r-- " + hexDigest(b), "ssl.cfg": "-rw-r--r-- " + hexDigest(a),
	} {
		if got := tree(t, f.upload.Directory)[name]; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if want := int64(len(b) + 2*len(a)); f.record.Bytes != want || len(f.record.Files) != 3 || len(f.record.Stale) != 0 {
		t.Errorf("record %+v, want %d bytes", f.record, want)
	}
	f.apply()
	expectSent("again")

	writeAll(t, f.source, map[string][]byte{"ssl.cfg": b})
	f.apply()
	expectSent("one changed", "ssl.cfg")

	// What somebody has done there.
	mustDo(t, os.Remove(f.host("ssl.cfg")))
	mustDo(t, os.WriteFile(f.host("models/模型/1/saved_model.pb"), a, 0o600))
	mustDo(t, os.Chmod(f.host("-n 'odd' \\"), 0o600))
	if got, want := f.observe(), "changed: missing: ssl.cfg; altered: models/模型/1/saved_model.pb; -n 'odd' \\ has mode 0600"; got != want {
		t.Errorf("observed %q, want %q", got, want)
	}
	f.apply()
	expectSent("repair", "models/模型/1/saved_model.pb", "ssl.cfg")

	mustDo(t, os.Remove(f.host("ssl.cfg")))
	mustDo(t, os.Symlink("/etc/passwd", f.host("ssl.cfg")))
	if got, want := f.observe(), "changed: ssl.cfg is a symbolic link"; got != want {
		t.Errorf("observed %q, want %q", got, want)
	}
	f.apply()
	expectSent("a link", "ssl.cfg")

	mustDo(t, os.Remove(f.host(artifactListName)))
	if got, want := f.observe(), "changed: the list of uploaded files is missing"; got != want {
		t.Errorf("observed %q, want %q", got, want)
	}
	f.apply()
	expectSent("no list")
	mustDo(t, os.RemoveAll(f.upload.Directory))
	if got, want := f.observe(), "changed: the directory is missing"; got != want {
		t.Errorf("observed %q, want %q", got, want)
	}
}

func TestArtifactUploadStale(t *testing.T) {
	t.Parallel()
	a := sealed(t, "a")
	f := newUpload(t, map[string][]byte{"1/m": a, "2/m": a, "keep": a})
	f.apply()
	writeAll(t, f.upload.Directory, map[string][]byte{"1/foreign": []byte("theirs"), "3/foreign": []byte("theirs")})
	mustDo(t, os.RemoveAll(filepath.Join(f.source, "1")))
	mustDo(t, os.RemoveAll(filepath.Join(f.source, "2")))
	f.apply()
	if diff := cmp.Diff([]string{"1/foreign", "1/m", "2/m", "3/foreign", "keep"}, filesOf(t, f.upload.Directory)); diff != "" {
		t.Errorf("unless told otherwise nothing is removed (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"1/m", "2/m"}, f.record.Stale); diff != "" {
		t.Errorf("stale (-want +got)\n%s", diff)
	}
	f.upload.DeleteStale = true
	f.apply()
	if diff := cmp.Diff([]string{"1/foreign", "3/foreign", "keep"}, filesOf(t, f.upload.Directory)); diff != "" {
		t.Errorf("stale files are removed, and no others (-want +got)\n%s", diff)
	}
	if _, err := os.Stat(f.host("2")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory that became empty is left: %v", err)
	}
	if len(f.record.Stale) != 0 {
		t.Errorf("still stale: %v", f.record.Stale)
	}
	mustDo(t, f.upload.Remove(t.Context(), f.record, false))
	if diff := cmp.Diff([]string{"1/foreign", "3/foreign"}, filesOf(t, f.upload.Directory)); diff != "" {
		t.Errorf("after removal (-want +got)\n%s", diff)
	}
}

func TestArtifactUploadForeign(t *testing.T) {
	t.Parallel()
	a, b := sealed(t, "a"), sealed(t, "b")
	f := newUpload(t, map[string][]byte{"same": a, "other": a, "new": a})
	writeAll(t, f.upload.Directory, map[string][]byte{"same": a, "other": b, "foreign": b})
	before := tree(t, f.upload.Directory)
	f.refused("these are there, differ, and were not uploaded by this: other. Remove them there, choose another directory, or set allow_overwrite")
	if diff := cmp.Diff(before, tree(t, f.upload.Directory)); diff != "" {
		t.Errorf("a refused upload has touched something (-want +got)\n%s", diff)
	}
	f.upload.AllowOverwrite = true
	f.apply()
	mustDo(t, f.upload.Remove(t.Context(), f.record, false))
	if diff := cmp.Diff([]string{"foreign"}, filesOf(t, f.upload.Directory)); diff != "" {
		t.Errorf("after removal (-want +got)\n%s", diff)
	}
}

func TestArtifactUploadInTheWay(t *testing.T) {
	t.Parallel()
	a := sealed(t, "a")
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, f *uploadFixture)
		want   string
	}{
		{"directory for a file", func(t *testing.T, f *uploadFixture) { mustDo(t, os.MkdirAll(f.host("m/x"), 0o700)) }, "it is a directory there. Remove it there"},
		{"file for a directory", func(t *testing.T, f *uploadFixture) { writeAll(t, f.upload.Directory, map[string][]byte{"d": a}) }, "it is not a regular file and not a directory"},
		{"link for a directory", func(t *testing.T, f *uploadFixture) {
			mustDo(t, os.MkdirAll(f.upload.Directory, 0o700))
			mustDo(t, os.Symlink(t.TempDir(), f.host("d")))
		}, "it is a symbolic link and not a directory. Nothing is written or removed through it."},
		{"file for the directory", func(t *testing.T, f *uploadFixture) {
			writeAll(t, filepath.Dir(f.upload.Directory), map[string][]byte{filepath.Base(f.upload.Directory): a})
		}, "not a directory"},
		{"damaged list", func(t *testing.T, f *uploadFixture) {
			writeAll(t, f.upload.Directory, map[string][]byte{artifactListName: []byte("{")})
		}, "it is not what an upload writes. Remove it there"},
		{"list of a later version", func(t *testing.T, f *uploadFixture) {
			writeAll(t, f.upload.Directory, map[string][]byte{artifactListName: []byte(`{"format":2,"upload":"x"}`)})
		}, "its format is 2, and this version knows 1"},
		{"list that leads out", func(t *testing.T, f *uploadFixture) {
			writeAll(t, f.upload.Directory, map[string][]byte{artifactListName: []byte(`{"format":1,"upload":"x","files":{"../../etc/shadow":""}}`)})
		}, `"../../etc/shadow" is not a relative path`},
		{"directory list that leads out", func(t *testing.T, f *uploadFixture) {
			writeAll(t, f.upload.Directory, map[string][]byte{artifactListName: []byte(`{"format":1,"upload":"x","directories":["../.."]}`)})
		}, `it names the directory "../.."`},
		{"another upload", func(t *testing.T, f *uploadFixture) {
			other := newUpload(t, map[string][]byte{"x": a})
			other.upload.Directory = f.upload.Directory
			other.apply()
		}, "the files there are kept by another upload. Choose another directory."},
		{"relative directory", func(_ *testing.T, f *uploadFixture) { f.upload.Directory = "serving" }, `the directory "serving" is not an absolute path below /`},
		{"root", func(_ *testing.T, f *uploadFixture) { f.upload.Directory = "/" }, "is not an absolute path below /"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newUpload(t, map[string][]byte{"m": a, "d/m": a})
			tt.change(t, f)
			f.refused(tt.want)
		})
	}
}

func TestArtifactUploadRemove(t *testing.T) {
	t.Parallel()
	a := sealed(t, "a")
	t.Run("everything", func(t *testing.T) {
		t.Parallel()
		f := newUpload(t, map[string][]byte{"d/e/m": a, "n": a})
		f.apply()
		mustDo(t, os.Remove(f.host("n")))                                           // by somebody else
		mustDo(t, os.WriteFile(f.host("d/e/.cc-tmp-0123456789abcdef-m"), a, 0o600)) // an interrupted attempt
		mustDo(t, f.upload.Remove(t.Context(), f.record, false))
		if _, err := os.Stat(f.upload.Directory); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("left: %v", tree(t, f.upload.Directory))
		}
		mustDo(t, f.upload.Remove(t.Context(), f.record, false)) // nothing is there any more
	})
	t.Run("not what it has not made", func(t *testing.T) {
		t.Parallel()
		f := newUpload(t, map[string][]byte{"d/m": a})
		writeAll(t, f.upload.Directory, map[string][]byte{"foreign": a, "d/foreign": a, ".cc-tmp-0123456789abcdef-x": a, ".cc-tmp-x-m": a})
		before := tree(t, f.upload.Directory)
		f.apply()
		mustDo(t, f.upload.Remove(t.Context(), f.record, false))
		if diff := cmp.Diff(before, tree(t, f.upload.Directory)); diff != "" {
			t.Errorf("what was there has changed (-want +got)\n%s", diff)
		}
	})
	t.Run("keep", func(t *testing.T) {
		t.Parallel()
		f := newUpload(t, map[string][]byte{"d/m": a})
		f.apply()
		mustDo(t, f.upload.Remove(t.Context(), f.record, true))
		if _, err := os.Stat(f.host(artifactListName)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the list is left: %v", err)
		}
		f.record = ArtifactRecord{}
		f.apply() // takes over what is the same
	})
	t.Run("through a link", func(t *testing.T) {
		t.Parallel()
		f := newUpload(t, map[string][]byte{"d/m": a})
		f.apply()
		elsewhere := t.TempDir()
		writeAll(t, elsewhere, map[string][]byte{"m": a})
		mustDo(t, os.RemoveAll(f.host("d")))
		mustDo(t, os.Symlink(elsewhere, f.host("d")))
		if err := f.upload.Remove(t.Context(), f.record, false); err == nil || !strings.Contains(err.Error(), "it is a symbolic link") {
			t.Errorf("error %v", err)
		}
		if left := filesOf(t, elsewhere); len(left) != 1 {
			t.Errorf("left elsewhere: %v", left)
		}
		if got := f.observe(); !strings.HasPrefix(got, "changed: ") || !strings.Contains(got, "it is a symbolic link") {
			t.Errorf("observed %q", got)
		}
	})
	t.Run("of another upload", func(t *testing.T) {
		t.Parallel()
		f := newUpload(t, map[string][]byte{"m": a})
		f.apply()
		other := f.record
		other.Upload = "another"
		if err := f.upload.Remove(t.Context(), other, false); err == nil || !strings.Contains(said(err), "kept by another upload by now. Forget this one") {
			t.Errorf("error %v", err)
		}
	})
}

func TestArtifactUploadImport(t *testing.T) {
	t.Parallel()
	f := newUpload(t, map[string][]byte{"d/m": sealed(t, "a"), "ca.crt": []byte("cert"), "old": sealed(t, "b")})
	f.upload.Source.Plaintext = []string{"ca.crt"}
	if _, _, err := f.upload.FindArtifacts(t.Context()); err == nil || !strings.Contains(err.Error(), "there is no .cc-upload.json of an upload that came to its end") {
		t.Errorf("nothing there: %v", err)
	}
	f.apply()
	mustDo(t, os.Remove(filepath.Join(f.source, "old")))
	f.apply()
	record, settings, err := ArtifactUpload{Directory: f.upload.Directory, Host: f.upload.Host}.FindArtifacts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(f.record, record); diff != "" {
		t.Errorf("record (-want +got)\n%s", diff)
	}
	want := ArtifactSettings{Source: f.source, Plaintext: []string{"ca.crt"}, FileMode: 0o644, DirectoryMode: 0o755}
	if diff := cmp.Diff(want, settings); diff != "" {
		t.Errorf("settings (-want +got)\n%s", diff)
	}
}

// changing is a machine to which a file changes while it is sent.
type changing struct {
	remote.Executor
	change func()
}

func (c changing) Put(ctx context.Context, f remote.File) error {
	c.change()
	return c.Executor.Put(ctx, f)
}

func TestArtifactChangedWhileSent(t *testing.T) {
	t.Parallel()
	a, b := sealed(t, "a"), sealed(t, "b")
	f := newUpload(t, map[string][]byte{"m": a})
	file, err := os.OpenFile(filepath.Join(f.source, "m"), os.O_WRONLY, 0)
	mustDo(t, err)
	t.Cleanup(func() { _ = file.Close() })
	f.upload.Host = changing{remote.Local{}, func() { // in place, behind the back of who has it open
		_, err := file.WriteAt(b, 0)
		mustDo(t, err)
	}}
	f.refused("it is not what it was when it was looked at. Apply again")
	f.upload.Host = remote.Local{}
	f.apply()
}

// unplugged is a machine whose connection breaks after a number of operations,
// the last of which is done and not answered.
type unplugged struct {
	remote.Executor
	left *int
}

var errUnplugged = fmt.Errorf("%w: unplugged", remote.ErrConnectionLost)

func (u unplugged) step(ctx context.Context, do func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if *u.left--; *u.left < 0 {
		return errUnplugged
	}
	err := do()
	if *u.left == 0 {
		return errUnplugged
	}
	return err
}

func (u unplugged) Run(ctx context.Context, c remote.Command) error {
	return u.step(ctx, func() error { return u.Executor.Run(ctx, c) })
}

func (u unplugged) Put(ctx context.Context, f remote.File) error {
	return u.step(ctx, func() error { return u.Executor.Put(ctx, f) })
}

func (u unplugged) Get(ctx context.Context, path string, limit int64) (data []byte, err error) {
	err = u.step(ctx, func() error { data, err = u.Executor.Get(ctx, path, limit); return err })
	return data, err
}

// TestArtifactUploadUnplugged breaks the connection at every operation of a
// first upload and of a change. The next apply, and a removal, always come to
// the same end.
func TestArtifactUploadUnplugged(t *testing.T) {
	t.Parallel()
	a, b := sealed(t, "a"), sealed(t, "b")
	first := map[string][]byte{"models/1/m": a, "old/m": a, "ssl.cfg": a}
	scenario := func(t *testing.T, change bool, after int) (reached bool, end map[string]string) {
		t.Helper()
		f := newUpload(t, first)
		f.upload.DeleteStale = true
		if change {
			f.apply()
			mustDo(t, os.RemoveAll(filepath.Join(f.source, "old")))
			writeAll(t, f.source, map[string][]byte{"models/1/m": b, "models/2/m": b})
		}
		if after > 0 {
			f.upload.Host = unplugged{remote.Local{}, &after}
			_, err := f.upload.Apply(t.Context(), f.record)
			if reached = errors.Is(err, remote.ErrConnectionLost); !reached && err != nil {
				t.Fatalf("unplugged: %v", err)
			} else if !reached {
				return false, nil
			}
			f.upload.Host = remote.Local{}
		}
		f.apply()
		end = tree(t, f.upload.Directory)
		delete(end, artifactListName) // has a random name of the upload in it
		mustDo(t, f.upload.Remove(t.Context(), f.record, false))
		if _, err := os.Stat(f.upload.Directory); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("unplugged after %d: left: %v", after, tree(t, f.upload.Directory))
		}
		return reached, end
	}
	for _, change := range []bool{false, true} {
		_, want := scenario(t, change, 0)
		for n := 1; ; n++ {
			reached, end := scenario(t, change, n)
			if !reached {
				if n < 10 {
					t.Errorf("only %d operations were interrupted", n-1)
				}
				t.Logf("change %v: %d places", change, n-1)
				break
			}
			if diff := cmp.Diff(want, end); diff != "" {
				t.Errorf("change %v, unplugged after %d operations (-want +got)\n%s", change, n, diff)
			}
		}
	}
}
