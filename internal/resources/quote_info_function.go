package resources

import (
	"context"
	"encoding/base64"
	"encoding/hex"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/function"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
)

var _ function.Function = (*quoteInfoFunction)(nil)

// quoteInfoFunction is provider::cc::quote_info.
type quoteInfoFunction struct{}

// NewQuoteInfoFunction returns provider::cc::quote_info: what a quote claims.
func NewQuoteInfoFunction() function.Function { return &quoteInfoFunction{} }

var quoteInfoType = map[string]attr.Type{
	"version":     types.Int64Type,
	"mr_enclave":  types.StringType,
	"mr_signer":   types.StringType,
	"isv_prod_id": types.Int64Type,
	"isv_svn":     types.Int64Type,
	"debug":       types.BoolType,
	"report_data": types.StringType,
	"fmspc":       types.StringType,
	"pck_ca":      types.StringType,
}

func (f *quoteInfoFunction) Metadata(_ context.Context, _ function.MetadataRequest, resp *function.MetadataResponse) {
	resp.Name = "quote_info"
}

func (f *quoteInfoFunction) Definition(_ context.Context, _ function.DefinitionRequest, resp *function.DefinitionResponse) {
	resp.Definition = function.Definition{
		Summary: "Reads what an SGX quote claims",
		MarkdownDescription: "Tells what an SGX quote of version 3 claims: `version`, `mr_enclave`, `mr_signer`, `isv_prod_id`, `isv_svn`, `debug`, `report_data`, and the platform's `fmspc` and " +
			"`pck_ca`, which are null if the quote carries no PCK certificate chain. Nothing of it is verified: anybody can write such a quote. The data source `cc_quote_verification` verifies.",
		Parameters: []function.Parameter{
			function.StringParameter{Name: "content_base64", MarkdownDescription: "The quote in base64, as `filebase64(\"FILE\")` gives it."},
		},
		Return: function.ObjectReturn{AttributeTypes: quoteInfoType},
	}
}

func (f *quoteInfoFunction) Run(ctx context.Context, req function.RunRequest, resp *function.RunResponse) {
	var content string
	resp.Error = req.Arguments.Get(ctx, &content)
	if resp.Error != nil {
		return
	}
	raw, err := base64.StdEncoding.DecodeString(content)
	if err != nil {
		resp.Error = function.NewArgumentFuncError(0, `decode quote: not base64; use filebase64("FILE")`)
		return
	}
	q, err := quote.Parse(raw)
	if err != nil {
		resp.Error = function.NewArgumentFuncError(0, err.Error())
		return
	}
	fmspc, ca := types.StringNull(), types.StringNull()
	if pck, _, err := dcap.ReadPCK(q); err == nil {
		fmspc, ca = types.StringValue(pck.FMSPC.String()), types.StringValue(pck.CA)
	}
	digits := func(b []byte) types.String { return types.StringValue(hex.EncodeToString(b)) }
	resp.Error = resp.Result.Set(ctx, types.ObjectValueMust(quoteInfoType, map[string]attr.Value{
		"version":     types.Int64Value(int64(q.Header.Version)),
		"mr_enclave":  digits(q.Body.MRENCLAVE[:]),
		"mr_signer":   digits(q.Body.MRSIGNER[:]),
		"isv_prod_id": types.Int64Value(int64(q.Body.ISVProdID)),
		"isv_svn":     types.Int64Value(int64(q.Body.ISVSVN)),
		"debug":       types.BoolValue(q.Body.Attributes.Debug()),
		"report_data": digits(q.Body.ReportData[:]),
		"fmspc":       fmspc,
		"pck_ca":      ca,
	}))
}
