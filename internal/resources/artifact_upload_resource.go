package resources

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/resourcevalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-log/tflog"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/remote"
)

var (
	_ resource.Resource                     = (*artifactUploadResource)(nil)
	_ resource.ResourceWithConfigValidators = (*artifactUploadResource)(nil)
	_ resource.ResourceWithImportState      = (*artifactUploadResource)(nil)
	_ resource.ResourceWithModifyPlan       = (*artifactUploadResource)(nil)
	_ resource.ResourceWithValidateConfig   = (*artifactUploadResource)(nil)
)

// How long the operations may take where the configuration does not say.
const (
	artifactUploadTimeout = 2 * time.Hour
	artifactRemoveTimeout = 10 * time.Minute
)

// artifactUploadResource is cc_artifact_upload.
type artifactUploadResource struct{}

// NewArtifactUploadResource returns cc_artifact_upload: files on the machine of the enclave.
func NewArtifactUploadResource() resource.Resource { return &artifactUploadResource{} }

type artifactUploadModel struct {
	Host           types.Object   `tfsdk:"host"`
	Directory      types.String   `tfsdk:"directory"`
	Source         types.String   `tfsdk:"source"`
	Files          types.Map      `tfsdk:"files"`
	Plaintext      types.Set      `tfsdk:"plaintext"`
	Triggers       types.Map      `tfsdk:"triggers"`
	FileMode       types.String   `tfsdk:"file_mode"`
	DirectoryMode  types.String   `tfsdk:"directory_mode"`
	DeleteStale    types.Bool     `tfsdk:"delete_stale"`
	AllowOverwrite types.Bool     `tfsdk:"allow_overwrite"`
	OnDestroy      types.String   `tfsdk:"on_destroy"`
	Timeouts       timeouts.Value `tfsdk:"timeouts"`

	ID         types.String `tfsdk:"id"`
	Status     types.String `tfsdk:"status"`
	Uploaded   types.Map    `tfsdk:"uploaded"`
	Stale      types.Set    `tfsdk:"stale"`
	TotalBytes types.Int64  `tfsdk:"total_bytes"`
	UploadID   types.String `tfsdk:"upload_id"`

	keys hostKeys
}

func (r *artifactUploadResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_artifact_upload"
}

func (r *artifactUploadResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = artifactUploadSchema(ctx)
}

func (r *artifactUploadResource) ConfigValidators(context.Context) []resource.ConfigValidator {
	return []resource.ConfigValidator{resourcevalidator.ExactlyOneOf(path.MatchRoot("source"), path.MatchRoot("files"))}
}

// ValidateConfig checks how the machine is reached as soon as that is known.
func (r *artifactUploadResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var m artifactUploadModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() || !fullyKnown(ctx, m.Host) {
		return
	}
	h := m.host(ctx, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	if err := h.check(); err != nil {
		addKeyServerError(&resp.Diagnostics, "Machine not valid", err)
	}
}

// Create stores nothing before all is there. A resource that is stored and
// fails is tainted: the next apply would remove what has been sent, perhaps
// for hours, and start again. The list on the machine knows what was begun.
func (r *artifactUploadResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m artifactUploadModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	m.keys = readHostKeys(ctx, m.Host, req.Config, &resp.Diagnostics)
	limit, diags := m.Timeouts.Create(ctx, artifactUploadTimeout)
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() {
		return
	}
	m.apply(ctx, limit, deploy.ArtifactRecord{}, &resp.State, &resp.Diagnostics)
}

func (r *artifactUploadResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m artifactUploadModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	record := m.record(ctx, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	err := m.onMachine(ctx, func(u deploy.ArtifactUpload) error {
		status, err := u.Observe(ctx, record)
		m.Status = types.StringValue(status)
		return err
	})
	if errors.Is(err, errKeyNotAtHand) {
		addWarning(&resp.Diagnostics, path.Root("host"), "Uploaded files not looked at", err)
		return // the state stays as it is
	}
	if err != nil {
		addError(&resp.Diagnostics, path.Empty(), "Uploaded files not found", err)
		return
	}
	tflog.Debug(ctx, "observed uploaded files", map[string]any{"directory": m.Directory.ValueString(), "status": m.Status.ValueString()})
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

func (r *artifactUploadResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var m, old artifactUploadModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &old)...)
	m.keys = readHostKeys(ctx, m.Host, req.Config, &resp.Diagnostics)
	limit, diags := m.Timeouts.Update(ctx, artifactUploadTimeout)
	resp.Diagnostics.Append(diags...)
	record := old.record(ctx, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	m.apply(ctx, limit, record, &resp.State, &resp.Diagnostics)
}

func (r *artifactUploadResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m artifactUploadModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	limit, diags := m.Timeouts.Delete(ctx, artifactRemoveTimeout)
	resp.Diagnostics.Append(diags...)
	record := m.record(ctx, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := m.onMachine(ctx, func(u deploy.ArtifactUpload) error {
		return u.Remove(ctx, record, m.OnDestroy.ValueString() == "keep")
	})
	if err != nil {
		addError(&resp.Diagnostics, path.Empty(), "Uploaded files not removed", err)
		return
	}
	tflog.Debug(ctx, "removed uploaded files", map[string]any{"directory": m.Directory.ValueString(), "files": len(record.Files)})
}

// ModifyPlan compares the files here with the state, and refuses before an
// apply what must not be sent. What another resource will make of them in the
// same apply nobody knows yet, so what comes out is left open.
func (r *artifactUploadResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() {
		return
	}
	var m, old artifactUploadModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	if !req.State.Raw.IsNull() {
		resp.Diagnostics.Append(req.State.Get(ctx, &old)...)
	}
	if resp.Diagnostics.HasError() {
		return
	}
	var here map[string]string // nil: they are not there yet, or not on this machine
	if fullyKnown(ctx, m.Source, m.Files, m.Plaintext) {
		all, err := m.source(ctx, &resp.Diagnostics).Scan(ctx)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			addError(&resp.Diagnostics, m.sourcePath(), "Files not sendable", err)
		}
		if resp.Diagnostics.HasError() {
			return
		}
		if err == nil {
			here = make(map[string]string, len(all))
			for _, a := range all {
				here[a.Name] = a.SHA256
			}
		}
	}
	if !req.State.Raw.IsNull() && old.Status.ValueString() == deploy.ArtifactsInPlace && equalValues(m.configured(), old.configured()) {
		record := old.record(ctx, &resp.Diagnostics)
		if resp.Diagnostics.HasError() {
			return
		}
		if here == nil || maps.Equal(here, record.Files) {
			resp.Plan.Raw = req.State.Raw
			return
		}
	}
	m.Status, m.TotalBytes = types.StringValue(deploy.ArtifactsInPlace), types.Int64Unknown()
	m.Uploaded, m.Stale = types.MapUnknown(types.StringType), types.SetUnknown(types.StringType)
	if m.DeleteStale.ValueBool() {
		m.Stale = types.SetValueMust(types.StringType, []attr.Value{})
	}
	m.ID = types.StringUnknown()
	if fullyKnown(ctx, m.Host) {
		m.locate(ctx, &resp.Diagnostics)
	}
	resp.Diagnostics.Append(resp.Plan.Set(ctx, m)...)
}

// apply uploads, and sets the state if all went well.
func (m *artifactUploadModel) apply(ctx context.Context, limit time.Duration, had deploy.ArtifactRecord, state *tfsdk.State, diags *diag.Diagnostics) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var record deploy.ArtifactRecord
	err := m.onMachine(ctx, func(u deploy.ArtifactUpload) (err error) {
		u.Progress = func(a deploy.Artifact) func(int64) {
			tflog.Info(ctx, "uploading a file", map[string]any{"file": a.Name, "bytes": a.Size})
			told, sent := logProgress(ctx, "uploading", a.Name), int64(0)
			return func(n int64) {
				told(max(n-sent, 0))
				sent = n
			}
		}
		record, err = u.Apply(ctx, had)
		return err
	})
	if errors.Is(err, remote.ErrConnectionLost) {
		err = &deploy.Error{Summary: "Upload interrupted", Err: err,
			Remedy: "Apply again: what has arrived stays there and is not sent again. If you give up on it, remove what is in the directory by hand."}
	}
	if err != nil {
		addError(diags, path.Empty(), "Files not uploaded", err)
		return
	}
	tflog.Debug(ctx, "uploaded files", map[string]any{"directory": m.Directory.ValueString(), "files": len(record.Files), "bytes": record.Bytes})
	m.locate(ctx, diags)
	m.Status = types.StringValue(deploy.ArtifactsInPlace)
	m.setRecord(ctx, record, diags)
	diags.Append(state.Set(ctx, m)...)
}

// onMachine runs do with the upload on its machine.
func (m *artifactUploadModel) onMachine(ctx context.Context, do func(u deploy.ArtifactUpload) error) error {
	var diags diag.Diagnostics
	h := m.host(ctx, &diags)
	u := deploy.ArtifactUpload{
		Source: m.source(ctx, &diags), Directory: m.Directory.ValueString(), FileMode: parseMode(m.FileMode), DirectoryMode: parseMode(m.DirectoryMode),
		DeleteStale: m.DeleteStale.ValueBool(), AllowOverwrite: m.AllowOverwrite.ValueBool(),
	}
	if diags.HasError() {
		return errors.New("read settings of upload: they are malformed")
	}
	x, err := h.open(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = x.Close() }()
	u.Host = x
	return do(u)
}

func (m *artifactUploadModel) host(ctx context.Context, diags *diag.Diagnostics) hostModel {
	return readHost(ctx, m.Host, m.keys, diags)
}

func (m *artifactUploadModel) source(ctx context.Context, diags *diag.Diagnostics) deploy.ArtifactSource {
	s := deploy.ArtifactSource{Directory: m.Source.ValueString()}
	diags.Append(m.Files.ElementsAs(ctx, &s.Files, false)...)
	diags.Append(m.Plaintext.ElementsAs(ctx, &s.Plaintext, false)...)
	return s
}

// sourcePath is the attribute that says what to send.
func (m *artifactUploadModel) sourcePath() path.Path {
	if m.Source.IsNull() {
		return path.Root("files")
	}
	return path.Root("source")
}

// configured is everything that the user sets and that matters to what is there.
func (m *artifactUploadModel) configured() []attr.Value {
	return []attr.Value{m.Host, m.Directory, m.Source, m.Files, m.Plaintext, m.Triggers, m.FileMode, m.DirectoryMode, m.DeleteStale, m.AllowOverwrite, m.OnDestroy, m.Timeouts}
}

func (m *artifactUploadModel) locate(ctx context.Context, diags *diag.Diagnostics) {
	h := m.host(ctx, diags)
	m.ID = types.StringValue(h.name() + m.Directory.ValueString())
}

// record is what the state knows.
func (m *artifactUploadModel) record(ctx context.Context, diags *diag.Diagnostics) deploy.ArtifactRecord {
	r := deploy.ArtifactRecord{Upload: m.UploadID.ValueString(), Bytes: m.TotalBytes.ValueInt64()}
	diags.Append(m.Uploaded.ElementsAs(ctx, &r.Files, false)...)
	diags.Append(m.Stale.ElementsAs(ctx, &r.Stale, false)...)
	return r
}

func (m *artifactUploadModel) setRecord(ctx context.Context, r deploy.ArtifactRecord, diags *diag.Diagnostics) {
	var d diag.Diagnostics
	m.Uploaded, d = types.MapValueFrom(ctx, types.StringType, r.Files)
	diags.Append(d...)
	m.Stale, d = types.SetValueFrom(ctx, types.StringType, r.Stale)
	diags.Append(d...)
	m.TotalBytes, m.UploadID = types.Int64Value(r.Bytes), types.StringValue(r.Upload)
}
