package keysource

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var canary = [Size]byte{'c', 'a', 'n', 'a', 'r', 'y', '-', 'w', 'r', 'a', 'p', '-', 'k', 'e', 'y', '!'}

// programs are what the test binary plays when its first argument says so.
var programs = map[string]func(args []string) int{
	"print": func(args []string) int {
		_, _ = os.Stdout.WriteString(args[0])
		return 0
	},
	"fail": func(args []string) int {
		_, _ = os.Stdout.WriteString(args[0])
		_, _ = os.Stderr.WriteString(args[1])
		return 3
	},
	"forever": func([]string) int {
		for {
			if _, err := os.Stdout.WriteString(strings.Repeat("x", 4096)); err != nil {
				return 1
			}
		}
	},
	// A child that outlives its parent holds the output open.
	"hang": func(args []string) int {
		if len(args) == 0 {
			p, err := os.StartProcess(os.Args[0], []string{os.Args[0], "hang", "child"}, &os.ProcAttr{Files: []*os.File{nil, os.Stdout, os.Stderr}})
			if err != nil {
				return 1
			}
			_, _ = fmt.Fprintln(os.Stderr, "child", p.Pid)
		}
		time.Sleep(time.Minute)
		return 0
	},
	"environment": func([]string) int {
		for _, v := range os.Environ() {
			name, _, _ := strings.Cut(v, "=")
			_, _ = fmt.Fprint(os.Stderr, name, " ")
		}
		dir, _ := os.Getwd()
		_, _ = fmt.Fprint(os.Stderr, "in ", dir)
		return 1
	},
	// Reads its own variable, and tells what is left of it.
	"environ": func(args []string) int {
		var key [Size]byte
		if err := NewEnviron().Variable(args[0], Hex).Read(context.Background(), &key); err != nil || key != canary {
			return 2
		}
		raw, err := os.ReadFile("/proc/self/environ")
		if err != nil {
			return 3
		}
		_, set := os.LookupEnv(args[0])
		_, _ = fmt.Fprintf(os.Stdout, "set %v, visible %v, others %v", set, strings.Contains(string(raw), hex.EncodeToString(canary[:])),
			strings.Contains(string(raw), "OTHER=untouched"))
		return 0
	},
}

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if p := programs[os.Args[1]]; p != nil {
			os.Exit(p(os.Args[2:])) //nolint:forbidigo // It is main here.
		}
	}
	goleak.VerifyTestMain(m)
}

func write(t *testing.T, path, content string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// check compares an error's text and looks for the key in it.
func check(t *testing.T, err error, want string, key [Size]byte) {
	t.Helper()
	if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Fatalf("error is %v, want %q", err, want)
	}
	if err == nil {
		if key != canary {
			t.Errorf("the key is another")
		}
		return
	}
	if key != [Size]byte{} {
		t.Error("there is a key in spite of the error")
	}
	for _, form := range []string{string(canary[:]), hex.EncodeToString(canary[:]), strings.ToUpper(hex.EncodeToString(canary[:])), "Y2FuYXJ5LXdyYXAta2V5IQ", "canary-wrap"} {
		if strings.Contains(err.Error(), form) {
			t.Errorf("the error shows the key: %v", err)
		}
	}
}

func TestForms(t *testing.T) {
	digits, text := hex.EncodeToString(canary[:]), base64.StdEncoding.EncodeToString(canary[:])
	for _, tt := range []struct {
		form  Form
		input string
		err   string // empty: none
	}{
		{Raw, string(canary[:]), ""},
		{Raw, "", "found 0 bytes, want 16 raw bytes"},
		{Raw, "c", "found 1 byte, want 16 raw bytes"},
		{Raw, string(canary[:]) + "\n", "it is longer than 16 bytes; a wrap key is 16 raw bytes, not hex or base64 text"},
		{Raw, digits, "it is longer than 16 bytes"},
		{Raw, strings.Repeat("\x00", 16), "all 16 bytes are zero, which no random source gives"},
		{Hex, digits, ""},
		{Hex, strings.ToUpper(digits), ""},
		{Hex, digits + "\n", ""},
		{Hex, digits + "\r\n", ""},
		{Hex, digits + "\n\n", "found 34 characters, want 32 hex digits"},
		{Hex, digits + "\x00", "found 33 characters, want 32 hex digits"},
		{Hex, " " + digits, "found 33 characters, want 32 hex digits"},
		{Hex, digits[:31] + "g", "found 32 characters that are not all hex digits"},
		{Hex, digits[:31], "found 31 characters, want 32 hex digits"},
		{Hex, strings.Repeat("0", 32), "all 16 bytes are zero"},
		{Hex, strings.Repeat("a", 64), "found at least 64 characters, want 32 hex digits"},
		{Base64, text, ""},
		{Base64, text + "\n", ""},
		{Base64, strings.TrimRight(text, "="), "found 22 characters, want 24 of base64 with padding"},
		{Base64, "Y2FuYXJ5LXdyYXAta2V5IR==", "found 24 characters that are not base64 of 16 bytes"}, // its last bits are not zero
		{Base64, strings.Repeat("A", 24), "found 24 characters that are not base64 of 16 bytes"},    // 18 bytes
		{Base64, strings.Repeat("-", 22) + "==", "found 24 characters that are not base64 of 16 bytes"},
		{Form("der"), string(canary[:]), `"der" is not a form of a key`},
		{Form(""), string(canary[:]), `"" is not a form of a key`},
	} {
		var key [Size]byte
		err := tt.form.decode([]byte(tt.input), &key)
		t.Run(string(tt.form)+" "+tt.err, func(t *testing.T) { check(t, err, tt.err, key) })
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	for i, tt := range []struct {
		content string
		mode    os.FileMode
		form    Form
		allow   bool
		err     string
	}{
		{content: string(canary[:]), mode: 0o600},
		{content: string(canary[:]), mode: 0o440},
		{content: hex.EncodeToString(canary[:]) + "\n", mode: 0o600, form: Hex},
		{content: string(canary[:]), mode: 0o644, allow: true},
		{content: string(canary[:]), mode: 0o644, err: "its mode is 0644, so every user of this machine can read or replace it; run chmod 0600"},
		{content: "canary-wrap", mode: 0o600, err: "found 11 bytes, want 16 raw bytes"},
		{content: strings.Repeat("canary-wrap", 100), mode: 0o600, err: "it is longer than 16 bytes"},
	} {
		if runtime.GOOS == "windows" && strings.Contains(tt.err, "mode") {
			continue // files have no such modes there
		}
		path := write(t, filepath.Join(dir, fmt.Sprint(i)), tt.content, tt.mode)
		f := File{Path: path, Form: tt.form, AllowReadableByOthers: tt.allow}
		var key [Size]byte
		err := f.Read(t.Context(), &key)
		if err != nil && !strings.HasPrefix(err.Error(), "read wrap key "+path+": ") {
			t.Errorf("the error does not name the file: %v", err)
		}
		check(t, err, tt.err, key)
		if f.String() != "file "+path || len(f.Files()) != 1 {
			t.Errorf("%s, %q", f, f.Files())
		}
	}
	key := canary
	err := File{Path: dir}.Read(t.Context(), &key)
	check(t, err, "it is not a regular file", key)
	key = canary
	err = File{Path: filepath.Join(dir, "absent")}.Read(t.Context(), &key)
	check(t, err, "open wrap key: ", key)
}

func TestCredentials(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no systemd here")
	}
	dir := filepath.Join(t.TempDir(), "credentials")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "wrap-key"), string(canary[:]), 0o400)
	write(t, filepath.Join(dir, "digits"), hex.EncodeToString(canary[:]), 0o440)
	write(t, filepath.Join(dir, "open"), string(canary[:]), 0o444)
	for _, tt := range []struct {
		name, dir string
		form      Form
		mode      os.FileMode
		err       string
	}{
		{name: "wrap-key", dir: dir},
		{name: "digits", dir: dir, form: Hex},
		{name: "open", dir: dir, err: "its mode is 0444"},
		{name: "absent", dir: dir, err: "open wrap key: "},
		{name: "wrap-key", dir: dir, mode: 0o777, err: "is 0777, so others can put files there"},
		{name: "wrap-key", dir: filepath.Join(dir, "no"), err: "find credential wrap-key: stat "},
		{name: "wrap-key", dir: "credentials", err: `CREDENTIALS_DIRECTORY is "credentials", want an absolute path`},
		{name: "wrap-key", err: "CREDENTIALS_DIRECTORY is not set: start the server by a systemd unit with LoadCredential=wrap-key:FILE"},
		{name: "../credentials/wrap-key", dir: dir, err: `"../credentials/wrap-key" is not a name of a credential`},
		{name: "..", dir: dir, err: `".." is not a name of a credential`},
		{name: "", dir: dir, err: `"" is not a name of a credential`},
	} {
		t.Setenv(CredentialsDirectory, tt.dir)
		mode := tt.mode
		if mode == 0 {
			mode = 0o500 // as systemd makes it
		}
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		var key [Size]byte
		c := Credential{Name: tt.name, Form: tt.form}
		check(t, c.Read(t.Context(), &key), tt.err, key)
		if tt.err == "" && (len(c.Files()) != 1 || c.Files()[0] != filepath.Join(dir, tt.name)) {
			t.Errorf("its files are %q", c.Files())
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil { // so that it can be removed
		t.Fatal(err)
	}
}

func TestCredentialsOfOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	dir := t.TempDir()
	t.Setenv(CredentialsDirectory, dir)
	path := write(t, filepath.Join(dir, "wrap-key"), string(canary[:]), 0o400)
	for _, given := range []string{path, dir} {
		if err := os.Chown(given, 12345, -1); err != nil {
			t.Fatal(err)
		}
		var key [Size]byte
		check(t, Credential{Name: "wrap-key"}.Read(t.Context(), &key), "belongs to user 12345, who is neither root nor this server's", key)
		if err := os.Chown(given, 0, -1); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEnvironment(t *testing.T) {
	e := NewEnviron()
	for _, tt := range []struct {
		value, err string
		form       Form
	}{
		{value: hex.EncodeToString(canary[:])},
		{value: base64.StdEncoding.EncodeToString(canary[:]), form: Base64},
		{value: string(canary[:]), err: "read wrap key from the environment variable CC_TEST_KEY: found 16 characters, want 32 hex digits"},
		{value: "", err: "found 0 characters, want 32 hex digits"},
	} {
		t.Setenv("CC_TEST_KEY", tt.value)
		var key [Size]byte
		check(t, e.Variable("CC_TEST_KEY", tt.form).Read(t.Context(), &key), tt.err, key)
		if value, set := os.LookupEnv("CC_TEST_KEY"); set {
			t.Errorf("it is still set, to %d characters", len(value))
		}
	}
	// What was taken stays until the end, however often it is asked for.
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			var key [Size]byte
			if err := e.Variable("CC_TEST_KEY", Hex).Read(t.Context(), &key); err != nil || key != canary {
				t.Errorf("a second time: %v", err)
			}
		})
	}
	wg.Wait()
	kept := e.keys["CC_TEST_KEY"]
	e.Close()
	if *kept != [Size]byte{} {
		t.Error("the key outlives Close")
	}
	var key [Size]byte
	check(t, e.Variable("CC_TEST_KEY", Hex).Read(t.Context(), &key), "the variable CC_TEST_KEY is not set", key)
	if v := e.Variable("CC_TEST_KEY", ""); v.String() != "environment variable CC_TEST_KEY" || len(v.Files()) != 0 {
		t.Errorf("%s, %q", v, v.Files())
	}
}

// TestEnvironmentIsOverwritten looks at it as another process would.
func TestEnvironmentIsOverwritten(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no /proc here")
	}
	t.Setenv("CC_TEST_KEY", hex.EncodeToString(canary[:]))
	t.Setenv("OTHER", "untouched")
	out, err := exec.CommandContext(t.Context(), self(t), "environ", "CC_TEST_KEY").Output()
	if err != nil {
		t.Fatal(err)
	}
	if string(out) != "set false, visible false, others true" {
		t.Errorf("%s", out)
	}
}

func TestCommands(t *testing.T) {
	digits, text := hex.EncodeToString(canary[:]), base64.StdEncoding.EncodeToString(canary[:])
	t.Setenv("CC_TEST_SECRET", "x")
	t.Setenv("CC_TEST_PASSED", "x")
	program := self(t)
	replaceable := write(t, filepath.Join(t.TempDir(), "program"), "", 0o777)
	for _, tt := range []struct {
		name string
		c    Command
		err  string
		not  string // what the error must not hold
	}{
		{name: "raw", c: Command{Argv: []string{program, "print", string(canary[:])}}},
		{name: "hex", c: Command{Argv: []string{program, "print", digits + "\n"}, Form: Hex}},
		{name: "base64", c: Command{Argv: []string{program, "print", text + "\n"}, Form: Base64}},
		{name: "short", c: Command{Argv: []string{program, "print", "canary-wrap"}}, err: ": its output is no key: found 11 bytes, want 16 raw bytes"},
		{name: "nothing", c: Command{Argv: []string{program, "print", ""}}, err: "found 0 bytes"},
		{name: "other form", c: Command{Argv: []string{program, "print", digits}}, err: "it is longer than 16 bytes"},
		{name: "too much", c: Command{Argv: []string{program, "print", strings.Repeat("canary-wrap-key!", 100)}}, err: "it printed more than 64 bytes, and a key is 16"},
		{name: "without end", c: Command{Argv: []string{program, "forever"}}, err: "it printed more than 64 bytes"},
		{name: "fails", c: Command{Argv: []string{program, "fail", "", "permission\n\tdenied\x1b[0m"}}, err: "exit status 3; it said: permission denied[0m"},
		{name: "fails silently", c: Command{Argv: []string{program, "fail", "", ""}}, err: "exit status 3", not: "it said"},
		{name: "tells the key", c: Command{Argv: []string{program, "fail", string(canary[:]), "got " + string(canary[:]) + " but"}}, err: "it said: got **************** but"},
		{name: "tells its digits", c: Command{Argv: []string{program, "fail", string(canary[:]), "got " + strings.ToUpper(digits)}}, err: "it said: got ****"},
		{name: "tells its base64", c: Command{Argv: []string{program, "fail", digits, "got " + text}}, err: "it said: got **********************=="},
		{name: "tells the raw one", c: Command{Argv: []string{program, "fail", text, "got " + string(canary[:])}}, err: "it said: got ****"},
		{name: "says a lot", c: Command{Argv: []string{program, "fail", "", strings.Repeat("a", 100000) + "the end"}}, err: "aathe end", not: strings.Repeat("a", lastWords)},
		{name: "the end begins in a key", c: Command{Argv: []string{program, "fail", string(canary[:]), "x" + string(canary[:]) + strings.Repeat("b", lastWords+longestSpelling-8)}}, err: "it said: bbb", not: "key!"},
		{name: "environment", c: Command{Argv: []string{program, "environment"}, PassEnvironment: []string{"CC_TEST_PASSED", "CC_TEST_UNSET"}}, err: "CC_TEST_PASSED in /", not: "CC_TEST_SECRET"},
		{name: "hangs", c: Command{Argv: []string{program, "hang"}, Timeout: 300 * time.Millisecond}, err: "it did not end within 300ms and was killed"},
		{name: "no program", c: Command{}, err: "it names no program"},
		{name: "relative", c: Command{Argv: []string{"vault", "read"}}, err: `"vault" is not an absolute path: which program runs must not depend on PATH`},
		{name: "absent", c: Command{Argv: []string{program + "-no"}}, err: "no such file"},
		{name: "directory", c: Command{Argv: []string{filepath.Dir(program)}}, err: "is not a file"},
		{name: "replaceable", c: Command{Argv: []string{replaceable}}, err: "is 0777, so every user of this machine can replace it"},
		{name: "NUL", c: Command{Argv: []string{program, "a\x00b"}}, err: "an argument holds a NUL byte"},
		{name: "variable", c: Command{Argv: []string{program}, PassEnvironment: []string{"A=B"}}, err: `"A=B" is not a name of a variable`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if runtime.GOOS == "windows" && (tt.name == "replaceable" || tt.name == "absent" || tt.name == "environment") {
				t.Skip("files have no such modes here, and errors other texts")
			}
			key := [Size]byte{1}
			err := tt.c.Read(t.Context(), &key)
			check(t, err, tt.err, key)
			if err != nil && tt.not != "" && strings.Contains(err.Error(), tt.not) {
				t.Errorf("the error holds %q: %v", tt.not, err)
			}
			if len(tt.c.Files()) != 0 || strings.Contains(tt.c.String(), "print") {
				t.Errorf("%s, %q", tt.c, tt.c.Files())
			}
		})
	}
}

// TestCommandsEndWithTheirContext also wants the child of the command to be gone, which holds its output open.
func TestCommandsEndWithTheirContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(500*time.Millisecond, func() { cancel(errors.New("stop")) })
	var key [Size]byte
	start := time.Now()
	err := Command{Argv: []string{self(t), "hang"}}.Read(ctx, &key)
	check(t, err, "it was killed: context canceled", key)
	_, pid, found := strings.Cut(err.Error(), "it said: child ")
	if !found {
		t.Fatalf("it did not say what its child is: %v", err)
	}
	gone := func() bool {
		raw, err := os.ReadFile("/proc/" + pid + "/stat")
		return err != nil || strings.Contains(string(raw), ") Z ") // killed, and nobody has asked yet
	}
	for deadline := time.Now().Add(10 * time.Second); runtime.GOOS == "linux" && !gone(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("its child is still there")
		}
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
