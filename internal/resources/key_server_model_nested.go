package resources

import (
	"time"

	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
)

type keyServerSecretModel struct {
	Name                  types.String       `tfsdk:"name"`
	File                  types.String       `tfsdk:"file"`
	Command               []string           `tfsdk:"command"`
	CommandTimeout        types.String       `tfsdk:"command_timeout"`
	VaultKV               *vaultKVModel      `tfsdk:"vault_kv"`
	VaultTransit          *vaultTransitModel `tfsdk:"vault_transit"`
	AlibabaKMS            *alibabaKMSModel   `tfsdk:"alibaba_kms"`
	Refresh               types.String       `tfsdk:"refresh"`
	Form                  types.String       `tfsdk:"form"`
	Encoding              types.String       `tfsdk:"encoding"`
	AllowReadableByOthers types.Bool         `tfsdk:"allow_readable_by_others"`
}

type keyServerVaultModel struct {
	Address   types.String `tfsdk:"address"`
	Namespace types.String `tfsdk:"namespace"`
	CA        types.String `tfsdk:"ca"`
	TokenFile types.String `tfsdk:"token_file"`
}

type keyServerAlibabaCloudModel struct {
	Region                types.String `tfsdk:"region"`
	Network               types.String `tfsdk:"network"`
	Endpoint              types.String `tfsdk:"endpoint"`
	Profile               types.String `tfsdk:"profile"`
	SharedCredentialsFile types.String `tfsdk:"shared_credentials_file"`
	ECSRoleName           types.String `tfsdk:"ecs_role_name"`
}

type keyServerRuleModel struct {
	Name         types.String              `tfsdk:"name"`
	MREnclave    []string                  `tfsdk:"mr_enclave"`
	MRSigner     []string                  `tfsdk:"mr_signer"`
	ISVProdID    *uint16                   `tfsdk:"isv_prod_id"`
	MinISVSVN    *uint16                   `tfsdk:"min_isv_svn"`
	ServerName   []string                  `tfsdk:"server_name"`
	TCB          keyServerTCBModel         `tfsdk:"tcb"`
	ConfigID     types.String              `tfsdk:"config_id"`
	MinConfigSVN *uint16                   `tfsdk:"min_config_svn"`
	ISVExtProdID types.String              `tfsdk:"isv_ext_prod_id"`
	ISVFamilyID  types.String              `tfsdk:"isv_family_id"`
	Attributes   *keyServerAttributesModel `tfsdk:"attributes"`
	MiscSelect   *keyServerMiscSelectModel `tfsdk:"misc_select"`
	AllowDebug   types.Bool                `tfsdk:"allow_debug"`
	Secret       types.String              `tfsdk:"secret"`
}

type keyServerTCBModel struct {
	Accept              []string            `tfsdk:"accept"`
	AcceptAdvisories    []string            `tfsdk:"accept_advisories"`
	StatusAdvisories    map[string][]string `tfsdk:"status_advisories"`
	MinEvaluationNumber types.Int64         `tfsdk:"min_evaluation_number"`
	FMSPC               []string            `tfsdk:"fmspc"`
	DenyFMSPC           []string            `tfsdk:"deny_fmspc"`
}

type keyServerAttributesModel struct {
	Flags     types.String `tfsdk:"flags"`
	FlagsMask types.String `tfsdk:"flags_mask"`
	XFRM      types.String `tfsdk:"xfrm"`
	XFRMMask  types.String `tfsdk:"xfrm_mask"`
}

type keyServerMiscSelectModel struct {
	Value types.String `tfsdk:"value"`
	Mask  types.String `tfsdk:"mask"`
}

type keyServerAdminModel struct {
	Listen      types.String            `tfsdk:"listen"`
	ServerNames []string                `tfsdk:"server_names"`
	TLS         *keyServerAdminTLSModel `tfsdk:"tls"`
}

type keyServerAdminTLSModel struct {
	Certificate types.String `tfsdk:"certificate"`
	PrivateKey  types.String `tfsdk:"private_key"`
	ClientCA    types.String `tfsdk:"client_ca"`
}

func (m *keyServerSecretModel) config() deploy.KeyServerSecret {
	s := deploy.KeyServerSecret{
		Name: m.Name.ValueString(), File: m.File.ValueString(), Command: m.Command, CommandTimeout: deploy.KeyServerDuration(parseDuration(m.CommandTimeout)),
		Refresh: deploy.KeyServerDuration(parseDuration(m.Refresh)), Form: m.Form.ValueString(), Encoding: m.Encoding.ValueString(),
		AllowReadableByOthers: m.AllowReadableByOthers.ValueBool(),
	}
	if kv := m.VaultKV; kv != nil {
		s.VaultKV = &deploy.KeyServerVaultKV{Mount: kv.Mount.ValueString(), Path: kv.Path.ValueString(), Field: kv.Field.ValueString()}
	}
	if t := m.VaultTransit; t != nil {
		s.VaultTransit = &deploy.KeyServerVaultTransit{Mount: t.Mount.ValueString(), Key: t.Key.ValueString(), CiphertextFile: t.CiphertextFile.ValueString()}
	}
	if k := m.AlibabaKMS; k != nil {
		s.AlibabaKMS = &deploy.KeyServerAlibabaKMS{CiphertextFile: k.CiphertextFile.ValueString(), EncryptionContext: k.EncryptionContext}
	}
	return s
}

func secretModel(s *deploy.KeyServerSecret) keyServerSecretModel {
	m := keyServerSecretModel{
		Name: types.StringValue(s.Name), File: optionalString(s.File), Command: s.Command, CommandTimeout: optionalDuration(time.Duration(s.CommandTimeout)),
		Refresh: optionalDuration(time.Duration(s.Refresh)), Form: optionalString(s.Form), Encoding: optionalString(s.Encoding),
		AllowReadableByOthers: optionalBool(s.AllowReadableByOthers),
	}
	if kv := s.VaultKV; kv != nil {
		m.VaultKV = &vaultKVModel{types.StringValue(kv.Mount), types.StringValue(kv.Path), optionalString(kv.Field)}
	}
	if t := s.VaultTransit; t != nil {
		m.VaultTransit = &vaultTransitModel{types.StringValue(t.Mount), types.StringValue(t.Key), types.StringValue(t.CiphertextFile)}
	}
	if k := s.AlibabaKMS; k != nil {
		m.AlibabaKMS = &alibabaKMSModel{types.StringValue(k.CiphertextFile), k.EncryptionContext}
	}
	return m
}

func (m *keyServerVaultModel) config() *deploy.KeyServerVault {
	return &deploy.KeyServerVault{Address: m.Address.ValueString(), Namespace: m.Namespace.ValueString(), CA: m.CA.ValueString(), TokenFile: m.TokenFile.ValueString()}
}

func vaultModel(v *deploy.KeyServerVault) keyServerVaultModel {
	return keyServerVaultModel{optionalString(v.Address), optionalString(v.Namespace), optionalString(v.CA), optionalString(v.TokenFile)}
}

func (m *keyServerAlibabaCloudModel) config() *deploy.KeyServerAlibabaCloud {
	return &deploy.KeyServerAlibabaCloud{
		Region: m.Region.ValueString(), Network: m.Network.ValueString(), Endpoint: m.Endpoint.ValueString(), Profile: m.Profile.ValueString(),
		SharedCredentialsFile: m.SharedCredentialsFile.ValueString(), ECSRoleName: m.ECSRoleName.ValueString(),
	}
}

func alibabaCloudModel(a *deploy.KeyServerAlibabaCloud) keyServerAlibabaCloudModel {
	return keyServerAlibabaCloudModel{
		optionalString(a.Region), optionalString(a.Network), optionalString(a.Endpoint), optionalString(a.Profile), optionalString(a.SharedCredentialsFile), optionalString(a.ECSRoleName),
	}
}

func (m *keyServerRuleModel) config() deploy.KeyServerRule {
	r := deploy.KeyServerRule{
		Name: m.Name.ValueString(), MREnclave: m.MREnclave, MRSigner: m.MRSigner, ISVProdID: m.ISVProdID, MinISVSVN: m.MinISVSVN,
		ServerName: m.ServerName, AllowDebug: m.AllowDebug.ValueBool(), Secret: m.Secret.ValueString(),
		ConfigID: m.ConfigID.ValueString(), MinConfigSVN: m.MinConfigSVN, ISVExtProdID: m.ISVExtProdID.ValueString(), ISVFamilyID: m.ISVFamilyID.ValueString(),
		TCB: deploy.KeyServerTCB{
			Accept: m.TCB.Accept, AcceptAdvisories: m.TCB.AcceptAdvisories, StatusAdvisories: m.TCB.StatusAdvisories,
			MinEvaluationNumber: uint32(m.TCB.MinEvaluationNumber.ValueInt64()), FMSPC: m.TCB.FMSPC, DenyFMSPC: m.TCB.DenyFMSPC,
		},
	}
	if a := m.Attributes; a != nil {
		r.Attributes = deploy.KeyServerAttributes{Flags: parseBits(a.Flags), FlagsMask: parseBits(a.FlagsMask), XFRM: parseBits(a.XFRM), XFRMMask: parseBits(a.XFRMMask)}
	}
	if s := m.MiscSelect; s != nil {
		r.MiscSelect = deploy.KeyServerMiscSelect{Value: uint32(parseBits(s.Value)), Mask: uint32(parseBits(s.Mask))}
	}
	return r
}

func ruleModel(r *deploy.KeyServerRule) keyServerRuleModel {
	m := keyServerRuleModel{
		Name: types.StringValue(r.Name), MREnclave: r.MREnclave, MRSigner: r.MRSigner, ISVProdID: r.ISVProdID, MinISVSVN: r.MinISVSVN,
		ServerName: r.ServerName, AllowDebug: optionalBool(r.AllowDebug), Secret: types.StringValue(r.Secret),
		ConfigID: optionalString(r.ConfigID), MinConfigSVN: r.MinConfigSVN, ISVExtProdID: optionalString(r.ISVExtProdID), ISVFamilyID: optionalString(r.ISVFamilyID),
		TCB: keyServerTCBModel{
			Accept: r.TCB.Accept, AcceptAdvisories: r.TCB.AcceptAdvisories, StatusAdvisories: r.TCB.StatusAdvisories,
			MinEvaluationNumber: optionalInt64(int64(r.TCB.MinEvaluationNumber)), FMSPC: r.TCB.FMSPC, DenyFMSPC: r.TCB.DenyFMSPC,
		},
	}
	if a := r.Attributes; a != (deploy.KeyServerAttributes{}) {
		m.Attributes = &keyServerAttributesModel{optionalBits(a.Flags), optionalBits(a.FlagsMask), optionalBits(a.XFRM), optionalBits(a.XFRMMask)}
	}
	if s := r.MiscSelect; s != (deploy.KeyServerMiscSelect{}) {
		m.MiscSelect = &keyServerMiscSelectModel{optionalBits(uint64(s.Value)), optionalBits(uint64(s.Mask))}
	}
	return m
}

func (m *keyServerAdminModel) config() *deploy.KeyServerAdmin {
	a := &deploy.KeyServerAdmin{Listen: m.Listen.ValueString(), ServerNames: m.ServerNames}
	if m.TLS != nil {
		a.TLS = &deploy.KeyServerAdminTLS{Certificate: m.TLS.Certificate.ValueString(), PrivateKey: m.TLS.PrivateKey.ValueString(), ClientCA: m.TLS.ClientCA.ValueString()}
	}
	return a
}

func adminModel(a *deploy.KeyServerAdmin) keyServerAdminModel {
	m := keyServerAdminModel{Listen: types.StringValue(a.Listen), ServerNames: a.ServerNames}
	if a.TLS != nil {
		m.TLS = &keyServerAdminTLSModel{types.StringValue(a.TLS.Certificate), types.StringValue(a.TLS.PrivateKey), types.StringValue(a.TLS.ClientCA)}
	}
	return m
}
