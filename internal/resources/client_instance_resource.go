package resources

import (
	"context"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-log/tflog"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/ecs"
)

var (
	_ resource.ResourceWithConfigure   = (*clientInstanceResource)(nil)
	_ resource.ResourceWithIdentity    = (*clientInstanceResource)(nil)
	_ resource.ResourceWithImportState = (*clientInstanceResource)(nil)
	_ resource.ResourceWithModifyPlan  = (*clientInstanceResource)(nil)

	_ resource.ResourceWithValidateConfig = (*clientInstanceResource)(nil)
)

// How long the operations may take where the configuration does not say.
const (
	clientInstanceTimeout       = 30 * time.Minute
	clientInstanceDeleteTimeout = 15 * time.Minute
)

// clientInstanceResource is cc_client_instance.
type clientInstanceResource struct{ backend *Backend }

// NewClientInstanceResource returns cc_client_instance: the machine of the data
// owner, ready for Docker.
func NewClientInstanceResource() resource.Resource { return &clientInstanceResource{} }

func (r *clientInstanceResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_client_instance"
}

func (r *clientInstanceResource) Configure(_ context.Context, req resource.ConfigureRequest, resp *resource.ConfigureResponse) {
	r.backend = backendFrom(req.ProviderData, &resp.Diagnostics)
}

func (r *clientInstanceResource) IdentitySchema(_ context.Context, _ resource.IdentitySchemaRequest, resp *resource.IdentitySchemaResponse) {
	resp.IdentitySchema = cloudIdentitySchema()
}

func (r *clientInstanceResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = clientInstanceSchema(ctx)
}

func (r *clientInstanceResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m clientInstanceModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	password := passwordOf(ctx, req.Config, &resp.Diagnostics)
	limit, diags := m.Timeouts.Create(ctx, clientInstanceTimeout)
	resp.Diagnostics.Append(diags...)
	c := r.backend.cloud(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	spec := m.spec(ctx, password, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	choice, err := deploy.ResolveInstance(ctx, c, spec, m.ImageFamily.ValueString())
	if err != nil {
		addError(&resp.Diagnostics, path.Empty(), "Instance not created", err)
		return
	}
	spec.ImageID, spec.Type = choice.ImageID, choice.Type
	id, err := deploy.CreateInstance(ctx, c, spec)
	if err != nil {
		addError(&resp.Diagnostics, path.Empty(), "Instance not created", err)
		return
	}
	tflog.Debug(ctx, "created instance", map[string]any{"id": id, "name": spec.Name, "image": choice.ImageID, "type": choice.Type})
	m.ID, m.Region = types.StringValue(id), types.StringValue(c.Region())
	m.ImageID, m.InstanceType = types.StringValue(choice.ImageID), types.StringValue(choice.Type)
	m.ZoneID, m.VpcID = types.StringValue(choice.ZoneID), types.StringValue(choice.VpcID)
	m.setBootstrap(ctx, m.bootstrapBefore(), nil, &resp.Diagnostics)
	// Before any wait: whatever happens now, Terraform knows the machine.
	m.save(ctx, &resp.State, resp.Identity, &resp.Diagnostics)
	keepOrigin(ctx, c, resp.Private, &resp.Diagnostics)
	m.finish(ctx, c, &resp.State, resp.Identity, &resp.Diagnostics)
	endCreation(ctx, c, ecs.TagInstance, id, &resp.Diagnostics)
}

// finish waits for the machine and prepares it, writing the state as far as it
// gets.
func (m *clientInstanceModel) finish(ctx context.Context, c *ecs.Client, state *tfsdk.State, identity *tfsdk.ResourceIdentity, diags *diag.Diagnostics) {
	id := m.ID.ValueString()
	i, err := deploy.WaitInstanceReady(ctx, c, id, m.Bandwidth.ValueInt64() > 0)
	if err != nil {
		addError(diags, path.Empty(), "Instance not ready", err)
		return
	}
	m.setInstance(ctx, i, diags)
	m.save(ctx, state, identity, diags)
	if m.DataDiskIDs.IsNull() { // of a new instance
		disks, err := deploy.WaitDataDisks(ctx, c, id, len(m.DataDisks.Elements()))
		if err != nil {
			addError(diags, path.Root("data_disks"), "Instance not ready", err)
			return
		}
		m.setDataDiskIDs(ctx, ownDataDisks(disks), diags)
		m.save(ctx, state, identity, diags)
	}
	if !m.Bootstrap.ValueBool() {
		return
	}
	report, err := deploy.Bootstrap(ctx, c, id, m.BootstrapUser.ValueString())
	status := bootstrapDone
	if err != nil {
		status = bootstrapPending
	}
	m.setBootstrap(ctx, status, report, diags)
	m.save(ctx, state, identity, diags)
	if err != nil {
		addError(diags, path.Root("bootstrap"), "Bootstrap not completed", err)
	}
}

// bootstrapBefore is the status before the bootstrap has run.
func (m *clientInstanceModel) bootstrapBefore() string {
	if m.Bootstrap.ValueBool() {
		return bootstrapPending
	}
	return bootstrapOff
}

func (m *clientInstanceModel) save(ctx context.Context, state *tfsdk.State, identity *tfsdk.ResourceIdentity, diags *diag.Diagnostics) {
	m.forget()
	m.PasswordWO = types.StringNull()
	diags.Append(state.Set(ctx, m)...)
	setIdentity(ctx, identity, m.Region, m.ID, diags)
}

// passwordOf reads the write-only password from the configuration, where alone
// it is.
func passwordOf(ctx context.Context, config tfsdk.Config, diags *diag.Diagnostics) string {
	var password types.String
	diags.Append(config.GetAttribute(ctx, path.Root("password_wo"), &password)...)
	return password.ValueString()
}

func (r *clientInstanceResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m clientInstanceModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	c := r.backend.cloud(&resp.Diagnostics)
	if resp.Diagnostics.HasError() || !checkRegion(c, "instance", m.Region, m.ID.ValueString(), &resp.Diagnostics) {
		return
	}
	setIdentity(ctx, resp.Identity, m.Region, m.ID, &resp.Diagnostics)
	v, err := deploy.ObserveInstance(ctx, c, m.ID.ValueString(), !m.RoleName.IsNull())
	switch {
	case ecs.IsNotFound(err):
		if confirmAbsent(ctx, c, req.Private, &resp.Diagnostics) {
			tflog.Debug(ctx, "instance is gone", map[string]any{"id": m.ID.ValueString()})
			resp.State.RemoveResource(ctx)
		}
		return
	case err != nil:
		addError(&resp.Diagnostics, path.Empty(), "Instance not read", err)
		return
	}
	m.warnImage(v.ImageID, &resp.Diagnostics)
	m.setView(ctx, v, &resp.Diagnostics)
	m.save(ctx, &resp.State, resp.Identity, &resp.Diagnostics)
}

func (r *clientInstanceResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var m, old clientInstanceModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &old)...)
	password := passwordOf(ctx, req.Config, &resp.Diagnostics)
	limit, diags := m.Timeouts.Update(ctx, clientInstanceTimeout)
	resp.Diagnostics.Append(diags...)
	c := r.backend.cloud(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	from, to := old.wish(ctx, &resp.Diagnostics), m.wish(ctx, &resp.Diagnostics)
	if !m.PasswordWOVersion.Equal(old.PasswordWOVersion) {
		to.Password = password
	}
	if err := deploy.UpdateInstance(ctx, c, m.ID.ValueString(), from, to); err != nil {
		addError(&resp.Diagnostics, path.Empty(), "Instance not changed", err)
		return // the state stays as it was; the next refresh sees how far it got
	}
	v, err := deploy.ObserveInstance(ctx, c, m.ID.ValueString(), !m.RoleName.IsNull())
	if err != nil {
		addError(&resp.Diagnostics, path.Empty(), "Instance not read", err)
		return
	}
	if _, marked := v.Tags[deploy.CreationTag]; marked {
		endCreation(ctx, c, ecs.TagInstance, m.ID.ValueString(), &resp.Diagnostics)
	}
	again := m.BootstrapStatus.IsUnknown() && m.Bootstrap.ValueBool()
	if m.BootstrapStatus.IsUnknown() {
		m.setBootstrap(ctx, m.bootstrapBefore(), nil, &resp.Diagnostics)
	}
	m.setView(ctx, v, &resp.Diagnostics)
	m.save(ctx, &resp.State, resp.Identity, &resp.Diagnostics)
	if again {
		m.finish(ctx, c, &resp.State, resp.Identity, &resp.Diagnostics)
	}
}

func (r *clientInstanceResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m clientInstanceModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	limit, diags := m.Timeouts.Delete(ctx, clientInstanceDeleteTimeout)
	resp.Diagnostics.Append(diags...)
	c := r.backend.cloud(&resp.Diagnostics)
	if resp.Diagnostics.HasError() || !checkRegion(c, "instance", m.Region, m.ID.ValueString(), &resp.Diagnostics) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := deploy.DeleteInstance(ctx, c, m.ID.ValueString()); err != nil {
		addError(&resp.Diagnostics, path.Empty(), "Instance not deleted", err)
		return
	}
	tflog.Debug(ctx, "deleted instance", map[string]any{"id": m.ID.ValueString()})
}
