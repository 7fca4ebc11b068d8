package deploy

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

// efile is a folder with a source, and a key to encrypt it under.
type efile struct {
	dir, src, dst string
	key           protectedfile.Key
	plain         []byte
}

func newEFile(t *testing.T, size int) *efile {
	t.Helper()
	key, err := protectedfile.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	f := &efile{dir: dir, src: filepath.Join(dir, "plain"), dst: filepath.Join(dir, "x.pf"), key: key, plain: bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]}
	putFile(t, f.src, f.plain, 0o640)
	return f
}

func putFile(t *testing.T, path string, data []byte, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, data, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func getFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (f *efile) spec() EncryptSpec {
	return EncryptSpec{Source: f.src, Destination: f.dst, EnclavePath: "models/x", Key: f.key}
}

func (f *efile) encrypt(t *testing.T, spec EncryptSpec) EncryptedFile {
	t.Helper()
	file, err := EncryptFile(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// nothingElse fails the test if the folder holds more than these names.
func (f *efile) nothingElse(t *testing.T, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if g, w := strings.Join(got, " "), strings.Join(names, " "); g != w {
		t.Errorf("the folder holds %q, want %q", g, w)
	}
}

func TestEncryptAndDecryptFile(t *testing.T) {
	f := newEFile(t, 500000)
	digest, err := SourceDigest(t.Context(), f.src, f.key)
	if err != nil {
		t.Fatal(err)
	}
	for _, reproducible := range []bool{false, true} {
		spec := f.spec()
		spec.Reproducible, spec.Digest = reproducible, true
		file := f.encrypt(t, spec)
		want := EncryptedFile{
			EnclavePath: "models/x", Format: 1, KeyID: f.key.Fingerprint(), SourceDigest: digest, HeaderSHA256: file.HeaderSHA256,
			PlaintextSize: 500000, EncryptedSize: 512000, DataNodes: 122, HashNodes: 2,
		}
		if file != want {
			t.Errorf("reproducible %v: %+v, want %+v", reproducible, file, want)
		}
		if info, err := os.Stat(f.dst); err != nil || info.Mode() != 0o640 || info.Size() != 512000 {
			t.Errorf("encrypted file: %v, %v", info, err)
		}
		if err := CheckEncryptedFile(f.dst, file); err != nil {
			t.Error(err)
		}
		adopted, same, err := AdoptEncryptedFile(t.Context(), f.dst, f.key)
		if err != nil || adopted != file || same != reproducible {
			t.Errorf("adopted %+v, reproducible %v, %v", adopted, same, err)
		}

		out := filepath.Join(f.dir, "out")
		report, err := DecryptFile(t.Context(), DecryptSpec{Source: f.dst, Destination: out, Key: f.key, Options: protectedfile.ReaderOptions{Path: "models/x"}})
		if err != nil || report.Path != "models/x" || !bytes.Equal(getFile(t, out), f.plain) {
			t.Errorf("decrypting: %+v, %v", report, err)
		}
		var piped bytes.Buffer
		if _, err := DecryptTo(t.Context(), &piped, DecryptSpec{Source: f.dst, Key: f.key, Options: protectedfile.ReaderOptions{AllowAnyPath: true}}); err != nil || !bytes.Equal(piped.Bytes(), f.plain) {
			t.Errorf("decrypting to a pipe: %d bytes, %v", piped.Len(), err)
		}
	}
	f.nothingElse(t, "out", "plain", "x.pf")
}

func TestEncryptFileFromInput(t *testing.T) {
	f := newEFile(t, 10000)
	spec := f.spec()
	spec.Source, spec.Input = "standard input", bytes.NewReader(f.plain)
	file := f.encrypt(t, spec)
	if file.PlaintextSize != 10000 || file.SourceDigest != "" {
		t.Errorf("%+v", file)
	}
	if info, err := os.Stat(f.dst); err != nil || info.Mode() != 0o644 {
		t.Errorf("mode of a file from a pipe: %v, %v", info.Mode(), err)
	}
	spec.Reproducible = true
	if _, err := EncryptFile(t.Context(), spec); err == nil || !strings.Contains(err.Error(), "encrypt standard input: a reproducible file takes two passes") {
		t.Errorf("reproducible from a pipe: %v", err)
	}
}

func TestEncryptFileRefuses(t *testing.T) {
	f := newEFile(t, 100)
	fifo := filepath.Join(f.dir, "dir")
	if err := os.Mkdir(fifo, 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(f.dir, "link")
	if err := os.Symlink(f.src, link); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		change func(*EncryptSpec)
		want   string
		is     error
	}{
		{"source missing", func(s *EncryptSpec) { s.Source = f.src + "x" }, "encrypt " + f.src + "x: no such file or directory", fs.ErrNotExist},
		{"source is a directory", func(s *EncryptSpec) { s.Source = fifo }, "it is not a regular file but a directory", nil},
		{"destination is a directory", func(s *EncryptSpec) { s.Destination = fifo }, "it is not a regular file but a directory", nil},
		{"no folder", func(s *EncryptSpec) { s.Destination = filepath.Join(f.dir, "none", "x") }, "create temporary file beside", fs.ErrNotExist},
		{"onto the source", func(s *EncryptSpec) { s.Destination = f.src }, "it is the input", ErrSameFile},
		{"onto the source, link", func(s *EncryptSpec) { s.Destination = link }, "it is the input", ErrSameFile},
		{"no path", func(s *EncryptSpec) { s.EnclavePath = "" }, "the path is empty", nil},
		{"no key", func(s *EncryptSpec) { s.Key = protectedfile.Key{} }, "the wrap key is all zero", nil},
		{"format", func(s *EncryptSpec) { s.Format = 9 }, "format 9 does not exist", nil},
	} {
		spec := f.spec()
		tc.change(&spec)
		for _, reproducible := range []bool{false, true} {
			spec.Reproducible = reproducible
			_, err := EncryptFile(t.Context(), spec)
			if err == nil || !strings.Contains(err.Error(), tc.want) || (tc.is != nil && !errors.Is(err, tc.is)) {
				t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
			}
		}
	}
	f.nothingElse(t, "dir", "link", "plain")
	if !bytes.Equal(getFile(t, f.src), f.plain) {
		t.Error("the source was changed")
	}
}

func TestEncryptFileMakesFolders(t *testing.T) {
	f := newEFile(t, 100)
	spec := f.spec()
	spec.Destination, spec.CreateDirs = filepath.Join(f.dir, "a", "b", "x.pf"), true
	f.encrypt(t, spec)
	getFile(t, spec.Destination)
}

// TestEncryptFileThroughLink writes to what the link points at, as cp does.
func TestEncryptFileThroughLink(t *testing.T) {
	f := newEFile(t, 100)
	target, link := filepath.Join(f.dir, "target.pf"), filepath.Join(f.dir, "link.pf")
	putFile(t, target, []byte("old"), 0o600)
	if err := os.Symlink("target.pf", link); err != nil {
		t.Fatal(err)
	}
	spec := f.spec()
	spec.Destination = link
	file := f.encrypt(t, spec)
	if err := CheckEncryptedFile(target, file); err != nil {
		t.Error(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Error("the link was replaced")
	}
}

func TestEncryptFileInterrupted(t *testing.T) {
	f := newEFile(t, 5<<20)
	putFile(t, f.dst, []byte("old"), 0o600)
	ctx, cancel := context.WithCancel(t.Context())
	spec := f.spec()
	spec.Progress = func(int64) { cancel() }
	if _, err := EncryptFile(ctx, spec); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if string(getFile(t, f.dst)) != "old" {
		t.Error("the destination was changed")
	}
	f.nothingElse(t, "plain", "x.pf")
}

func TestDecryptFileLeavesNothingOfADamagedOne(t *testing.T) {
	f := newEFile(t, 3<<20)
	f.encrypt(t, f.spec())
	raw := getFile(t, f.dst)
	raw[len(raw)-1] ^= 1 // the last data node of many
	putFile(t, f.dst, raw, 0o644)
	out := filepath.Join(f.dir, "out")
	putFile(t, out, []byte("old"), 0o600)
	spec := DecryptSpec{Source: f.dst, Destination: out, Key: f.key, Options: protectedfile.ReaderOptions{AllowAnyPath: true}}
	var finding *protectedfile.Error
	if _, err := DecryptFile(t.Context(), spec); !errors.As(err, &finding) || finding.Kind != protectedfile.KindDataNodeMAC {
		t.Errorf("error %v", err)
	}
	if string(getFile(t, out)) != "old" {
		t.Error("the destination was changed")
	}
	var piped bytes.Buffer
	if _, err := DecryptTo(t.Context(), &piped, spec); !errors.As(err, &finding) || piped.Len() > 0 {
		t.Errorf("to a pipe: %d bytes, %v", piped.Len(), err)
	}
	if _, err := VerifyFile(t.Context(), f.dst, f.key, spec.Options); !errors.As(err, &finding) || !strings.HasPrefix(err.Error(), "verify "+f.dst+": data node 767 (node ") {
		t.Errorf("verify: %v", err)
	}
	f.nothingElse(t, "out", "plain", "x.pf")
}

func TestDecryptedFileIsNotForOthers(t *testing.T) {
	f := newEFile(t, 100)
	f.encrypt(t, f.spec())
	for mode, want := range map[fs.FileMode]fs.FileMode{0o644: 0o640, 0o666: 0o660, 0o600: 0o600, 0o444: 0o640, 0o755: 0o750} {
		if err := os.Chmod(f.dst, mode); err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(f.dir, "out")
		if _, err := DecryptFile(t.Context(), DecryptSpec{Source: f.dst, Destination: out, Key: f.key, Options: protectedfile.ReaderOptions{AllowAnyPath: true}}); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(out); err != nil || info.Mode() != want {
			t.Errorf("%v becomes %v, want %v", mode, info.Mode(), want)
		}
	}
}

func TestCheckEncryptedFile(t *testing.T) {
	f := newEFile(t, 20000)
	file := f.encrypt(t, f.spec())
	raw := getFile(t, f.dst)
	flipped := bytes.Clone(raw)
	flipped[100] ^= 1
	for _, tc := range []struct {
		name string
		make func()
		want string
		is   error
	}{
		{"other header", func() { putFile(t, f.dst, flipped, 0o600) }, "it is not the file that was written: the digest of its header is", ErrFileChanged},
		{"longer", func() { putFile(t, f.dst, append(bytes.Clone(raw), make([]byte, 4096)...), 0o600) }, "it has 32768 bytes, not 28672", ErrFileChanged},
		{"cut", func() { putFile(t, f.dst, raw[:5000], 0o600) }, "the last 904 of 5000 bytes are no whole node", ErrFileChanged},
		{"something else", func() { putFile(t, f.dst, []byte("x"), 0o600) }, "bad magic", ErrFileChanged},
		{"empty", func() { putFile(t, f.dst, nil, 0o600) }, "truncated: 0 bytes found", ErrFileChanged},
		{"missing", func() { _ = os.Remove(f.dst) }, "inspect " + f.dst + ": no such file", fs.ErrNotExist},
		{"directory", func() { _ = os.Mkdir(f.dst, 0o755) }, "it is not a regular file but a directory", nil},
	} {
		tc.make()
		err := CheckEncryptedFile(f.dst, file)
		if err == nil || !strings.Contains(err.Error(), tc.want) || (tc.is != nil && !errors.Is(err, tc.is)) || (tc.is == nil && errors.Is(err, ErrFileChanged)) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
		if err := DeleteEncryptedFile(f.dst, file); (err == nil) != errors.Is(tc.is, fs.ErrNotExist) {
			t.Errorf("%s: deleting: %v", tc.name, err)
		}
	}
	if err := os.Remove(f.dst); err != nil {
		t.Fatal(err)
	}
	putFile(t, f.dst, raw, 0o600)
	if err := DeleteEncryptedFile(f.dst, file); err != nil {
		t.Fatal(err)
	}
	f.nothingElse(t, "plain")
}

func TestRewrapFile(t *testing.T) {
	for _, deep := range []bool{false, true} {
		f := newEFile(t, 800000)
		spec := f.spec()
		spec.Format = protectedfile.FormatV2
		f.encrypt(t, spec)
		before := getFile(t, f.dst)
		next, err := protectedfile.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		rewrap := RewrapSpec{Path: f.dst, OldKey: f.key, NewKey: next, Deep: deep}
		if result, err := RewrapFile(t.Context(), rewrap); err != nil || result != (RewrapResult{}) {
			t.Fatalf("deep %v: %+v, %v", deep, result, err)
		}
		after := getFile(t, f.dst)
		if bytes.Equal(after[:4096], before[:4096]) {
			t.Error("node 0 is as it was")
		}
		if same := bytes.Equal(after[4096:], before[4096:]); same == deep {
			t.Errorf("deep %v, the rest is the same: %v", deep, same)
		}
		if info, err := os.Stat(f.dst); err != nil || info.Mode() != 0o640 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		out := filepath.Join(f.dir, "out")
		if _, err := DecryptFile(t.Context(), DecryptSpec{Source: f.dst, Destination: out, Key: next, Options: protectedfile.ReaderOptions{Path: "models/x", Strict: true}}); err != nil || !bytes.Equal(getFile(t, out), f.plain) {
			t.Errorf("deep %v: %v", deep, err)
		}
		if _, err := VerifyFile(t.Context(), f.dst, f.key, protectedfile.ReaderOptions{AllowAnyPath: true}); err == nil {
			t.Errorf("deep %v: the old key still opens it", deep)
		}
		if result, err := RewrapFile(t.Context(), rewrap); err != nil || !result.Already {
			t.Errorf("deep %v, again: %+v, %v", deep, result, err)
		}
		f.nothingElse(t, "out", "plain", "x.pf")
	}
}

// TestRewrapFileAfterCrash puts the file into every state that a power cut can
// leave, and runs the rewrap again.
func TestRewrapFileAfterCrash(t *testing.T) {
	f := newEFile(t, 20000)
	f.encrypt(t, f.spec())
	next, err := protectedfile.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	old := getFile(t, f.dst)
	node, err := protectedfile.Rewrap(old[:4096], f.key, next)
	if err != nil {
		t.Fatal(err)
	}
	file := func(head []byte) []byte { return append(bytes.Clone(head), old[4096:]...) }
	torn := func(at int) []byte { return append(bytes.Clone(node[:at]), old[at:4096]...) }
	journal := f.dst + rewrapJournalSuffix
	for _, tc := range []struct {
		name   string
		head   []byte
		result RewrapResult
	}{
		{"before the write", old[:4096], RewrapResult{}},
		{"after the write", node, RewrapResult{Already: true}},
		{"torn at 512", torn(512), RewrapResult{Recovered: true}},
		{"torn at 20", torn(20), RewrapResult{Recovered: true}},
		{"torn at 3584", torn(3584), RewrapResult{Recovered: true}},
		{"zeroed", make([]byte, 4096), RewrapResult{Recovered: true}},
	} {
		putFile(t, f.dst, file(tc.head), 0o640)
		putFile(t, journal, old[:4096], 0o600)
		if !RewrapInterrupted(f.dst) {
			t.Errorf("%s: nobody would know", tc.name)
		}
		result, err := RewrapFile(t.Context(), RewrapSpec{Path: f.dst, OldKey: f.key, NewKey: next})
		if err != nil || result != tc.result {
			t.Errorf("%s: %+v, %v; want %+v", tc.name, result, err, tc.result)
		}
		if _, err := VerifyFile(t.Context(), f.dst, next, protectedfile.ReaderOptions{Path: "models/x"}); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		f.nothingElse(t, "plain", "x.pf")
	}

	// A copy that opens with neither key is not put over anything.
	putFile(t, f.dst, file(make([]byte, 4096)), 0o640)
	putFile(t, journal, make([]byte, 4096), 0o600)
	if _, err := RewrapFile(t.Context(), RewrapSpec{Path: f.dst, OldKey: f.key, NewKey: next}); err == nil || !strings.Contains(err.Error(), "neither the file nor the copy opens") {
		t.Errorf("useless copy: %v", err)
	}
	f.nothingElse(t, "plain", "x.pf", "x.pf"+rewrapJournalSuffix)
}

func TestRewrapFileRefuses(t *testing.T) {
	f := newEFile(t, 20000)
	f.encrypt(t, f.spec())
	before := getFile(t, f.dst)
	third, fourth := f.key, f.key
	third[0] ^= 1
	fourth[0] ^= 2
	for _, tc := range []struct {
		spec RewrapSpec
		want string
	}{
		{RewrapSpec{Path: f.dst, OldKey: f.key, NewKey: f.key}, "the new wrap key is the old one"},
		{RewrapSpec{Path: f.dst, OldKey: third, NewKey: fourth}, "the authentication tag of the metadata does not match"},
		{RewrapSpec{Path: f.src, OldKey: f.key, NewKey: third}, "bad magic"},
		{RewrapSpec{Path: f.dst + "x", OldKey: f.key, NewKey: third}, "no such file"},
		{RewrapSpec{Path: f.dir, OldKey: f.key, NewKey: third}, "it is not a regular file but a directory"},
		{RewrapSpec{Path: f.dst, OldKey: f.key}, "the wrap key is all zero"},
	} {
		for _, deep := range []bool{false, true} {
			tc.spec.Deep = deep
			if _, err := RewrapFile(t.Context(), tc.spec); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		}
	}
	if !bytes.Equal(getFile(t, f.dst), before) {
		t.Error("the file was changed")
	}
	// A damaged file is not passed on as a fresh one.
	before[len(before)-1] ^= 1
	putFile(t, f.dst, before, 0o640)
	if _, err := RewrapFile(t.Context(), RewrapSpec{Path: f.dst, OldKey: f.key, NewKey: third, Deep: true}); err == nil || !strings.Contains(err.Error(), "data node 4") {
		t.Errorf("deep, damaged: %v", err)
	}
	if !bytes.Equal(getFile(t, f.dst), before) {
		t.Error("the damaged file was changed")
	}
	f.nothingElse(t, "plain", "x.pf")
}
