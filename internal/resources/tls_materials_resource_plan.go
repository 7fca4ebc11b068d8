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
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-log/tflog"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/serving/tlsmaterials"
)

// This file is the second half of cc_tls_materials: import, the plan, and the
// helpers of both halves.

const (
	defaultValidityHours     = int64(tlsmaterials.DefaultLifetime / time.Hour)
	defaultCAValidityHours   = int64(tlsmaterials.DefaultAuthorityLifetime / time.Hour)
	defaultEarlyRenewalHours = int64(30 * 24)
)

// ImportState adopts the set in the directory that the import id names: one of
// ours, of ccctl, or of the tutorial's script.
func (r *tlsMaterialsResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	m, err := adoptTLSMaterials(req.ID)
	if err != nil {
		addError(&resp.Diagnostics, path.Empty(), "", &deploy.Error{Summary: "TLS materials not imported", Err: err,
			Remedy: "The import id of a cc_tls_materials is the path of a directory that holds at least ca_cert.pem and server/cert.pem."})
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

func adoptTLSMaterials(dir string) (*tlsMaterialsModel, error) {
	set, findings, err := deploy.ReadTLSMaterials(dir)
	if err != nil {
		return nil, err
	}
	for _, f := range findings {
		if !tlsmaterials.IsSecret(f.File) {
			return nil, fmt.Errorf("adopt TLS materials in %s: %s", dir, f)
		}
	}
	server := set.Leaf(tlsmaterials.ServerPlace).Certificate
	m := &tlsMaterialsModel{
		Directory: types.StringValue(dir), ServerNames: stringList(tlsmaterials.CertifiedNames(server)),
		KeyAlgorithm:      types.StringValue(tlsmaterials.KeyAlgorithmOf(server)),
		ValidityHours:     lifetimeHours(server.NotBefore, server.NotAfter),
		CAValidityHours:   lifetimeHours(set.Authority.Certificate.NotBefore, set.Authority.Certificate.NotAfter),
		EarlyRenewalHours: types.Int64Null(), SSLConfig: types.BoolValue(set.SSLConfig),
		OnDestroy: types.StringValue(tlsOnDestroy.byDefault()), OnMissing: types.StringValue(tlsOnMissing.byDefault()),
		AdditionalClientNames: types.SetNull(types.StringType),
	}
	var further []attr.Value
	for _, l := range set.Leaves {
		if l.Place == tlsmaterials.ClientPlace {
			m.ClientName = types.StringValue(append(tlsmaterials.CertifiedNames(l.Certificate), l.Certificate.Subject.CommonName)[0])
		} else if name := l.FurtherClient(); name != "" {
			further = append(further, types.StringValue(name))
		}
	}
	if len(further) > 0 {
		m.AdditionalClientNames = types.SetValueMust(types.StringType, further)
	}
	m.fillDefaults()
	m.setMaterials(set)
	m.ID, m.ReadyForRenewal = m.CACertificateSHA256, types.BoolValue(false)
	return m, nil
}

// lifetimeHours is the lifetime that was asked for when the certificate was
// made; the backdating that comes on top is rounded away.
func lifetimeHours(notBefore, notAfter time.Time) types.Int64 {
	return types.Int64Value(int64(notAfter.Sub(notBefore).Round(time.Hour) / time.Hour))
}

// ValidateConfig holds those values together that are known.
func (r *tlsMaterialsResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var m tlsMaterialsModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() || !m.wishesKnown() {
		return
	}
	m.fillDefaults()
	if err := m.spec().ValidateTogether(); err != nil {
		resp.Diagnostics.AddError("Invalid TLS materials", "The arguments do not fit together: "+err.Error()+".")
	}
}

// wishesKnown tells whether the arguments that decide about certificates are known.
func (m *tlsMaterialsModel) wishesKnown() bool {
	values := []attr.Value{
		m.Directory, m.ServerNames, m.ClientName, m.AdditionalClientNames, m.KeyAlgorithm, m.ValidityHours, m.CAValidityHours, m.OnMissing,
	}
	values = append(values, m.ServerNames.Elements()...)
	values = append(values, m.AdditionalClientNames.Elements()...)
	return !slices.ContainsFunc(values, attr.Value.IsUnknown)
}

// ModifyPlan finds out which certificates have to be issued, and leaves open
// what only issuing them will tell.
func (r *tlsMaterialsResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() || r.backend == nil { // destroy
		return
	}
	var m, config tlsMaterialsModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	if resp.Diagnostics.HasError() {
		return
	}
	m.EarlyRenewalHours, m.SSLConfig = config.EarlyRenewalHours, config.SSLConfig
	if m.wishesKnown() {
		m.fillDefaults()
	}
	m.leaveOpen()
	if req.State.Raw.IsNull() {
		m.planFiles(func(file string) bool { return exists(m.Directory, file) }) // of a set that is about to be replaced
		resp.Diagnostics.Append(resp.Plan.Set(ctx, m)...)
		return
	}
	var old tlsMaterialsModel
	resp.Diagnostics.Append(req.State.Get(ctx, &old)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if m.wishesKnown() && !m.SSLConfig.IsUnknown() {
		if err := r.planUpdate(ctx, &m, &old); err != nil {
			addError(&resp.Diagnostics, path.Root("directory"), "TLS materials cannot be planned", err)
			return
		}
	}
	resp.Diagnostics.Append(resp.Plan.Set(ctx, m)...)
}

func (r *tlsMaterialsResource) planUpdate(ctx context.Context, m, old *tlsMaterialsModel) error {
	record, err := old.record()
	if err != nil {
		return err
	}
	from, to := old.Directory.ValueString(), m.Directory.ValueString()
	o := deploy.ObserveTLSMaterials(from, record)
	if from != to && len(o.Problems) > 0 {
		return &deploy.Error{Summary: "TLS materials cannot be moved",
			Err:    fmt.Errorf("move TLS materials from %s to %s: the set is not complete here: %s", from, to, o.Problems[0]),
			Remedy: "Apply on the machine that has the files, or repair the set before the move."}
	}
	c, err := deploy.PlanTLSMaterials(m.spec(), old.spec().Lifetime, o, r.backend.Now())
	if err != nil {
		return err
	}
	m.keepComputed(old, c)
	// Renewal may be due, and be left to another machine.
	m.ReadyForRenewal = types.BoolValue(len(c.Issue) == 0 && deploy.TLSRenewalDue(record, m.spec().RenewBefore, r.backend.Now()))
	m.planFiles(func(file string) bool { return slices.Contains(c.Write, file) })
	if !c.Empty() {
		tflog.Debug(ctx, "TLS materials will change", map[string]any{
			"directory": from, "reasons": strings.Join(c.Reasons, "; "), "repair": strings.Join(c.Repair, ", "),
		})
	}
	return nil
}

// announced makes sure that an apply issues no certificate that its plan took
// for unchanged.
func (m *tlsMaterialsModel) announced(c *deploy.TLSChange) error {
	for i, p := range c.Issue {
		pem := attr.Value(m.AdditionalClientCertificatesPEM)
		switch p {
		case tlsmaterials.ServerPlace:
			pem = m.ServerCertificatePEM
		case tlsmaterials.ClientPlace:
			pem = m.ClientCertificatePEM
		}
		if !pem.IsUnknown() {
			return &deploy.Error{Summary: "TLS materials changed since the plan",
				Err:    fmt.Errorf("update TLS materials in %s: %s", m.Directory.ValueString(), c.Reasons[i]),
				Remedy: "The plan did not announce a new certificate. Plan and apply again."}
		}
	}
	return nil
}

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
	hasClient := !m.ClientName.IsNull() || len(m.AdditionalClientNames.Elements()) > 0
	setIfMissing(&m.SSLConfig, types.BoolValue(hasClient), m.SSLConfig.IsNull())
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
		RenewBefore: time.Duration(m.EarlyRenewalHours.ValueInt64()) * time.Hour,
		SSLConfig:   m.SSLConfig.ValueBool(), IgnoreMissing: m.OnMissing.ValueString() == "ignore",
	}
}

// record reads the public halves out of the state.
func (m *tlsMaterialsModel) record() (*tlsmaterials.Materials, error) {
	authorities, err := tlsmaterials.ParseCertificates([]byte(m.CACertificatePEM.ValueString()))
	if err != nil {
		return nil, fmt.Errorf("read ca_certificate_pem: %w", err)
	}
	set := &tlsmaterials.Materials{SSLConfig: m.SSLConfig.ValueBool(), Trusted: authorities[1:]}
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
	m.ReadyForRenewal, m.Problems = types.BoolValue(false), stringList(nil)
}

// keepComputed takes over from the state what a change leaves as it is.
func (m *tlsMaterialsModel) keepComputed(old *tlsMaterialsModel, c *deploy.TLSChange) {
	m.CACertificatePEM, m.CACertificateSHA256, m.CANotAfter = old.CACertificatePEM, old.CACertificateSHA256, old.CANotAfter
	if !c.Issues(tlsmaterials.ServerPlace) {
		m.ServerCertificatePEM, m.ServerCertificateSHA256 = old.ServerCertificatePEM, old.ServerCertificateSHA256
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
	set(&m.ServerKeyFile, tlsmaterials.ServerKeyFile, false, false)
	set(&m.ClientCertificateFile, tlsmaterials.ClientCertificateFile, m.ClientName.IsNull(), m.ClientName.IsUnknown())
	set(&m.ClientKeyFile, tlsmaterials.ClientKeyFile, m.ClientName.IsNull(), m.ClientName.IsUnknown())
	noConfig := !m.SSLConfig.IsUnknown() && !m.SSLConfig.ValueBool()
	set(&m.SSLConfigFile, tlsmaterials.SSLConfigFile, noConfig, m.SSLConfig.IsUnknown())
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
		if p.Kind == deploy.TLSUnreadable || p.File == tlsmaterials.AuthorityKeyFile {
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
	if window := m.spec().RenewBefore; !now.Before(ca.NotAfter.Add(-window)) {
		list = append(list, &deploy.Error{Summary: "Certificate authority ends",
			Err:    fmt.Errorf("rely on the authority in %s: it ends on %s, and all its certificates with it", dir, ca.NotAfter.UTC().Format(time.RFC3339)),
			Remedy: "Make a set with a new authority in another directory, let every peer trust both ca_cert.pem, then switch."})
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
