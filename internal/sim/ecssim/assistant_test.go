package ecssim

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"))
}

func (c *cloud) run(id, script, timeout string) string {
	c.t.Helper()
	return text(c.ask("RunCommand", map[string]string{
		"Type": "RunShellScript", "CommandContent": base64.StdEncoding.EncodeToString([]byte(script)), "ContentEncoding": "Base64", "InstanceId.1": id, "Timeout": timeout,
	})["InvokeId"])
}

// result waits for the end of a command.
func (c *cloud) result(invocation string) (status string, code float64, output string) {
	c.t.Helper()
	for range 1000 {
		r := at(c.ask("DescribeInvocationResults", map[string]string{"InvokeId": invocation}), "Invocation", "InvocationResults", "InvocationResult", 0)
		if status = text(at(r, "InvocationStatus")); status != "" && status != "Running" {
			data, err := base64.StdEncoding.DecodeString(text(at(r, "Output")))
			if err != nil {
				c.t.Fatal(err)
			}
			code, _ = at(r, "ExitCode").(float64)
			return status, code, string(data)
		}
		time.Sleep(5 * time.Millisecond)
	}
	c.t.Fatal("the command does not end")
	return "", 0, ""
}

func TestCommandsReallyRun(t *testing.T) {
	dir := t.TempDir()
	c := newCloud(t, Options{Runner: DirectoryRunner{Dir: dir, Prepare: func(_ Machine, root string) error {
		return os.WriteFile(filepath.Join(root, "bin", "hostname"), []byte("#!/bin/sh\necho simulated\n"), 0o700)
	}}})
	_, vswitch, group := c.network()
	id := c.machine(vswitch, group, nil)
	if status, code, out := c.result(c.run(id, "hostname; echo here > file; echo $CC_ROOT", "60")); status != "Success" || code != 0 || out != "simulated\n"+filepath.Join(dir, id)+"\n" {
		t.Errorf("%s %v %q", status, code, out)
	}
	if data, err := os.ReadFile(filepath.Join(dir, id, "file")); err != nil || string(data) != "here\n" {
		t.Errorf("the command left %q (%v)", data, err)
	}
	if status, code, out := c.result(c.run(id, "echo bad >&2; exit 3", "60")); status != "Failed" || code != 3 || out != "bad\n" {
		t.Errorf("%s %v %q", status, code, out)
	}
	if status, _, out := c.result(c.run(id, "head -c 30000 /dev/zero | tr '\\0' x; echo end", "60")); status != "Success" || len(out) != maxOutput || !strings.HasSuffix(out, "xend\n") {
		t.Errorf("%s, %d bytes of output", status, len(out))
	}
}

func TestCommandStopsAndIsRefused(t *testing.T) {
	now := time.Now()
	c := newCloud(t, Options{Now: func() time.Time { return now }, Runner: DirectoryRunner{Dir: t.TempDir()}, Latencies: Latencies{Agent: time.Minute}})
	_, vswitch, group := c.network()
	id := c.machine(vswitch, group, nil)
	if status, _, _ := c.result(c.run(id, "true", "60")); status != "Failed" {
		t.Errorf("without an agent: %s", status)
	}
	now = now.Add(2 * time.Minute)
	inv := c.run(id, "exec sleep 60", "60")
	c.ask("StopInvocation", map[string]string{"InvokeId": inv, "InstanceId.1": id})
	if status, _, _ := c.result(inv); status != "Terminated" {
		t.Errorf("stopped: %s", status)
	}
	c.refused(404, "InvalidInvokeId.NotFound", "StopInvocation", map[string]string{"InvokeId": "t-none"})
	c.refused(404, "InvalidInstance.NotFound", "RunCommand", map[string]string{"Type": "RunShellScript", "CommandContent": "true", "InstanceId.1": "i-none"})
	c.refused(400, "CmdContent.ExceedLimit", "RunCommand", map[string]string{"Type": "RunShellScript", "CommandContent": strings.Repeat("#", 20<<10), "InstanceId.1": id})
	c.refused(400, "InvalidCmdType.NotFound", "RunCommand", map[string]string{"Type": "RunBatScript", "CommandContent": "x", "InstanceId.1": id})
	c.ask("StopInstance", map[string]string{"InstanceId": id})
	c.refused(403, "InvalidInstance.NotMatch", "RunCommand", map[string]string{"Type": "RunShellScript", "CommandContent": "true", "InstanceId.1": id})
	// Close ends what still runs.
	c.ask("StartInstance", map[string]string{"InstanceId": id})
	now = now.Add(2 * time.Minute)
	c.run(id, "exec sleep 60", "60")
}

func TestFilesAreSent(t *testing.T) {
	dir, target := t.TempDir(), t.TempDir()
	c := newCloud(t, Options{Runner: DirectoryRunner{Dir: dir}})
	_, vswitch, group := c.network()
	id := c.machine(vswitch, group, nil)
	send := func(arguments map[string]string) (status, code string) {
		all := map[string]string{"Name": "f", "TargetDir": target, "Content": "there", "InstanceId.1": id}
		for k, v := range arguments {
			all[k] = v
		}
		inv := text(c.ask("SendFile", all)["InvokeId"])
		for range 1000 {
			answer := at(c.ask("DescribeSendFileResults", map[string]string{"InvokeId": inv}), "Invocations", "Invocation", 0)
			r := at(answer, "InvokeInstances", "InvokeInstance", 0)
			if status = text(at(r, "InvocationStatus")); status != "Running" {
				if content, _ := base64.StdEncoding.DecodeString(text(at(answer, "Content"))); string(content) != "there" {
					t.Errorf("kept: %q", content)
				}
				return status, text(at(r, "ErrorCode"))
			}
			time.Sleep(5 * time.Millisecond)
		}
		t.Fatal("the file does not arrive")
		return "", ""
	}
	if status, code := send(nil); status != "Success" || code != "" {
		t.Errorf("%s %s", status, code)
	}
	if data, err := os.ReadFile(filepath.Join(target, "f")); err != nil || string(data) != "there" {
		t.Errorf("%q, %v", data, err)
	}
	if status, code := send(nil); status != "Failed" || code != "FileAlreadyExists" {
		t.Errorf("over another: %s %s", status, code)
	}
	if status, code := send(map[string]string{"Overwrite": "true", "Content": base64.StdEncoding.EncodeToString([]byte("there")), "ContentType": "Base64"}); status != "Success" || code != "" {
		t.Errorf("overwriting: %s %s", status, code)
	}
	refused := func(code, name, value string) {
		t.Helper()
		all := map[string]string{"Name": "f", "TargetDir": target, "Content": "x", "InstanceId.1": id}
		all[name] = value
		status := 400
		if code == "InvalidInstance.NotFound" {
			status = 404
		}
		c.refused(status, code, "SendFile", all)
	}
	refused("InvalidParameter.Content", "Content", strings.Repeat("x", 25000))
	refused("InvalidParameter.TargetDir", "TargetDir", "relative")
	refused("InvalidParameter.TargetDir", "Name", "../f")
	refused("InvalidInstance.NotFound", "InstanceId.1", "i-none")
	// It is no command.
	if left := at(c.ask("DescribeInvocations", nil), "Invocations", "Invocation"); len(left.([]any)) != 0 {
		t.Errorf("listed as commands: %v", left)
	}
}
