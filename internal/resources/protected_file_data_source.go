package resources

import (
	"context"
	"encoding/hex"

	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

var _ datasource.DataSource = (*protectedFileDataSource)(nil)

// protectedFileDataSource is data.cc_protected_file.
type protectedFileDataSource struct{}

// NewProtectedFileDataSource returns data.cc_protected_file: what a protected
// file says about itself, and how much of that is authenticated.
func NewProtectedFileDataSource() datasource.DataSource { return &protectedFileDataSource{} }

type protectedFileModel struct {
	File        types.String `tfsdk:"file"`
	WrapKeyFile types.String `tfsdk:"wrap_key_file"`
	EnclavePath types.String `tfsdk:"enclave_path"`
	Verify      types.String `tfsdk:"verify"`

	Authenticated    types.String `tfsdk:"authenticated"`
	Path             types.String `tfsdk:"path"`
	KeyID            types.String `tfsdk:"key_id"`
	PlaintextSize    types.Int64  `tfsdk:"plaintext_size"`
	DataNodes        types.Int64  `tfsdk:"data_nodes"`
	HashNodes        types.Int64  `tfsdk:"hash_nodes"`
	Format           types.Int64  `tfsdk:"format"`
	MinorVersion     types.Int64  `tfsdk:"minor_version"`
	Pending          types.Bool   `tfsdk:"pending"`
	EncryptedSize    types.Int64  `tfsdk:"encrypted_size"`
	MinPlaintextSize types.Int64  `tfsdk:"min_plaintext_size"`
	MaxPlaintextSize types.Int64  `tfsdk:"max_plaintext_size"`
	HeaderSHA256     types.String `tfsdk:"header_sha256"`
	Warnings         types.List   `tfsdk:"warnings"` //< string
	ID               types.String `tfsdk:"id"`
}

var (
	protectedFileVerify = words{
		{"metadata", "authenticates the path, the size and the first hash node"},
		{"full", "authenticates every node"},
	}
	protectedFileAuthenticated = words{
		{"nothing", "without a wrap key, so that anybody could have written what the other attributes say"},
		{"metadata", "for the path and the size"},
		{"everything", "for the whole content"},
	}
)

func (d *protectedFileDataSource) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_protected_file"
}

func (d *protectedFileDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	needsKey := []validator.String{stringvalidator.AlsoRequires(path.MatchRoot("wrap_key_file"))}
	resp.Schema = schema.Schema{
		MarkdownDescription: "A protected file of Gramine, whoever encrypted it. With the wrap key its metadata or all of it is authenticated; " +
			"reading it fails if that does not succeed. The plaintext is not exposed.",
		Attributes: map[string]schema.Attribute{
			// Required.
			"file": schema.StringAttribute{
				MarkdownDescription: "Path of the protected file.", Required: true, Validators: []validator.String{filePath{}},
			},
			// Optional.
			"wrap_key_file": schema.StringAttribute{
				MarkdownDescription: "Path of the file with the 16 bytes of the wrap key.", Optional: true, Validators: []validator.String{filePath{}},
			},
			"enclave_path": schema.StringAttribute{
				MarkdownDescription: "Path that the file must have been encrypted for, as Gramine would open it.", Optional: true,
				Validators: append([]validator.String{enclavePath{}}, needsKey...),
			},
			"verify": schema.StringAttribute{
				MarkdownDescription: "What the wrap key is used for: " + protectedFileVerify.markdown(), Optional: true,
				Validators: append([]validator.String{protectedFileVerify}, needsKey...),
			},
			// Computed, authenticated with the wrap key and null without.
			"path":           schema.StringAttribute{MarkdownDescription: "Path that the file was encrypted for. Null without a wrap key, like the four below.", Computed: true},
			"key_id":         schema.StringAttribute{MarkdownDescription: "Fingerprint of the wrap key.", Computed: true},
			"plaintext_size": schema.Int64Attribute{MarkdownDescription: "Size of the plaintext in bytes.", Computed: true},
			"data_nodes":     schema.Int64Attribute{MarkdownDescription: "Number of 4096-byte nodes with data.", Computed: true},
			"hash_nodes":     schema.Int64Attribute{MarkdownDescription: "Number of 4096-byte nodes with keys and tags.", Computed: true},
			// Computed, readable by anybody.
			"authenticated":      schema.StringAttribute{MarkdownDescription: "How much was authenticated: " + protectedFileAuthenticated.meanings(), Computed: true},
			"format":             schema.Int64Attribute{MarkdownDescription: "Version of the format, `1` or `2`.", Computed: true},
			"minor_version":      schema.Int64Attribute{MarkdownDescription: "Minor version, which Gramine writes as 0.", Computed: true},
			"pending":            schema.BoolAttribute{MarkdownDescription: "Whether a write to the file was interrupted (format 2).", Computed: true},
			"encrypted_size":     schema.Int64Attribute{MarkdownDescription: "Size of the file in bytes.", Computed: true},
			"min_plaintext_size": schema.Int64Attribute{MarkdownDescription: "Least size of the plaintext that the number of nodes allows.", Computed: true},
			"max_plaintext_size": schema.Int64Attribute{MarkdownDescription: "Greatest size of the plaintext that the number of nodes allows.", Computed: true},
			"header_sha256":      schema.StringAttribute{MarkdownDescription: "SHA-256 of the first node, which vouches for all others.", Computed: true},
			"warnings": schema.ListAttribute{
				MarkdownDescription: "Oddities in what the format does not authenticate. They do not affect the plaintext.", Computed: true, ElementType: types.StringType,
			},
			"id": schema.StringAttribute{MarkdownDescription: "The same as `file`.", Computed: true},
		},
	}
}

func (d *protectedFileDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m protectedFileModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	header, err := deploy.InspectEncryptedFile(m.File.ValueString())
	if err != nil {
		addError(&resp.Diagnostics, path.Root("file"), "Protected file not readable", err)
		return
	}
	m.setHeader(header)
	if !m.WrapKeyFile.IsNull() {
		key, err := deploy.OpenWrapKey(m.WrapKeyFile.ValueString())
		if err != nil {
			addError(&resp.Diagnostics, path.Root("wrap_key_file"), "Wrap key not usable", err)
			return
		}
		report, err := m.authenticate(ctx, key)
		if err != nil {
			addError(&resp.Diagnostics, path.Root("file"), "Protected file not genuine", err)
			return
		}
		m.setReport(report, key)
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

func (m *protectedFileModel) authenticate(ctx context.Context, key protectedfile.Key) (protectedfile.Report, error) {
	opts := protectedfile.ReaderOptions{
		Path: m.EnclavePath.ValueString(), AllowAnyPath: m.EnclavePath.IsNull(),
		Progress: logProgress(ctx, "authenticating", m.File.ValueString()),
	}
	if m.Verify.ValueString() == "full" {
		m.Authenticated = types.StringValue("everything")
		return deploy.VerifyFile(ctx, m.File.ValueString(), key, opts)
	}
	m.Authenticated = types.StringValue("metadata")
	return deploy.OpenFile(m.File.ValueString(), key, opts)
}

func (m *protectedFileModel) setHeader(h protectedfile.Header) {
	m.ID, m.Authenticated = m.File, types.StringValue("nothing")
	m.Format, m.MinorVersion = types.Int64Value(int64(h.Format)), types.Int64Value(int64(h.MinorVersion))
	m.Pending, m.EncryptedSize = types.BoolValue(h.Pending), types.Int64Value(h.FileSize)
	m.MinPlaintextSize, m.MaxPlaintextSize = types.Int64Value(h.MinPlaintextSize), types.Int64Value(h.MaxPlaintextSize)
	m.HeaderSHA256 = types.StringValue(hex.EncodeToString(h.Digest[:]))
	m.Warnings = warningList(h.Warnings)
}

func (m *protectedFileModel) setReport(r protectedfile.Report, key protectedfile.Key) {
	m.Path, m.KeyID = types.StringValue(r.Path), types.StringValue(key.Fingerprint())
	m.PlaintextSize = types.Int64Value(r.Size)
	m.DataNodes, m.HashNodes = types.Int64Value(r.DataNodes), types.Int64Value(r.HashNodes)
	m.Warnings = warningList(r.Warnings)
}

func warningList(warnings []*protectedfile.Error) types.List {
	texts := make([]attr.Value, len(warnings))
	for i, w := range warnings {
		texts[i] = types.StringValue(w.Error())
	}
	return types.ListValueMust(types.StringType, texts)
}
