package resources

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	rschema "github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
)

var (
	_ datasource.DataSource                   = (*keyServerStatusDataSource)(nil)
	_ datasource.DataSourceWithValidateConfig = (*keyServerStatusDataSource)(nil)
)

// keyServerStatusDataSource is data.cc_key_server_status.
type keyServerStatusDataSource struct{}

// NewKeyServerStatusDataSource returns data.cc_key_server_status: how a key server does.
func NewKeyServerStatusDataSource() datasource.DataSource { return &keyServerStatusDataSource{} }

type keyServerStatusModel struct {
	Host          types.Object `tfsdk:"host"`
	ContainerName types.String `tfsdk:"container_name"`
	Directory     types.String `tfsdk:"directory"`
	Admin         types.Object `tfsdk:"admin"`
	Timeout       types.String `tfsdk:"timeout"`

	State              types.String `tfsdk:"state"`
	Reason             types.String `tfsdk:"reason"`
	Version            types.String `tfsdk:"version"`
	Started            types.String `tfsdk:"started"`
	ConfigSHA256       types.String `tfsdk:"config_sha256"`
	Released           types.Int64  `tfsdk:"released"`
	Refused            types.Int64  `tfsdk:"refused"`
	ConnectionsOpen    types.Int64  `tfsdk:"connections_open"`
	CertificateExpires types.String `tfsdk:"certificate_expires"`
	CertificateSeconds types.Int64  `tfsdk:"certificate_expires_in"`
	CollateralIssued   types.String `tfsdk:"collateral_issued"`
	CollateralAge      types.Int64  `tfsdk:"collateral_age"`
	CollateralState    types.String `tfsdk:"collateral_state"`
	Problems           types.List   `tfsdk:"problems"`
	Warnings           types.List   `tfsdk:"warnings"`
}

type keyServerListenerModel struct {
	Address     types.String `tfsdk:"address"`
	CA          types.String `tfsdk:"ca"`
	Certificate types.String `tfsdk:"certificate"`
	PrivateKey  types.String `tfsdk:"private_key"`
	ServerName  types.String `tfsdk:"server_name"`
}

var keyServerStates = words{
	{deploy.KeyServerReady, "it serves enclaves"},
	{deploy.KeyServerUnhealthy, "it runs and serves none, or has a problem that keeps every client away"},
	{deploy.KeyServerUnasked, "it runs as a process without an admin listener that could be asked more"},
	{deploy.KeyServerAbsent, "its machine answers, and it does not run there"},
	{deploy.KeyServerUnreachable, "there was no answer, so nothing is known of it"},
}

// keyServerStatusPatience is how long an answer may take by default.
const keyServerStatusPatience = 30 * time.Second

func (d *keyServerStatusDataSource) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_key_server_status"
}

func (d *keyServerStatusDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	file := func(description string) schema.StringAttribute {
		return schema.StringAttribute{MarkdownDescription: description, Optional: true, Validators: []validator.String{filePath{}}}
	}
	number := func(description string) schema.Int64Attribute {
		return schema.Int64Attribute{MarkdownDescription: description, Computed: true}
	}
	text := func(description string) schema.StringAttribute {
		return schema.StringAttribute{MarkdownDescription: description, Computed: true}
	}
	texts := func(description string) schema.ListAttribute {
		return schema.ListAttribute{MarkdownDescription: description, Computed: true, ElementType: types.StringType}
	}
	host := dataAttribute(hostAttribute("The machine it runs on, such as `cc_key_server.attestation.host`.")).(schema.SingleNestedAttribute) //nolint:forcetypeassert // It is one.
	host.Required, host.Optional = false, true
	resp.Schema = schema.Schema{
		MarkdownDescription: "How a key server does now, in its own words. Reading it does not fail where the server is stopped or cannot be reached: `state` says so, for " +
			"`check` blocks and postconditions to judge. It is asked in its container, by SSH if need be; or through its admin listener.",
		Attributes: map[string]schema.Attribute{
			"host": host,
			"container_name": schema.StringAttribute{
				MarkdownDescription: "With `host`: name of the container. Default: `" + defaultContainerName + "`.", Optional: true,
			},
			"directory": schema.StringAttribute{
				MarkdownDescription: "With `host.local`, instead of a container: the directory of a server with `runtime = \"process\"`.", Optional: true, Validators: []validator.String{directoryPath{}},
			},
			"admin": schema.SingleNestedAttribute{
				MarkdownDescription: "Its admin listener, instead of `host`.", Optional: true,
				Attributes: map[string]schema.Attribute{
					"address":     schema.StringAttribute{MarkdownDescription: "`host:port`. Beyond a loopback address the three files are required.", Required: true},
					"ca":          file("PEM file of the certification authority of the listener's certificate."),
					"certificate": file("PEM file of the certificate that the listener lets in."),
					"private_key": file("PEM file of its private key."),
					"server_name": schema.StringAttribute{MarkdownDescription: "Name in the listener's certificate. Default: the host of `address`.", Optional: true},
				},
			},
			"timeout": schema.StringAttribute{
				MarkdownDescription: "How long an answer may take, before the server counts as unreachable. Default: `30s`.", Optional: true, Validators: []validator.String{duration{}},
			},

			"state":            text("How it does: " + keyServerStates.meanings()),
			"reason":           text("Why it is not ready; null if it is."),
			"version":          text("Version of the server. Null where it could not be asked, like everything below."),
			"started":          text("When it was started (RFC 3339)."),
			"config_sha256":    text("SHA-256 of the configuration in force."),
			"released":         number("How many secrets it has sent since its start."),
			"refused":          number("How many enclaves it has refused since its start."),
			"connections_open": number("How many connections are open."),

			"certificate_expires":    text("When its certificate expires (RFC 3339)."),
			"certificate_expires_in": number("In how many seconds that is, by its clock; negative afterwards."),
			"collateral_issued":      text("When the oldest of the collateral at hand was issued (RFC 3339); null if it has none yet, which is so until the first enclave has come."),
			"collateral_age":         number("How many seconds ago that was, by its clock."),
			"collateral_state":       text("`good`, or the state of a document that is not: `too old`, `expired` or `missing`."),
			"problems":               texts("What keeps every enclave from being served."),
			"warnings":               texts("What will be a problem, or makes it less strict than it could be."),
		},
	}
}

// dataAttribute is the attribute of a resource as one of a data source, so that
// a resource's machine can be given as it is. There is no plan, and no secret:
// the arguments of a data source are kept in the state. What goes together was
// checked with the resource.
func dataAttribute(a rschema.Attribute) schema.Attribute {
	switch a := a.(type) {
	case rschema.StringAttribute:
		if a.WriteOnly {
			return schema.StringAttribute{
				MarkdownDescription: "Not here, where it would be kept in the state: have the key in the SSH agent, or name its file.",
				Optional:            true, Sensitive: true, Validators: []validator.String{noSecret{}},
			}
		}
		return schema.StringAttribute{MarkdownDescription: a.MarkdownDescription, Required: a.Required, Optional: a.Optional, Sensitive: a.Sensitive}
	case rschema.BoolAttribute:
		return schema.BoolAttribute{MarkdownDescription: a.MarkdownDescription, Required: a.Required, Optional: a.Optional}
	case rschema.Int64Attribute:
		return schema.Int64Attribute{MarkdownDescription: a.MarkdownDescription, Required: a.Required, Optional: a.Optional}
	case rschema.ListAttribute:
		return schema.ListAttribute{MarkdownDescription: a.MarkdownDescription, Required: a.Required, Optional: a.Optional, ElementType: a.ElementType}
	case rschema.SingleNestedAttribute:
		nested := make(map[string]schema.Attribute, len(a.Attributes))
		for name, inner := range a.Attributes {
			nested[name] = dataAttribute(inner)
		}
		return schema.SingleNestedAttribute{MarkdownDescription: a.MarkdownDescription, Required: a.Required, Optional: a.Optional, Attributes: nested}
	default:
		panic(fmt.Sprintf("an attribute of a machine has the type %T, which has no counterpart yet", a)) // every test of a schema finds it
	}
}

// noSecret refuses any value, without repeating it.
type noSecret struct{}

func (noSecret) Description(context.Context) string {
	return "value must be null: the arguments of a data source are kept in the state"
}

func (v noSecret) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (v noSecret) ValidateString(ctx context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if !req.ConfigValue.IsNull() {
		resp.Diagnostics.AddAttributeError(req.Path, "Secret in a data source", sentence(v.Description(ctx)))
	}
}

// ValidateConfig finds what does not go together.
func (d *keyServerStatusDataSource) ValidateConfig(ctx context.Context, req datasource.ValidateConfigRequest, resp *datasource.ValidateConfigResponse) {
	var m keyServerStatusModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() || !fullyKnown(ctx, m.Host, m.Admin, m.Directory, m.ContainerName) {
		return
	}
	m.check(ctx, &resp.Diagnostics)
}

func (m *keyServerStatusModel) check(ctx context.Context, diags *diag.Diagnostics) {
	const summary = "Key server not identified"
	switch {
	case m.Host.IsNull() == m.Admin.IsNull():
		diags.AddError(summary, "Exactly one of host and admin is needed.")
	case m.Host.IsNull():
		if !m.Directory.IsNull() || !m.ContainerName.IsNull() {
			diags.AddError(summary, "container_name and directory go with host.")
			return
		}
		l := m.listener(ctx, diags)
		if err := l.Check(); err != nil {
			addError(diags, path.Root("admin"), summary, err)
		}
	default:
		h := m.host(ctx, diags)
		if diags.HasError() {
			return
		}
		if err := h.check(); err != nil {
			addKeyServerError(diags, summary, err)
			return
		}
		if !m.Directory.IsNull() && (h.Local == nil || !m.ContainerName.IsNull()) {
			diags.AddAttributeError(path.Root("directory"), summary, "directory goes with host = { local = {} } and without container_name: it is that of a process.")
		}
	}
}

func (d *keyServerStatusDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m keyServerStatusModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	m.check(ctx, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	patience := parseDuration(m.Timeout)
	if patience == 0 {
		patience = keyServerStatusPatience
	}
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answer, err := m.ask(limited, &resp.Diagnostics)
	if err == nil && ctx.Err() != nil { // Terraform was interrupted, which says nothing about the server
		err = fmt.Errorf("ask key server: %w", context.Cause(ctx))
	}
	if err != nil {
		addError(&resp.Diagnostics, path.Empty(), "Key server not asked", err)
	}
	if resp.Diagnostics.HasError() {
		return
	}
	m.set(ctx, answer, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// ask asks wherever the server is.
func (m *keyServerStatusModel) ask(ctx context.Context, diags *diag.Diagnostics) (deploy.KeyServerAnswer, error) {
	if m.Host.IsNull() {
		return deploy.AskAdmin(ctx, m.listener(ctx, diags))
	}
	if !m.Directory.IsNull() {
		return deploy.AskProcess(ctx, m.Directory.ValueString())
	}
	h := m.host(ctx, diags)
	x, err := h.open(ctx)
	if err != nil {
		// No answer is an answer here.
		return deploy.KeyServerAnswer{State: deploy.KeyServerUnreachable, Reason: err.Error()}, nil
	}
	defer func() { _ = x.Close() }()
	name := m.ContainerName.ValueString()
	if name == "" {
		name = defaultContainerName
	}
	return deploy.AskContainer(ctx, x, name), nil
}

func (m *keyServerStatusModel) host(ctx context.Context, diags *diag.Diagnostics) (h hostModel) {
	diags.Append(m.Host.As(ctx, &h, basetypes.ObjectAsOptions{})...)
	return h
}

func (m *keyServerStatusModel) listener(ctx context.Context, diags *diag.Diagnostics) deploy.KeyServerListener {
	var l keyServerListenerModel
	diags.Append(m.Admin.As(ctx, &l, basetypes.ObjectAsOptions{})...)
	return deploy.KeyServerListener{
		Address: l.Address.ValueString(), CA: l.CA.ValueString(), Certificate: l.Certificate.ValueString(), PrivateKey: l.PrivateKey.ValueString(),
		ServerName: l.ServerName.ValueString(),
	}
}

// set fills in the answer.
func (m *keyServerStatusModel) set(ctx context.Context, a deploy.KeyServerAnswer, diags *diag.Diagnostics) {
	m.State, m.Reason = types.StringValue(a.State), optionalString(a.Reason)
	m.Problems, m.Warnings = types.ListNull(types.StringType), types.ListNull(types.StringType)
	s := a.Status
	if s == nil {
		return
	}
	count := func(n uint64) types.Int64 { return types.Int64Value(int64(min(n, 1<<62))) }
	m.Version, m.ConfigSHA256 = types.StringValue(s.Version), types.StringValue(s.Configuration.SHA256)
	m.Started = types.StringValue(s.Started.Format(time.RFC3339))
	m.Released, m.Refused, m.ConnectionsOpen = count(s.Releases), count(s.Refusals), types.Int64Value(int64(s.ConnectionsOpen))
	m.CertificateExpires = types.StringValue(s.Certificate.NotAfter.Format(time.RFC3339))
	m.CertificateSeconds = types.Int64Value(int64(s.Certificate.NotAfter.Sub(s.Now).Seconds()))
	if issued, state, ok := deploy.CollateralAge(s); ok {
		m.CollateralIssued, m.CollateralState = types.StringValue(issued.Format(time.RFC3339)), types.StringValue(state)
		m.CollateralAge = types.Int64Value(int64(s.Now.Sub(issued).Seconds()))
	}
	var d diag.Diagnostics
	m.Problems, d = types.ListValueFrom(ctx, types.StringType, append([]string{}, s.Problems...))
	diags.Append(d...)
	m.Warnings, d = types.ListValueFrom(ctx, types.StringType, append([]string{}, s.Warnings...))
	diags.Append(d...)
}
