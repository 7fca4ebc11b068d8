package remote

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
	"github.com/ccctl/terraform-provider-cc/internal/testhost"
)

// testCloud is a simulated account with one instance, whose commands run here.
type testCloud struct {
	sim      *ecssim.Server
	client   *ecs.Client
	instance string
	scratch  string
	down     atomic.Bool
}

func newTestCloud(t *testing.T) *testCloud {
	t.Helper()
	sim, err := ecssim.New(ecssim.Options{Runner: ecssim.DirectoryRunner{Dir: t.TempDir()}})
	if err != nil {
		t.Fatal(err)
	}
	c := &testCloud{sim: sim, scratch: t.TempDir()}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c.down.Load() {
			panic(http.ErrAbortHandler)
		}
		sim.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { web.Close(); sim.Close() })
	c.client, err = ecs.New(ecs.Config{
		Region: "cn-beijing", Credentials: ecs.Credentials{AccessKey: ecssim.DefaultAccessKey, SecretKey: ecssim.DefaultSecretKey},
		Endpoints: ecs.Endpoints{ECS: web.URL, VPC: web.URL, STS: web.URL}, Backoff: ecs.Backoff{Min: 2 * time.Millisecond, Max: 10 * time.Millisecond},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.client.Close)
	do := func(action, field string, arguments map[string]string) string {
		out, err := sim.Do("cn-beijing", action, arguments)
		if err != nil {
			t.Fatal(err)
		}
		s, _ := out[field].(string)
		return s
	}
	vpc := do("CreateVpc", "VpcId", map[string]string{"CidrBlock": "10.0.0.0/16"})
	vswitch := do("CreateVSwitch", "VSwitchId", map[string]string{"VpcId": vpc, "CidrBlock": "10.0.1.0/24", "ZoneId": "cn-beijing-h"})
	group := do("CreateSecurityGroup", "SecurityGroupId", map[string]string{"VpcId": vpc})
	c.instance, err = c.client.RunInstance(t.Context(), ecs.InstanceSpec{
		Name: "test", ImageID: "aliyun_3_x64_20G_alibase_20260513.vhd", Type: "ecs.c7.large", VSwitchID: vswitch, SecurityGroups: []string{group},
		Disk: ecs.Disk{Category: "cloud_essd", SizeGiB: 40, PerformanceLevel: "PL0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *testCloud) cut() { c.down.Store(true) }

func (c *testCloud) assistant() *Assistant {
	return &Assistant{Client: c.client, Instance: c.instance, Scratch: c.scratch}
}

// left is what is on the machine of what was under way.
func (c *testCloud) left(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(c.scratch, ".cc-*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func (c *testCloud) count(action string) int {
	n := 0
	for _, r := range c.sim.Requests() {
		if r.Action == action {
			n++
		}
	}
	return n
}

// TestAssistantLeavesNothing looks into its scratch directory after each kind
// of end.
func TestAssistantLeavesNothing(t *testing.T) {
	t.Parallel()
	c := newTestCloud(t)
	x := c.assistant()
	for name, work := range map[string]func() error{
		"small output": func() error { return x.Run(t.Context(), Command{Args: []string{"echo"}}) },
		"large output": func() error { _, err := Output(t.Context(), x, "head", "-c", "40000", "/dev/zero"); return err },
		"large input": func() error {
			return x.Run(t.Context(), Command{Args: []string{"cat"}, Stdin: strings.NewReader(strings.Repeat("x", 30000))})
		},
		"large file": func() error {
			return x.Put(t.Context(), BytesFile(filepath.Join(t.TempDir(), "f"), make([]byte, 50000), 0o600))
		},
		"canceled": func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			if err := x.Run(ctx, Command{Args: []string{"sleep", "20"}}); !errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("it ended with %w", err)
			}
			return nil
		},
	} {
		if err := work(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if left := c.left(t); len(left) > 0 {
			t.Errorf("%s has left %v", name, left)
		}
	}
}

// TestAssistantStopsTheInvocation has a program that does not listen.
func TestAssistantStopsTheInvocation(t *testing.T) {
	t.Parallel()
	c := newTestCloud(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := c.assistant().Run(ctx, Command{Args: []string{"sh", "-c", `trap "" TERM; sleep 6`}})
	if !errors.Is(err, context.DeadlineExceeded) || c.count("StopInvocation") != 1 {
		t.Errorf("it was stopped %d times: %v", c.count("StopInvocation"), err)
	}
}

// TestAssistantKeepsNoSecret looks at all that the service has kept.
func TestAssistantKeepsNoSecret(t *testing.T) {
	t.Parallel()
	c := newTestCloud(t)
	f := BytesFile(filepath.Join(t.TempDir(), "key"), []byte("0123456789abcdef"), 0o600)
	f.Secret = true
	refusesSecrets(t, c.assistant(), f)
	if n := c.count("RunCommand") + c.count("SendFile"); n != 0 {
		t.Errorf("%d calls for what is refused", n)
	}
}

// TestAssistantResumes has pieces there from an attempt before.
func TestAssistantResumes(t *testing.T) {
	t.Parallel()
	c := newTestCloud(t)
	x := c.assistant()
	data := []byte(strings.Repeat("0123456789", 10000)) // five pieces
	f := BytesFile(filepath.Join(t.TempDir(), "f"), data, 0o600)
	ctx, cancel := context.WithCancel(t.Context())
	f.Progress = func(n int64) {
		if n == 2*ecs.MaxSentFile {
			cancel()
		}
	}
	if err := x.Put(ctx, f); !errors.Is(err, context.Canceled) {
		t.Fatalf("canceled: %v", err)
	}
	parts := c.left(t)
	if len(parts) != 1 || c.count("SendFile") != 2 {
		t.Fatalf("%v, %d pieces were sent", parts, c.count("SendFile"))
	}
	f.Progress = nil
	if err := x.Put(t.Context(), f); err != nil || c.count("SendFile") != 5 {
		t.Errorf("%d pieces were sent: %v", c.count("SendFile"), err)
	}
	if !slices.Equal(mustRead(t, f.Path), data) {
		t.Error("the content is another")
	}
	// A piece of the right size and with another content.
	if err := os.MkdirAll(parts[0], 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(parts[0], "000001"), make([]byte, ecs.MaxSentFile), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := x.Put(t.Context(), f); err != nil || !slices.Equal(mustRead(t, f.Path), data) {
		t.Errorf("after a foreign piece: %v", err)
	}
}

// TestAssistantRunsOnce delivers a command twice, as the service may.
func TestAssistantRunsOnce(t *testing.T) {
	t.Parallel()
	c := newTestCloud(t)
	x := c.assistant()
	mark := filepath.Join(t.TempDir(), "mark")
	dir := x.scratch("run")
	script := fmt.Sprintf(runScript, quoteArg(dir), Quote([]string{"sh", "-c", `echo once >>"$0"; sleep 0.3; head -c 20000 /dev/zero`, mark}), assistantPiece-256, `: >"$d/in"`)
	ended := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := x.script(t.Context(), script)
			ended <- err
		}()
	}
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if text := string(mustRead(t, mark)); text != "once\n" {
		t.Errorf("it ran: %q", text)
	}
}

func TestAssistantFailures(t *testing.T) {
	t.Parallel()
	c := newTestCloud(t)
	x := c.assistant()
	// Signals, and codes that a shell writes in the same way.
	for script, want := range map[string]ExitError{
		"exit 137": {Code: 137}, "kill -TERM $$": {Code: -1, Signal: "TERM"}, "kill -SEGV $$": {Code: -1, Signal: "SEGV"}, "exit 255": {Code: 255},
	} {
		var exit *ExitError
		if err := x.Run(t.Context(), Command{Args: []string{"sh", "-c", script}}); !errors.As(err, &exit) || exit.Code != want.Code || exit.Signal != want.Signal {
			t.Errorf("%s: %+v", script, exit)
		}
	}
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"long input": {x.Run(t.Context(), Command{Args: []string{"cat"}, Stdin: strings.NewReader(strings.Repeat("x", MaxAssistantFile+1))}),
			"its standard input has more than the 4194304 bytes that are sent by way of Cloud Assistant; use SSH"},
		"long arguments": {x.Run(t.Context(), Command{Args: []string{"echo", strings.Repeat("x", 20<<10)}}), "more than the 24576 that Cloud Assistant takes"},
		"no such instance": {(&Assistant{Client: c.client, Instance: "i-none"}).Run(t.Context(), Command{Args: []string{"true"}}),
			"find instance i-none: it does not exist in region cn-beijing"},
	} {
		if tt.err == nil || !strings.Contains(tt.err.Error(), tt.want) {
			t.Errorf("%s: %v", name, tt.err)
		}
	}
	// Somebody in the console ends it.
	go func() {
		for t.Context().Err() == nil {
			out, err := c.sim.Do("cn-beijing", "DescribeInvocations", nil)
			if err != nil {
				return
			}
			for _, word := range strings.FieldsFunc(fmt.Sprint(out), func(r rune) bool { return r == ' ' || r == ':' || r == ']' }) {
				if strings.HasPrefix(word, "t-sim") {
					_, _ = c.sim.Do("cn-beijing", "StopInvocation", map[string]string{"InvokeId": word})
				}
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	if err := x.Run(t.Context(), Command{Args: []string{"sleep", "3"}}); !errors.Is(err, ErrConnectionLost) || !strings.Contains(err.Error(), "the command ended as Terminated") {
		t.Errorf("stopped from outside: %v", err)
	}
}

func TestAssistantReportIsChecked(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "cc", "cc 1 - 2", "cc x - 1 1\n", "cd 0 - 0 0\n", "cc 0 - 0 0 0\n", "cc 0 - 1 z\n"} {
		if _, _, err := parseEnd([]byte(text)); err == nil || !strings.Contains(err.Error(), "makes no sense") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestAssistantMachineWithoutRoom: a machine that cannot keep anything says so
// at once, and nobody waits for what cannot come; nothing is left in part.
func TestAssistantMachineWithoutRoom(t *testing.T) {
	t.Parallel()
	disk := testhost.NewDisk(t, 1<<20)
	c := newTestCloud(t)
	x := c.assistant()
	x.Scratch = disk.Dir
	disk.Fill()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	run := func(stdin string) error {
		return x.Run(ctx, Command{Args: []string{"cat"}, Stdin: strings.NewReader(stdin)})
	}
	here := c.assistant() // with room for what is under way
	for name, err := range map[string]error{
		"program":        run(""),
		"its input":      run("input"),
		"small file":     here.Put(ctx, BytesFile(disk.Path("small"), make([]byte, 5000), 0o600)),
		"file in pieces": here.Put(ctx, BytesFile(disk.Path("large"), make([]byte, 40<<10), 0o600)),
	} {
		if err == nil || !strings.Contains(err.Error(), "No space left on device") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if entries, err := os.ReadDir(disk.Dir); err != nil || len(entries) != 1 { // what fills it
		t.Errorf("left there: %v, %v", entries, err)
	}
	disk.Free()
	if err := errors.Join(run("input"), here.Put(ctx, BytesFile(disk.Path("large"), make([]byte, 40<<10), 0o600))); err != nil {
		t.Errorf("when there is room: %v", err)
	}
	x.Scratch = filepath.Join(disk.Dir, "absent")
	if err := run(""); err == nil || !strings.Contains(err.Error(), "No such file or directory") {
		t.Errorf("without a directory for what is under way: %v", err)
	}
}

// TestAssistantDeliveredTwice: the second of two deliveries ends, also when the
// first has ended and left nothing.
func TestAssistantDeliveredTwice(t *testing.T) {
	t.Parallel()
	c := newTestCloud(t)
	x := c.assistant()
	dir := x.scratch("run")
	script := fmt.Sprintf(runScript, quoteArg(dir), Quote([]string{"sleep", "0.5"}), assistantPiece-256, `: >"$d/in"`)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ended := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := x.script(ctx, script)
			ended <- err
		}()
	}
	first, second := <-ended, <-ended
	if first != nil && second != nil {
		t.Errorf("neither tells how it ended: %v, %v", first, second)
	}
	for _, err := range []error{first, second} {
		if err != nil && !strings.Contains(err.Error(), "it was delivered twice") {
			t.Errorf("got %v", err)
		}
	}
}
