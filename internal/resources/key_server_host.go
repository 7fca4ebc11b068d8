package resources

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/objectplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/remote"
)

// hostModel is a machine: exactly one of its fields.
type hostModel struct {
	Local *struct{}     `tfsdk:"local"`
	SSH   *sshHostModel `tfsdk:"ssh"`
}

type sshHostModel struct {
	sshAccessModel
	Sudo types.Bool      `tfsdk:"sudo"`
	Jump *sshAccessModel `tfsdk:"jump"`

	keys hostKeys
}

// hostKeys are the private keys of write-only arguments, which only a plan and
// an apply are told of.
type hostKeys struct{ own, jump remote.PrivateKey }

// sshAccessModel is how a machine is reached.
type sshAccessModel struct {
	Address             types.String `tfsdk:"address"`
	User                types.String `tfsdk:"user"`
	HostKeys            []string     `tfsdk:"host_keys"`
	KnownHosts          types.String `tfsdk:"known_hosts"`
	PrivateKeyFile      types.String `tfsdk:"private_key_file"`
	PrivateKeyWO        types.String `tfsdk:"private_key_wo"`
	PrivateKeyWOVersion types.Int64  `tfsdk:"private_key_wo_version"`
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
			Validators: []validator.String{stringvalidator.ConflictsWith(sibling("private_key_wo"))},
		},
		"private_key_wo": schema.StringAttribute{
			MarkdownDescription: "An unencrypted private key in OpenSSH's or PEM form, which is kept in neither state nor plan: one of a secret store, by an ephemeral " +
				"resource. Terraform tells the provider of it in an apply only: a refresh and a destroy need the key in the SSH agent. Without one a refresh " +
				"leaves the machine unseen and says so.",
			Optional: true, WriteOnly: true, Sensitive: true, Validators: []validator.String{stringvalidator.AlsoRequires(sibling("private_key_wo_version"))},
		},
		"private_key_wo_version": schema.Int64Attribute{
			MarkdownDescription: "Number of `private_key_wo`, which Terraform cannot compare: change it with the key.", Optional: true,
			Validators: []validator.Int64{int64validator.AlsoRequires(sibling("private_key_wo"))},
		},
	}
}

// sibling is an attribute beside another one.
func sibling(name string) path.Expression { return path.MatchRelative().AtParent().AtName(name) }

// readHost reads the machine of a model, with keys from [readHostKeys].
func readHost(ctx context.Context, object types.Object, keys hostKeys, diags *diag.Diagnostics) hostModel {
	var h hostModel
	diags.Append(object.As(ctx, &h, basetypes.ObjectAsOptions{})...)
	if h.SSH != nil {
		h.SSH.keys = keys
	}
	return h
}

// readHostKeys reads the private keys of a host out of a configuration.
func readHostKeys(ctx context.Context, object types.Object, config tfsdk.Config, diags *diag.Diagnostics) hostKeys {
	h := readHost(ctx, object, hostKeys{}, diags)
	take := func(at path.Path) remote.PrivateKey {
		var key types.String
		diags.Append(config.GetAttribute(ctx, at.AtName("private_key_wo"), &key)...)
		return remote.PrivateKey(key.ValueString())
	}
	ssh := path.Root("host").AtName("ssh")
	var keys hostKeys
	if h.SSH != nil {
		keys.own = take(ssh)
	}
	if h.SSH != nil && h.SSH.Jump != nil {
		keys.jump = take(ssh.AtName("jump"))
	}
	return keys
}

// errKeyNotAtHand says that a machine can be reached in an apply only.
var errKeyNotAtHand = errors.New("private_key_wo is known in an apply only, and no SSH agent has the key")

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
	config, err := h.SSH.config(h.SSH.keys.own)
	if err == nil && h.SSH.Jump != nil {
		var jump remote.SSHConfig
		jump, err = h.SSH.Jump.config(h.SSH.keys.jump)
		config.Jump = &jump
	}
	if err != nil {
		return nil, err
	}
	config.Sudo = h.SSH.Sudo.ValueBool()
	x, err := remote.DialSSH(ctx, config)
	if err != nil {
		return nil, unreachable(err)
	}
	return x, nil
}

// unreachable says what is to be done about a machine that nobody could log in to.
func unreachable(err error) error {
	const gone = " If the machine does not exist any more, forget what was on it with `terraform state rm`."
	var dns *net.DNSError
	var late net.Error
	failure := &deploy.Error{Summary: "Machine not reachable", Err: err}
	switch {
	case errors.Is(err, remote.ErrHostKey):
		failure.Summary = "Machine with another host key"
		failure.Remedy = "Nothing was sent to it. If the machine was installed anew, read its key on its own console (/etc/ssh/ssh_host_*_key.pub) and put it " +
			"into host_keys or known_hosts. If it was not, find out who answers in its place before you do."
	case errors.Is(err, remote.ErrAuthentication):
		failure.Summary = "SSH login refused"
		failure.Remedy = "Check user and key: the machine answers, and does not let this key in." + gone
	case errors.As(err, &dns):
		failure.Remedy = "Its name does not lead to an address: check host.ssh.address and this machine's name resolution." + gone
	case errors.Is(err, syscall.ECONNREFUSED):
		failure.Remedy = "The address answers and nobody listens at the port: the machine is starting, its SSH server does not run, or the port is another. " +
			"Apply again when it listens." + gone
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		failure.Remedy = "It takes the connection and ends it at once: the machine is starting or stopping, or its SSH server turns away whoever is one too many. " +
			"Apply again in a minute." + gone
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &late) && late.Timeout():
		failure.Remedy = "No answer comes from there: the machine is stopped or starting, or a security group or a firewall on the way drops connections " +
			"to its SSH port. Apply again when it answers." + gone
	default:
		failure.Remedy = strings.TrimSpace(gone)
	}
	return failure
}

func (a *sshAccessModel) config(key remote.PrivateKey) (remote.SSHConfig, error) {
	c := remote.SSHConfig{
		Address: a.address(), User: a.User.ValueString(), HostKeys: a.HostKeys, KnownHosts: a.KnownHosts.ValueString(),
		PrivateKeyFile: a.PrivateKeyFile.ValueString(), PrivateKey: key,
	}
	if c.User == "" {
		c.User = "root"
	}
	if c.PrivateKeyFile == "" && key == "" {
		c.AgentSocket = os.Getenv("SSH_AUTH_SOCK")
		if c.AgentSocket == "" && !a.PrivateKeyWOVersion.IsNull() {
			return c, &deploy.Error{Summary: "SSH key not at hand", Err: fmt.Errorf("connect to %s: %w", c.Address, errKeyNotAtHand),
				Remedy: "Terraform tells the provider of write-only arguments in an apply only. For a refresh, a destroy or an import have the key in an SSH agent (SSH_AUTH_SOCK), or name it with private_key_file."}
		}
	}
	return c, nil
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
