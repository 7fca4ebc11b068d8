package ecssim

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

type invocation struct {
	lifetime
	ID, CommandID, Region, Name, InstanceID, Content string
	Status, ErrorCode, ErrorInfo                     string
	ExitCode, Dropped                                int
	Output                                           []byte
	File                                             *sentFile // if it is one and no command
	Started, Finished                                time.Time
}

// Machine tells a [Runner] on which instance a command runs.
type Machine struct{ ID, HostName, UserData string }

// A Runner runs commands of Cloud Assistant. It ends with ctx.
type Runner interface {
	Run(ctx context.Context, m Machine, script []byte) (output []byte, exitCode int, err error)
}

// DirectoryRunner runs commands with the host's shell in Dir/INSTANCE, which
// stands in for the machine's root: CC_ROOT is set to it, and PATH starts with
// its bin. Prepare fills a new machine's directory.
type DirectoryRunner struct {
	Dir     string
	Prepare func(m Machine, root string) error
	Env     []string // added to the commands' environment
}

// Run runs a script with bash.
func (d DirectoryRunner) Run(ctx context.Context, m Machine, script []byte) ([]byte, int, error) {
	root, err := filepath.Abs(filepath.Join(d.Dir, m.ID))
	if err != nil {
		return nil, 0, err
	}
	if _, err := os.Stat(root); errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(filepath.Join(root, "bin"), 0o700); err != nil {
			return nil, 0, err
		}
		if d.Prepare != nil {
			if err := d.Prepare(m, root); err != nil {
				return nil, 0, err
			}
		}
	}
	cmd := exec.CommandContext(ctx, "bash", "-s")
	cmd.Dir = root
	// Without the folders of the system's administration: a command that has no
	// stand-in must not change the host.
	cmd.Env = append([]string{"CC_ROOT=" + root, "HOME=" + root, "LANG=C", "PATH=" + filepath.Join(root, "bin") + ":/usr/bin:/bin"}, d.Env...)
	cmd.Stdin = bytes.NewReader(script)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return out, exit.ExitCode(), ctx.Err()
	}
	return out, 0, err
}

//go:embed machine.sh
var machineScript string

// standIns are the programs that the script of a machine plays.
var standIns = []string{"dnf", "rpm", "systemctl", "docker", "usermod", "id", "wget"}

// AlibabaLinux3 prepares a directory as a fresh machine with Alibaba Cloud
// Linux 3: stand-ins for its package manager, for systemd and for Docker, the
// users root and ecs-user, and an SSH host key. A file fail/PROGRAM in it makes
// that program print the file and fail.
func AlibabaLinux3(_ Machine, root string) error {
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	// The wire form of RFC 8709: two strings, each after its length.
	blob := append([]byte("\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"), public...)
	files := map[string]string{
		"etc/os-release":                   "NAME=\"Alibaba Cloud Linux\"\nVERSION=\"3 (OpenAnolis Edition)\"\nID=\"alinux\"\nID_LIKE=\"rhel fedora centos anolis\"\nVERSION_ID=\"3\"\n",
		"etc/ssh/ssh_host_ed25519_key.pub": "ssh-ed25519 " + base64.StdEncoding.EncodeToString(blob) + " root@simulated\n",
		"sim/users":                        "root root\necs-user ecs-user\n",
		"sim/packages":                     "",
	}
	for _, name := range standIns {
		files["bin/"+name] = machineScript
	}
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o700); err != nil { //nolint:gosec // G306: the stand-ins are programs.
			return err
		}
	}
	return nil
}

var assistantActions = map[string]func(*Server, *call) (reply, error){
	"DescribeCloudAssistantStatus": describeCloudAssistantStatus,
	"RunCommand":                   runCommand,
	"DescribeInvocationResults":    describeInvocationResults,
	"DescribeInvocations":          describeInvocations,
	"StopInvocation":               stopInvocation,
	"SendFile":                     sendFile,
	"DescribeSendFileResults":      describeSendFileResults,
}

// agentUp tells whether Cloud Assistant has reported in from a machine.
func (s *Server) agentUp(c *call, i *instance) bool {
	return i.Status == "Running" && !c.now.Before(i.RunningSince.Add(s.opts.Latencies.Agent))
}

func describeCloudAssistantStatus(s *Server, c *call) (reply, error) {
	ids, err := c.list("InstanceId")
	if err != nil {
		return nil, err
	}
	var all []reply
	for _, i := range s.instances(c) {
		if i.listed(c.now) && matches(ids, i.ID) {
			all = append(all, reply{
				"InstanceId": i.ID, "CloudAssistantStatus": strconv.FormatBool(s.agentUp(c, i)), "CloudAssistantVersion": "2.2.3.857",
				"LastHeartbeatTime": c.now.UTC().Format(timestampFormat), "ActiveTaskCount": 0, "InvocationCount": 0, "OSType": "Linux", "SupportSessionManager": true,
			})
		}
	}
	part, meta, err := page(c.params, all, 50)
	if err != nil {
		return nil, err
	}
	meta["InstanceCloudAssistantStatusSet"] = reply{"InstanceCloudAssistantStatus": part}
	return meta, nil
}

// The limits of Cloud Assistant, in bytes: of a command in base64, and of the
// output that is kept.
const (
	maxCommand = 24 << 10
	maxOutput  = 24 << 10
)

func runCommand(s *Server, c *call) (reply, error) {
	if err := c.need("Type", "CommandContent"); err != nil {
		return nil, err
	}
	if c.params["Type"] != "RunShellScript" {
		return nil, refuse(http.StatusBadRequest, "InvalidCmdType.NotFound", "The specified command type does not exist.")
	}
	ids, err := c.list("InstanceId")
	if err != nil {
		return nil, err
	}
	if len(ids) != 1 {
		return nil, refuse(http.StatusBadRequest, "InstanceIds.ExceedLimit", "The simulator runs a command on one instance.")
	}
	timeout, err := c.int("Timeout", 60, 10, 86400)
	if err != nil {
		return nil, err
	}
	script := []byte(c.params["CommandContent"])
	encoded := base64.StdEncoding.EncodeToString(script)
	if c.params["ContentEncoding"] == "Base64" {
		encoded = string(script)
		if script, err = base64.StdEncoding.DecodeString(encoded); err != nil {
			return nil, refuse(http.StatusBadRequest, "CmdContent.DecodeError", "The CommandContent can not be base64 decoded.")
		}
	}
	if len(encoded) > maxCommand {
		return nil, refuse(http.StatusBadRequest, "CmdContent.ExceedLimit", "The length of the CommandContent exceeds the limit.")
	}
	i, err := s.instance(c, ids[0])
	if err != nil {
		return nil, refuse(http.StatusNotFound, "InvalidInstance.NotFound", "The specified instance does not exist.")
	}
	if i.Status != "Running" {
		return nil, refuse(http.StatusForbidden, "InvalidInstance.NotMatch", "The specified instance is not running.")
	}
	inv := &invocation{
		lifetime: lifetime{Visible: c.now.Add(s.opts.Latencies.Consistency)}, ID: s.state.id("t"), CommandID: s.state.id("c"), Region: i.Region, Name: c.params["Name"],
		InstanceID: i.ID, Content: encoded, Status: "Running", Started: c.now,
	}
	s.state.Invocations[inv.ID] = inv
	if !s.agentUp(c, i) {
		inv.Status, inv.ErrorCode, inv.ErrorInfo = "Failed", "ClientNotRunning", "The Cloud Assistant client is not running."
		inv.Finished = c.now
		return reply{"CommandId": inv.CommandID, "InvokeId": inv.ID}, nil
	}
	s.start(inv, Machine{ID: i.ID, HostName: i.HostName, UserData: i.UserData}, script, time.Duration(timeout)*time.Second)
	return reply{"CommandId": inv.CommandID, "InvokeId": inv.ID}, nil
}

// start runs a command beside the calls.
func (s *Server) start(inv *invocation, m Machine, script []byte, timeout time.Duration) {
	if s.opts.Runner == nil {
		inv.Status, inv.Finished = "Success", inv.Started
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	s.running[inv.ID] = cancel
	s.commands.Add(1)
	go func() {
		defer s.commands.Done()
		defer cancel()
		output, code, err := s.opts.Runner.Run(ctx, m, script)
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.running, inv.ID)
		inv.Finished = s.opts.Now()
		if n := len(output) - maxOutput; n > 0 {
			inv.Dropped, output = n, output[n:]
		}
		inv.Output, inv.ExitCode = output, code
		switch {
		case errors.Is(ctx.Err(), context.DeadlineExceeded):
			inv.Status, inv.ErrorCode = "Timeout", "ExecutionTimeout"
		case ctx.Err() != nil:
			inv.Status, inv.ErrorCode = "Terminated", "ExecutionInterrupted"
		case err != nil:
			inv.Status, inv.ErrorCode, inv.ErrorInfo = "Error", "ExecutionException", err.Error()
		case code != 0:
			inv.Status, inv.ErrorCode = "Failed", "ExitCodeNonzero"
		default:
			inv.Status = "Success"
		}
		_ = s.store.save(s.state) // the next call that changes something saves again
	}()
}

func (inv *invocation) result(encoding string) reply {
	output := base64.StdEncoding.EncodeToString(inv.Output)
	if encoding == "PlainText" {
		output = string(inv.Output)
	}
	finished := ""
	if !inv.Finished.IsZero() {
		finished = inv.Finished.UTC().Format(timestampFormat)
	}
	return reply{
		"InvokeId": inv.ID, "CommandId": inv.CommandID, "InstanceId": inv.InstanceID, "InvocationStatus": inv.Status, "InvokeRecordStatus": "Finished",
		"ExitCode": inv.ExitCode, "Output": output, "Dropped": inv.Dropped, "ErrorCode": inv.ErrorCode, "ErrorInfo": inv.ErrorInfo, "Repeats": 1,
		"StartTime": inv.Started.UTC().Format(timestampFormat), "FinishedTime": finished, "Username": "root",
	}
}

func describeInvocationResults(s *Server, c *call) (reply, error) {
	all := []reply{}
	for _, inv := range sorted(s.state.Invocations) {
		if inv.File == nil && inv.listed(c.now) && fits(c.params, "InvokeId", inv.ID) && fits(c.params, "InstanceId", inv.InstanceID) {
			all = append(all, inv.result(c.params["ContentEncoding"]))
		}
	}
	part, meta, err := page(c.params, all, 50)
	if err != nil {
		return nil, err
	}
	return reply{"Invocation": reply{"InvocationResults": reply{"InvocationResult": part}, "TotalCount": meta["TotalCount"], "NextToken": meta["NextToken"]}}, nil
}

func describeInvocations(s *Server, c *call) (reply, error) {
	all := []reply{}
	for _, inv := range sorted(s.state.Invocations) {
		if inv.File != nil || !inv.listed(c.now) || !fits(c.params, "InvokeId", inv.ID) {
			continue
		}
		item := inv.result(c.params["ContentEncoding"])
		all = append(all, reply{
			"InvokeId": inv.ID, "CommandId": inv.CommandID, "CommandName": inv.Name, "CommandType": "RunShellScript", "CommandContent": inv.Content,
			"InvocationStatus": inv.Status, "InvokeStatus": "Finished", "RepeatMode": "Once", "Timeout": 60, "Parameters": "{}",
			"InvokeInstances": reply{"InvokeInstance": []reply{item}},
		})
	}
	part, meta, err := page(c.params, all, 50)
	if err != nil {
		return nil, err
	}
	meta["Invocations"] = reply{"Invocation": part}
	return meta, nil
}

func stopInvocation(s *Server, c *call) (reply, error) {
	inv := s.state.Invocations[c.params["InvokeId"]]
	ids, err := c.list("InstanceId")
	if err != nil {
		return nil, err
	}
	if inv == nil || len(ids) > 0 && !slices.Contains(ids, inv.InstanceID) {
		return nil, refuse(http.StatusNotFound, "InvalidInvokeId.NotFound", "The specified invoke id is not found.")
	}
	if stop, ok := s.running[inv.ID]; ok {
		stop()
	}
	return reply{}, nil
}

// sentFile is a file that Cloud Assistant was told to put on a machine. Like
// the real service the simulator keeps its content, and shows it.
type sentFile struct {
	Name, Directory, Mode, Content string // Content in base64
}

// maxSentFile is the size of a file after base64, in bytes.
const maxSentFile = 32 << 10

func sendFile(s *Server, c *call) (reply, error) {
	if err := c.need("Name", "TargetDir", "Content"); err != nil {
		return nil, err
	}
	ids, err := c.list("InstanceId")
	if err != nil {
		return nil, err
	}
	if len(ids) != 1 {
		return nil, refuse(http.StatusBadRequest, "InstanceIds.ExceedLimit", "The simulator sends a file to one instance.")
	}
	timeout, err := c.int("Timeout", 60, 10, 86400)
	if err != nil {
		return nil, err
	}
	f := &sentFile{Name: c.params["Name"], Directory: c.params["TargetDir"], Mode: c.params["FileMode"], Content: c.params["Content"]}
	if f.Mode == "" {
		f.Mode = "0644"
	}
	if c.params["ContentType"] != "Base64" {
		f.Content = base64.StdEncoding.EncodeToString([]byte(f.Content))
	} else if _, err := base64.StdEncoding.DecodeString(f.Content); err != nil {
		return nil, refuse(http.StatusBadRequest, "InvalidParameter.Content", "The Content can not be base64 decoded.")
	}
	switch {
	case len(f.Content) > maxSentFile:
		return nil, refuse(http.StatusBadRequest, "InvalidParameter.Content", "The length of the Content exceeds the limit.")
	case !path.IsAbs(f.Directory) || strings.Contains(f.Name, "/") || len(f.Name) > 255:
		return nil, refuse(http.StatusBadRequest, "InvalidParameter.TargetDir", "The specified parameter TargetDir or Name is not valid.")
	}
	i, err := s.instance(c, ids[0])
	if err != nil {
		return nil, refuse(http.StatusNotFound, "InvalidInstance.NotFound", "The specified instance does not exist.")
	}
	if i.Status != "Running" {
		return nil, refuse(http.StatusForbidden, "InvalidInstance.NotMatch", "The specified instance is not running.")
	}
	inv := &invocation{
		lifetime: lifetime{Visible: c.now.Add(s.opts.Latencies.Consistency)}, ID: s.state.id("f"), Region: i.Region, Name: f.Name,
		InstanceID: i.ID, Status: "Running", Started: c.now, File: f,
	}
	s.state.Invocations[inv.ID] = inv
	if !s.agentUp(c, i) {
		inv.Status, inv.ErrorCode, inv.ErrorInfo, inv.Finished = "Failed", "ClientNotRunning", "The Cloud Assistant client is not running.", c.now
		return reply{"InvokeId": inv.ID}, nil
	}
	s.start(inv, Machine{ID: i.ID, HostName: i.HostName, UserData: i.UserData}, f.script(c.params["Overwrite"] == "true"), time.Duration(timeout)*time.Second)
	return reply{"InvokeId": inv.ID}, nil
}

// Exit codes of the script that stands in for the agent.
var sendFailures = map[int]string{17: "FileAlreadyExists", 2: "FilePathInvalid"}

// script is what the machine does to take the file.
func (f *sentFile) script(overwrite bool) []byte {
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
	test := ""
	if !overwrite {
		test = "[ ! -e \"$f\" ] || exit 17\n"
	}
	return fmt.Appendf(nil, "umask 077\nd=%s\nf=\"$d\"/%s\n[ -d \"$d\" ] || exit 2\n%sbase64 -d >\"$f\" <<'END' || exit 1\n%s\nEND\nchmod %s \"$f\"\n",
		quote(f.Directory), quote(f.Name), test, f.Content, quote(f.Mode))
}

func describeSendFileResults(s *Server, c *call) (reply, error) {
	all := []reply{}
	for _, inv := range sorted(s.state.Invocations) {
		if inv.File == nil || !inv.listed(c.now) || !fits(c.params, "InvokeId", inv.ID) || !fits(c.params, "InstanceId", inv.InstanceID) {
			continue
		}
		code := inv.ErrorCode
		if name, ok := sendFailures[inv.ExitCode]; ok && code == "ExitCodeNonzero" {
			code = name
		}
		all = append(all, reply{
			"InvokeId": inv.ID, "Name": inv.File.Name, "TargetDir": inv.File.Directory, "FileMode": inv.File.Mode, "Content": inv.File.Content,
			"ContentType": "Base64", "InvocationStatus": inv.Status, "VmCount": 1,
			"InvokeInstances": reply{"InvokeInstance": []reply{{
				"InstanceId": inv.InstanceID, "InvocationStatus": inv.Status, "ErrorCode": code, "ErrorInfo": inv.ErrorInfo,
			}}},
		})
	}
	part, meta, err := page(c.params, all, 50)
	if err != nil {
		return nil, err
	}
	meta["Invocations"] = reply{"Invocation": part}
	return meta, nil
}
