package resources

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/helpers/validatordiag"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/serving/tlsmaterials"
)

type tlsMaterialsModel struct {
	ID                    types.String `tfsdk:"id"`
	Directory             types.String `tfsdk:"directory"`
	ServerNames           types.List   `tfsdk:"server_names"` //< types.String
	ClientName            types.String `tfsdk:"client_name"`
	AdditionalClientNames types.Set    `tfsdk:"additional_client_names"` //< types.String
	KeyAlgorithm          types.String `tfsdk:"key_algorithm"`
	ValidityHours         types.Int64  `tfsdk:"validity_period_hours"`
	CAValidityHours       types.Int64  `tfsdk:"ca_validity_period_hours"`
	EarlyRenewalHours     types.Int64  `tfsdk:"early_renewal_hours"`
	CARotation            types.String `tfsdk:"ca_rotation"`
	Issuer                types.Object `tfsdk:"issuer"` //< tlsIssuerTypes
	SSLConfig             types.Bool   `tfsdk:"ssl_config"`
	EncryptedSSLConfig    types.Object `tfsdk:"encrypted_ssl_config"` //< tlsSealTypes
	OnDestroy             types.String `tfsdk:"on_destroy"`
	OnMissing             types.String `tfsdk:"on_missing"`

	CACertificateFile     types.String `tfsdk:"ca_certificate_file"`
	ServerCertificateFile types.String `tfsdk:"server_certificate_file"`
	ServerKeyFile         types.String `tfsdk:"server_key_file"`
	ClientCertificateFile types.String `tfsdk:"client_certificate_file"`
	ClientKeyFile         types.String `tfsdk:"client_key_file"`
	SSLConfigFile         types.String `tfsdk:"ssl_config_file"`

	EncryptedSSLConfigFile   types.String `tfsdk:"encrypted_ssl_config_file"`
	EncryptedSSLConfigSHA256 types.String `tfsdk:"encrypted_ssl_config_header_sha256"`
	EncryptedSSLConfigSize   types.Int64  `tfsdk:"encrypted_ssl_config_size"`
	EncryptedSSLConfigKeyID  types.String `tfsdk:"encrypted_ssl_config_key_id"`

	CACertificatePEM                types.String `tfsdk:"ca_certificate_pem"`
	ServerCertificatePEM            types.String `tfsdk:"server_certificate_pem"`
	ClientCertificatePEM            types.String `tfsdk:"client_certificate_pem"`
	AdditionalClientCertificatesPEM types.Map    `tfsdk:"additional_client_certificates_pem"` //< types.String
	CACertificateSHA256             types.String `tfsdk:"ca_certificate_sha256"`
	ServerCertificateSHA256         types.String `tfsdk:"server_certificate_sha256"`
	CANotAfter                      types.String `tfsdk:"ca_not_after"`
	NotAfter                        types.String `tfsdk:"not_after"`
	ReadyForRenewal                 types.Bool   `tfsdk:"ready_for_renewal"`
	Problems                        types.List   `tfsdk:"problems"` //< types.String
}

// tlsIssuerTypes are the attributes of issuer.
var tlsIssuerTypes = map[string]attr.Type{
	"certificate_pem": types.StringType, "private_key_file": types.StringType, "private_key_wo": types.StringType, "private_key_wo_version": types.Int64Type,
}

const (
	defaultValidityHours     = int64(tlsmaterials.DefaultLifetime / time.Hour)
	defaultCAValidityHours   = int64(tlsmaterials.DefaultAuthorityLifetime / time.Hour)
	defaultEarlyRenewalHours = int64(30 * 24)
)

// settle fills in the defaults that a plan had to leave open.
func (m *tlsMaterialsModel) settle() {
	setIfMissing(&m.EarlyRenewalHours, types.Int64Null(), m.EarlyRenewalHours.IsUnknown())
	setIfMissing(&m.SSLConfig, types.BoolNull(), m.SSLConfig.IsUnknown())
	m.fillDefaults()
}

// fillDefaults computes the defaults that depend on other arguments.
func (m *tlsMaterialsModel) fillDefaults() {
	setIfMissing(&m.KeyAlgorithm, types.StringValue(tlsKeyAlgorithms.byDefault()), m.KeyAlgorithm.IsNull())
	setIfMissing(&m.ValidityHours, types.Int64Value(defaultValidityHours), m.ValidityHours.IsNull())
	setIfMissing(&m.CAValidityHours, types.Int64Value(defaultCAValidityHours), m.CAValidityHours.IsNull())
	early := min(defaultEarlyRenewalHours, m.ValidityHours.ValueInt64()/3)
	setIfMissing(&m.EarlyRenewalHours, types.Int64Value(early), m.EarlyRenewalHours.IsNull())
	wanted := !m.ClientName.IsNull() || len(m.AdditionalClientNames.Elements()) > 0 || !m.EncryptedSSLConfig.IsNull()
	setIfMissing(&m.SSLConfig, types.BoolValue(wanted), m.SSLConfig.IsNull())
}

func setIfMissing[T any](attribute *T, value T, missing bool) {
	if missing {
		*attribute = value
	}
}

// spec translates the arguments.
func (m *tlsMaterialsModel) spec() deploy.TLSSpec {
	return deploy.TLSSpec{
		Directory: m.Directory.ValueString(), ServerNames: stringValues(m.ServerNames.Elements()),
		ClientName: m.ClientName.ValueString(), FurtherClients: stringValues(m.AdditionalClientNames.Elements()),
		KeyAlgorithm: tlsmaterials.KeyAlgorithm(m.KeyAlgorithm.ValueString()),
		Lifetime:     time.Duration(m.ValidityHours.ValueInt64()) * time.Hour, AuthorityLifetime: time.Duration(m.CAValidityHours.ValueInt64()) * time.Hour,
		RenewBefore: time.Duration(m.EarlyRenewalHours.ValueInt64()) * time.Hour, Rotation: tlsmaterials.Rotation(m.CARotation.ValueString()),
		IssuerVersion: objectInt64(m.Issuer, "private_key_wo_version").ValueInt64(), SSLConfig: m.SSLConfig.ValueBool(), IgnoreMissing: m.OnMissing.ValueString() == "ignore",
	}
}

// was is what the specification in the state tells about the set beside its files.
func (m *tlsMaterialsModel) was() deploy.TLSSpec {
	spec := m.spec()
	if !m.Issuer.IsNull() {
		spec.Issuer = &tlsmaterials.KeyPair{}
	}
	return spec
}

// issuerAttribute is an attribute of issuer, null if there is none.
func (m *tlsMaterialsModel) issuerAttribute(name string) types.String {
	return objectString(m.Issuer, name)
}

// specWithKeys is spec with the authority and the wrap key that the configuration gives. The authority's private key and
// the wrap key may be absent, or not known yet.
func (m *tlsMaterialsModel) specWithKeys(config *tlsMaterialsModel) (deploy.TLSSpec, error) {
	spec := m.spec()
	if err := m.readSeal(config, &spec); err != nil {
		return spec, err
	}
	if config.Issuer.IsNull() {
		return spec, nil
	}
	certs, err := tlsmaterials.ParseCertificates([]byte(m.issuerAttribute("certificate_pem").ValueString()))
	if err != nil {
		return spec, fmt.Errorf("read issuer.certificate_pem: %w", err)
	}
	if len(certs) != 1 {
		return spec, fmt.Errorf("read issuer.certificate_pem: found %d certificates, want one", len(certs))
	}
	spec.Issuer = &tlsmaterials.KeyPair{Certificate: certs[0]}
	file, value := config.issuerAttribute("private_key_file"), config.issuerAttribute("private_key_wo")
	switch {
	case file.IsUnknown() || value.IsUnknown():
		spec.IssuerKeyPending = true
	case !value.IsNull():
		if spec.Issuer.Key, err = tlsmaterials.ParsePrivateKey([]byte(value.ValueString())); err != nil {
			return spec, fmt.Errorf("read issuer.private_key_wo: %w", err)
		}
	case !file.IsNull():
		spec.Issuer.Key, err = deploy.ReadPrivateKey(file.ValueString())
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // whether it is needed, the plan finds out
			return spec, err
		}
	}
	return spec, nil
}

// record reads the public halves out of the state.
func (m *tlsMaterialsModel) record() (*tlsmaterials.Materials, error) {
	authorities, err := tlsmaterials.ParseCertificates([]byte(m.CACertificatePEM.ValueString()))
	if err != nil {
		return nil, fmt.Errorf("read ca_certificate_pem: %w", err)
	}
	set := &tlsmaterials.Materials{SSLConfig: m.SSLConfig.ValueBool(), Sealed: m.sealed(), Trusted: authorities[1:], Rotation: tlsmaterials.Rotation(m.CARotation.ValueString())}
	set.Authority.Certificate = authorities[0]
	leaves := map[tlsmaterials.Place]string{tlsmaterials.ServerPlace: m.ServerCertificatePEM.ValueString()}
	if !m.ClientCertificatePEM.IsNull() {
		leaves[tlsmaterials.ClientPlace] = m.ClientCertificatePEM.ValueString()
	}
	for name, value := range m.AdditionalClientCertificatesPEM.Elements() {
		leaves[tlsmaterials.FurtherClientPlace(name)] = stringValues([]attr.Value{value})[0]
	}
	for place, pem := range leaves {
		certs, err := tlsmaterials.ParseCertificates([]byte(pem))
		if err != nil {
			return nil, fmt.Errorf("read certificate of %s: %w", place, err)
		}
		set.Set(place, tlsmaterials.KeyPair{Certificate: certs[0]})
	}
	return set, nil
}

// setMaterials takes over what is public of a set that has just been made.
func (m *tlsMaterialsModel) setMaterials(set *tlsmaterials.Materials) {
	further := map[string]attr.Value{}
	end := set.Authority.Certificate.NotAfter
	m.ClientCertificatePEM = types.StringNull()
	for _, l := range set.Leaves {
		pem := types.StringValue(string(l.CertificatePEM()))
		switch l.Place {
		case tlsmaterials.ServerPlace:
			m.ServerCertificatePEM = pem
			m.ServerCertificateSHA256 = types.StringValue(tlsmaterials.CertificateFingerprint(l.Certificate))
		case tlsmaterials.ClientPlace:
			m.ClientCertificatePEM = pem
		default:
			further[l.FurtherClient()] = pem
		}
		if l.Certificate.NotAfter.Before(end) {
			end = l.Certificate.NotAfter
		}
	}
	m.CACertificatePEM = types.StringValue(string(set.AuthoritiesPEM()))
	m.CACertificateSHA256 = types.StringValue(tlsmaterials.CertificateFingerprint(set.Authority.Certificate))
	m.CANotAfter = types.StringValue(set.Authority.Certificate.NotAfter.UTC().Format(time.RFC3339))
	m.NotAfter = types.StringValue(end.UTC().Format(time.RFC3339))
	m.AdditionalClientCertificatesPEM = types.MapValueMust(types.StringType, further)
	m.setProblems(nil)
	m.setSealed(set.Sealed)
	m.planFiles(func(string) bool { return false })
}

func (m *tlsMaterialsModel) setProblems(problems []deploy.TLSProblem) {
	var lines []string
	for _, p := range problems {
		lines = append(lines, p.String())
	}
	m.Problems = stringList(lines)
}

// leaveOpen marks everything computed but the id as unknown.
func (m *tlsMaterialsModel) leaveOpen() {
	for _, s := range []*types.String{
		&m.CACertificateFile, &m.ServerCertificateFile, &m.ServerKeyFile, &m.ClientCertificateFile, &m.ClientKeyFile, &m.SSLConfigFile,
		&m.CACertificatePEM, &m.ServerCertificatePEM, &m.ClientCertificatePEM, &m.CACertificateSHA256, &m.ServerCertificateSHA256, &m.CANotAfter, &m.NotAfter,
	} {
		*s = types.StringUnknown()
	}
	setIfMissing(&m.EarlyRenewalHours, types.Int64Unknown(), m.EarlyRenewalHours.IsNull())
	setIfMissing(&m.SSLConfig, types.BoolUnknown(), m.SSLConfig.IsNull())
	m.AdditionalClientCertificatesPEM = types.MapUnknown(types.StringType)
	m.leaveSealOpen()
	m.ReadyForRenewal, m.Problems = types.BoolValue(false), stringList(nil)
}

// keepComputed takes over from the state what a change leaves as it is.
func (m *tlsMaterialsModel) keepComputed(old *tlsMaterialsModel, c *deploy.TLSChange) {
	if c.Authority == deploy.TLSAuthorityKept {
		m.CACertificatePEM = old.CACertificatePEM
	}
	if !c.Authority.Reissues() {
		m.CACertificateSHA256, m.CANotAfter = old.CACertificateSHA256, old.CANotAfter
	}
	if !c.Issues(tlsmaterials.ServerPlace) {
		m.ServerCertificatePEM, m.ServerCertificateSHA256 = old.ServerCertificatePEM, old.ServerCertificateSHA256
		m.setSealed(c.Sealed)
	}
	switch {
	case m.ClientName.IsNull():
		m.ClientCertificatePEM = types.StringNull()
	case !c.Issues(tlsmaterials.ClientPlace):
		m.ClientCertificatePEM = old.ClientCertificatePEM
	}
	further := func(p tlsmaterials.Place) bool { return p.FurtherClient() != "" }
	if !slices.ContainsFunc(c.Issue, further) && !slices.ContainsFunc(c.Remove, further) {
		m.AdditionalClientCertificatesPEM = old.AdditionalClientCertificatesPEM
	}
	if len(c.Issue)+len(c.Remove) == 0 {
		m.NotAfter = old.NotAfter
	}
}

// planFiles sets the paths of the files, but of those whose content is about
// to change.
func (m *tlsMaterialsModel) planFiles(changes func(file string) bool) {
	set := func(attribute *types.String, file string, absent, unknown bool) {
		switch {
		case absent:
			*attribute = types.StringNull()
		case unknown || m.Directory.IsUnknown() || changes(file):
			*attribute = types.StringUnknown()
		default:
			*attribute = types.StringValue(filepath.Join(m.Directory.ValueString(), filepath.FromSlash(file)))
		}
	}
	set(&m.CACertificateFile, tlsmaterials.AuthorityCertificateFile, false, false)
	set(&m.ServerCertificateFile, tlsmaterials.ServerCertificateFile, false, false)
	open := m.EncryptedSSLConfig.IsUnknown()
	sealed := !open && !m.EncryptedSSLConfigFile.IsNull()
	set(&m.ServerKeyFile, tlsmaterials.ServerKeyFile, sealed, open)
	set(&m.ClientCertificateFile, tlsmaterials.ClientCertificateFile, m.ClientName.IsNull(), m.ClientName.IsUnknown())
	set(&m.ClientKeyFile, tlsmaterials.ClientKeyFile, m.ClientName.IsNull(), m.ClientName.IsUnknown())
	set(&m.EncryptedSSLConfigFile, tlsmaterials.SealedSSLConfigFile, !sealed && !open, open)
	noConfig := sealed || !m.SSLConfig.IsUnknown() && !m.SSLConfig.ValueBool()
	set(&m.SSLConfigFile, tlsmaterials.SSLConfigFile, noConfig, open || m.SSLConfig.IsUnknown())
}

// exists tells whether a file of a set is there before the set is created.
func exists(directory types.String, file string) bool {
	_, err := os.Lstat(filepath.Join(directory.ValueString(), filepath.FromSlash(file)))
	return err == nil
}

// warnings are what a refresh says beside the problems that an apply repairs.
func (m *tlsMaterialsModel) warnings(o *deploy.TLSObservation, now time.Time) []error {
	var list []error
	dir := m.Directory.ValueString()
	for _, p := range o.Problems {
		if p.Kind == deploy.TLSUnreadable || slices.Contains(tlsmaterials.AuthorityKeyFiles(), p.File) {
			list = append(list, &deploy.Error{Summary: "TLS materials not usable", Err: fmt.Errorf("use %s in %s: it is %s: %s", p.File, dir, p.Kind, p.Detail),
				Remedy: "An apply leaves the file alone, and fails when it needs it. Restore it, or make it readable."})
		}
	}
	if len(o.Exposed) > 0 {
		list = append(list, &deploy.Error{Summary: "Private keys open to others",
			Err:    fmt.Errorf("rely on the private keys in %s: others than their owner may read or replace %s", dir, strings.Join(o.Exposed, ", ")),
			Remedy: "Take the permission away (chmod 600), and have the certificates issued again if somebody may have read a key."})
	}
	if m.ReadyForRenewal.ValueBool() && m.spec().IgnoreMissing && o.Set.Authority.Key.IsZero() {
		list = append(list, &deploy.Error{Summary: "Certificates due for renewal",
			Err:    fmt.Errorf("renew certificates in %s: the first of them ends on %s, and the authority's private key is not here", dir, m.NotAfter.ValueString()),
			Remedy: "Apply on the machine that has ca_key.pem before then."})
	}
	ca := o.Set.Authority.Certificate
	var early []string // certificates of a clock that was ahead
	for _, l := range o.Set.Leaves {
		if l.Certificate != nil && now.Before(l.Certificate.NotBefore) {
			early = append(early, l.CertificateFile)
		}
	}
	if ca != nil && now.Before(ca.NotBefore) {
		early = append(early, tlsmaterials.AuthorityCertificateFile)
	}
	if len(early) > 0 {
		list = append(list, &deploy.Error{Summary: "Certificates not valid yet",
			Err: fmt.Errorf("rely on %s in %s: by this machine's clock it is %s, and they begin later", strings.Join(early, ", "), dir, now.UTC().Format(time.RFC3339)),
			Remedy: "If this machine's clock is behind, set it (NTP) before anything is issued by it. If it is right, they were issued by a clock that was ahead, and every peer " +
				"refuses them until they begin: remove the certificates named and their keys, and apply, which issues them again; where the authority is among them, " +
				"move the directory away and replace the resource (terraform apply -replace=ADDRESS)."})
	}
	if window := m.spec().RenewBefore; !now.Before(ca.NotAfter.Add(-window)) {
		list = append(list, &deploy.Error{Summary: "Certificate authority ends",
			Err:    fmt.Errorf("rely on the authority in %s: it ends on %s, and all its certificates with it", dir, ca.NotAfter.UTC().Format(time.RFC3339)),
			Remedy: "Go over to a new one with ca_rotation, or give another with issuer, before then."})
	}
	return list
}

// explainTLSMaterials adds what Terraform users can do about a failure.
func explainTLSMaterials(err error) error {
	if errors.Is(err, fs.ErrExist) {
		return &deploy.Error{Summary: "TLS materials exist already", Err: err,
			Remedy: "Private keys are never overwritten. To use the files that are there, import the directory (terraform import cc_tls_materials.NAME DIRECTORY); " +
				"otherwise choose another directory, or move the files away."}
	}
	return err
}

func stringList(values []string) types.List {
	elements := make([]attr.Value, 0, len(values))
	for _, v := range values {
		elements = append(elements, types.StringValue(v))
	}
	return types.ListValueMust(types.StringType, elements)
}

func stringValues(elements []attr.Value) []string {
	var values []string
	for _, e := range elements {
		if s, ok := e.(types.String); ok {
			values = append(values, s.ValueString())
		}
	}
	return values
}

// clientHostName accepts the name of a client.
var clientHostName = hostName{tlsmaterials.ValidateClientName, "a DNS name in lower case, without wildcard"}

// hostName accepts what a check of package tlsmaterials accepts.
type hostName struct {
	check func(string) error
	form  string
}

func (v hostName) Description(context.Context) string { return "value must be " + v.form }

func (v hostName) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (v hostName) ValidateString(ctx context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	if err := v.check(req.ConfigValue.ValueString()); err != nil {
		resp.Diagnostics.Append(validatordiag.InvalidAttributeValueDiagnostic(req.Path, v.Description(ctx), err.Error()))
	}
}
