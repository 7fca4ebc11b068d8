package resources

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/resourcevalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-log/tflog"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

var (
	_ resource.Resource                     = (*encryptedFileResource)(nil)
	_ resource.ResourceWithImportState      = (*encryptedFileResource)(nil)
	_ resource.ResourceWithModifyPlan       = (*encryptedFileResource)(nil)
	_ resource.ResourceWithConfigValidators = (*encryptedFileResource)(nil)
)

// encryptedFileResource is cc_encrypted_file.
type encryptedFileResource struct{}

// NewEncryptedFileResource returns cc_encrypted_file: a protected file of
// Gramine made of a local file.
func NewEncryptedFileResource() resource.Resource { return &encryptedFileResource{} }

type encryptedFileModel struct {
	ID               types.String `tfsdk:"id"`
	Source           types.String `tfsdk:"source"`
	Destination      types.String `tfsdk:"destination"`
	EnclavePath      types.String `tfsdk:"enclave_path"`
	Format           types.Int64  `tfsdk:"format"`
	WrapKeyFile      types.String `tfsdk:"wrap_key_file"`
	WrapKeyWO        types.String `tfsdk:"wrap_key_wo"`
	WrapKeyWOVersion types.Int64  `tfsdk:"wrap_key_wo_version"`
	Reproducible     types.Bool   `tfsdk:"reproducible"`
	OnMissing        types.String `tfsdk:"on_missing"`
	Verify           types.String `tfsdk:"verify"`

	Condition     types.String `tfsdk:"condition"`
	KeyID         types.String `tfsdk:"key_id"`
	SourceDigest  types.String `tfsdk:"source_digest"`
	HeaderSHA256  types.String `tfsdk:"header_sha256"`
	PlaintextSize types.Int64  `tfsdk:"plaintext_size"`
	EncryptedSize types.Int64  `tfsdk:"encrypted_size"`
	DataNodes     types.Int64  `tfsdk:"data_nodes"`
	HashNodes     types.Int64  `tfsdk:"hash_nodes"`
}

var (
	encryptedFileOnMissing = words{
		{"recreate", "encrypts again where the encrypted file is missing"},
		{"ignore", "takes what is missing here (the encrypted file, its source or the wrap key) for something that is kept on another machine, as on a CI runner without a disk of its own"},
	}
	encryptedFileVerify = words{
		{"header", "compares its length and first node, which vouches for all others, with the state"},
		{"full", "also authenticates every node, when the wrap key can be read"},
	}
	// Conditions that a refresh finds.
	encryptedFileCondition = words{
		{"intact", "it is the file that was written"},
		{"missing", "it is gone"},
		{"altered", "it is another file or was damaged"},
		{"unreadable", "it could not be read"},
	}
)

func (r *encryptedFileResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_encrypted_file"
}

func (r *encryptedFileResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	same := []planmodifier.String{samePath{}}
	resp.Schema = schema.Schema{
		MarkdownDescription: "A file encrypted as a protected file of Gramine, which an enclave that holds the wrap key opens transparently. " +
			"It is encrypted again when the content of the source, the wrap key, the enclave path or the format changes; the time stamp of the source does not matter. " +
			"Neither the plaintext nor the wrap key is ever in the state, nor a digest of the plaintext that could confirm a guess.",
		Attributes: map[string]schema.Attribute{
			// Required.
			"source": schema.StringAttribute{
				MarkdownDescription: "Path of the file to encrypt. It may be made by another resource in the same apply.",
				Required:            true, Validators: []validator.String{filePath{}}, PlanModifiers: same,
			},
			"destination": schema.StringAttribute{
				MarkdownDescription: "Path of the encrypted file. Missing directories are made, and the file has the permission bits of the source.",
				Required:            true, Validators: []validator.String{filePath{}},
				PlanModifiers: []planmodifier.String{samePath{}, stringplanmodifier.RequiresReplace()},
			},
			"enclave_path": schema.StringAttribute{
				MarkdownDescription: "Path under which Gramine opens the file: the `uri` of the manifest's mount without `file:`, and the rest of the path below the mount. " +
					"It is embedded, and Gramine refuses the file under any other.",
				Required: true, Validators: []validator.String{enclavePath{}}, PlanModifiers: []planmodifier.String{sameEnclavePath{}},
			},
			// Optional: exactly one of the keys.
			"wrap_key_file": schema.StringAttribute{
				MarkdownDescription: "Path of the file with the 16 bytes of the wrap key. Exactly one of `wrap_key_file` and `wrap_key_wo` must be set: " +
					"a key that is kept elsewhere, such as in Vault or encrypted by Alibaba Cloud KMS, comes from the ephemeral `cc_wrap_key` through `wrap_key_wo`.",
				Optional: true, Validators: []validator.String{filePath{}}, PlanModifiers: same,
			},
			"wrap_key_wo": schema.StringAttribute{
				MarkdownDescription: "The wrap key as 32 hex digits, from an ephemeral value. It is in no state and no plan. It must be a key that is kept, not one that is generated on every run.",
				Optional:            true, WriteOnly: true, Sensitive: true,
				Validators: []validator.String{stringvalidator.AlsoRequires(path.MatchRoot("wrap_key_wo_version"))},
			},
			"wrap_key_wo_version": schema.Int64Attribute{
				MarkdownDescription: "Version of `wrap_key_wo`, which Terraform cannot compare: change it with the key.",
				Optional:            true, Validators: []validator.Int64{int64validator.AlsoRequires(path.MatchRoot("wrap_key_wo"))},
			},
			"format": schema.Int64Attribute{
				MarkdownDescription: "Version of the format: `1` (default), which every Gramine opens, or `2`, which needs Gramine 1.9.",
				Optional:            true, Computed: true, Default: int64default.StaticInt64(int64(protectedfile.FormatV1)),
				Validators: []validator.Int64{int64validator.OneOf(int64(protectedfile.FormatV1), int64(protectedfile.FormatV2))},
			},
			"reproducible": schema.BoolAttribute{
				MarkdownDescription: "Whether the same source, wrap key, enclave path and format give the same bytes on every machine (default `true`). " +
					"Whoever sees two such files of one path then learns whether their plaintexts are equal. With `false` keys are drawn at random.",
				Optional: true, Computed: true, Default: booldefault.StaticBool(true),
			},
			"on_missing": schema.StringAttribute{
				MarkdownDescription: "What a missing file means: " + encryptedFileOnMissing.markdown(),
				Optional:            true, Computed: true, Default: stringdefault.StaticString(encryptedFileOnMissing.byDefault()),
				Validators: []validator.String{encryptedFileOnMissing},
			},
			"verify": schema.StringAttribute{
				MarkdownDescription: "How a refresh looks at the encrypted file: " + encryptedFileVerify.markdown() + " The key of `wrap_key_wo` can be read by a plan only.",
				Optional:            true, Computed: true, Default: stringdefault.StaticString(encryptedFileVerify.byDefault()),
				Validators: []validator.String{encryptedFileVerify},
			},
			// Computed.
			"condition": schema.StringAttribute{
				MarkdownDescription: "What a refresh found of the encrypted file: " + encryptedFileCondition.meanings() + " Anything but intact is repaired by the next apply.",
				Computed:            true,
			},
			"key_id": schema.StringAttribute{
				MarkdownDescription: "Fingerprint of the wrap key, as `cc_wrap_key` and `ccctl wrap-key fingerprint` give it.", Computed: true,
			},
			"source_digest": schema.StringAttribute{
				MarkdownDescription: "Digest of the source, keyed by the wrap key: it tells whether the source changed, and without the key it confirms no guess.", Computed: true,
			},
			"header_sha256": schema.StringAttribute{
				MarkdownDescription: "SHA-256 of the first node of the encrypted file, which vouches for all others.", Computed: true,
			},
			"plaintext_size": schema.Int64Attribute{MarkdownDescription: "Size of the source in bytes.", Computed: true},
			"encrypted_size": schema.Int64Attribute{MarkdownDescription: "Size of the encrypted file in bytes, a multiple of 4096.", Computed: true},
			"data_nodes":     schema.Int64Attribute{MarkdownDescription: "Number of 4096-byte nodes with data.", Computed: true},
			"hash_nodes":     schema.Int64Attribute{MarkdownDescription: "Number of 4096-byte nodes with keys and tags.", Computed: true},
			"id":             schema.StringAttribute{MarkdownDescription: "The same as `destination`.", Computed: true},
		},
	}
}

func (r *encryptedFileResource) ConfigValidators(context.Context) []resource.ConfigValidator {
	return []resource.ConfigValidator{
		resourcevalidator.ExactlyOneOf(path.MatchRoot("wrap_key_file"), path.MatchRoot("wrap_key_wo")),
	}
}

func (r *encryptedFileResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m, config encryptedFileModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if !m.encrypt(ctx, config, &resp.Diagnostics) {
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// Read only notes the condition it finds the file in: the state goes on to say
// which file there should be, and the plan shows the condition that changes.
func (r *encryptedFileResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m encryptedFileModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	err := deploy.CheckEncryptedFile(m.Destination.ValueString(), m.file())
	if err == nil && m.Verify.ValueString() == "full" && !m.WrapKeyFile.IsNull() {
		err = m.authenticateIfPossible(ctx)
	}
	if errors.Is(err, fs.ErrNotExist) && m.OnMissing.ValueString() == "ignore" {
		err = nil
	}
	if ctx.Err() != nil { // what was found so far says nothing about the file
		addError(&resp.Diagnostics, path.Root("destination"), "Refresh interrupted", fmt.Errorf("authenticate the encrypted file: %w", ctx.Err()))
		return
	}
	m.Condition = types.StringValue(condition(err))
	if err != nil {
		addWarning(&resp.Diagnostics, path.Root("destination"), "Encrypted file "+m.Condition.ValueString(), err)
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

func (r *encryptedFileResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var m, config encryptedFileModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	if resp.Diagnostics.HasError() {
		return
	}
	// ModifyPlan left the digest of the file open if it is to be made again.
	if m.HeaderSHA256.IsUnknown() && !m.encrypt(ctx, config, &resp.Diagnostics) {
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

func (r *encryptedFileResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m encryptedFileModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	err := deploy.DeleteEncryptedFile(m.Destination.ValueString(), m.file())
	if errors.Is(err, deploy.ErrFileChanged) {
		addWarning(&resp.Diagnostics, path.Root("destination"), "", &deploy.Error{
			Summary: "Encrypted file left in place", Err: err, Remedy: "It is not for this resource to delete. Delete it by hand if nothing needs it.",
		})
		return
	}
	if err != nil {
		addError(&resp.Diagnostics, path.Root("destination"), "Encrypted file not deleted", err)
		return
	}
	tflog.Debug(ctx, "deleted encrypted file", map[string]any{"destination": m.Destination.ValueString()})
}

// encrypt makes the file and fills in what it is.
func (m *encryptedFileModel) encrypt(ctx context.Context, config encryptedFileModel, diags *diag.Diagnostics) bool {
	key, at, err := m.wrapKey(config)
	if err != nil {
		addError(diags, at, "Wrap key not usable", err)
		return false
	}
	if !m.KeyID.IsUnknown() && m.KeyID.ValueString() != key.Fingerprint() {
		addError(diags, at, "Wrap key changed since the plan",
			fmt.Errorf("encrypt %s: the plan was made with the wrap key %s, and now it is %s", m.Source.ValueString(), m.KeyID.ValueString(), key.Fingerprint()))
		return false
	}
	file, err := deploy.EncryptFile(ctx, deploy.EncryptSpec{
		Source: m.Source.ValueString(), Destination: m.Destination.ValueString(), CreateDirs: true,
		EnclavePath: m.EnclavePath.ValueString(), Format: protectedfile.Format(m.Format.ValueInt64()),
		Key: key, Reproducible: m.Reproducible.ValueBool(), Digest: true,
		Progress: logProgress(ctx, "encrypting", m.Source.ValueString()),
	})
	if err != nil {
		addError(diags, path.Root("source"), "File not encrypted", explainEncrypt(m, err))
		return false
	}
	if !m.SourceDigest.IsUnknown() && m.SourceDigest.ValueString() != file.SourceDigest {
		addError(diags, path.Root("source"), "Source changed since the plan",
			fmt.Errorf("finish the plan: %s is not what it was when the plan was made; what it is now has been encrypted, plan once more", m.Source.ValueString()))
		return false
	}
	tflog.Debug(ctx, "encrypted file", map[string]any{"destination": m.Destination.ValueString(), "key_id": file.KeyID, "bytes": file.EncryptedSize})
	m.setFile(file)
	return true
}
