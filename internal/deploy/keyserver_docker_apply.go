package deploy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/image"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
	"github.com/ccctl/terraform-provider-cc/internal/remote"
)

// containerPatience is how long a server in a container may take until it is
// ready: Docker itself takes a second or two of it.
const containerPatience = 45 * time.Second

// Apply makes the server run as wished, whatever is there now. Rules, keys and
// certificates are put in force by a reload, without a restart. What only a
// new container can have is tried first in one that is not published; then it
// takes the place of the old one, which is started again should it fail.
//
// An Apply that was interrupted at any point is completed by the next.
func (k KeyServerContainer) Apply(ctx context.Context) (KeyServerRun, error) {
	p, err := k.prepare(ctx)
	if err != nil {
		return KeyServerRun{}, err
	}
	if err := p.checkDocker(ctx); err != nil {
		return KeyServerRun{}, err
	}
	found, err := p.recover(ctx)
	if err != nil {
		return KeyServerRun{}, err
	}
	if err := p.load(ctx); err != nil {
		return KeyServerRun{}, err
	}
	if err := p.place(ctx); err != nil {
		return KeyServerRun{}, err
	}
	old, err := p.currentConfig(ctx)
	if err != nil {
		return KeyServerRun{}, err
	}
	if p.reloadable(ctx, found) {
		err = p.reload(ctx, old)
	} else {
		err = p.replace(ctx, found, old)
	}
	if err != nil {
		return KeyServerRun{}, err
	}
	status, err := p.status(ctx, p.Name)
	if err != nil {
		return KeyServerRun{}, err
	}
	if err := p.sweep(ctx); err != nil {
		return KeyServerRun{}, err
	}
	return KeyServerRun{Address: p.address(), Version: status.Version, ConfigSHA256: p.digest}, nil
}

// reloadable tells that the container that is there needs no more than another
// configuration.
func (p *preparedContainer) reloadable(ctx context.Context, found *containerInfo) bool {
	if found == nil || !found.State.Running || found.Config.Labels[labelSpec] != p.spec() || len(p.differences(found)) > 0 {
		return false
	}
	if !p.InMemory {
		return true
	}
	_, err := p.status(ctx, p.Name) // one that waits for its secrets says nothing
	return err == nil
}

// address is where to reach the server: from here if it is known, or else from
// its own machine.
func (p *preparedContainer) address() string {
	if p.Probe != "" {
		return p.Probe
	}
	return reachable(p.publish)
}

// Names of containers that exist during an Apply.
func (k KeyServerContainer) trialName() string    { return k.Name + "-trial" }
func (k KeyServerContainer) previousName() string { return k.Name + "-previous" }

// recover undoes what an interrupted Apply has left half, and returns the
// container that is there, or nil.
func (p *preparedContainer) recover(ctx context.Context) (*containerInfo, error) {
	if err := p.discard(ctx, p.trialName()); err != nil {
		return nil, err
	}
	found, err := p.inspect(ctx, p.Name)
	if err != nil {
		return nil, err
	}
	previous, err := p.inspect(ctx, p.previousName())
	if err != nil || previous == nil {
		return found, err
	}
	if found != nil {
		if status, err := p.status(ctx, p.Name); err == nil && status.Ready == "yes" {
			return found, p.discard(ctx, p.previousName())
		}
		if err := p.discard(ctx, p.Name); err != nil {
			return nil, err
		}
	}
	if _, err := p.takeBack(ctx); err != nil {
		return nil, err
	}
	return p.inspect(ctx, p.Name)
}

// currentConfig reads the configuration that is in place; nil: none.
func (k KeyServerContainer) currentConfig(ctx context.Context) ([]byte, error) {
	text, err := k.Host.Get(ctx, k.configFile(), maxInput)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return text, err
}

// reload lets the running server take over the new configuration.
func (p *preparedContainer) reload(ctx context.Context, old []byte) error {
	if err := p.put(ctx, p.configFile(), p.text); err != nil {
		return err
	}
	since := p.now(ctx)
	if status, err := p.status(ctx, p.Name); err == nil && status.ConfigSHA256 == p.digest {
		return p.probe(ctx)
	}
	limited, cancel := context.WithTimeout(ctx, reloadPatience)
	defer cancel()
	_, err := p.docker(ctx, "kill", "--signal", "HUP", p.Name)
	if err == nil {
		err = p.await(limited, p.Name)
	}
	if err == nil {
		return p.probe(ctx)
	}
	return p.kept(ctx, "reload", err, p.log(ctx, p.Name, since), old)
}

// kept is the failure of an update after which the old server goes on.
func (p *preparedContainer) kept(ctx context.Context, verb string, err error, log string, old []byte) error {
	if errors.Is(err, remote.ErrConnectionLost) {
		return fmt.Errorf("%s key server on %s: %w", verb, p.Host, err)
	}
	// What is on disk should be what is in force; ctx may be what ended the attempt.
	back, cancel := context.WithTimeout(context.WithoutCancel(ctx), reloadPatience)
	defer cancel()
	if len(old) > 0 {
		if backErr := p.put(back, p.configFile(), old); backErr != nil {
			err = errors.Join(err, backErr)
		}
	}
	return &Error{
		Summary:  "Key server kept its former configuration",
		Err:      fmt.Errorf("%s key server on %s: %w", verb, p.Host, err),
		Remedy:   "The end of its log says why the new one did not work. The old one is in force and on disk.",
		Evidence: log,
	}
}

// replace starts a container in place of another one, if there is one.
func (p *preparedContainer) replace(ctx context.Context, found *containerInfo, old []byte) error {
	if err := p.put(ctx, p.configFile(), p.text); err != nil {
		return err
	}
	if found == nil || !found.State.Running || len(old) == 0 {
		// Nothing works that could be disturbed.
		if err := p.discard(ctx, p.Name); err != nil {
			return err
		}
		if log, err := p.start(ctx); err != nil {
			return p.notStarted(ctx, err, log)
		}
		return nil
	}
	log, err := p.run(ctx, p.trialName())
	if discardErr := p.discard(context.WithoutCancel(ctx), p.trialName()); err == nil {
		err = discardErr
	}
	if err != nil {
		err = p.kept(ctx, "try new version of", err, log, old)
		p.dropImage(ctx, p.reference())
		return err
	}
	if err := p.setAside(ctx, found); err != nil {
		return err // the next Apply goes on from here
	}
	if log, err = p.start(ctx); err != nil {
		err = p.rollBack(ctx, err, log, old)
		p.dropImage(ctx, p.reference())
		return err
	}
	if err := p.discard(ctx, p.previousName()); err != nil {
		return err
	}
	p.dropImage(ctx, found.Image)
	return nil
}

// dropImage removes an image that no container needs any more. Docker refuses
// to remove one that a container uses, be it this server's or another's; that
// or any other failure leaves an image behind and nothing worse.
func (k KeyServerContainer) dropImage(ctx context.Context, name string) {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), reloadPatience)
	defer cancel()
	_, _ = k.docker(limited, "image", "rm", name)
}

// rollBack starts the old container again after the new one has failed.
func (p *preparedContainer) rollBack(ctx context.Context, err error, log string, old []byte) error {
	back, cancel := context.WithTimeout(context.WithoutCancel(ctx), containerPatience)
	defer cancel()
	backErr := p.discard(back, p.Name)
	if backErr == nil {
		backErr = p.put(back, p.configFile(), old)
	}
	if backErr == nil {
		var there bool
		if there, backErr = p.takeBack(back); backErr == nil && !there {
			backErr = errors.New("it is not there any more, or has lost its secrets")
		}
	}
	if backErr == nil {
		// One that went on running has seen the new file meanwhile, and takes a moment to see the old one again.
		limited, cancelWait := context.WithTimeout(back, reloadPatience)
		backErr = p.awaitConfig(limited, p.Name, hexDigest(old))
		cancelWait()
	}
	failure := p.notStarted(back, err, log)
	if backErr != nil {
		return withEvidence(failure, "Nor did its former version start again: "+backErr.Error())
	}
	return withEvidence(failure, "It has been started with its former version again.")
}

// notStarted makes an error of a container that did not get ready, and leaves
// none that would try again for ever.
func (p *preparedContainer) notStarted(ctx context.Context, err error, log string) error {
	if errors.Is(err, remote.ErrConnectionLost) {
		return fmt.Errorf("start key server on %s: %w", p.Host, err)
	}
	back, cancel := context.WithTimeout(context.WithoutCancel(ctx), containerPatience)
	defer cancel()
	if found, inspectErr := p.inspect(back, p.Name); inspectErr == nil && found != nil && found.Config.Labels[labelSpec] == p.spec() {
		if discardErr := p.discard(back, p.Name); discardErr != nil {
			err = errors.Join(err, discardErr)
		}
	}
	var known *Error
	if errors.As(err, &known) { // it brings its own remedy
		return withEvidence(err, log)
	}
	return &Error{
		Summary: "Key server not started", Err: fmt.Errorf("start key server on %s: %w", p.Host, err),
		Remedy: "The end of its log says why.", Evidence: log,
	}
}

// start starts the published container and waits until it is ready, for those
// inside and for those outside.
func (p *preparedContainer) start(ctx context.Context) (log string, err error) {
	log, err = p.run(ctx, p.Name, "--publish", p.publish+":"+containerPort, "--restart", p.restart(),
		"--label", labelSpec+"="+p.spec())
	if err == nil {
		err = p.probe(ctx)
	}
	return log, err
}

// run starts a container and waits until it is ready. If that fails it returns
// the end of its log too.
func (p *preparedContainer) run(ctx context.Context, name string, options ...string) (log string, err error) {
	args := append([]string{"run", "--detach", "--pull", "never", "--name", name}, p.options()...)
	args = append(append(args, options...), p.reference())
	if p.InMemory {
		args = append(args, "keyserver", "serve", "--config", image.ConfigFile, "--state-file", image.StateFile, awaitFilesFlag, handedOver)
	}
	if err := p.create(ctx, args); err != nil {
		return "", err
	}
	if err := p.handOver(ctx, name); err != nil {
		return p.log(ctx, name, ""), err
	}
	limited, cancel := context.WithTimeout(ctx, containerPatience)
	defer cancel()
	if err = p.await(limited, name); err != nil {
		log = p.log(ctx, name, "")
	}
	return log, err
}

// create runs `docker run`. Another server of the machine may have dropped the
// image since it was loaded, because no container had it yet; Docker must not
// look for it elsewhere then.
func (p *preparedContainer) create(ctx context.Context, args []string) error {
	_, err := p.docker(ctx, args...)
	if err == nil || !strings.Contains(strings.ToLower(err.Error()), "no such image") {
		return err
	}
	if err := p.load(ctx); err != nil {
		return err
	}
	_, err = p.docker(ctx, args...)
	return err
}

// containerStatus is what the server in a container says of itself.
type containerStatus struct {
	keyserver.State
	Ready string `json:"ready"`
}

// status asks the server in a container. One that is not ready says why.
func (k KeyServerContainer) status(ctx context.Context, name string) (*containerStatus, error) {
	var out bytes.Buffer
	err := k.Host.Run(ctx, remote.Command{Stdout: &out,
		Args: []string{"docker", "exec", name, image.Program, "keyserver", "status", "--state-file", image.StateFile, "--json"}})
	if code, known := remote.ExitCode(err); !known || code != 0 && out.Len() == 0 {
		return nil, fmt.Errorf("ask key server: %w", err)
	}
	var status containerStatus
	if err := json.Unmarshal(out.Bytes(), &status); err != nil {
		return nil, fmt.Errorf("ask key server: read its answer: %w", err)
	}
	return &status, nil
}

// await waits until a container serves with the wished configuration.
func (p *preparedContainer) await(ctx context.Context, name string) error {
	return p.awaitConfig(ctx, name, p.digest)
}

// awaitConfig is await for the configuration with a digest.
func (p *preparedContainer) awaitConfig(ctx context.Context, name, digest string) error {
	tick := time.NewTicker(4 * pollInterval)
	defer tick.Stop()
	last := "it has not answered"
	for {
		status, err := p.status(ctx, name)
		switch _, known := remote.ExitCode(err); {
		case err == nil && status.ConfigSHA256 != digest:
			last = "another configuration is in force"
		case err == nil && status.Ready == "yes":
			return nil
		case err == nil:
			last = "it is not ready: " + oneLine(errors.New(printable(status.Ready)))
		case !known && ctx.Err() == nil:
			return err
		}
		found, inspectErr := p.inspect(ctx, name)
		if inspectErr == nil && (found == nil || !found.State.Running || found.RestartCount > 0) {
			code := 0
			if found != nil {
				code = found.State.ExitCode
			}
			return fmt.Errorf("wait for key server: it ended at once with exit code %d", code)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for key server: %s: %w", last, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// now is the machine's time as its Docker takes it; empty where it is not known.
func (k KeyServerContainer) now(ctx context.Context) string {
	out, err := remote.Output(ctx, k.Host, "date", "+%s")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// log is the end of a container's log, since a time of [KeyServerContainer.now].
func (k KeyServerContainer) log(ctx context.Context, name, since string) string {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), reloadPatience)
	defer cancel()
	args := []string{"docker", "logs", "--tail", fmt.Sprint(tailLines)}
	if since != "" {
		args = append(args, "--since", since)
	}
	var out strings.Builder
	if err := k.Host.Run(limited, remote.Command{Args: append(args, name), Stdout: &out, Stderr: &out}); err != nil {
		return ""
	}
	return printable(strings.TrimRight(out.String(), "\n"))
}

// sweep removes the files of former configurations, which hold keys, and what
// an interrupted Apply has left of its own.
func (p *preparedContainer) sweep(ctx context.Context) error {
	const script = `find "$1" -mindepth 1 -maxdepth 1 ! -name "$2" ! -name "$3" -print0; find "$1/$2" -name '.cc-tmp-*' -print0`
	out, err := remote.Output(ctx, p.Host, "sh", "-ec", script, "sh", p.configDir(), p.release, path.Base(p.configFile()))
	if err != nil {
		return fmt.Errorf("remove former files of key server: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		if err := p.wipe(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// wipe overwrites the files below a path and removes it.
func (k KeyServerContainer) wipe(ctx context.Context, name string) error {
	const script = `if [ -e "$1" ] || [ -L "$1" ]; then find "$1" -type f -exec shred -n 1 -z -u {} +; rm -rf -- "$1"; fi`
	if err := k.Host.Run(ctx, remote.Command{Args: []string{"sh", "-ec", script, "sh", name}}); err != nil {
		return fmt.Errorf("remove files of key server: %w", err)
	}
	return nil
}
