package resources

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/sigstruct"
)

var _ datasource.DataSource = (*sigstructDataSource)(nil)

// sigstructDataSource is data.cc_sigstruct.
type sigstructDataSource struct{}

// NewSigstructDataSource returns data.cc_sigstruct: the measurements that an
// enclave's .sig file states, verified.
func NewSigstructDataSource() datasource.DataSource { return &sigstructDataSource{} }

type sigstructModel struct {
	File        types.String `tfsdk:"file"`
	ID          types.String `tfsdk:"id"`
	MRENCLAVE   types.String `tfsdk:"mr_enclave"`
	MRSIGNER    types.String `tfsdk:"mr_signer"`
	ISVProdID   types.Int64  `tfsdk:"isv_prod_id"`
	ISVSVN      types.Int64  `tfsdk:"isv_svn"`
	Debug       types.Bool   `tfsdk:"debug"`
	AllowsDebug types.Bool   `tfsdk:"allows_debug"`
	XFRM        types.String `tfsdk:"xfrm"`
	MiscSelect  types.String `tfsdk:"misc_select"`
	SignedOn    types.String `tfsdk:"signed_on"`
	Warnings    types.List   `tfsdk:"warnings"` //< types.String
}

func (d *sigstructDataSource) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_sigstruct"
}

func (d *sigstructDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	text := func(description string) schema.StringAttribute {
		return schema.StringAttribute{MarkdownDescription: description, Computed: true}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "What the SIGSTRUCT of an enclave states, the file that `gramine-sgx-sign` writes with the suffix `.sig`: the measurements that a key server's rules need. " +
			"Its signature is verified; a file that somebody else has changed is an error. That its signer is yours, `mr_signer` has to show.",
		Attributes: map[string]schema.Attribute{
			"file":       schema.StringAttribute{MarkdownDescription: "Path of the `.sig` file.", Required: true, Validators: []validator.String{filePath{}}},
			"mr_enclave": text("MRENCLAVE, the measurement of the enclave, 64 hex digits."),
			"mr_signer":  text("MRSIGNER, the identity of the signer, 64 hex digits."),
			"isv_prod_id": schema.Int64Attribute{
				MarkdownDescription: "ISVPRODID, the product that the signer calls it.", Computed: true,
			},
			"isv_svn": schema.Int64Attribute{
				MarkdownDescription: "ISVSVN, the security version of the product.", Computed: true,
			},
			"debug": schema.BoolAttribute{
				MarkdownDescription: "Whether the enclave is signed to run with a debugger, which can read everything it is given.", Computed: true,
			},
			"allows_debug": schema.BoolAttribute{
				MarkdownDescription: "Whether the signature lets the enclave run with a debugger, be it meant to or not.", Computed: true,
			},
			"xfrm":        text("Extended features (XFRM) that the enclave may use, 16 hex digits."),
			"misc_select": text("MISCSELECT, 8 hex digits."),
			"signed_on":   text("Day that the signer states, such as `2024-05-31`; null if the file has none. Nobody verifies it."),
			"warnings": schema.ListAttribute{
				MarkdownDescription: "Oddities that neither the signature nor a measurement shows.", Computed: true, ElementType: types.StringType,
			},
			"id": text("The same as `mr_enclave`."),
		},
	}
}

func (d *sigstructDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m sigstructModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	s, err := readSigstruct(m.File.ValueString())
	if err != nil {
		addError(&resp.Diagnostics, path.Root("file"), "SIGSTRUCT not read", err)
		return
	}
	if err := s.Verify(); err != nil {
		addError(&resp.Diagnostics, path.Root("file"), "", &deploy.Error{
			Summary: "SIGSTRUCT not genuine", Err: err,
			Remedy: fmt.Sprintf("The file was changed after it was signed, or damaged. Take %s from where it was signed, or sign the enclave again.", m.File.ValueString()),
		})
		return
	}
	m.setSigstruct(s)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

func (m *sigstructModel) setSigstruct(s *sigstruct.Sigstruct) {
	signer := s.MRSIGNER()
	m.MRENCLAVE = types.StringValue(hex.EncodeToString(s.MRENCLAVE[:]))
	m.MRSIGNER = types.StringValue(hex.EncodeToString(signer[:]))
	m.ID = m.MRENCLAVE
	m.ISVProdID, m.ISVSVN = types.Int64Value(int64(s.ISVProdID)), types.Int64Value(int64(s.ISVSVN))
	m.Debug, m.AllowsDebug = types.BoolValue(s.Debug()), types.BoolValue(s.AllowsDebug())
	m.XFRM, m.MiscSelect = types.StringValue(fmt.Sprintf("%016x", s.Attributes.XFRM)), types.StringValue(fmt.Sprintf("%08x", s.MiscSelect))
	m.SignedOn, m.Warnings = types.StringNull(), stringList(s.Warnings())
	if day, encoding := s.SignedOn(); encoding != 0 {
		m.SignedOn = types.StringValue(day.Format(time.DateOnly))
	}
}

// readSigstruct reads a file that is not taken for a SIGSTRUCT if it is longer.
func readSigstruct(name string) (*sigstruct.Sigstruct, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read SIGSTRUCT: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, sigstruct.Size+1))
	if err != nil {
		return nil, fmt.Errorf("read SIGSTRUCT: %w", err)
	}
	return sigstruct.Parse(data)
}
