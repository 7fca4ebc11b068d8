package resources

import (
	"context"
	"net"
	"slices"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
)

type keyServerModel struct {
	Host           types.Object   `tfsdk:"host"`
	Runtime        types.String   `tfsdk:"runtime"`
	ContainerName  types.String   `tfsdk:"container_name"`
	Probe          types.Bool     `tfsdk:"probe"`
	Directory      types.String   `tfsdk:"directory"`
	CcctlPath      types.String   `tfsdk:"ccctl_path"`
	CcctlURL       types.String   `tfsdk:"ccctl_url"`
	CcctlSHA256    types.String   `tfsdk:"ccctl_sha256"`
	Image          types.String   `tfsdk:"image"`
	RestartPolicy  types.String   `tfsdk:"restart_policy"`
	SecretsOnDisk  types.Bool     `tfsdk:"secrets_on_disk"`
	Listen         types.String   `tfsdk:"listen"`
	TLS            types.Object   `tfsdk:"tls"`           //< keyServerTLSModel
	Collateral     types.Object   `tfsdk:"collateral"`    //< keyServerCollateralModel
	Secrets        types.List     `tfsdk:"secrets"`       //< keyServerSecretModel
	Vault          types.Object   `tfsdk:"vault"`         //< keyServerVaultModel
	AlibabaCloud   types.Object   `tfsdk:"alibaba_cloud"` //< keyServerAlibabaCloudModel
	Rules          types.List     `tfsdk:"rules"`         //< keyServerRuleModel
	TrustedRoot    types.String   `tfsdk:"allow_trusted_root"`
	Admin          types.Object   `tfsdk:"admin"`  //< keyServerAdminModel
	Limits         types.Object   `tfsdk:"limits"` //< keyServerLimitsModel
	ReloadTriggers types.Map      `tfsdk:"reload_triggers"`
	Timeouts       timeouts.Value `tfsdk:"timeouts"`

	ID           types.String `tfsdk:"id"`
	Status       types.String `tfsdk:"status"`
	Address      types.String `tfsdk:"address"`
	AdminAddress types.String `tfsdk:"admin_address"`
	ConfigFile   types.String `tfsdk:"config_file"`
	ConfigSHA256 types.String `tfsdk:"config_sha256"`
	LogFile      types.String `tfsdk:"log_file"`

	keys hostKeys
}

type keyServerTLSModel struct {
	Certificate types.String `tfsdk:"certificate"`
	PrivateKey  types.String `tfsdk:"private_key"`
}

type keyServerCollateralModel struct {
	Region       types.String `tfsdk:"region"`
	Network      types.String `tfsdk:"network"`
	URL          types.String `tfsdk:"url"`
	CA           types.String `tfsdk:"ca"`
	RootCACRLURL types.String `tfsdk:"root_ca_crl_url"`
	Update       types.String `tfsdk:"update"`
	Bundle       types.String `tfsdk:"bundle"`
	CacheDir     types.String `tfsdk:"cache_dir"`
	MaxAge       types.String `tfsdk:"max_age"`
}

type keyServerLimitsModel struct {
	UnfinishedHandshakes types.Int64  `tfsdk:"unfinished_handshakes"`
	UnfinishedPerAddress types.Int64  `tfsdk:"unfinished_per_address"`
	HandshakeTimeout     types.String `tfsdk:"handshake_timeout"`
	RequestTimeout       types.String `tfsdk:"request_timeout"`
	CollateralTimeout    types.String `tfsdk:"collateral_timeout"`
	DrainTimeout         types.String `tfsdk:"drain_timeout"`
}

// served is what goes into the server's configuration file.
func (m *keyServerModel) served() []attr.Value {
	return []attr.Value{m.Listen, m.TLS, m.Collateral, m.Secrets, m.Vault, m.AlibabaCloud, m.Rules, m.TrustedRoot, m.Admin, m.Limits}
}

// configured is everything that the user sets.
func (m *keyServerModel) configured() []attr.Value {
	return slices.Concat(m.served(), m.containerOnly(), []attr.Value{m.Host, m.Runtime, m.Directory, m.CcctlPath, m.ReloadTriggers, m.Timeouts})
}

// server is the wish that a fully known model describes.
func (m *keyServerModel) server(ctx context.Context, diags *diag.Diagnostics) deploy.KeyServer {
	k := deploy.KeyServer{Directory: m.Directory.ValueString(), Program: m.CcctlPath.ValueString()}
	c := &k.Config
	c.Listen, c.AllowTrustedRoot = m.Listen.ValueString(), m.TrustedRoot.ValueString()
	as := func(o types.Object, target any) {
		diags.Append(o.As(ctx, target, basetypes.ObjectAsOptions{})...)
	}

	var tls keyServerTLSModel
	as(m.TLS, &tls)
	c.TLS = deploy.KeyServerTLS{Certificate: tls.Certificate.ValueString(), PrivateKey: tls.PrivateKey.ValueString()}

	var collateral keyServerCollateralModel
	as(m.Collateral, &collateral)
	c.Collateral = collateral.config()

	var secrets []keyServerSecretModel
	diags.Append(m.Secrets.ElementsAs(ctx, &secrets, false)...)
	for i := range secrets {
		c.Secrets = append(c.Secrets, secrets[i].config())
	}
	if !m.Vault.IsNull() {
		var vault keyServerVaultModel
		as(m.Vault, &vault)
		c.Vault = vault.config()
	}
	if !m.AlibabaCloud.IsNull() {
		var account keyServerAlibabaCloudModel
		as(m.AlibabaCloud, &account)
		c.AlibabaCloud = account.config()
	}

	var rules []keyServerRuleModel
	diags.Append(m.Rules.ElementsAs(ctx, &rules, false)...)
	for i := range rules {
		c.Rules = append(c.Rules, rules[i].config())
	}

	if !m.Admin.IsNull() {
		var admin keyServerAdminModel
		as(m.Admin, &admin)
		c.Admin = admin.config()
	}
	if !m.Limits.IsNull() {
		var limits keyServerLimitsModel
		as(m.Limits, &limits)
		c.Limits = limits.config()
	}
	return k
}

func (m *keyServerCollateralModel) config() deploy.KeyServerCollateral {
	return deploy.KeyServerCollateral{
		Region: m.Region.ValueString(), Network: m.Network.ValueString(), URL: m.URL.ValueString(), CA: m.CA.ValueString(),
		RootCACRLURL: m.RootCACRLURL.ValueString(), Update: m.Update.ValueString(), Bundle: m.Bundle.ValueString(),
		CacheDir: m.CacheDir.ValueString(), MaxAge: deploy.KeyServerDuration(parseDuration(m.MaxAge)),
	}
}

func (m *keyServerLimitsModel) config() deploy.KeyServerLimits {
	d := func(s types.String) deploy.KeyServerDuration { return deploy.KeyServerDuration(parseDuration(s)) }
	return deploy.KeyServerLimits{
		UnfinishedHandshakes: int(m.UnfinishedHandshakes.ValueInt64()), UnfinishedPerAddress: int(m.UnfinishedPerAddress.ValueInt64()),
		HandshakeTimeout: d(m.HandshakeTimeout), RequestTimeout: d(m.RequestTimeout),
		CollateralTimeout: d(m.CollateralTimeout), DrainTimeout: d(m.DrainTimeout),
	}
}

// setRun records what runs.
func (m *keyServerModel) setRun(run deploy.KeyServerRun) {
	m.Status = types.StringValue(deploy.KeyServerRunning)
	m.Address = types.StringValue(run.Address)
	m.AdminAddress = optionalString(run.AdminAddress)
	m.ConfigSHA256 = types.StringValue(run.ConfigSHA256)
}

// picksPort tells that the server may get another port when it starts again.
func (m *keyServerModel) picksPort() bool {
	_, port, err := net.SplitHostPort(m.Listen.ValueString())
	return err != nil || port == "0"
}

// setKeyServerState fills a state with a configuration read from a file, where
// what is not in the file is null.
func setKeyServerState(ctx context.Context, state *tfsdk.State, c deploy.KeyServerConfig) diag.Diagnostics {
	var diags diag.Diagnostics
	set := func(name string, value any) {
		diags.Append(state.SetAttribute(ctx, path.Root(name), value)...)
	}
	set("listen", c.Listen)
	set("allow_trusted_root", optionalString(c.AllowTrustedRoot))
	set("tls", keyServerTLSModel{types.StringValue(c.TLS.Certificate), types.StringValue(c.TLS.PrivateKey)})
	set("collateral", keyServerCollateralModel{
		Region: optionalString(c.Collateral.Region), Network: optionalString(c.Collateral.Network), URL: optionalString(c.Collateral.URL),
		CA: optionalString(c.Collateral.CA), RootCACRLURL: optionalString(c.Collateral.RootCACRLURL), Update: optionalString(c.Collateral.Update),
		Bundle: optionalString(c.Collateral.Bundle), CacheDir: optionalString(c.Collateral.CacheDir),
		MaxAge: optionalDuration(time.Duration(c.Collateral.MaxAge)),
	})
	secrets := make([]keyServerSecretModel, len(c.Secrets))
	for i := range c.Secrets {
		secrets[i] = secretModel(&c.Secrets[i])
	}
	set("secrets", secrets)
	if c.Vault != nil {
		set("vault", vaultModel(c.Vault))
	}
	if c.AlibabaCloud != nil {
		set("alibaba_cloud", alibabaCloudModel(c.AlibabaCloud))
	}
	rules := make([]keyServerRuleModel, len(c.Rules))
	for i := range c.Rules {
		rules[i] = ruleModel(&c.Rules[i])
	}
	set("rules", rules)
	if c.Admin != nil {
		set("admin", adminModel(c.Admin))
	}
	if l := c.Limits; l != (deploy.KeyServerLimits{}) {
		d := func(d deploy.KeyServerDuration) types.String { return optionalDuration(time.Duration(d)) }
		set("limits", keyServerLimitsModel{
			optionalInt64(int64(l.UnfinishedHandshakes)), optionalInt64(int64(l.UnfinishedPerAddress)),
			d(l.HandshakeTimeout), d(l.RequestTimeout), d(l.CollateralTimeout), d(l.DrainTimeout),
		})
	}
	return diags
}
