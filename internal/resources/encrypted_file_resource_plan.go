package resources

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"

	"github.com/hashicorp/terraform-plugin-framework-validators/helpers/validatordiag"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-log/tflog"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

// This file is the second half of cc_encrypted_file: import, the plan, and the
// helpers of both halves.

// encryptedFileImport is the import id of a cc_encrypted_file.
type encryptedFileImport struct {
	Destination string `json:"destination"`
	Source      string `json:"source"`
	WrapKeyFile string `json:"wrap_key_file"`
}

const encryptedFileImportHelp = `The import id of a cc_encrypted_file is a JSON object: {"destination": "PATH", "source": "PATH", "wrap_key_file": "PATH"}. ` +
	"The encrypted file is authenticated with the wrap key, and everything else is taken from it."

// ImportState adopts a protected file that ccctl or Gramine's own tool made.
func (r *encryptedFileResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	m, err := adoptEncryptedFile(ctx, req.ID)
	if err != nil {
		addError(&resp.Diagnostics, path.Empty(), "", &deploy.Error{Summary: "Encrypted file not imported", Err: err, Remedy: encryptedFileImportHelp})
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

func adoptEncryptedFile(ctx context.Context, id string) (encryptedFileModel, error) {
	var m encryptedFileModel
	var from encryptedFileImport
	dec := json.NewDecoder(strings.NewReader(id))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&from); err != nil {
		return m, fmt.Errorf("read import id: %w", err)
	}
	if from.Destination == "" || from.Source == "" || from.WrapKeyFile == "" {
		return m, errors.New("read import id: destination, source and wrap_key_file are needed")
	}
	key, err := deploy.OpenWrapKey(from.WrapKeyFile)
	if err != nil {
		return m, err
	}
	file, reproducible, err := deploy.AdoptEncryptedFile(ctx, from.Destination, key)
	if err != nil {
		return m, err
	}
	m = encryptedFileModel{
		Source: types.StringValue(from.Source), Destination: types.StringValue(from.Destination), WrapKeyFile: types.StringValue(from.WrapKeyFile),
		EnclavePath: types.StringValue(file.EnclavePath), Format: types.Int64Value(int64(file.Format)), Reproducible: types.BoolValue(reproducible),
		OnMissing: types.StringValue(encryptedFileOnMissing.byDefault()), Verify: types.StringValue(encryptedFileVerify.byDefault()),
	}
	m.setFile(file)
	return m, nil
}

// ModifyPlan finds out whether the file has to be made again, and leaves open
// what only making it will tell.
func (r *encryptedFileResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() { // destroy
		return
	}
	var m, config encryptedFileModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if req.State.Raw.IsNull() { // create: all of it is open
		m.checkEarly(config, &resp.Diagnostics)
		return
	}
	var old encryptedFileModel
	resp.Diagnostics.Append(req.State.Get(ctx, &old)...)
	if resp.Diagnostics.HasError() {
		return
	}
	reason, at, err := m.reasonToEncrypt(ctx, old, config)
	if err != nil {
		addError(&resp.Diagnostics, at, "Encrypted file cannot be planned", err)
		return
	}
	m.keepComputed(old)
	if reason != unchanged {
		tflog.Debug(ctx, "the file will be encrypted again", map[string]any{"reason": string(reason)})
		m.leaveOpen(reason)
	}
	resp.Diagnostics.Append(resp.Plan.Set(ctx, m)...)
}

// reason says why a file is encrypted again.
type reason string

const (
	unchanged     reason = ""
	otherKey      reason = "the wrap key changed"
	otherSource   reason = "the source changed"
	otherEnvelope reason = "the enclave path, the format or reproducible changed"
	notIntact     reason = "the encrypted file is not intact"
)

// reasonToEncrypt compares what is wished with what was made.
func (m *encryptedFileModel) reasonToEncrypt(ctx context.Context, old, config encryptedFileModel) (reason, path.Path, error) {
	if m.WrapKeyFile.IsUnknown() || config.WrapKeyWO.IsUnknown() || !m.WrapKeyWOVersion.Equal(old.WrapKeyWOVersion) {
		return otherKey, path.Empty(), nil
	}
	elsewhere := m.OnMissing.ValueString() == "ignore"
	key, at, err := m.wrapKey(config)
	switch {
	case errors.Is(err, fs.ErrNotExist) && elsewhere:
		return m.reasonWithoutKey(old), path.Empty(), nil
	case errors.Is(err, fs.ErrNotExist):
		// It may be made, or moved there, in the same apply.
		return otherKey, path.Empty(), nil
	case err != nil:
		return unchanged, at, err
	case key.Fingerprint() != old.KeyID.ValueString() && m.WrapKeyFile.IsNull():
		return unchanged, path.Root("wrap_key_wo_version"), &deploy.Error{
			Summary: "Wrap key changed without its version",
			Err:     fmt.Errorf("compare wrap_key_wo: its fingerprint is %s, the file was encrypted under %s", key.Fingerprint(), old.KeyID.ValueString()),
			Remedy:  "Change wrap_key_wo_version to encrypt the file under the new key; or give the kept key. An ephemeral value that is generated anew on every run cannot be used here.",
		}
	case key.Fingerprint() != old.KeyID.ValueString():
		return otherKey, path.Empty(), nil
	}
	if m.Source.IsUnknown() {
		return otherSource, path.Empty(), nil
	}
	digest, err := deploy.SourceDigest(ctx, m.Source.ValueString(), key)
	switch {
	case errors.Is(err, fs.ErrNotExist) && elsewhere:
	case errors.Is(err, fs.ErrNotExist):
		return otherSource, path.Empty(), nil // made in the same apply, or missed by it
	case err != nil:
		return unchanged, path.Root("source"), err
	case digest != old.SourceDigest.ValueString():
		return otherSource, path.Empty(), nil
	}
	if r := m.reasonWithoutKey(old); r != unchanged {
		return r, path.Empty(), nil
	}
	// A refresh has no write-only value to authenticate with.
	if m.Verify.ValueString() == "full" && m.WrapKeyFile.IsNull() {
		if err := old.authenticate(ctx, key); errors.As(err, new(*protectedfile.Error)) {
			return notIntact, path.Empty(), nil
		}
	}
	return unchanged, path.Empty(), nil
}

// reasonWithoutKey is what can be compared without the wrap key and the source.
func (m *encryptedFileModel) reasonWithoutKey(old encryptedFileModel) reason {
	switch {
	case !m.EnclavePath.Equal(old.EnclavePath) || !m.Format.Equal(old.Format) || !m.Reproducible.Equal(old.Reproducible):
		return otherEnvelope
	case old.Condition.ValueString() != encryptedFileCondition.byDefault():
		return notIntact
	default:
		return unchanged
	}
}

// checkEarly reports on plan what would fail on apply. What does not exist yet
// may be made by another resource.
func (m *encryptedFileModel) checkEarly(config encryptedFileModel, diags *diag.Diagnostics) {
	if !m.WrapKeyFile.IsUnknown() && !config.WrapKeyWO.IsUnknown() {
		if _, at, err := m.wrapKey(config); err != nil && !errors.Is(err, fs.ErrNotExist) {
			addError(diags, at, "Wrap key not usable", err)
			return
		}
	}
	if m.Source.IsUnknown() {
		return
	}
	if info, err := os.Stat(m.Source.ValueString()); err == nil && !info.Mode().IsRegular() {
		addError(diags, path.Root("source"), "Source not a file",
			fmt.Errorf("encrypt %s: it is not a regular file; cc_encrypted_file encrypts one file, use for_each for a directory", m.Source.ValueString()))
	}
}

// keepComputed takes over what the state says about the file.
func (m *encryptedFileModel) keepComputed(old encryptedFileModel) {
	m.ID, m.KeyID, m.SourceDigest, m.HeaderSHA256 = old.ID, old.KeyID, old.SourceDigest, old.HeaderSHA256
	m.PlaintextSize, m.EncryptedSize, m.DataNodes, m.HashNodes = old.PlaintextSize, old.EncryptedSize, old.DataNodes, old.HashNodes
	m.Condition = types.StringValue(encryptedFileCondition.byDefault())
}

// leaveOpen marks what making the file again will change. A digest is never
// predicted: the source or an ephemeral key may be another one on apply.
func (m *encryptedFileModel) leaveOpen(why reason) {
	m.HeaderSHA256 = types.StringUnknown()
	if why == otherKey {
		m.KeyID = types.StringUnknown()
	}
	if why == otherKey || why == otherSource {
		m.SourceDigest = types.StringUnknown()
		m.PlaintextSize, m.EncryptedSize = types.Int64Unknown(), types.Int64Unknown()
		m.DataNodes, m.HashNodes = types.Int64Unknown(), types.Int64Unknown()
	}
}

// wrapKey reads the key from where the configuration says, and names the
// attribute that an error is about.
func (m *encryptedFileModel) wrapKey(config encryptedFileModel) (protectedfile.Key, path.Path, error) {
	if !m.WrapKeyFile.IsNull() {
		key, err := deploy.OpenWrapKey(m.WrapKeyFile.ValueString())
		return key, path.Root("wrap_key_file"), err
	}
	key, err := protectedfile.ParseHexKey(config.WrapKeyWO.ValueString())
	return key, path.Root("wrap_key_wo"), err
}

// authenticateIfPossible is for a refresh: a key that cannot be read, or is
// another one by now, is for the plan to complain about.
func (m *encryptedFileModel) authenticateIfPossible(ctx context.Context) error {
	key, err := deploy.OpenWrapKey(m.WrapKeyFile.ValueString())
	if err == nil && key.Fingerprint() == m.KeyID.ValueString() {
		return m.authenticate(ctx, key)
	}
	tflog.Info(ctx, "authenticated the header only: the wrap key is missing or another one")
	return nil
}

// authenticate goes through the whole encrypted file.
func (m *encryptedFileModel) authenticate(ctx context.Context, key protectedfile.Key) error {
	_, err := deploy.VerifyFile(ctx, m.Destination.ValueString(), key, protectedfile.ReaderOptions{
		Path: m.EnclavePath.ValueString(), Progress: logProgress(ctx, "authenticating", m.Destination.ValueString()),
	})
	return err
}

// file is what the state says about the encrypted file.
func (m *encryptedFileModel) file() deploy.EncryptedFile {
	return deploy.EncryptedFile{HeaderSHA256: m.HeaderSHA256.ValueString(), EncryptedSize: m.EncryptedSize.ValueInt64()}
}

func (m *encryptedFileModel) setFile(f deploy.EncryptedFile) {
	m.ID, m.Condition = m.Destination, types.StringValue(encryptedFileCondition.byDefault())
	m.KeyID, m.SourceDigest, m.HeaderSHA256 = types.StringValue(f.KeyID), types.StringValue(f.SourceDigest), types.StringValue(f.HeaderSHA256)
	m.PlaintextSize, m.EncryptedSize = types.Int64Value(f.PlaintextSize), types.Int64Value(f.EncryptedSize)
	m.DataNodes, m.HashNodes = types.Int64Value(f.DataNodes), types.Int64Value(f.HashNodes)
}

// meanings lists the values of an attribute that has no default.
func (w words) meanings() string {
	all := make([]string, len(w))
	for i, word := range w {
		all[i] = "`\"" + word.value + "\"` " + word.meaning
	}
	return strings.Join(all, "; ") + "."
}

// condition names what a refresh found.
func condition(err error) string {
	var finding *protectedfile.Error
	switch {
	case err == nil:
		return "intact"
	case errors.Is(err, fs.ErrNotExist):
		return "missing"
	case errors.Is(err, deploy.ErrFileChanged) || errors.As(err, &finding):
		return "altered"
	default:
		return "unreadable"
	}
}

// explainEncrypt adds what Terraform users can do about a failure.
func explainEncrypt(m *encryptedFileModel, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &deploy.Error{Summary: "Source file missing", Err: err,
			Remedy: "If another resource makes the source, refer to that resource's attribute, so that Terraform makes it first."}
	case errors.Is(err, deploy.ErrSameFile):
		return &deploy.Error{Summary: "Destination is the source", Err: err, Remedy: fmt.Sprintf("Choose another destination than %s.", m.Destination.ValueString())}
	default:
		return err
	}
}

// logProgress tells the log of every 256 MiB.
func logProgress(ctx context.Context, what, file string) func(int64) {
	const step = 256 << 20
	var done atomic.Int64
	return func(n int64) {
		if after := done.Add(n); after/step > (after-n)/step {
			tflog.Info(ctx, what+" a large file", map[string]any{"file": file, "bytes_done": after})
		}
	}
}

// enclavePath accepts a path that a protected file can carry.
type enclavePath struct{}

func (enclavePath) Description(context.Context) string {
	return fmt.Sprintf("value must be a path that names a file, of at most %d bytes", protectedfile.MaxPathLen)
}

func (v enclavePath) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (v enclavePath) ValidateString(ctx context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	if _, err := protectedfile.EmbeddablePath(req.ConfigValue.ValueString()); err != nil {
		resp.Diagnostics.Append(validatordiag.InvalidAttributeValueDiagnostic(req.Path, v.Description(ctx), err.Error()))
	}
}

// sameEnclavePath keeps the path in the state when the configuration names the
// same one in other words: the normalised form is what is embedded.
type sameEnclavePath struct{}

func (sameEnclavePath) Description(context.Context) string {
	return "another spelling of the same path is not a change"
}

func (m sameEnclavePath) MarkdownDescription(ctx context.Context) string { return m.Description(ctx) }

func (sameEnclavePath) PlanModifyString(_ context.Context, req planmodifier.StringRequest, resp *planmodifier.StringResponse) {
	if req.StateValue.IsNull() || req.PlanValue.IsNull() || req.PlanValue.IsUnknown() {
		return
	}
	old, errOld := protectedfile.NormalizePath(req.StateValue.ValueString())
	now, errNow := protectedfile.NormalizePath(req.PlanValue.ValueString())
	if errOld == nil && errNow == nil && old == now {
		resp.PlanValue = req.StateValue
	}
}
