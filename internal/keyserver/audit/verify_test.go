package audit

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// TestEveryChangeIsFound: any changed byte, any missing, moved or repeated line.
func TestEveryChangeIsFound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	raw := fill(t, path, Options{}, 5)
	lines := bytes.SplitAfter(raw, []byte("\n"))
	lines = lines[:len(lines)-1]
	head := mustVerify(t, raw, VerifyOptions{}).Head

	// Only what the last line says is bound by nothing but a checkpoint: its hash is in the report.
	for i := range raw {
		changed := bytes.Clone(raw)
		changed[i] ^= 1
		r, err := Verify(bytes.NewReader(changed), VerifyOptions{})
		if err == nil && (r.Head == head || i < len(raw)-len(lines[5])) {
			t.Fatalf("byte %d, %q, can be changed", i, raw[i])
		}
	}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for i := range lines {
		missing := join(append(append([][]byte{}, lines[:i]...), lines[i+1:]...)...)
		_, err := Verify(bytes.NewReader(missing), VerifyOptions{})
		if i < len(lines)-1 && err == nil {
			t.Errorf("line %d can be removed", i+1)
		}
		repeated := join(append(append([][]byte{}, lines[:i+1]...), lines[i:]...)...)
		if _, err := Verify(bytes.NewReader(repeated), VerifyOptions{}); err == nil || !strings.Contains(err.Error(), "it was moved or repeated") {
			t.Errorf("line %d can be repeated: %v", i+1, err)
		}
		if i > 0 {
			swapped := append([][]byte{}, lines...)
			swapped[i-1], swapped[i] = swapped[i], swapped[i-1]
			if _, err := Verify(bytes.NewReader(join(swapped...)), VerifyOptions{}); err == nil {
				t.Errorf("lines %d and %d can change places", i, i+1)
			}
		}
	}
}

func TestWhatIsSaidOfChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	raw := string(fill(t, path, Options{}, 3))
	lines := strings.SplitAfter(raw, "\n")
	for _, tt := range []struct {
		name, content, err string
		notALog            bool
	}{
		{"edited", strings.Replace(raw, `"n":0`, `"n":9`, 1), "verify audit log: line 3: entry 3 was written after another entry 2 than the one before it here: that one was changed or replaced", false},
		{"removed", lines[0] + lines[1] + lines[3], "line 3: entry 4 follows entry 2: those between are missing", false},
		{"beginning removed", lines[2] + lines[3], "line 1: the log begins with entry 3: what was before it is missing", false},
		{"repeated", lines[0] + lines[1] + lines[1], "line 3: entry 2 follows entry 2: it was moved or repeated", false},
		{"cut off", raw[:len(raw)-3], "line 4: the file ends in the middle of an entry", false},
		{"another beginning", strings.Replace(lines[0], "begin", "start", 1), `the first entry is "start", want "begin"`, false},
		{"a beginning that follows something", strings.Replace(lines[0], "000", "001", 1), "the first entry says that there was one before it", false},
		{"unknown member", lines[0] + strings.Replace(lines[1], `"seq"`, `"x":1,"seq"`, 1), "line 2: it is not an entry", false},
		{"two objects a line", lines[0] + strings.TrimSpace(lines[1]) + lines[2], "line 2: it is not an entry", false},
		{"empty line", lines[0] + "\n" + lines[1], "line 2: it is not an entry", false},
		{"empty", "", "it is empty, and even a new audit log has an entry", true},
		{"text", "hello", "it is not an audit log", true},
		{"a line of text", "hello\n", "line 1: it is not an entry", true},
		{"endless line", strings.Repeat("x", 2*maxLine), "it is longer than 1048576 bytes", true},
		{"endless line later", lines[0] + strings.Repeat("x", 2*maxLine), "line 2: it is longer than", false},
	} {
		_, err := Verify(strings.NewReader(tt.content), VerifyOptions{})
		var failure *Error
		if !errors.As(err, &failure) || !strings.Contains(err.Error(), tt.err) || failure.NotALog != tt.notALog {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.err)
		}
	}
	broken := errors.New("cable cut")
	if _, err := Verify(brokenReader{broken}, VerifyOptions{}); !errors.Is(err, broken) {
		t.Errorf("a reader that fails: %v", err)
	}
}

type brokenReader struct{ err error }

func (r brokenReader) Read([]byte) (int, error) { return 0, r.err }

func TestCheckpoints(t *testing.T) {
	signer, verifier := newKey(t)
	_, stranger := newKey(t)
	path := filepath.Join(t.TempDir(), "audit.log")
	now := time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)
	opts := Options{Signer: signer, Interval: time.Hour, Now: func() time.Time { return now }}
	l, err := Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	read := func() *Checkpoint {
		t.Helper()
		text, err := os.ReadFile(path + ".checkpoint")
		if err != nil {
			t.Fatal(err)
		}
		c, err := ReadCheckpoint(text, verifier)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := read()
	if first.Seq != 1 || !first.Time.Equal(now) || first.Origin != "test.example.com" {
		t.Errorf("the first checkpoint is %+v", first)
	}
	appendOne := func() {
		t.Helper()
		if _, err := l.Append("release", nil); err != nil {
			t.Fatal(err)
		}
	}
	appendOne()
	if read().Seq != 1 {
		t.Error("a checkpoint was made before it was due")
	}
	now = now.Add(time.Hour)
	appendOne()
	second := read()
	if second.Seq != 4 { // begin, checkpoint, two releases
		t.Errorf("the second checkpoint is %+v", second)
	}
	appendOne()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	third := read()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all := []*Checkpoint{first, second, third}
	r := mustVerify(t, raw, VerifyOptions{Verifier: verifier, Checkpoints: all})
	if r.Checkpoints != 6 || r.Signed != third.Seq || r.Entries != third.Seq+1 {
		t.Errorf("report %+v", r)
	}

	lines := bytes.SplitAfter(raw, []byte("\n"))
	cut := bytes.Join(lines[:4], nil) // a chain without a flaw
	mustVerify(t, cut, VerifyOptions{Verifier: verifier})
	if _, err := Verify(bytes.NewReader(cut), VerifyOptions{Checkpoints: all}); err == nil ||
		!strings.Contains(err.Error(), "the checkpoint of 2026-11-02T13:00:00Z covers 6 entries and the log has 4: its end was cut off") {
		t.Errorf("its end was cut off: %v", err)
	}
	rewritten := fill(t, filepath.Join(t.TempDir(), "other.log"), Options{Now: opts.Now}, 20)
	mustVerify(t, rewritten, VerifyOptions{})
	if _, err := Verify(bytes.NewReader(rewritten), VerifyOptions{Checkpoints: all[1:]}); err == nil ||
		!strings.Contains(err.Error(), "entry 4 is not the one that the checkpoint of 2026-11-02T13:00:00Z was made of: the log was rewritten") {
		t.Errorf("it was rewritten: %v", err)
	}
	if _, err := Verify(bytes.NewReader(raw), VerifyOptions{Verifier: stranger}); err == nil || !strings.Contains(err.Error(), "line 2: read checkpoint: ") {
		t.Errorf("another key: %v", err)
	}
	// A checkpoint that was moved from another log with the same key.
	forged := bytes.Join([][]byte{lines[0]}, nil)
	other := fill(t, filepath.Join(t.TempDir(), "third.log"), Options{Signer: signer, Now: opts.Now}, 0)
	otherLines := bytes.SplitAfter(other, []byte("\n"))
	forged = append(forged, bytes.Replace(lines[1], []byte(noteOf(t, lines[1])), []byte(noteOf(t, otherLines[1])), 1)...)
	if _, err := Verify(bytes.NewReader(forged), VerifyOptions{Verifier: verifier}); err == nil || !strings.Contains(err.Error(), "the checkpoint is of 1 entries that are not those before it") {
		t.Errorf("a checkpoint of another log: %v", err)
	}
}

// noteOf is the JSON text of a checkpoint's note.
func noteOf(t *testing.T, line []byte) string {
	t.Helper()
	_, rest, ok := strings.Cut(string(line), `"note":"`)
	if !ok {
		t.Fatalf("no checkpoint: %s", line)
	}
	text, _, _ := strings.Cut(rest, `"}`)
	return text
}

func TestCheckpointTexts(t *testing.T) {
	signer, verifier := newKey(t)
	good := "test.example.com\n4\n" + strings.Repeat("A", 43) + "=\ntime 2026-11-02T12:00:00Z\n"
	for _, tt := range []struct{ name, old, new, err string }{
		{"good", "4", "4", ""},
		{"line missing", "4\n", "", "it has 3 lines, want 4"},
		{"line more", "4\n", "4\n4\n", "it has 5 lines, want 4"},
		{"no number", "\n4\n", "\nfour\n", `its second line, "four", is not a number`},
		{"padded number", "\n4\n", "\n04\n", `its second line, "04", is not a number`},
		{"short hash", "AAAA", "", "its third line is not a SHA-256"},
		{"long hash", "AAAA", "AAAAAAAA", "its third line is not a SHA-256"},
		{"no time", "time ", "", "is not a time"},
		{"another time", "2026-11-02", "yesterday", "is not a time"},
	} {
		signed, err := note.Sign(&note.Note{Text: strings.Replace(good, tt.old, tt.new, 1)}, signer)
		if err != nil {
			t.Fatal(err)
		}
		_, err = ReadCheckpoint(signed, verifier)
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.err)
		}
	}
	if _, err := ReadCheckpoint([]byte(good), verifier); err == nil {
		t.Error("a checkpoint without a signature is read")
	}
	secret, _, err := GenerateKey("x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseSigner(secret[:len(secret)-4]); err == nil || strings.Contains(err.Error(), secret[20:30]) {
		t.Errorf("a key that is none: %v", err)
	}
	if _, err := ParseVerifier("x"); err == nil {
		t.Error("a verification key that is none is read")
	}
	if _, _, err := GenerateKey("a b"); err == nil {
		t.Error("a name with a space makes a key")
	}
}

func TestCheckpointsThatCannotBeWritten(t *testing.T) {
	signer, _ := newKey(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.log")
	if err := os.MkdirAll(filepath.Join(path+".checkpoint", "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := Open(path, Options{Signer: signer})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Err(); err == nil || !strings.Contains(err.Error(), "write checkpoint: ") {
		t.Errorf("state: %v", err)
	}
	if seq, err := l.Append("release", nil); err != nil || seq < 2 {
		t.Errorf("an entry without a checkpoint: %d, %v", seq, err)
	}
	if err := l.Close(); err == nil {
		t.Error("the missing checkpoint is not told of at the end")
	}
}

func FuzzVerify(f *testing.F) {
	dir := f.TempDir()
	l, err := Open(filepath.Join(dir, "log"), Options{})
	if err != nil {
		f.Fatal(err)
	}
	if _, err := l.Append("release", 1); err != nil {
		f.Fatal(err)
	}
	if err := l.Close(); err != nil {
		f.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := Verify(bytes.NewReader(raw), VerifyOptions{})
		if err == nil && (r.Entries == 0 || r.Events["begin"] == 0) {
			t.Fatalf("report %+v", r)
		}
	})
}
