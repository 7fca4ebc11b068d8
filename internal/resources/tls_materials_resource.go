package resources

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-log/tflog"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/serving/tlsmaterials"
)

var (
	_ resource.Resource                   = (*tlsMaterialsResource)(nil)
	_ resource.ResourceWithConfigure      = (*tlsMaterialsResource)(nil)
	_ resource.ResourceWithImportState    = (*tlsMaterialsResource)(nil)
	_ resource.ResourceWithModifyPlan     = (*tlsMaterialsResource)(nil)
	_ resource.ResourceWithValidateConfig = (*tlsMaterialsResource)(nil)
)

// tlsMaterialsResource is cc_tls_materials.
type tlsMaterialsResource struct{ backend *Backend }

// NewTLSMaterialsResource returns cc_tls_materials: a certificate authority,
// certificates and ssl.cfg in a local directory.
func NewTLSMaterialsResource() resource.Resource { return &tlsMaterialsResource{} }

func (r *tlsMaterialsResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_tls_materials"
}

func (r *tlsMaterialsResource) Configure(_ context.Context, req resource.ConfigureRequest, resp *resource.ConfigureResponse) {
	r.backend = backendFrom(req.ProviderData, &resp.Diagnostics)
}

func (r *tlsMaterialsResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m, config tlsMaterialsModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	if resp.Diagnostics.HasError() {
		return
	}
	m.settle()
	set, err := r.create(&m, &config)
	if err != nil {
		addError(&resp.Diagnostics, path.Root("directory"), "TLS materials not created", explainTLSMaterials(err))
		return
	}
	m.setMaterials(set)
	m.ID, m.ReadyForRenewal = m.CACertificateSHA256, types.BoolValue(false)
	tflog.Debug(ctx, "created TLS materials", map[string]any{"directory": m.Directory.ValueString(), "authority": m.ID.ValueString()})
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

func (r *tlsMaterialsResource) create(m, config *tlsMaterialsModel) (*tlsmaterials.Materials, error) {
	spec, err := m.specWithKeys(config)
	if err != nil {
		return nil, err
	}
	return deploy.CreateTLSMaterials(spec, r.backend.Now(), false)
}

// Read leaves in the state what the files should be, and adds what is wrong
// with them. It warns of what an apply does not put right.
func (r *tlsMaterialsResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m tlsMaterialsModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	record, err := m.record()
	if err != nil {
		addError(&resp.Diagnostics, path.Empty(), "TLS materials in the state unreadable", err)
		return
	}
	o := deploy.ObserveTLSMaterials(m.Directory.ValueString(), record)
	problems := o.Repairable(m.spec().IgnoreMissing)
	m.setProblems(problems)
	m.ReadyForRenewal = types.BoolValue(deploy.TLSRenewalDue(record, m.spec().RenewBefore, r.backend.Now()))
	tflog.Debug(ctx, "found TLS materials", map[string]any{"directory": m.Directory.ValueString(), "problems": len(problems)})
	for _, w := range m.warnings(o, r.backend.Now()) {
		addWarning(&resp.Diagnostics, path.Root("directory"), "", w)
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

func (r *tlsMaterialsResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var m, old, config tlsMaterialsModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &old)...)
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	if resp.Diagnostics.HasError() {
		return
	}
	planned := m
	m.settle()
	set, err := r.update(&m, &old, &planned, &config)
	if err != nil {
		addError(&resp.Diagnostics, path.Root("directory"), "TLS materials not updated", explainTLSMaterials(err))
		return
	}
	m.setMaterials(set)
	tflog.Debug(ctx, "updated TLS materials", map[string]any{"directory": m.Directory.ValueString()})
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// update moves the files if need be, then does what the plan announced.
func (r *tlsMaterialsResource) update(m, old, planned, config *tlsMaterialsModel) (*tlsmaterials.Materials, error) {
	record, err := old.record()
	if err != nil {
		return nil, err
	}
	spec, err := m.specWithKeys(config)
	if err != nil {
		return nil, err
	}
	from, to := old.Directory.ValueString(), spec.Directory
	o := deploy.ObserveTLSMaterials(from, record)
	if from != to {
		if err := deploy.MoveTLSMaterials(from, to, o); err != nil {
			return nil, err
		}
		o = deploy.ObserveTLSMaterials(to, record)
	}
	now := r.backend.Now()
	c, err := deploy.PlanTLSMaterials(spec, old.was(), o, now)
	if err != nil {
		return nil, err
	}
	if err := planned.announced(c); err != nil {
		return nil, err
	}
	return deploy.UpdateTLSMaterials(spec, c, o, now)
}

func (r *tlsMaterialsResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m tlsMaterialsModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	dir := m.Directory.ValueString()
	if m.OnDestroy.ValueString() != "delete" {
		resp.Diagnostics.AddAttributeWarning(path.Root("directory"), "TLS materials kept",
			fmt.Sprintf("The certificates and private keys stay in %s. Delete the directory when nothing needs it any more, or import it to manage it again.", dir))
		return
	}
	record, err := m.record()
	if err != nil {
		addError(&resp.Diagnostics, path.Empty(), "TLS materials in the state unreadable", err)
		return
	}
	left, err := deploy.RemoveTLSMaterials(dir, deploy.ObserveTLSMaterials(dir, record))
	if err != nil {
		addError(&resp.Diagnostics, path.Root("directory"), "TLS materials not deleted", err)
		return
	}
	if len(left) > 0 {
		resp.Diagnostics.AddAttributeWarning(path.Root("directory"), "Files left alone",
			fmt.Sprintf("In %s these files are not the ones that were made, and were not deleted: %s.", dir, strings.Join(slices.Sorted(slices.Values(left)), ", ")))
	}
	tflog.Debug(ctx, "deleted TLS materials", map[string]any{"directory": dir})
}
