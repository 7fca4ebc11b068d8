package resources

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-log/tflog"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/serving/savedmodel"
)

// This file is the second half of cc_saved_model: the plan, import, and the
// helpers of both halves.

// ModifyPlan finds out whether the SavedModel has to be made again, and leaves
// open what only making it will tell: the source may be another one by then. The
// conversion is tried all the same, so that a graph that cannot be served fails
// the plan and not the apply.
func (r *savedModelResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() { // destroy
		return
	}
	var m savedModelModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	m.Condition = types.StringValue(savedModelCondition.byDefault())
	m.setPlace()
	m.planFiles()
	if req.State.Raw.IsNull() { // create
		if m.check(ctx, &resp.Diagnostics) {
			resp.Diagnostics.Append(resp.Plan.Set(ctx, m)...)
		}
		return
	}
	var old savedModelModel
	resp.Diagnostics.Append(req.State.Get(ctx, &old)...)
	if resp.Diagnostics.HasError() {
		return
	}
	why, err := m.reasonToPublish(ctx, old)
	if err != nil {
		addError(&resp.Diagnostics, path.Root("digest_key_file"), "SavedModel cannot be planned", err)
		return
	}
	m.Digest, m.Size, m.Signature, m.Optimization = old.Digest, old.Size, old.Signature, old.Optimization
	if why != unchanged {
		tflog.Debug(ctx, "the SavedModel will be made again", map[string]any{"reason": string(why)})
		if !m.check(ctx, &resp.Diagnostics) {
			return
		}
		m.leaveOpen(why)
	} else {
		m.Files = old.Files
	}
	resp.Diagnostics.Append(resp.Plan.Set(ctx, m)...)
}

const (
	otherSignature reason = "the inputs or outputs changed"
	otherPlace     reason = "the export directory or the model version changed"
	otherDigestKey reason = "the key of the digest changed"
	otherGraph     reason = "the graph is to be optimised or not any more"
)

// reasonToPublish compares what is wished with what was published.
func (m *savedModelModel) reasonToPublish(ctx context.Context, old savedModelModel) (reason, error) {
	switch {
	case m.moved(old):
		return otherPlace, nil
	case m.Source.IsUnknown() || m.SourceSHA256.IsUnknown():
		return otherSource, nil
	case !m.Inputs.Equal(old.Inputs) || !m.Outputs.Equal(old.Outputs):
		return otherSignature, nil
	case !m.Optimize.Equal(old.Optimize):
		return otherGraph, nil
	case old.Condition.ValueString() != savedModelCondition.byDefault():
		return notIntact, nil
	}
	key, err := m.digestKey()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return unchanged, err
	}
	if !m.DigestKeyFile.Equal(old.DigestKeyFile) && !key.Made(old.Digest.ValueString()) {
		return otherDigestKey, nil
	}
	if m.remote() {
		if !m.SourceSHA256.Equal(old.SourceSHA256) { // the condition tells of the rest
			return otherSource, nil
		}
		return unchanged, nil
	}
	if !m.upToDate(ctx, key, old.Digest.ValueString()) {
		return otherSource, nil
	}
	return unchanged, nil
}

// remote tells that the source is a URL, which only publishing fetches.
func (m *savedModelModel) remote() bool {
	return deploy.SavedModelSpec{Source: m.Source.ValueString()}.Remote()
}

// upToDate tells whether the published file is what the source converts to now.
// What is wrong with a source that cannot be converted, check says.
func (m *savedModelModel) upToDate(ctx context.Context, key *deploy.DigestKey, digest string) bool {
	spec, err := m.spec()
	if err != nil {
		return false
	}
	if !key.Made(digest) {
		// Another machine published the model that the state speaks of. What
		// matters is that the file here is what the source converts to.
		return deploy.CompareSavedModel(ctx, spec) == nil
	}
	model, err := deploy.PlanSavedModel(ctx, spec, key)
	if errors.Is(err, fs.ErrNotExist) {
		return m.OnMissing.ValueString() == "ignore" // the source is not here
	}
	return err == nil && model.Digest == digest
}

// check reports on plan what would fail on apply. A source that does not exist
// may be made by another resource.
func (m *savedModelModel) check(ctx context.Context, diags *diag.Diagnostics) bool {
	if !fullyKnown(ctx, m.Source, m.SourceSHA256, m.Inputs, m.Outputs) || m.remote() {
		return true
	}
	spec, err := m.spec()
	if err != nil {
		m.explain(diags, err)
		return false
	}
	model, err := deploy.PlanSavedModel(ctx, spec, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if err != nil {
		m.explain(diags, err)
		return false
	}
	for _, w := range model.Warnings {
		diags.AddAttributeWarning(path.Root("source"), "SavedModel perhaps not what was meant", "In the graph "+m.Source.ValueString()+": "+w+".")
	}
	return true
}

// leaveOpen marks what making the SavedModel again will change.
func (m *savedModelModel) leaveOpen(why reason) {
	m.Digest = types.StringUnknown()
	if why == otherDigestKey {
		return
	}
	m.Size, m.Signature = types.Int64Unknown(), types.ObjectUnknown(signatureType.AttrTypes)
	if m.Optimize.ValueBool() || m.Optimize.IsUnknown() {
		m.Optimization = types.ObjectUnknown(optimizationType.AttrTypes)
	} else {
		m.Optimization = types.ObjectNull(optimizationType.AttrTypes)
	}
	if why != otherPlace { // another path is sign enough for what reads the file
		m.SavedModelFile = types.StringUnknown()
		m.Files = unknownPaths(m.Files)
	}
}

// replaceable is what may be replaced of a model that was published, unless the
// new one goes elsewhere.
func (m *savedModelModel) replaceable(moved bool) deploy.PublishOptions {
	if moved {
		return deploy.PublishOptions{}
	}
	return deploy.PublishOptions{Replace: true, Owned: m.fileNames()}
}

// publish makes the SavedModel and fills in what it is.
func (m *savedModelModel) publish(ctx context.Context, opts deploy.PublishOptions, diags *diag.Diagnostics) bool {
	spec, err := m.spec()
	if err != nil {
		m.explain(diags, err)
		return false
	}
	spec.Progress, spec.Files = logProgress(ctx, "writing", spec.File()), m.fileNames()
	opts.Digest, opts.DigestKeyFile = true, m.DigestKeyFile.ValueString()
	model, err := deploy.PublishSavedModel(ctx, spec, opts)
	if err != nil {
		m.explain(diags, err)
		return false
	}
	tflog.Debug(ctx, "published SavedModel", map[string]any{"file": model.File, "bytes": model.Size, "written": model.Written})
	m.set(model)
	return true
}

// rekey makes the digest anew; the file stays as it is.
func (m *savedModelModel) rekey(ctx context.Context, diags *diag.Diagnostics) bool {
	key, err := m.digestKey()
	if err != nil {
		addError(diags, path.Root("digest_key_file"), "Digest key not usable", err)
		return false
	}
	spec, err := m.spec()
	if err != nil {
		m.explain(diags, err)
		return false
	}
	switch {
	case m.remote() && m.Optimize.ValueBool(): // nothing but the source tells what it converts to
		return m.publish(ctx, deploy.PublishOptions{}, diags)
	case m.remote():
		var digest string
		if err = deploy.CompareSavedModel(ctx, spec); err == nil {
			digest, err = deploy.DigestSavedModel(ctx, spec, nil, key)
		}
		if err != nil {
			m.explain(diags, err)
			return false
		}
		m.Digest = types.StringValue(digest)
		return true
	}
	model, err := deploy.PlanSavedModel(ctx, spec, key)
	if err != nil {
		m.explain(diags, err)
		return false
	}
	m.set(model)
	return true
}

// observe compares the published file with the state: by its digest, or, where
// that was made under another machine's key, with what the source converts to.
func (m *savedModelModel) observe(ctx context.Context) error {
	key, err := m.digestKey()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		tflog.Info(ctx, "the digest key cannot be used", map[string]any{"error": err.Error()})
	}
	spec, err := m.spec()
	if err != nil {
		return err
	}
	err = deploy.CheckSavedModel(ctx, spec, m.fileNames(), key, m.Digest.ValueString())
	if !errors.Is(err, deploy.ErrOtherDigestKey) {
		return err
	}
	err = deploy.CompareSavedModel(ctx, spec)
	var source *deploy.SourceError
	if errors.As(err, &source) {
		tflog.Info(ctx, "the SavedModel could not be compared", map[string]any{"file": spec.File(), "error": err.Error()})
		return nil
	}
	return err
}

// modelCondition names what a refresh found.
func modelCondition(err error) string {
	switch {
	case err == nil:
		return "intact"
	case errors.Is(err, fs.ErrNotExist):
		return "missing"
	case errors.Is(err, deploy.ErrModelChanged):
		return "altered"
	default:
		return "unreadable"
	}
}

// remove deletes the model if it is the one that was published.
func (m *savedModelModel) remove(ctx context.Context, diags *diag.Diagnostics) {
	err := m.observe(ctx)
	if errors.Is(err, deploy.ErrModelChanged) {
		addWarning(diags, path.Root("export_dir"), "", &deploy.Error{
			Summary: "SavedModel left in place", Err: err, Remedy: "It is not for this resource to delete. Delete it by hand if nothing needs it.",
		})
		return
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = deploy.RemoveSavedModel(m.ExportDir.ValueString(), m.ModelVersion.ValueInt64(), m.fileNames())
	}
	if err != nil {
		addError(diags, path.Root("export_dir"), "SavedModel not deleted", err)
		return
	}
	tflog.Debug(ctx, "deleted SavedModel", map[string]any{"directory": m.ID.ValueString()})
}

// savedModelImport is the import id of a cc_saved_model.
type savedModelImport struct {
	Source       string `json:"source"`
	SourceSHA256 string `json:"source_sha256"`
	ExportDir    string `json:"export_dir"`
	ModelVersion int64  `json:"model_version"`
	Optimize     bool   `json:"optimize"`
}

const savedModelImportHelp = `The import id of a cc_saved_model is a JSON object: {"source": "PATH", "export_dir": "PATH", "model_version": 1}, with "source_sha256": "HEX" if the source is a URL, and "optimize": true if the graph was optimised. ` +
	"The inputs and outputs are taken from the SavedModel, which must be what the source converts to."

func adoptSavedModel(ctx context.Context, id string) (savedModelModel, error) {
	var m savedModelModel
	from := savedModelImport{ModelVersion: 1}
	dec := json.NewDecoder(strings.NewReader(id))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&from); err != nil {
		return m, fmt.Errorf("read import id: %w", err)
	}
	if from.Source == "" || from.ExportDir == "" {
		return m, errors.New("read import id: source and export_dir are needed")
	}
	spec := deploy.SavedModelSpec{Source: from.Source, SourceSHA256: from.SourceSHA256, ExportDir: from.ExportDir, Version: from.ModelVersion, Optimize: from.Optimize}
	if spec.Remote() && spec.SourceSHA256 == "" {
		return m, errors.New("read import id: a source that is a URL needs source_sha256")
	}
	spec, err := deploy.AdoptSavedModel(ctx, spec)
	if err != nil {
		return m, err
	}
	model, err := deploy.PublishSavedModel(ctx, spec, deploy.PublishOptions{Digest: true}) // it is there: this makes the digest
	if err != nil {
		return m, err
	}
	m = savedModelModel{
		Source: types.StringValue(from.Source), ExportDir: types.StringValue(from.ExportDir), ModelVersion: types.Int64Value(from.ModelVersion),
		SourceSHA256: optionalString(from.SourceSHA256), Optimize: types.BoolValue(from.Optimize),
		Inputs: specsValue(savedmodel.Input, spec.Inputs), Outputs: specsValue(savedmodel.Output, spec.Outputs),
		OnMissing: types.StringValue(savedModelOnMissing.byDefault()),
	}
	m.set(model)
	return m, nil
}

// spec is what is wished. The tensors may have been unknown when they were
// validated.
func (m *savedModelModel) spec() (deploy.SavedModelSpec, error) {
	spec := deploy.SavedModelSpec{
		Source: m.Source.ValueString(), SourceSHA256: m.SourceSHA256.ValueString(),
		ExportDir: m.ExportDir.ValueString(), Version: m.ModelVersion.ValueInt64(), Optimize: m.Optimize.ValueBool(),
	}
	var err error
	if spec.Directory() && isDefault(savedmodel.Input, m.Inputs) && isDefault(savedmodel.Output, m.Outputs) {
		return spec, nil // its signatures stay as they are
	}
	if spec.Inputs, err = tensorSpecs(m.Inputs); err != nil {
		return spec, err
	}
	spec.Outputs, err = tensorSpecs(m.Outputs)
	return spec, err
}

// digestKey is nil with an error that wraps fs.ErrNotExist where there is none.
func (m *savedModelModel) digestKey() (*deploy.DigestKey, error) {
	if m.DigestKeyFile.IsUnknown() {
		return nil, fmt.Errorf("read digest key: %w", fs.ErrNotExist)
	}
	if !m.DigestKeyFile.IsNull() {
		return deploy.OpenDigestKey(m.DigestKeyFile.ValueString())
	}
	return deploy.OpenDigestKey(filepath.Join(m.ExportDir.ValueString(), deploy.DigestKeyName))
}

// moved tells whether the version directory is another than before.
func (m *savedModelModel) moved(old savedModelModel) bool {
	return !m.ExportDir.Equal(old.ExportDir) || !m.ModelVersion.Equal(old.ModelVersion)
}

// setPlace fills in the paths as far as they are known.
func (m *savedModelModel) setPlace() {
	m.ID, m.SavedModelFile = types.StringUnknown(), types.StringUnknown()
	if !m.ExportDir.IsUnknown() && !m.ModelVersion.IsUnknown() {
		spec := deploy.SavedModelSpec{ExportDir: m.ExportDir.ValueString(), Version: m.ModelVersion.ValueInt64()}
		m.ID, m.SavedModelFile = types.StringValue(spec.VersionDir()), types.StringValue(spec.File())
	}
}

// planFiles fills in the files as far as they are known before the model is made:
// a frozen graph becomes one, a directory stays as it is.
func (m *savedModelModel) planFiles() {
	m.Files = types.MapUnknown(types.StringType)
	if m.Source.IsUnknown() || m.ID.IsUnknown() {
		return
	}
	spec := deploy.SavedModelSpec{Source: m.Source.ValueString(), ExportDir: m.ExportDir.ValueString(), Version: m.ModelVersion.ValueInt64()}
	if names, err := spec.SourceFiles(); err == nil {
		m.Files = filesValue(spec, names)
	}
}

// fileNames are the files of the model, nil where they are not known.
func (m *savedModelModel) fileNames() []string {
	if m.Files.IsNull() || m.Files.IsUnknown() {
		return nil
	}
	return slices.Sorted(maps.Keys(m.Files.Elements()))
}

func (m *savedModelModel) set(model deploy.SavedModel) {
	m.setPlace()
	m.Files = filesValue(deploy.SavedModelSpec{ExportDir: m.ExportDir.ValueString(), Version: m.ModelVersion.ValueInt64()}, model.Files)
	m.Optimization = optimizationValue(model.Optimization)
	m.Condition = types.StringValue(savedModelCondition.byDefault())
	m.Digest, m.Size, m.Signature = types.StringValue(model.Digest), types.Int64Value(model.Size), signatureValue(model)
}

// explain adds an error at the attribute that it is about.
func (m *savedModelModel) explain(diags *diag.Diagnostics, err error) {
	at, known := path.Root("source"), &deploy.Error{Summary: "Graph not converted", Err: err}
	var tensor *savedmodel.TensorError
	switch {
	case errors.As(err, &tensor) && tensor.Role == savedmodel.Input:
		at = path.Root("inputs")
	case errors.As(err, &tensor):
		at = path.Root("outputs")
	case errors.Is(err, deploy.ErrSourceDigest):
		at, known.Summary = path.Root("source_sha256"), "Source is another file"
		known.Remedy = "Get the file that source_sha256 names; or, if the new one is to be trusted, change source_sha256."
	case errors.Is(err, deploy.ErrModelExists):
		at, known.Summary = path.Root("model_version"), "Model version exists already"
		known.Remedy = "A version that a server may have loaded is never overwritten. Choose another model_version; or, if it was made of the same source, import it; or move it away."
	case errors.Is(err, deploy.ErrFilesChanged):
		known.Summary = "Source has other files than planned"
		known.Remedy = "Something changed the directory after it was planned. Plan and apply again."
	case errors.Is(err, deploy.ErrUnreachable):
		known.Summary = "Source not reachable"
		known.Remedy = "What has arrived is kept in export_dir, and the next apply goes on from there. A proxy is taken from HTTPS_PROXY."
	case errors.Is(err, fs.ErrNotExist):
		known.Summary = "Source file missing"
		known.Remedy = "If another resource makes the source, refer to that resource's attribute, so that Terraform makes it first."
	}
	addError(diags, at, "", known)
}
