package ecs

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// MaxCommand is the size in bytes that a command for Cloud Assistant may have
// after base64.
const MaxCommand = 24 << 10

// Command is a shell script to be run on an instance. Cloud Assistant keeps
// scripts and shows them to whoever may list them: no secret belongs into one.
type Command struct {
	Name    string // shown in the console
	Script  string
	Timeout time.Duration // on the machine, in whole seconds
}

// CommandResult is what became of a command.
type CommandResult struct {
	Status   string // Success, Failed, Timeout ...
	ExitCode int
	Output   string // its end, at most 24 KB
	Dropped  int    // bytes of output that were not kept
	Code     string // why it did not run, such as ClientNotRunning
	Info     string
}

// Succeeded tells that the command ran and ended with 0.
func (r *CommandResult) Succeeded() bool { return r.Status == "Success" && r.ExitCode == 0 }

// states of an invocation that are not the end of it.
var underway = []string{"", "Pending", "Running", "Stopping", "Scheduled"}

// undelivered are the error codes by which a command never started, so that it
// can be sent again.
var undelivered = []string{
	"ClientNotRunning", "ClientNotResponse", "ClientIsUpgrading", "ClientNeedUpgrade", "DeliveryTimeout", "InstanceNotRunning",
}

// WaitAssistant waits until the agent of Cloud Assistant on an instance has
// reported in.
func (c *Client) WaitAssistant(ctx context.Context, id string) error {
	err := c.Wait(ctx, "Cloud Assistant on instance "+id+" to report in", func(ctx context.Context) (bool, string, error) {
		var out struct {
			InstanceCloudAssistantStatusSet struct {
				InstanceCloudAssistantStatus []struct{ CloudAssistantStatus text }
			}
		}
		err := c.call(ctx, describeCloudAssistant, map[string]string{"InstanceId.1": id}, &out)
		if err := c.about(describeCloudAssistant, "instance", id, err); err != nil {
			return false, "", err
		}
		for _, s := range out.InstanceCloudAssistantStatusSet.InstanceCloudAssistantStatus {
			if s.CloudAssistantStatus == "true" {
				return true, "", nil
			}
		}
		return false, "no heartbeat", nil
	})
	var w *WaitError
	if errors.As(err, &w) {
		w.Remedy = "The agent is part of Alibaba's public images and needs a way out to 100.100.0.0/16: look for egress rules that close it, and whether the image has the agent."
	}
	return err
}

// Run runs a command on an instance and waits for its end, for as long as ctx
// lasts. A command that ran and failed is no error: see the result.
func (c *Client) Run(ctx context.Context, id string, cmd Command) (*CommandResult, error) {
	content := base64.StdEncoding.EncodeToString([]byte(cmd.Script))
	if len(content) > MaxCommand {
		return nil, fmt.Errorf("run %s on %s: the script has %d bytes in base64, more than the %d that Cloud Assistant takes", cmd.Name, id, len(content), MaxCommand)
	}
	for {
		r, err := c.runOnce(ctx, id, cmd, content)
		if err != nil || !slices.Contains(undelivered, r.Code) {
			return r, err
		}
		if err := sleep(ctx, c.backoff.Min); err != nil {
			return nil, &WaitError{What: "command " + cmd.Name + " on instance " + id + " to be delivered", Seen: r.Code, Err: err,
				Remedy: "Cloud Assistant does not reach its agent on the machine: is it running, and do egress rules let it out to 100.100.0.0/16?"}
		}
	}
}

func (c *Client) runOnce(ctx context.Context, id string, cmd Command, content string) (*CommandResult, error) {
	params := map[string]string{
		"Type": "RunShellScript", "Name": cmd.Name, "CommandContent": content, "ContentEncoding": "Base64",
		"InstanceId.1": id, "Timeout": strconv.Itoa(max(10, int(cmd.Timeout.Seconds()))), "KeepCommand": "false",
	}
	var started struct {
		InvokeID text `json:"InvokeId"`
	}
	err := c.call(ctx, runCommand, params, &started)
	if err := c.about(runCommand, "instance", id, err); err != nil {
		return nil, err
	}
	var result *CommandResult
	err = c.Wait(ctx, "command "+cmd.Name+" on instance "+id+" to end", func(ctx context.Context) (bool, string, error) {
		r, err := c.invocation(ctx, id, string(started.InvokeID))
		if err != nil || r == nil { // not listed yet: results lag behind
			return false, "not started", err
		}
		result = r
		return !slices.Contains(underway, r.Status), r.Status, nil
	})
	if err != nil {
		c.stopInvocation(ctx, id, string(started.InvokeID))
		return nil, err
	}
	return result, nil
}

// stopInvocation ends a command that nobody waits for any more, as well as can
// be done; its failure changes nothing.
func (c *Client) stopInvocation(ctx context.Context, id, invocation string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeGrace)
	defer cancel()
	params := map[string]string{"InvokeId": invocation, "InstanceId.1": id}
	if err := c.about(stopInvocation, "invocation", invocation, c.call(ctx, stopInvocation, params, nil)); err != nil {
		c.log(ctx, "command not stopped", map[string]any{"invocation": invocation})
	}
}

// invocation returns the result of a command as far as it is known, or nil.
func (c *Client) invocation(ctx context.Context, id, invocation string) (*CommandResult, error) {
	var out struct {
		Invocation struct {
			InvocationResults struct {
				InvocationResult []struct {
					InstanceID       text `json:"InstanceId"`
					InvocationStatus text
					ExitCode         number
					Output           text
					Dropped          number
					ErrorCode        text
					ErrorInfo        text
				}
			}
		}
	}
	params := map[string]string{"InvokeId": invocation, "InstanceId": id, "ContentEncoding": "Base64"}
	if err := c.call(ctx, describeInvocationResults, params, &out); err != nil {
		return nil, err
	}
	for _, r := range out.Invocation.InvocationResults.InvocationResult {
		if string(r.InstanceID) != id {
			continue
		}
		output, err := base64.StdEncoding.DecodeString(string(r.Output))
		if err != nil {
			return nil, &Error{Action: describeInvocationResults.name, Err: errors.New("the output in the answer is not base64")}
		}
		return &CommandResult{
			Status: string(r.InvocationStatus), ExitCode: int(r.ExitCode), Output: string(output), Dropped: int(r.Dropped),
			Code: string(r.ErrorCode), Info: string(r.ErrorInfo),
		}, nil
	}
	return nil, nil //nolint:nilnil // Results lag behind; the caller asks again.
}

// MaxSentFile is the size in bytes that a file for Cloud Assistant may have:
// 32 KB after base64.
const MaxSentFile = 24 << 10

// SentFile is a small file to be put on an instance. Cloud Assistant keeps its
// content too, and shows it: no secret belongs into one.
type SentFile struct {
	Directory string // absolute; it must exist
	Name      string // in the directory
	Content   []byte
	Mode      string // such as "0600"
}

var (
	sendFile                = &action{name: "SendFile", product: productECS, timeout: usualTimeout, write: true, busy: runCommand.busy, missing: runCommand.missing}
	describeSendFileResults = &action{name: "DescribeSendFileResults", product: productECS, timeout: usualTimeout}
)

// SendFile makes or replaces a file on an instance and waits until it is there.
func (c *Client) SendFile(ctx context.Context, id string, f SentFile) error {
	if len(f.Content) > MaxSentFile {
		return fmt.Errorf("send file %s to %s: it has %d bytes, more than the %d that Cloud Assistant takes", f.Name, id, len(f.Content), MaxSentFile)
	}
	for {
		code, info, err := c.sendOnce(ctx, id, f)
		switch {
		case err != nil:
			return err
		case code == "":
			return nil
		case !slices.Contains(undelivered, code):
			return &Error{Action: sendFile.name, Code: code, Message: info, Err: fmt.Errorf("the file %s did not get to %s", f.Name, id)}
		}
		if err := sleep(ctx, c.backoff.Min); err != nil {
			return &WaitError{What: "file " + f.Name + " on instance " + id + " to be delivered", Seen: code, Err: err,
				Remedy: "Cloud Assistant does not reach its agent on the machine: is it running, and do egress rules let it out to 100.100.0.0/16?"}
		}
	}
}

// sendOnce sends a file, and says by which code it failed.
func (c *Client) sendOnce(ctx context.Context, id string, f SentFile) (code, info string, err error) {
	params := map[string]string{
		"Name": f.Name, "TargetDir": f.Directory, "Content": base64.StdEncoding.EncodeToString(f.Content), "ContentType": "Base64",
		"FileMode": f.Mode, "Overwrite": "true", "Timeout": "60", "InstanceId.1": id,
	}
	var started struct {
		InvokeID text `json:"InvokeId"`
	}
	err = c.call(ctx, sendFile, params, &started)
	if err := c.about(sendFile, "instance", id, err); err != nil {
		return "", "", err
	}
	err = c.Wait(ctx, "file "+f.Name+" on instance "+id, func(ctx context.Context) (bool, string, error) {
		var status string
		status, code, info, err = c.sending(ctx, id, string(started.InvokeID))
		return err == nil && !slices.Contains(underway, status), status, err
	})
	return code, info, err
}

// sending tells how far a file has got.
func (c *Client) sending(ctx context.Context, id, invocation string) (status, code, info string, err error) {
	var out struct {
		Invocations struct {
			Invocation []struct {
				InvokeInstances struct {
					InvokeInstance []struct {
						InstanceID       text `json:"InstanceId"`
						InvocationStatus text
						ErrorCode        text
						ErrorInfo        text
					}
				}
			}
		}
	}
	params := map[string]string{"InvokeId": invocation, "InstanceId": id}
	if err := c.call(ctx, describeSendFileResults, params, &out); err != nil {
		return "", "", "", err
	}
	for _, i := range out.Invocations.Invocation {
		for _, r := range i.InvokeInstances.InvokeInstance {
			if string(r.InstanceID) != id {
				continue
			}
			status, code = string(r.InvocationStatus), string(r.ErrorCode)
			if status != "Success" && code == "" && !slices.Contains(underway, status) {
				code = status
			}
			return status, code, string(r.ErrorInfo), nil
		}
	}
	return "", "", "", nil // not listed yet: results lag behind
}
