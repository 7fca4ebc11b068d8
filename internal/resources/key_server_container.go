package resources

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
)

const runtimeDocker = "docker"

// host reads the machine of a model.
func (m *keyServerModel) host(ctx context.Context, diags *diag.Diagnostics) hostModel {
	return readHost(ctx, m.Host, m.keys, diags)
}

func (m *keyServerModel) inContainer() bool { return m.Runtime.ValueString() == runtimeDocker }

const defaultContainerName = "cc-key-server"

// container is the wish for a container, without its machine.
func (m *keyServerModel) container(h *hostModel, k deploy.KeyServer) deploy.KeyServerContainer {
	c := deploy.KeyServerContainer{
		KeyServer: k, Name: m.ContainerName.ValueString(), Restart: m.RestartPolicy.ValueString(),
		Image:    deploy.ContainerImage{Reference: m.Image.ValueString(), URL: m.CcctlURL.ValueString(), SHA256: m.CcctlSHA256.ValueString()},
		InMemory: !m.SecretsOnDisk.IsNull() && !m.SecretsOnDisk.ValueBool(),
	}
	if c.Name == "" {
		c.Name = defaultContainerName
	}
	if m.Probe.IsNull() || m.Probe.ValueBool() {
		c.Probe = h.probeAddress(k.Config.Listen)
	}
	return c
}

// onMachine runs do with the container's machine.
func (m *keyServerModel) onMachine(ctx context.Context, k deploy.KeyServer, do func(c deploy.KeyServerContainer) error) error {
	var diags diag.Diagnostics
	h := m.host(ctx, &diags)
	if diags.HasError() {
		return errors.New("read host: its value is malformed")
	}
	x, err := h.open(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = x.Close() }()
	c := m.container(&h, k)
	c.Host = x
	return do(c)
}

// start starts the server for the first time.
func (m *keyServerModel) start(ctx context.Context, k deploy.KeyServer) (run deploy.KeyServerRun, err error) {
	if !m.inContainer() {
		return k.Start(ctx)
	}
	return m.apply(ctx, k, false)
}

// apply makes the server run as wished.
func (m *keyServerModel) apply(ctx context.Context, k deploy.KeyServer, restart bool) (run deploy.KeyServerRun, err error) {
	if !m.inContainer() {
		return k.Apply(ctx, restart)
	}
	err = m.onMachine(ctx, k, func(c deploy.KeyServerContainer) error {
		run, err = c.Apply(ctx)
		return err
	})
	return run, err
}

// observe compares the server with the state.
func (m *keyServerModel) observe(ctx context.Context, diags *diag.Diagnostics) (found deploy.KeyServerObservation, err error) {
	digest := m.ConfigSHA256.ValueString()
	if !m.inContainer() {
		return deploy.ObserveKeyServer(m.Directory.ValueString(), digest)
	}
	k := m.server(ctx, diags)
	if diags.HasError() {
		return found, nil
	}
	err = m.onMachine(ctx, k, func(c deploy.KeyServerContainer) error {
		found, err = c.Observe(ctx, digest)
		return err
	})
	return found, err
}

// remove stops the server and removes what was made for it.
func (m *keyServerModel) remove(ctx context.Context, diags *diag.Diagnostics) error {
	if !m.inContainer() {
		return deploy.RemoveKeyServer(ctx, m.Directory.ValueString())
	}
	k := m.server(ctx, diags)
	if diags.HasError() {
		return errors.New("read key server from state: it is malformed")
	}
	return m.onMachine(ctx, k, func(c deploy.KeyServerContainer) error { return c.Remove(ctx) })
}

// containerTimeout is how long an operation on a container may take by
// default: an image has to be sent, perhaps over a slow line.
const containerTimeout = 10 * time.Minute

// patience is how long an operation may take by default.
func (m *keyServerModel) patience(process time.Duration) time.Duration {
	if m.inContainer() {
		return containerTimeout
	}
	return process
}

// checkPlacement finds what does not go together, once it is all known.
func (m *keyServerModel) checkPlacement(ctx context.Context, k deploy.KeyServer, diags *diag.Diagnostics) error {
	if !fullyKnown(ctx, append(m.containerOnly(), m.Host, m.Runtime, m.Directory, m.CcctlPath)...) {
		return k.Check()
	}
	h := m.host(ctx, diags)
	if diags.HasError() {
		return nil
	}
	if err := h.check(); err != nil {
		return err
	}
	switch {
	case m.inContainer():
		c := m.container(&h, k)
		return c.Check()
	case h.SSH != nil:
		diags.AddAttributeError(path.Root("runtime"), "Key server configuration not valid",
			`runtime "process" goes with host.local only. On another machine the server runs as a container: write "docker".`)
		return nil
	case slices.ContainsFunc(m.containerOnly(), func(v attr.Value) bool { return !v.IsNull() }):
		diags.AddAttributeError(path.Root("runtime"), "Key server configuration not valid",
			`container_name, probe, image, ccctl_url, ccctl_sha256, restart_policy and secrets_on_disk go with runtime "docker" only. Leave them out.`)
		return nil
	}
	return k.Check()
}

// containerOnly are the settings that only a container has.
func (m *keyServerModel) containerOnly() []attr.Value {
	return []attr.Value{m.ContainerName, m.Probe, m.Image, m.CcctlURL, m.CcctlSHA256, m.RestartPolicy, m.SecretsOnDisk}
}

// needsCcctl tells that the program must be on this machine.
func (m *keyServerModel) needsCcctl() bool {
	return !m.CcctlPath.IsUnknown() && m.Image.IsNull() && m.CcctlURL.IsNull()
}
