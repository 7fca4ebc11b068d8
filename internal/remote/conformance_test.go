package remote

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
	"github.com/ccctl/terraform-provider-cc/internal/testhost"
)

// machine is a kind of machine, and what it bears.
type machine struct {
	open func(t *testing.T) Executor
	// cut breaks the way to it, if that can be done from here.
	cut func()
	// keeps tells that what goes there is kept by a third party.
	keeps bool
	chunk int   // size of what is sent in one go
	large int64 // a large file
	heavy int   // a large output
}

// machines are what every conformance test runs against.
var machines = map[string]func(t *testing.T) *machine{
	"local": func(*testing.T) *machine { return direct(func(*testing.T) Executor { return Local{} }) },
	"ssh": func(t *testing.T) *machine {
		s, config := newTestServer(t)
		m := direct(func(t *testing.T) Executor { return dialTest(t, config) })
		m.cut = s.cut
		return m
	},
	"openssh": func(*testing.T) *machine {
		return direct(func(t *testing.T) Executor { return dialTest(t, openSSH(t)) })
	},
	"sudo": func(t *testing.T) *machine {
		s, config := newTestServer(t)
		s.env = []string{"PATH=" + fakeSudo(t) + string(os.PathListSeparator) + os.Getenv("PATH")}
		config.Sudo = true
		return direct(func(t *testing.T) Executor { return dialTest(t, config) })
	},
	"assistant": func(t *testing.T) *machine {
		c := newTestCloud(t)
		return &machine{
			open: func(*testing.T) Executor { return c.assistant() }, cut: c.cut, keeps: true,
			chunk: ecs.MaxSentFile, large: 300 << 10, heavy: 100 << 10,
		}
	},
}

// direct is a machine that everything goes to without a third party.
func direct(open func(t *testing.T) Executor) *machine {
	return &machine{open: open, chunk: chunkSize, large: 20 << 20, heavy: 8 << 20}
}

func openSSH(t *testing.T) SSHConfig {
	d := testhost.StartSSHD(t)
	return SSHConfig{Address: d.Address, User: d.User, HostKeys: []string{d.HostKey}, PrivateKeyFile: d.KeyFile}
}

// fakeSudo is a folder with a sudo that changes nobody, and fails like the
// real one without -n.
func fakeSudo(t *testing.T) string {
	dir := t.TempDir()
	script := "#!/bin/sh\n[ \"$1 $2\" = '-n --' ] || { echo 'sudo: a password is required' >&2; exit 1; }\nshift 2\nCC_FAKE_SUDO='by sudo' exec \"$@\"\n"
	if err := os.WriteFile(filepath.Join(dir, "sudo"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func dialTest(t *testing.T, config SSHConfig) *SSH {
	t.Helper()
	x, err := DialSSH(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.Close() })
	return x
}

func onEach(t *testing.T, test func(t *testing.T, x Executor)) {
	onEachMachine(t, func(t *testing.T, m *machine) { test(t, m.open(t)) })
}

func onEachMachine(t *testing.T, test func(t *testing.T, m *machine)) {
	t.Parallel()
	for name, machine := range machines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, machine(t))
		})
	}
}

func TestRun(t *testing.T) {
	onEach(t, func(t *testing.T, x Executor) {
		for _, tt := range []struct {
			name  string
			args  []string
			stdin string
			out   string
			err   string
		}{
			{name: "arguments as given", args: []string{"printf", "%s|", "a b", "", "$HOME", "it's", `"\`, "*", "-n", "x\ny", "~"},
				out: "a b||$HOME|it's|\"\\|*|-n|x\ny|~|"},
			{name: "not ASCII", args: []string{"printf", "%s", "密钥服务器 – ключ 🔑"}, out: "密钥服务器 – ключ 🔑"},
			{name: "bytes", args: []string{"printf", `\377\000\001`}, out: "\xff\x00\x01"},
			{name: "stdin", args: []string{"cat"}, stdin: "hello\x00there", out: "hello\x00there"},
			{name: "no stdin", args: []string{"cat"}},
			{name: "exit code", args: []string{"sh", "-c", "echo out; echo 'what went wrong' >&2; exit 42"}, out: "out\n",
				err: ": exit code 42: what went wrong"},
			{name: "signal", args: []string{"sh", "-c", "kill -KILL $$"}, err: ": ended by signal KILL"},
			{name: "not there", args: []string{"no-such-program"}, err: "not found"},
		} {
			var out bytes.Buffer
			c := Command{Args: tt.args, Stdout: &out}
			if tt.stdin != "" {
				c.Stdin = strings.NewReader(tt.stdin)
			}
			err := x.Run(t.Context(), c)
			if out.String() != tt.out {
				t.Errorf("%s: output is %q, want %q", tt.name, out.String(), tt.out)
			}
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: error is %v, want %q", tt.name, err, tt.err)
			}
			var exit *ExitError
			if err != nil && (!errors.As(err, &exit) || exit.Host != x.String()) {
				t.Errorf("%s: error is a %T", tt.name, err)
			}
		}
		for code, args := range map[int][]string{0: {"true"}, 3: {"sh", "-c", "exit 3"}, 127: {"no-such-program"}} {
			if got, known := ExitCode(x.Run(t.Context(), Command{Args: args})); got != code || !known {
				t.Errorf("%v: exit code %d, %v", args, got, known)
			}
		}
		for want, args := range map[string][]string{"none is named": {}, "NUL character": {"echo", "a\x00b"}} {
			if err := x.Run(t.Context(), Command{Args: args}); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v", args, err)
			}
		}
	})
}

func TestRunLargeOutput(t *testing.T) {
	onEachMachine(t, func(t *testing.T, m *machine) {
		x := m.open(t)
		in := make([]byte, m.heavy)
		_, _ = rand.NewChaCha8([32]byte{1}).Read(in)
		var out bytes.Buffer
		var count counter
		if err := x.Run(t.Context(), Command{Args: []string{"sh", "-c", "tee /dev/stderr"}, Stdin: bytes.NewReader(in), Stdout: &out, Stderr: &count}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(in, out.Bytes()) || int(count) != len(in) {
			t.Errorf("%d bytes in, %d and %d out", len(in), out.Len(), count)
		}
		want := "more than 16777216 bytes"
		if m.keeps {
			want = "it wrote 17000000 bytes, more than the 4194304 that are fetched by way of Cloud Assistant"
		}
		if _, err := Output(t.Context(), x, "head", "-c", "17000000", "/dev/zero"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("too much output: %v", err)
		}
	})
}

type counter int

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

func TestRunConcurrently(t *testing.T) {
	onEach(t, func(t *testing.T, x Executor) {
		results := make(chan error)
		const n = 8
		for range n {
			go func() {
				out, err := Output(t.Context(), x, "sh", "-c", "sleep 0.1; echo done")
				if err == nil && string(out) != "done\n" {
					err = errors.New("output is " + string(out))
				}
				results <- err
			}()
		}
		for range n {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
	})
}

// TestRunCanceled looks for the program afterwards: it was asked to end.
func TestRunCanceled(t *testing.T) {
	onEach(t, func(t *testing.T, x Executor) {
		mark := filepath.Join(t.TempDir(), "ended")
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		begun := time.Now()
		err := x.Run(ctx, Command{Args: []string{"sh", "-c", `trap 'touch "$0"; exit 0' TERM; while :; do sleep 0.05; done`, mark}})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) > 10*time.Second {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			if _, err := os.Stat(mark); err == nil {
				break
			} else if time.Now().After(deadline) {
				t.Fatal("the program was not asked to end")
			}
		}
		if err := x.Run(ctx, Command{Args: []string{"true"}}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a context that has ended: %v", err)
		}
		if err := x.Run(t.Context(), Command{Args: []string{"true"}}); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func TestPutAndGet(t *testing.T) {
	onEachMachine(t, func(t *testing.T, m *machine) {
		x := m.open(t)
		dir := t.TempDir()
		for _, tt := range []struct {
			name   string
			size   int
			mode   fs.FileMode
			secret bool
		}{
			{"empty", 0, 0o644, false},
			{"empty secret", 0, 0o600, true},
			{"one", 1, 0o640, false},
			{"wrap key", 16, 0o400, true},
			{"chunk", m.chunk, 0o600, false},
			{"chunk and one", m.chunk + 1, 0o600, false},
			{"模型 it's $HOME\n\\", 3*m.chunk + 17, 0o755, false},
			{"large", int(m.large), 0o600, false},
		} {
			if tt.secret && m.keeps {
				continue // see TestPutSecret
			}
			data := make([]byte, tt.size)
			_, _ = rand.NewChaCha8([32]byte{2}).Read(data)
			name := filepath.Join(dir, tt.name)
			for _, old := range []string{"", "another content"} {
				if old != "" {
					_ = os.Chmod(name, 0o600)
					if err := os.WriteFile(name, []byte(old), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				var last int64
				f := BytesFile(name, data, tt.mode)
				f.Secret, f.Progress = tt.secret, func(n int64) { last = n }
				if os.Geteuid() == 0 {
					f.Owner = &Owner{UID: 65532, GID: 65531}
				}
				if err := x.Put(t.Context(), f); err != nil {
					t.Fatalf("%s: %v", tt.name, err)
				}
				info, err := os.Stat(name)
				if err != nil || info.Mode().Perm() != tt.mode || last != int64(tt.size) {
					t.Errorf("%s: %v, %v, told of %d bytes", tt.name, info, err, last)
				}
				if f.Owner != nil && owner(info) != *f.Owner {
					t.Errorf("%s belongs to %v", tt.name, owner(info))
				}
				got, err := x.Get(t.Context(), name, int64(tt.size))
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("%s: %d bytes, %v", tt.name, len(got), err)
				}
			}
			if tt.size > 0 {
				if _, err := x.Get(t.Context(), name, int64(tt.size)-1); err == nil || !strings.Contains(err.Error(), "it is longer than") {
					t.Errorf("%s: over the limit: %v", tt.name, err)
				}
			}
		}
		if left, _ := filepath.Glob(filepath.Join(dir, ".cc-tmp-*")); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
		if _, err := x.Get(t.Context(), filepath.Join(dir, "none"), 1); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("no file: %v", err)
		}
		if _, err := x.Get(t.Context(), dir, 100); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a directory: %v", err)
		}
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := x.Get(canceled, filepath.Join(dir, "empty"), 1); !errors.Is(err, context.Canceled) {
			t.Errorf("canceled: %v", err)
		}
	})
}

func TestPutErrors(t *testing.T) {
	onEach(t, func(t *testing.T, x Executor) {
		dir := t.TempDir()
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		for _, tt := range []struct {
			name string
			ctx  context.Context
			f    File
			want string
		}{
			{"no directory", t.Context(), BytesFile(filepath.Join(dir, "none", "f"), nil, 0o600), filepath.Join("none", "f")},
			{"short source", t.Context(), File{Path: filepath.Join(dir, "f"), Size: 9, Body: strings.NewReader("four")}, "ended after 4 of 9 bytes"},
			{"failing source", t.Context(), File{Path: filepath.Join(dir, "f"), Size: 9, Body: failingSource{}}, "the disk is on fire"},
			{"relative", t.Context(), BytesFile("f", nil, 0o600), "the path is not absolute"},
			{"canceled", canceled, BytesFile(filepath.Join(dir, "f"), []byte("x"), 0o600), "context canceled"},
			{"onto a directory", t.Context(), BytesFile(dir, []byte("x"), 0o600), "put " + dir + " on " + x.String()},
		} {
			if err := x.Put(tt.ctx, tt.f); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
		if _, err := os.Stat(filepath.Join(dir, "f")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a file came to be: %v", err)
		}
	})
}

type failingSource struct{}

func (failingSource) ReadAt([]byte, int64) (int, error) { return 0, errors.New("the disk is on fire") }

// TestPutSecret looks at every name and argument there is while a secret is
// written: neither it nor its digest is among them.
func TestPutSecret(t *testing.T) {
	onEachMachine(t, func(t *testing.T, m *machine) {
		x := m.open(t)
		dir := t.TempDir()
		secret := []byte("0123456789abcdef")
		sum := sha256.Sum256(secret)
		seen := ""
		f := BytesFile(filepath.Join(dir, "key"), secret, 0o600)
		f.Secret = true
		f.Progress = func(int64) {
			entries, err := os.ReadDir(dir)
			if err != nil || len(entries) != 1 {
				t.Errorf("%v, %v", entries, err)
				return
			}
			seen = entries[0].Name()
			if info, err := entries[0].Info(); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%v, %v", info, err)
			}
		}
		if m.keeps {
			refusesSecrets(t, x, f)
			return
		}
		if err := x.Put(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(seen, ".cc-tmp-") || strings.Contains(seen, string([]byte("0123456789abcdef"[:8]))) ||
			strings.Contains(seen, hexPrefix(sum[:])) {
			t.Errorf("temporary name is %q", seen)
		}
	})
}

// refusesSecrets is how a machine behaves behind a service that keeps things.
func refusesSecrets(t *testing.T, x Executor, f File) {
	t.Helper()
	input := Command{Args: []string{"cat"}, Stdin: strings.NewReader("0123456789abcdef"), Secret: true}
	for what, err := range map[string]error{"file": x.Put(t.Context(), f), "input": x.Run(t.Context(), input)} {
		if !errors.Is(err, ErrKept) || !strings.Contains(err.Error(), "use SSH") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := os.Stat(f.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is there: %v", err)
	}
}

// TestConnectionCut breaks the way to a machine while a program runs there.
func TestConnectionCut(t *testing.T) {
	onEachMachine(t, func(t *testing.T, m *machine) {
		if m.cut == nil {
			return // there is nothing between
		}
		x := m.open(t)
		mark := filepath.Join(t.TempDir(), "begun")
		go func() {
			for t.Context().Err() == nil {
				if _, err := os.Stat(mark); err == nil {
					m.cut()
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		}()
		err := x.Run(t.Context(), Command{Args: []string{"sh", "-c", `touch "$0"; sleep 3`, mark}})
		if !errors.Is(err, ErrConnectionLost) {
			t.Errorf("in the middle: %v", err)
		}
		if _, known := ExitCode(err); known {
			t.Error("an exit code is known")
		}
		for what, err := range map[string]error{
			"run": x.Run(t.Context(), Command{Args: []string{"true"}}),
			"put": x.Put(t.Context(), BytesFile(mark, nil, 0o600)),
			"get": func() error { _, err := x.Get(t.Context(), "/etc/hostname", 100); return err }(),
		} {
			if !errors.Is(err, ErrConnectionLost) {
				t.Errorf("%s afterwards: %v", what, err)
			}
		}
	})
}

// TestLongFile is for the sizes that take their time: 64 MiB, or as many bytes
// as CC_REMOTE_FILE_SIZE says ("make test-remote-large": 1 GiB).
func TestLongFile(t *testing.T) {
	size := int64(64 << 20)
	if s := os.Getenv("CC_REMOTE_FILE_SIZE"); s != "" {
		var err error
		if size, err = strconv.ParseInt(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"local", "openssh", "assistant"} {
		t.Run(name, func(t *testing.T) {
			m := machines[name](t)
			f := File{Path: filepath.Join(t.TempDir(), "long"), Mode: 0o600, Size: size, Body: pattern{}}
			err := m.open(t).Put(t.Context(), f)
			if m.keeps {
				if err == nil || !strings.Contains(err.Error(), "more than the 4194304 that are sent by way of Cloud Assistant; use SSH") {
					t.Errorf("refusal is %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			arrived, err := os.Open(f.Path)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = arrived.Close() }()
			want, got := sha256.New(), sha256.New()
			if _, err := io.Copy(want, io.NewSectionReader(pattern{}, 0, size)); err != nil {
				t.Fatal(err)
			}
			if n, err := io.Copy(got, arrived); err != nil || n != size || !bytes.Equal(want.Sum(nil), got.Sum(nil)) {
				t.Errorf("%d bytes arrived (%v), of another content", n, err)
			}
		})
	}
}

// pattern is content without end, in which no two blocks are the same.
type pattern struct{}

func (pattern) ReadAt(p []byte, at int64) (int, error) {
	for i := range p {
		x := uint64(at+int64(i)) / 8
		x = (x ^ x>>29) * 0x9e3779b97f4a7c15
		p[i] = byte(x >> (8 * (uint64(at+int64(i)) % 8)))
	}
	return len(p), nil
}

func hexPrefix(sum []byte) string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	for _, c := range sum[:4] {
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
	return b.String()
}

var _ io.ReaderAt = failingSource{}
