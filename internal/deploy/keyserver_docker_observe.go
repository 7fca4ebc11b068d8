package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/ccctl/terraform-provider-cc/internal/image"
	"github.com/ccctl/terraform-provider-cc/internal/remote"
)

// containerInfo is what `docker inspect` says of a container, as far as it is
// compared.
type containerInfo struct {
	ID           string `json:"Id"`
	Image        string
	RestartCount int
	State        struct {
		Running  bool
		ExitCode int
		Health   *struct {
			Status string
			Log    []struct{ Output string }
		}
	}
	Config struct {
		User   string
		Labels map[string]string
	}
	NetworkSettings struct {
		Networks map[string]struct{ IPAddress string }
	}
	HostConfig struct {
		ReadonlyRootfs bool
		Privileged     bool
		CapAdd         []string
		CapDrop        []string
		SecurityOpt    []string
		Memory         int64
		MemorySwap     int64
		PidsLimit      *int64
		RestartPolicy  struct{ Name string }
		NetworkMode    string
		PidMode        string
		LogConfig      struct{ Config map[string]string }
		PortBindings   map[string][]struct {
			HostIP   string `json:"HostIp"`
			HostPort string
		}
	}
	Mounts []struct {
		Source, Destination string
		RW                  bool
	}
}

// inspect looks at a container; nil: there is none. It fails for one that is
// not of this server, so that nothing is done to it.
func (k KeyServerContainer) inspect(ctx context.Context, name string) (*containerInfo, error) {
	out, err := remote.Output(ctx, k.Host, "docker", "container", "inspect", name)
	if err != nil {
		if _, known := remote.ExitCode(err); known && strings.Contains(strings.ToLower(err.Error()), "no such container") {
			return nil, nil
		}
		return nil, fmt.Errorf("look at container %s: %w", name, err)
	}
	var all []containerInfo
	if err := json.Unmarshal(out, &all); err != nil || len(all) != 1 {
		return nil, fmt.Errorf("look at container %s: Docker's answer makes no sense (%d entries): %w", name, len(all), err)
	}
	if found := all[0].Config.Labels[labelDirectory]; found != k.Directory {
		what := "it is not a key server's"
		if found != "" {
			what = "it is the key server of " + found
		}
		return nil, &Error{Summary: "Container of another one", Err: fmt.Errorf("use container %s on %s: %s, not of %s", name, k.Host, what, k.Directory),
			Remedy: "Choose another container_name, or remove that container."}
	}
	return &all[0], nil
}

// discard removes a container, if it is there and of this server.
func (k KeyServerContainer) discard(ctx context.Context, name string) error {
	found, err := k.inspect(ctx, name)
	if err != nil || found == nil {
		return err
	}
	if _, err := k.docker(ctx, "rm", "--force", "--volumes", found.ID); err != nil {
		return fmt.Errorf("remove container %s: %w", name, err)
	}
	return nil
}

// differences compares how a container runs with how it should, and names each
// thing that is not so.
func (p *preparedContainer) differences(c *containerInfo) []string {
	h := &c.HostConfig
	var all []string
	check := func(ok bool, format string, a ...any) {
		if !ok {
			all = append(all, fmt.Sprintf(format, a...))
		}
	}
	// The image follows from the program; without one there is nothing to compare with.
	held := c.Config.Labels[labelProgram]
	if p.Image.Reference != "" {
		check(held == p.sum, "its image is %s, not %s", shortDigest(held), shortDigest(p.sum))
	} else {
		check(p.sum == "" || held == p.sum, "its image holds another program (SHA-256 %s) than this ccctl (%s)", shortDigest(held), shortDigest(p.sum))
	}
	bindings := h.PortBindings[containerPort+"/tcp"]
	published := "nothing"
	if len(bindings) == 1 {
		published = net.JoinHostPort(bindings[0].HostIP, bindings[0].HostPort)
	}
	check(published == p.publish && len(h.PortBindings) == 1, "it publishes %s, not %s", published, p.publish)
	check(c.Config.User == fmt.Sprintf("%d:%d", image.UID, image.UID), "it runs as user %q", c.Config.User)
	check(h.ReadonlyRootfs, "its root file system can be written to")
	check(!h.Privileged && slices.Equal(h.CapDrop, []string{"ALL"}) && len(h.CapAdd) == 0, "it has capabilities")
	check(slices.ContainsFunc(h.SecurityOpt, func(s string) bool { return strings.HasPrefix(s, "no-new-privileges") }), "it may gain privileges")
	check(h.Memory == containerMemory && h.MemorySwap == containerMemory, "its memory limit is %d and with swap %d, not %d bytes", h.Memory, h.MemorySwap, containerMemory)
	check(h.PidsLimit != nil && *h.PidsLimit == containerPIDs, "its limit of processes is another")
	check(h.RestartPolicy.Name == p.restart(), "its restart policy is %q, not %q", h.RestartPolicy.Name, p.restart())
	check(!p.InMemory || c.inMemory(), "its secrets are on the machine's disk")
	check(p.InMemory || !c.inMemory(), "its secrets are in memory alone")
	check(h.NetworkMode != "host" && h.PidMode == "", "it shares the machine's network or processes")
	check(h.LogConfig.Config["max-size"] != "", "its log is not rotated")
	for _, m := range c.Mounts {
		if m.Destination == image.ConfigDir {
			check(!m.RW && m.Source == p.configDir(), "its configuration is mounted from %s", m.Source)
		}
	}
	return all
}

// Observe compares the server with how it was left, the digest of whose
// configuration is given. It changes nothing.
func (k KeyServerContainer) Observe(ctx context.Context, digest string) (KeyServerObservation, error) {
	fail := func(err error) (KeyServerObservation, error) {
		return KeyServerObservation{}, fmt.Errorf("look for key server on %s: %w", k.Host, err)
	}
	if err := k.checkDocker(ctx); err != nil {
		return fail(err)
	}
	found, err := k.inspect(ctx, k.Name)
	if err != nil {
		return fail(err)
	}
	if found == nil {
		return KeyServerObservation{Status: KeyServerStopped}, nil
	}
	if !found.State.Running {
		return KeyServerObservation{Status: KeyServerStopped, Log: k.log(ctx, k.Name, "")}, nil
	}
	change, err := k.change(ctx, found, digest)
	switch {
	case err != nil:
		return fail(err)
	case change != "":
		return KeyServerObservation{Status: KeyServerChanged + change}, nil
	}
	return KeyServerObservation{Status: KeyServerRunning}, nil
}

// change says what of a running container is not as it was left.
func (k KeyServerContainer) change(ctx context.Context, found *containerInfo, digest string) (string, error) {
	text, err := k.currentConfig(ctx)
	if err != nil {
		return "", err
	}
	switch {
	case len(text) == 0:
		return "the configuration file is missing", nil
	case hexDigest(text) != digest:
		return "the configuration file was edited", nil
	}
	if h := found.State.Health; h != nil && h.Status == "unhealthy" {
		said := ""
		if n := len(h.Log); n > 0 {
			said = ": " + strings.Join(strings.Fields(printable(h.Log[n-1].Output)), " ")
		}
		return "it is not healthy" + said, nil
	}
	status, err := k.status(ctx, k.Name)
	if code, known := remote.ExitCode(err); !known {
		return "", err
	} else if code != 0 && found.inMemory() {
		return "it does not answer; its secrets were in memory alone, and are lost when it is started again", nil
	} else if code != 0 {
		return "it does not answer", nil
	}
	if status.Ready != "yes" {
		return "it is not ready: " + oneLine(errors.New(printable(status.Ready))), nil
	}
	if status.ConfigSHA256 != digest {
		return "another configuration than the file's is in force", nil
	}
	return k.localChange(found, listedInputs(text))
}

// localChange compares with what is on this machine. What is not there cannot
// be compared: several machines may share a state, and not each has the keys.
func (k KeyServerContainer) localChange(found *containerInfo, loaded map[string]string) (string, error) {
	now, err := keyServerInputs(k.absolute())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return oneLine(err), nil
	}
	for _, field := range slices.Sorted(maps.Keys(now)) {
		if loaded[field] != now[field] {
			return field + " is another than the server has loaded", nil
		}
	}
	p := &preparedContainer{KeyServerContainer: k, publish: k.publishAddress()}
	if p.sum, err = k.sum(); err != nil {
		return oneLine(err), nil
	}
	if differences := p.differences(found); len(differences) > 0 {
		return strings.Join(differences, "; "), nil
	}
	return "", nil
}

// Remove stops the server and removes what was made on its machine: containers,
// image and files, of which each is overwritten first.
func (k KeyServerContainer) Remove(ctx context.Context) error {
	fail := func(err error) error { return fmt.Errorf("remove key server from %s: %w", k.Host, err) }
	if err := k.checkDocker(ctx); err != nil {
		return fail(err)
	}
	for _, name := range []string{k.Name, k.previousName(), k.trialName()} {
		found, err := k.inspect(ctx, name)
		if err != nil {
			return fail(err)
		}
		if found == nil {
			continue
		}
		if _, err := k.docker(ctx, "stop", found.ID); err != nil { // lets connections finish
			return fail(err)
		}
		if err := k.discard(ctx, name); err != nil {
			return fail(err)
		}
		k.dropImage(ctx, found.Image)
	}
	for _, name := range []string{k.configDir(), k.cacheDir()} {
		if err := k.wipe(ctx, name); err != nil {
			return fail(err)
		}
	}
	// Anything else in there is not ours to remove.
	err := k.Host.Run(ctx, remote.Command{Args: []string{"rmdir", "--ignore-fail-on-non-empty", k.Directory}})
	if _, known := remote.ExitCode(err); !known {
		return fail(err)
	}
	return nil
}
