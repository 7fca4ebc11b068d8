package resources

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework-validators/ephemeralvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/ephemeral"
	"github.com/hashicorp/terraform-plugin-framework/ephemeral/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-log/tflog"

	"github.com/ccctl/terraform-provider-cc/internal/keysource"
	"github.com/ccctl/terraform-provider-cc/internal/keysource/kmskey"
	"github.com/ccctl/terraform-provider-cc/internal/keysource/vaultkey"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

var (
	_ ephemeral.EphemeralResource                     = (*wrapKeyEphemeral)(nil)
	_ ephemeral.EphemeralResourceWithConfigValidators = (*wrapKeyEphemeral)(nil)
	_ ephemeral.EphemeralResourceWithConfigure        = (*wrapKeyEphemeral)(nil)
)

// wrapKeyEphemeral is the ephemeral cc_wrap_key.
type wrapKeyEphemeral struct {
	environ *keysource.Environ
	backend *Backend
}

// NewWrapKeyEphemeral returns the ephemeral cc_wrap_key: a wrap key that is kept somewhere, opened for as long as Terraform
// runs. It never makes one: it is opened again for every plan and apply, and a new key each time would fit no file. Keys in the environment
// are taken from environ.
func NewWrapKeyEphemeral(environ *keysource.Environ) func() ephemeral.EphemeralResource {
	return func() ephemeral.EphemeralResource { return &wrapKeyEphemeral{environ: environ} }
}

type wrapKeyEphemeralModel struct {
	File         types.String       `tfsdk:"file"`
	Environment  types.String       `tfsdk:"environment"`
	Credential   types.String       `tfsdk:"credential"`
	Command      types.List         `tfsdk:"command"`
	VaultKV      *vaultKVModel      `tfsdk:"vault_kv"`
	VaultTransit *vaultTransitModel `tfsdk:"vault_transit"`
	AlibabaKMS   *alibabaKMSModel   `tfsdk:"alibaba_kms"`
	Form         types.String       `tfsdk:"form"`
	Fingerprint  types.String       `tfsdk:"fingerprint"`
	Hex          types.String       `tfsdk:"hex"`
}

type vaultKVModel struct {
	Mount types.String `tfsdk:"mount"`
	Path  types.String `tfsdk:"path"`
	Field types.String `tfsdk:"field"`
}

type vaultTransitModel struct {
	Mount          types.String `tfsdk:"mount"`
	Key            types.String `tfsdk:"key"`
	CiphertextFile types.String `tfsdk:"ciphertext_file"`
}

type alibabaKMSModel struct {
	CiphertextFile    types.String      `tfsdk:"ciphertext_file"`
	EncryptionContext map[string]string `tfsdk:"encryption_context"`
}

func (r *wrapKeyEphemeral) Metadata(_ context.Context, req ephemeral.MetadataRequest, resp *ephemeral.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_wrap_key"
}

func (r *wrapKeyEphemeral) Schema(_ context.Context, _ ephemeral.SchemaRequest, resp *ephemeral.SchemaResponse) {
	named := []validator.String{stringvalidator.LengthAtLeast(1)}
	resp.Schema = schema.Schema{
		MarkdownDescription: "Opens a wrap key that is kept in a file, in the environment, by a program, in HashiCorp Vault or OpenBao, or encrypted by Alibaba Cloud KMS, for write-only arguments. " +
			"The key is in no state and no plan. It is opened, never made: Terraform opens it again for every plan and every apply. " +
			"Exactly one of the places must be given. The variables of Vault's own client (`VAULT_ADDR`, `VAULT_TOKEN`, `VAULT_CACERT` ...) say which server is asked; " +
			"for KMS it is the provider's configuration.",
		Attributes: map[string]schema.Attribute{
			// Optional: exactly one of the places.
			"file": schema.StringAttribute{
				MarkdownDescription: "Path of a file with the key, which other users must not be able to read.", Optional: true, Validators: []validator.String{filePath{}},
			},
			"environment": schema.StringAttribute{
				MarkdownDescription: "Name of an environment variable with the key, as hex digits unless `form` says otherwise.", Optional: true, Validators: named,
			},
			"credential": schema.StringAttribute{
				MarkdownDescription: "Name of a credential that systemd handed to the service that runs Terraform.", Optional: true, Validators: named,
			},
			"command": schema.ListAttribute{
				MarkdownDescription: "Program, by its absolute path, and arguments. It prints the key and nothing else. No shell is involved and no key belongs in the arguments.",
				ElementType:         types.StringType, Optional: true, Validators: []validator.List{listvalidator.SizeAtLeast(1)},
			},
			"vault_kv": schema.SingleNestedAttribute{
				MarkdownDescription: "A secret in a KV engine of version 2, which holds the key as base64 or as 32 hex digits.", Optional: true,
				Attributes: map[string]schema.Attribute{
					"mount": schema.StringAttribute{MarkdownDescription: "Where the engine is mounted.", Required: true, Validators: named},
					"path":  schema.StringAttribute{MarkdownDescription: "Path of the secret below the mount.", Required: true, Validators: named},
					"field": schema.StringAttribute{MarkdownDescription: "Field of the secret (default `wrap_key`).", Optional: true, Validators: named},
				},
			},
			"vault_transit": schema.SingleNestedAttribute{
				MarkdownDescription: "A file with what the Transit engine made of the key (`vault:v1:...`), which may lie beside the configuration.", Optional: true,
				Attributes: map[string]schema.Attribute{
					"mount":           schema.StringAttribute{MarkdownDescription: "Where the engine is mounted.", Required: true, Validators: named},
					"key":             schema.StringAttribute{MarkdownDescription: "Name of the engine's key that wraps the wrap key.", Required: true, Validators: named},
					"ciphertext_file": schema.StringAttribute{MarkdownDescription: "Path of the file.", Required: true, Validators: []validator.String{filePath{}}},
				},
			},
			"alibaba_kms": schema.SingleNestedAttribute{
				MarkdownDescription: "A file with what a key of Alibaba Cloud's Key Management Service made of the key (a CiphertextBlob, as `ccctl wrap-key seal` writes it), which may lie beside " +
					"the configuration. It is decrypted with the provider's region, credentials and `endpoints.kms`. " + permissions("kms:Decrypt"),
				Optional: true,
				Attributes: map[string]schema.Attribute{
					"ciphertext_file": schema.StringAttribute{MarkdownDescription: "Path of the file.", Required: true, Validators: []validator.String{filePath{}}},
					"encryption_context": schema.MapAttribute{
						MarkdownDescription: "The encryption context that the key was encrypted with, if any: the same names and values.", ElementType: types.StringType, Optional: true,
					},
				},
			},
			"form": schema.StringAttribute{
				MarkdownDescription: "How a file, a credential, a variable or a program has the key: `raw` (16 bytes; the default but in the environment), `hex` or `base64`.",
				Optional:            true, Validators: []validator.String{stringvalidator.OneOf("raw", "hex", "base64")},
			},
			"fingerprint": schema.StringAttribute{
				MarkdownDescription: "Fingerprint of the key, as `cc_wrap_key` and `ccctl wrap-key fingerprint` give it. If it is set, any other key is refused.",
				Optional:            true, Computed: true,
			},
			// Computed.
			"hex": schema.StringAttribute{
				MarkdownDescription: "The key as 32 hex digits, for arguments such as `wrap_key_wo`.", Computed: true, Sensitive: true,
			},
		},
	}
}

// places are the attributes of which one must be given.
var wrapKeyPlaces = []string{"file", "environment", "credential", "command", "vault_kv", "vault_transit", "alibaba_kms"}

func (r *wrapKeyEphemeral) ConfigValidators(context.Context) []ephemeral.ConfigValidator {
	expressions := make([]path.Expression, 0, len(wrapKeyPlaces))
	for _, name := range wrapKeyPlaces {
		expressions = append(expressions, path.MatchRoot(name))
	}
	return []ephemeral.ConfigValidator{
		ephemeralvalidator.ExactlyOneOf(expressions...),
		ephemeralvalidator.Conflicting(path.MatchRoot("form"), path.MatchRoot("vault_kv")),
		ephemeralvalidator.Conflicting(path.MatchRoot("form"), path.MatchRoot("vault_transit")),
		ephemeralvalidator.Conflicting(path.MatchRoot("form"), path.MatchRoot("alibaba_kms")),
	}
}

func (r *wrapKeyEphemeral) Configure(_ context.Context, req ephemeral.ConfigureRequest, resp *ephemeral.ConfigureResponse) {
	r.backend = backendFrom(req.ProviderData, &resp.Diagnostics)
}

func (r *wrapKeyEphemeral) Open(ctx context.Context, req ephemeral.OpenRequest, resp *ephemeral.OpenResponse) {
	var m wrapKeyEphemeralModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	place, source, err := m.source(ctx, r.environ)
	if k, ok := source.(kmskey.Key); ok {
		k.Client = r.backend.cloud(&resp.Diagnostics)
		if resp.Diagnostics.HasError() {
			return
		}
		source = k
	}
	if err != nil {
		addError(&resp.Diagnostics, path.Root(place), "Wrap key not opened", err)
		return
	}
	var key protectedfile.Key
	defer func() { clear(key[:]) }()
	if err := source.Read(ctx, (*[keysource.Size]byte)(&key)); err != nil {
		addError(&resp.Diagnostics, path.Root(place), "Wrap key not opened", err)
		return
	}
	digits := hex.EncodeToString(key[:])
	ctx = tflog.MaskLogStrings(ctx, digits)
	fingerprint := key.Fingerprint()
	if want := m.Fingerprint; !want.IsNull() && want.ValueString() != fingerprint {
		resp.Diagnostics.Append(diag.NewAttributeErrorDiagnostic(path.Root("fingerprint"), "Another wrap key",
			fmt.Sprintf("The key in %s has the fingerprint %s, and %s is asked for. If the key was changed on purpose, change the fingerprint with it.", source, fingerprint, want.ValueString())))
		return
	}
	tflog.Debug(ctx, "opened wrap key", map[string]any{"source": source.String(), "fingerprint": fingerprint})
	m.Fingerprint, m.Hex = types.StringValue(fingerprint), types.StringValue(digits)
	resp.Diagnostics.Append(resp.Result.Set(ctx, m)...)
}

// source is where the key is kept, and the attribute that says so.
func (m *wrapKeyEphemeralModel) source(ctx context.Context, environ *keysource.Environ) (place string, s keysource.Source, err error) {
	form := keysource.Form(m.Form.ValueString())
	switch {
	case !m.File.IsNull():
		return "file", keysource.File{Path: m.File.ValueString(), Form: form}, nil
	case !m.Environment.IsNull():
		name := m.Environment.ValueString()
		return "environment", environ.Variable(name, form), keysource.CheckVariableName(name)
	case !m.Credential.IsNull():
		return "credential", keysource.Credential{Name: m.Credential.ValueString(), Form: form}, nil
	case !m.Command.IsNull():
		var argv []string
		if diags := m.Command.ElementsAs(ctx, &argv, false); diags.HasError() {
			return "command", nil, fmt.Errorf("read the arguments: %s", diags[0].Detail())
		}
		c := keysource.Command{Argv: argv, Form: form}
		return "command", c, c.Check()
	case m.VaultKV != nil:
		field := m.VaultKV.Field.ValueString()
		if field == "" {
			field = vaultkey.DefaultField
		}
		return "vault_kv", vaultkey.KV{Mount: m.VaultKV.Mount.ValueString(), Path: m.VaultKV.Path.ValueString(), Field: field}, nil
	case m.AlibabaKMS != nil:
		return "alibaba_kms", kmskey.Key{File: m.AlibabaKMS.CiphertextFile.ValueString(), Context: m.AlibabaKMS.EncryptionContext}, nil
	default:
		t := m.VaultTransit
		return "vault_transit", vaultkey.Transit{Mount: t.Mount.ValueString(), Key: t.Key.ValueString(), File: t.CiphertextFile.ValueString()}, nil
	}
}
