package resources

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-log/tflog"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/serving/tlsmaterials"
)

// This file is the second half of cc_tls_materials: import, validation and the plan.

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
		EarlyRenewalHours: types.Int64Null(), CARotation: types.StringValue(tlsRotations.byDefault()), Issuer: types.ObjectNull(tlsIssuerTypes),
		EncryptedSSLConfig: types.ObjectNull(tlsSealTypes),
		SSLConfig:          types.BoolValue(set.SSLConfig),
		OnDestroy:          types.StringValue(tlsOnDestroy.byDefault()), OnMissing: types.StringValue(tlsOnMissing.byDefault()),
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
	if set.Rotation != "" {
		m.CARotation = types.StringValue(string(set.Rotation))
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
	if resp.Diagnostics.HasError() || !m.wishesKnown(ctx) {
		return
	}
	m.fillDefaults()
	spec, err := m.specWithKeys(&m)
	if err == nil {
		err = spec.ValidateTogether()
	}
	if err != nil {
		resp.Diagnostics.AddError("Invalid TLS materials", "The arguments do not fit together: "+err.Error()+".")
	}
}

// wishesKnown tells whether the arguments that decide about certificates are known, but for a private key.
func (m *tlsMaterialsModel) wishesKnown(ctx context.Context) bool {
	return !m.Issuer.IsUnknown() && !m.EncryptedSSLConfig.IsUnknown() && fullyKnown(ctx, m.Directory, m.ServerNames, m.ClientName, m.AdditionalClientNames, m.KeyAlgorithm,
		m.ValidityHours, m.CAValidityHours, m.CARotation, m.OnMissing, m.issuerAttribute("certificate_pem"), objectInt64(m.Issuer, "private_key_wo_version"),
		objectString(m.EncryptedSSLConfig, "enclave_path"), objectInt64(m.EncryptedSSLConfig, "format"))
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
	if m.wishesKnown(ctx) {
		m.fillDefaults()
	}
	m.leaveOpen()
	if req.State.Raw.IsNull() {
		if err := m.validateNew(ctx, &config); err != nil {
			addError(&resp.Diagnostics, path.Root("directory"), "TLS materials cannot be planned", err)
			return
		}
		m.planFiles(func(file string) bool { return exists(m.Directory, file) }) // of a set that is about to be replaced
		resp.Diagnostics.Append(resp.Plan.Set(ctx, m)...)
		return
	}
	var old tlsMaterialsModel
	resp.Diagnostics.Append(req.State.Get(ctx, &old)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if m.wishesKnown(ctx) && !m.SSLConfig.IsUnknown() {
		if err := r.planUpdate(ctx, &m, &old, &config); err != nil {
			addError(&resp.Diagnostics, path.Root("directory"), "TLS materials cannot be planned", err)
			return
		}
	}
	resp.Diagnostics.Append(resp.Plan.Set(ctx, m)...)
}

func (m *tlsMaterialsModel) validateNew(ctx context.Context, config *tlsMaterialsModel) error {
	if !m.wishesKnown(ctx) {
		return nil
	}
	spec, err := m.specWithKeys(config)
	if err != nil {
		return err
	}
	if err := spec.ValidateNew(); err != nil {
		return fmt.Errorf("create TLS materials in %s: %w", spec.Directory, err)
	}
	return nil
}

func (r *tlsMaterialsResource) planUpdate(ctx context.Context, m, old, config *tlsMaterialsModel) error {
	spec, err := m.specWithKeys(config)
	if err != nil {
		return err
	}
	if err := m.checkSealVersion(old, spec); err != nil {
		return err
	}
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
	c, err := deploy.PlanTLSMaterials(spec, old.was(), o, r.backend.Now())
	if err != nil {
		return err
	}
	m.keepComputed(old, c)
	// Renewal may be due, and be left to another machine.
	m.ReadyForRenewal = types.BoolValue(len(c.Issue) == 0 && deploy.TLSRenewalDue(record, spec.RenewBefore, r.backend.Now()))
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
