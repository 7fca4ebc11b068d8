package resources

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/objectplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/remote"
)

const runtimeDocker = "docker"

// hostModel is a machine: exactly one of its fields.
type hostModel struct {
	Local *struct{}     `tfsdk:"local"`
	SSH   *sshHostModel `tfsdk:"ssh"`
}

type sshHostModel struct {
	sshAccessModel
	Sudo types.Bool      `tfsdk:"sudo"`
	Jump *sshAccessModel `tfsdk:"jump"`
}

// sshAccessModel is how a machine is reached.
type sshAccessModel struct {
	Address        types.String `tfsdk:"address"`
	User           types.String `tfsdk:"user"`
	HostKeys       []string     `tfsdk:"host_keys"`
	KnownHosts     types.String `tfsdk:"known_hosts"`
	PrivateKeyFile types.String `tfsdk:"private_key_file"`
}

// hostAttribute is the machine that a resource is on. Moving to another one is
// a replacement; reaching the same one in another way is not.
func hostAttribute(description string) schema.Attribute {
	ssh := sshAccessAttributes()
	ssh["sudo"] = schema.BoolAttribute{
		MarkdownDescription: "Become root with `sudo -n`, for a user that is not root: a rule without password is needed. Default: `false`.", Optional: true,
	}
	ssh["jump"] = schema.SingleNestedAttribute{
		MarkdownDescription: "A host in between.", Optional: true, Attributes: sshAccessAttributes(),
	}
	return schema.SingleNestedAttribute{
		MarkdownDescription: description,
		Required:            true,
		PlanModifiers: []planmodifier.Object{objectplanmodifier.RequiresReplaceIf(otherHost,
			"Moving to another machine replaces it.", "Moving to another machine replaces it.")},
		Attributes: map[string]schema.Attribute{
			"local": schema.SingleNestedAttribute{
				MarkdownDescription: "The machine that runs Terraform: `{}`. Not on Windows.", Optional: true, Attributes: map[string]schema.Attribute{},
			},
			"ssh": schema.SingleNestedAttribute{
				MarkdownDescription: "A machine that is reached by SSH. Its key must be known beforehand: nothing is trusted on first use, because whoever " +
					"answers first would get the keys.",
				Optional: true, Attributes: ssh,
			},
		},
	}
}

func sshAccessAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"address": schema.StringAttribute{MarkdownDescription: "`host` or `host:port`. Default port: 22.", Required: true},
		"user":    schema.StringAttribute{MarkdownDescription: "User to log in as. Default: `root`.", Optional: true},
		"host_keys": schema.ListAttribute{
			MarkdownDescription: "Public keys of the host, such as `ssh-ed25519 AAAA...`: the content of `/etc/ssh/ssh_host_*_key.pub` there. " +
				"Exactly one of `host_keys` and `known_hosts` is required.",
			Optional: true, ElementType: types.StringType,
		},
		"known_hosts": schema.StringAttribute{MarkdownDescription: "Path of a `known_hosts` file that has the host's key.", Optional: true},
		"private_key_file": schema.StringAttribute{
			MarkdownDescription: "Path of an unencrypted private key. Default: the keys of the SSH agent (`SSH_AUTH_SOCK`).", Optional: true,
		},
	}
}

// otherHost tells that a plan is for another machine than the state.
func otherHost(ctx context.Context, req planmodifier.ObjectRequest, resp *objectplanmodifier.RequiresReplaceIfFuncResponse) {
	if req.PlanValue.IsUnknown() || !fullyKnown(ctx, req.PlanValue, req.StateValue) {
		// Nobody knows yet; apply finds the server on the machine it is on or makes it there.
		return
	}
	var plan, state hostModel
	resp.Diagnostics.Append(req.PlanValue.As(ctx, &plan, basetypes.ObjectAsOptions{})...)
	resp.Diagnostics.Append(req.StateValue.As(ctx, &state, basetypes.ObjectAsOptions{})...)
	if !resp.Diagnostics.HasError() {
		resp.RequiresReplace = plan.name() != state.name()
	}
}

// name tells machines apart.
func (h *hostModel) name() string {
	if h.SSH == nil {
		return ""
	}
	return "ssh://" + h.SSH.address()
}

func (a *sshAccessModel) address() string {
	address := a.Address.ValueString()
	if _, _, err := net.SplitHostPort(address); err == nil {
		return address
	}
	return net.JoinHostPort(address, "22")
}

// check finds what is wrong with a fully known host. The problem has its field.
func (h *hostModel) check() error {
	var problems []deploy.KeyServerProblem
	add := func(field, message, remedy string) {
		problems = append(problems, deploy.KeyServerProblem{Field: field, Message: message, Remedy: remedy})
	}
	if (h.Local == nil) == (h.SSH == nil) {
		add("host", "has not exactly one of local and ssh", "write host = { local = {} } for this machine")
	}
	access := func(field string, a *sshAccessModel) {
		if (len(a.HostKeys) == 0) == (a.KnownHosts.ValueString() == "") {
			add(field, "has not exactly one of host_keys and known_hosts", "the host's key must be known beforehand; it is shown on the machine's own console")
		}
		for i, line := range a.HostKeys {
			if _, err := remote.ParseHostKey(line); err != nil {
				add(fmt.Sprintf("%s.host_keys[%d]", field, i), err.Error(), "")
			}
		}
	}
	if h.SSH != nil {
		access("host.ssh", &h.SSH.sshAccessModel)
		if h.SSH.Jump != nil {
			access("host.ssh.jump", h.SSH.Jump)
		}
	}
	if len(problems) > 0 {
		return &deploy.KeyServerConfigError{Problems: problems}
	}
	return nil
}

// open connects to the machine. The caller closes it.
func (h *hostModel) open(ctx context.Context) (remote.Executor, error) {
	if h.SSH == nil {
		return remote.Local{}, nil
	}
	config := h.SSH.config()
	config.Sudo = h.SSH.Sudo.ValueBool()
	if h.SSH.Jump != nil {
		jump := h.SSH.Jump.config()
		config.Jump = &jump
	}
	x, err := remote.DialSSH(ctx, config)
	if err != nil {
		return nil, &deploy.Error{Summary: "Machine not reachable", Err: err,
			Remedy: "If the machine does not exist any more, forget what was on it with `terraform state rm`."}
	}
	return x, nil
}

func (a *sshAccessModel) config() remote.SSHConfig {
	c := remote.SSHConfig{
		Address: a.address(), User: a.User.ValueString(), HostKeys: a.HostKeys, KnownHosts: a.KnownHosts.ValueString(),
		PrivateKeyFile: a.PrivateKeyFile.ValueString(),
	}
	if c.User == "" {
		c.User = "root"
	}
	if c.PrivateKeyFile == "" {
		c.AgentSocket = os.Getenv("SSH_AUTH_SOCK")
	}
	return c
}

// probeAddress is where a server that the machine publishes at listen should
// answer from here; empty where it need not.
func (h *hostModel) probeAddress(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return ""
	}
	addr, err := netip.ParseAddr(host)
	everywhere := host == "" || err == nil && addr.IsUnspecified()
	if h.SSH == nil {
		if everywhere {
			host = "127.0.0.1"
		}
		return net.JoinHostPort(host, port)
	}
	if h.SSH.Jump != nil {
		return "" // it is behind another machine
	}
	machine, _, err := net.SplitHostPort(h.SSH.address())
	if err != nil {
		return ""
	}
	reached, err := netip.ParseAddr(machine)
	switch {
	case everywhere:
		return net.JoinHostPort(machine, port)
	case addr.IsLoopback() && (err != nil || !reached.IsLoopback()):
		return "" // for the machine alone
	}
	return net.JoinHostPort(host, port)
}

// host reads the machine of a model.
func (m *keyServerModel) host(ctx context.Context, diags *diag.Diagnostics) hostModel {
	var h hostModel
	diags.Append(m.Host.As(ctx, &h, basetypes.ObjectAsOptions{})...)
	return h
}

func (m *keyServerModel) inContainer() bool { return m.Runtime.ValueString() == runtimeDocker }

const defaultContainerName = "cc-key-server"

// container is the wish for a container, without its machine.
func (m *keyServerModel) container(h *hostModel, k deploy.KeyServer) deploy.KeyServerContainer {
	c := deploy.KeyServerContainer{KeyServer: k, Name: m.ContainerName.ValueString()}
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
	if !fullyKnown(ctx, m.Host, m.Runtime, m.Directory, m.ContainerName) {
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
	case !m.ContainerName.IsNull() || !m.Probe.IsNull():
		diags.AddAttributeError(path.Root("runtime"), "Key server configuration not valid",
			`container_name and probe go with runtime "docker" only. Leave them out.`)
		return nil
	}
	return k.Check()
}
