package resources

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-log/tflog"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
)

var (
	_ resource.Resource                = (*wrapKeyResource)(nil)
	_ resource.ResourceWithImportState = (*wrapKeyResource)(nil)
	_ resource.ResourceWithModifyPlan  = (*wrapKeyResource)(nil)
)

// wrapKeyResource is cc_wrap_key.
type wrapKeyResource struct{}

// NewWrapKeyResource returns cc_wrap_key: a wrap key kept in a local file.
func NewWrapKeyResource() resource.Resource { return &wrapKeyResource{} }

type wrapKeyModel struct {
	ID          types.String `tfsdk:"id"`
	File        types.String `tfsdk:"file"`
	OnDestroy   types.String `tfsdk:"on_destroy"`
	OnMissing   types.String `tfsdk:"on_missing"`
	Fingerprint types.String `tfsdk:"fingerprint"`
}

var (
	wrapKeyOnDestroy = words{
		{"keep", "leaves the key file where it is"},
		{"delete", "deletes it, and with it the only way to open what it encrypted"},
	}
	wrapKeyOnMissing = words{
		{"error", "makes a plan fail where the key file is missing"},
		{"ignore", "takes a missing key file for one that is kept on another machine, as on a CI runner without a disk of its own"},
	}
)

func (r *wrapKeyResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_wrap_key"
}

func (r *wrapKeyResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	keep := []planmodifier.String{stringplanmodifier.UseStateForUnknown()}
	resp.Schema = schema.Schema{
		MarkdownDescription: "A wrap key: 16 random bytes in a file that only its owner may read. Protected files are encrypted under it, " +
			"and the key server releases it to the right enclave. The key itself is never in the state.",
		Attributes: map[string]schema.Attribute{
			// Required.
			"file": schema.StringAttribute{
				MarkdownDescription: "Path of the key file. Creating the resource creates the file and never overwrites one; " +
					"changing the path moves the key.",
				Required:      true,
				Validators:    []validator.String{filePath{}},
				PlanModifiers: []planmodifier.String{samePath{}},
			},
			// Optional.
			"on_destroy": schema.StringAttribute{
				MarkdownDescription: "What destroying the resource does: " + wrapKeyOnDestroy.markdown(),
				Optional:            true, Computed: true,
				Default:    stringdefault.StaticString(wrapKeyOnDestroy.byDefault()),
				Validators: []validator.String{wrapKeyOnDestroy},
			},
			"on_missing": schema.StringAttribute{
				MarkdownDescription: "What a missing key file means: " + wrapKeyOnMissing.markdown() +
					" A missing key is never generated again: data may depend on it.",
				Optional: true, Computed: true,
				Default:    stringdefault.StaticString(wrapKeyOnMissing.byDefault()),
				Validators: []validator.String{wrapKeyOnMissing},
			},
			// Computed.
			"fingerprint": schema.StringAttribute{
				MarkdownDescription: "Identifies the key without telling it: 16 hex digits, as `ccctl wrap-key fingerprint` prints them.",
				Computed:            true, PlanModifiers: keep,
			},
			"id": schema.StringAttribute{
				MarkdownDescription: "The same as `fingerprint`.",
				Computed:            true, PlanModifiers: keep,
			},
		},
	}
}

func (r *wrapKeyResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m wrapKeyModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	fingerprint, err := deploy.CreateWrapKey(m.File.ValueString())
	if err != nil {
		addError(&resp.Diagnostics, path.Root("file"), "Wrap key not created", explainWrapKey(m, err))
		return
	}
	tflog.Debug(ctx, "created wrap key", map[string]any{"file": m.File.ValueString(), "fingerprint": fingerprint})
	m.setKey(fingerprint)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// Read keeps in the state which key there should be and only warns of what it
// finds instead. It is ModifyPlan that refuses to go on: a plan must fail even
// with -refresh=false, and `terraform destroy -refresh=false` must not.
func (r *wrapKeyResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m wrapKeyModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	info, err := deploy.CheckWrapKey(m.File.ValueString(), m.Fingerprint.ValueString())
	if m.ignores(err) {
		return
	}
	if err != nil {
		addWarning(&resp.Diagnostics, path.Root("file"), "Wrap key not usable", err)
		return
	}
	tflog.Debug(ctx, "found wrap key", map[string]any{"file": m.File.ValueString(), "fingerprint": info.Fingerprint})
	if info.Exposed() {
		addWarning(&resp.Diagnostics, path.Root("file"), "", exposedWrapKey(m, info))
	}
}

func (r *wrapKeyResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var m, old wrapKeyModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &old)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if !m.File.Equal(old.File) {
		if err := deploy.MoveWrapKey(old.File.ValueString(), m.File.ValueString(), old.Fingerprint.ValueString()); err != nil {
			addError(&resp.Diagnostics, path.Root("file"), "Wrap key not moved", explainWrapKey(m, err))
			return
		}
		tflog.Debug(ctx, "moved wrap key", map[string]any{"from": old.File.ValueString(), "to": m.File.ValueString()})
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

func (r *wrapKeyResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m wrapKeyModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if m.OnDestroy.ValueString() != "delete" {
		resp.Diagnostics.AddAttributeWarning(path.Root("file"), "Wrap key file kept",
			fmt.Sprintf("The key %s stays in %s. Delete the file when nothing needs it any more, or import it to manage it again.",
				m.Fingerprint.ValueString(), m.File.ValueString()))
		return
	}
	if err := deploy.DeleteWrapKey(m.File.ValueString(), m.Fingerprint.ValueString()); err != nil {
		addError(&resp.Diagnostics, path.Root("file"), "Wrap key not deleted", explainWrapKey(m, err))
		return
	}
	tflog.Debug(ctx, "deleted wrap key", map[string]any{"file": m.File.ValueString()})
}

// ImportState adopts the key file that the import id names.
func (r *wrapKeyResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	m := wrapKeyModel{
		File:      types.StringValue(req.ID),
		OnDestroy: types.StringValue(wrapKeyOnDestroy.byDefault()),
		OnMissing: types.StringValue(wrapKeyOnMissing.byDefault()),
	}
	info, err := deploy.InspectWrapKey(req.ID)
	if err != nil {
		addError(&resp.Diagnostics, path.Empty(), "Wrap key not imported", &deploy.Error{
			Summary: "Wrap key not imported", Err: err,
			Remedy: "The import id of a cc_wrap_key is the path of a file with the 16 bytes of the key.",
		})
		return
	}
	m.setKey(info.Fingerprint)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// ModifyPlan stops a plan that would build on a key that is not there, or not
// the one that data was encrypted under.
func (r *wrapKeyResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() || req.State.Raw.IsNull() { // destroy and create
		return
	}
	var m, old wrapKeyModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &old)...)
	if resp.Diagnostics.HasError() || m.File.IsUnknown() {
		return
	}
	var err error
	if m.File.Equal(old.File) {
		if _, err = deploy.CheckWrapKey(m.File.ValueString(), old.Fingerprint.ValueString()); m.ignores(err) {
			return
		}
	} else {
		err = deploy.PlanWrapKeyMove(old.File.ValueString(), m.File.ValueString(), old.Fingerprint.ValueString())
	}
	if err != nil {
		addError(&resp.Diagnostics, path.Root("file"), "Wrap key not usable", explainWrapKey(m, err))
	}
}

func (m *wrapKeyModel) setKey(fingerprint string) {
	m.Fingerprint = types.StringValue(fingerprint)
	m.ID = m.Fingerprint
}

// ignores tells that err is the absence of a key that is kept elsewhere.
func (m *wrapKeyModel) ignores(err error) bool {
	return errors.Is(err, fs.ErrNotExist) && m.OnMissing.ValueString() == "ignore"
}

// explainWrapKey adds what Terraform users can do about a failure.
func explainWrapKey(m wrapKeyModel, err error) error {
	switch {
	case errors.Is(err, fs.ErrExist):
		return &deploy.Error{Summary: "Wrap key file exists already", Err: err,
			Remedy: "A key that data may depend on is never overwritten. To use the key in that file, import it " +
				"(terraform import cc_wrap_key.NAME PATH); otherwise choose another path, or move the file away."}
	case errors.Is(err, fs.ErrNotExist):
		return &deploy.Error{Summary: "Wrap key file missing", Err: err,
			Remedy: fmt.Sprintf("Data may depend on the key %s, so it is never generated again. Restore the file from a backup or from the machine "+
				"that has it; or leave file as it is and set on_missing = \"ignore\" if the key is kept on another machine; or, to abandon the key with everything it encrypted, "+
				"remove the resource from the state (terraform state rm cc_wrap_key.NAME) and go on.", m.Fingerprint.ValueString())}
	case errors.Is(err, deploy.ErrOtherKey):
		return &deploy.Error{Summary: "Wrap key file holds another key", Err: err,
			Remedy: "Restore the key that the state knows. To go on with the key in the file instead, and lose what only the other one opens, remove " +
				"the resource from the state (terraform state rm cc_wrap_key.NAME) and import the file (terraform import cc_wrap_key.NAME PATH)."}
	default:
		return err
	}
}

func exposedWrapKey(m wrapKeyModel, info deploy.WrapKeyInfo) error {
	return &deploy.Error{Summary: "Wrap key file open to others",
		Err:    fmt.Errorf("rely on wrap key %s: its mode is %04o, so that others than its owner may read or replace it", m.File.ValueString(), info.Mode.Perm()),
		Remedy: "Take the permission away (chmod 600), and change the key if somebody may have read it."}
}
