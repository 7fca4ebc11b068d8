package deploy

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/atomicfile"
)

// keyIn creates a key and returns its path, content and fingerprint.
func keyIn(t *testing.T, dir, name string) (path string, content []byte, fingerprint string) {
	t.Helper()
	path = filepath.Join(dir, name)
	fingerprint, err := CreateWrapKey(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, readFile(t, path), fingerprint
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func writeFile(t *testing.T, path string, data string, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(data), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// names lists a directory.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := make([]string, len(entries))
	for i := range entries {
		all[i] = entries[i].Name()
	}
	return strings.Join(all, " ")
}

func TestCreateWrapKey(t *testing.T) {
	dir := t.TempDir()
	path, content, fingerprint := keyIn(t, dir, filepath.Join("new", "folder", "a.key"))
	if len(content) != 16 {
		t.Errorf("the file has %d bytes", len(content))
	}
	info, err := InspectWrapKey(path)
	if err != nil || info.Fingerprint != fingerprint || info.Mode.Perm() != 0o600 || info.Exposed() {
		t.Errorf("InspectWrapKey = %+v, %v", info, err)
	}
	if folder, err := os.Stat(filepath.Dir(path)); err != nil || folder.Mode().Perm() != 0o700 {
		t.Errorf("the folder made for the key: %v, %v", folder.Mode(), err)
	}
	key, err := OpenWrapKey(path)
	if err != nil || string(key[:]) != string(content) {
		t.Errorf("OpenWrapKey = %v, %v", key, err)
	}
	_, _, other := keyIn(t, dir, "b.key")
	if other == fingerprint {
		t.Error("two keys have one fingerprint")
	}
}

func TestCreateWrapKeyNeverOverwrites(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	writeFile(t, file, "precious", 0o600)
	dangling := filepath.Join(dir, "dangling")
	if err := os.Symlink(filepath.Join(dir, "nowhere"), dangling); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, dangling} {
		if _, err := CreateWrapKey(path); !errors.Is(err, fs.ErrExist) {
			t.Errorf("CreateWrapKey(%s): %v", path, err)
		}
	}
	if got := string(readFile(t, file)); got != "precious" {
		t.Errorf("the file now holds %q", got)
	}
	if got := names(t, dir); got != "dangling file" {
		t.Errorf("left behind: %s", got)
	}
}

func TestReadWrapKeyErrors(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"empty": "", "short": "0123456789abcde", "hex": "000102030405060708090a0b0c0d0e0f", "newline": "0123456789abcdef\n",
		"huge": strings.Repeat("x", 1<<20), "zero": strings.Repeat("\x00", 16),
	} {
		writeFile(t, filepath.Join(dir, name), content, 0o600)
	}
	for _, tt := range []struct{ name, want string }{
		{"none", "no such file or directory"},
		{"empty", "parse wrap key: 0 bytes found, want exactly 16 raw bytes: the file is empty"},
		{"short", "15 bytes found"},
		{"hex", "32 bytes found, want exactly 16 raw bytes: these are 32 hex digits"},
		{"newline", "17 bytes found, want exactly 16 raw bytes: a line end follows"},
		{"huge", "1048576 bytes found, want exactly 16 raw bytes"},
		{"zero", "all 16 bytes are zero"},
		{".", "not a regular file but d---------"},
	} {
		path := filepath.Join(dir, tt.name)
		_, err := OpenWrapKey(path)
		if err == nil || !strings.HasPrefix(err.Error(), "read wrap key "+path+": ") || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if errors.Is(err, fs.ErrNotExist) != (tt.name == "none") {
			t.Errorf("%s: is fs.ErrNotExist: %v", tt.name, err)
		}
		if strings.Contains(err.Error(), "0123456789abcde") || strings.Contains(err.Error(), "0001020304") {
			t.Errorf("%s: the error repeats the content: %v", tt.name, err)
		}
	}
}

func TestExposed(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no permission bits")
	}
	path, _, fingerprint := keyIn(t, t.TempDir(), "a.key")
	for mode, exposed := range map[fs.FileMode]bool{0o400: false, 0o600: false, 0o640: true, 0o604: true, 0o620: true, 0o644: true} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		info, err := CheckWrapKey(path, fingerprint)
		if err != nil || info.Exposed() != exposed {
			t.Errorf("mode %04o: exposed %v, want %v (%v)", mode, info.Exposed(), exposed, err)
		}
	}
}

func TestCheckWrapKeyTellsKeysApart(t *testing.T) {
	path, _, fingerprint := keyIn(t, t.TempDir(), "a.key")
	_, err := CheckWrapKey(path, "0000000000000000")
	want := "use wrap key " + path + ": the file holds another key: its fingerprint is " + fingerprint + ", not 0000000000000000"
	if !errors.Is(err, ErrOtherKey) || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestMoveWrapKey(t *testing.T) {
	dir := t.TempDir()
	from, content, fingerprint := keyIn(t, dir, "from.key")
	to := filepath.Join(dir, "sub", "to.key")
	if err := PlanWrapKeyMove(from, to, fingerprint); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); got != "from.key" {
		t.Fatalf("planning left %s", got)
	}
	if err := MoveWrapKey(from, to, fingerprint); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir) + ": " + names(t, filepath.Dir(to)); got != "sub: to.key" {
		t.Errorf("after the move: %s", got)
	}
	if string(readFile(t, to)) != string(content) {
		t.Error("the key changed on its way")
	}
	if err := MoveWrapKey(from, to, fingerprint); err != nil { // as after an interruption
		t.Errorf("repeating the move: %v", err)
	}
}

// TestMoveWrapKeyResumes takes up a move that ended between writing the new
// file and removing the old one.
func TestMoveWrapKeyResumes(t *testing.T) {
	dir := t.TempDir()
	from, content, fingerprint := keyIn(t, dir, "from.key")
	to := filepath.Join(dir, "to.key")
	if err := atomicfile.WriteFile(to, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := MoveWrapKey(from, to, fingerprint); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); got != "to.key" {
		t.Errorf("after the move: %s", got)
	}
}

// TestMoveWrapKeyOntoItself must not delete the only copy.
func TestMoveWrapKeyOntoItself(t *testing.T) {
	dir := t.TempDir()
	path, content, fingerprint := keyIn(t, dir, "a.key")
	hard, soft := filepath.Join(dir, "hard.key"), filepath.Join(dir, "soft.key")
	if err := os.Link(path, hard); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, soft); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{path, dir + "/./a.key", hard, soft} {
		if err := MoveWrapKey(path, to, fingerprint); err != nil {
			t.Errorf("move to %s: %v", to, err)
		}
		if string(readFile(t, path)) != string(content) {
			t.Fatalf("moving to %s lost the key", to)
		}
	}
}

func TestMoveWrapKeyErrors(t *testing.T) {
	dir := t.TempDir()
	from, content, fingerprint := keyIn(t, dir, "from.key")
	other, otherContent, otherFingerprint := keyIn(t, dir, "other.key")
	junk := filepath.Join(dir, "junk")
	writeFile(t, junk, "not a key", 0o600)
	none := filepath.Join(dir, "none")
	for _, tt := range []struct {
		name, from, to string
		is             error
		want           string
	}{
		{"another key in the way", from, other, fs.ErrExist, "move wrap key to " + other + ": file already exists: use wrap key"},
		{"something in the way", from, junk, fs.ErrExist, "9 bytes found"},
		{"a folder in the way", from, dir, fs.ErrExist, "not a regular file"},
		{"nothing to move", none, none + "2", fs.ErrNotExist, "read wrap key " + none + ": no such file"},
		{"the wrong key to move", other, none, ErrOtherKey, "its fingerprint is " + otherFingerprint},
		{"no folder can be made", from, filepath.Join(junk, "x", "k"), nil, "not a directory"},
	} {
		for _, move := range []func(from, to, fingerprint string) error{PlanWrapKeyMove, MoveWrapKey} {
			err := move(tt.from, tt.to, fingerprint)
			if err == nil || !strings.Contains(err.Error(), tt.want) || (tt.is != nil && !errors.Is(err, tt.is)) {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
	}
	if string(readFile(t, from)) != string(content) || string(readFile(t, other)) != string(otherContent) {
		t.Error("a refused move changed a key")
	}
	if got := names(t, dir); got != "from.key junk other.key" {
		t.Errorf("left behind: %s", got)
	}
}

func TestDeleteWrapKey(t *testing.T) {
	dir := t.TempDir()
	path, _, fingerprint := keyIn(t, dir, "a.key")
	if err := DeleteWrapKey(path, "0000000000000000"); !errors.Is(err, ErrOtherKey) {
		t.Errorf("deleting another key: %v", err)
	}
	link := filepath.Join(dir, "link.key")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := DeleteWrapKey(link, fingerprint); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); got != "" {
		t.Errorf("left behind: %s", got)
	}
	if err := DeleteWrapKey(path, fingerprint); err != nil {
		t.Errorf("deleting what is gone: %v", err)
	}
}
