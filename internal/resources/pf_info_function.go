package resources

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/function"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

var _ function.Function = (*pfInfoFunction)(nil)

// pfInfoFunction is provider::cc::pf_info.
type pfInfoFunction struct{}

// NewPFInfoFunction returns provider::cc::pf_info: what a protected file says
// without its key.
func NewPFInfoFunction() function.Function { return &pfInfoFunction{} }

var pfInfoType = map[string]attr.Type{
	"format":             types.Int64Type,
	"minor_version":      types.Int64Type,
	"pending":            types.BoolType,
	"encrypted_size":     types.Int64Type,
	"nodes":              types.Int64Type,
	"min_plaintext_size": types.Int64Type,
	"max_plaintext_size": types.Int64Type,
	"header_sha256":      types.StringType,
	"warnings":           types.ListType{ElemType: types.StringType},
}

func (f *pfInfoFunction) Metadata(_ context.Context, _ function.MetadataRequest, resp *function.MetadataResponse) {
	resp.Name = "pf_info"
}

func (f *pfInfoFunction) Definition(_ context.Context, _ function.DefinitionRequest, resp *function.DefinitionResponse) {
	resp.Definition = function.Definition{
		Summary: "Reads the header of a protected file",
		MarkdownDescription: "Tells what a protected file of Gramine says without its wrap key: `format`, `minor_version`, `pending`, `encrypted_size`, `nodes`, " +
			"the bounds `min_plaintext_size` and `max_plaintext_size`, `header_sha256` and `warnings`. Nothing of it is authenticated; " +
			"the data source `cc_protected_file` does that with the key, and does not read large files into memory.",
		Parameters: []function.Parameter{
			function.StringParameter{Name: "content_base64", MarkdownDescription: "The protected file in base64, as `filebase64(\"FILE\")` gives it."},
		},
		Return: function.ObjectReturn{AttributeTypes: pfInfoType},
	}
}

func (f *pfInfoFunction) Run(ctx context.Context, req function.RunRequest, resp *function.RunResponse) {
	var content string
	resp.Error = req.Arguments.Get(ctx, &content)
	if resp.Error != nil {
		return
	}
	raw, err := base64.StdEncoding.DecodeString(content)
	if err != nil {
		resp.Error = function.NewArgumentFuncError(0, `decode protected file: not base64; use filebase64("FILE")`)
		return
	}
	h, err := protectedfile.Inspect(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		resp.Error = function.NewArgumentFuncError(0, "read protected file: "+err.Error())
		return
	}
	resp.Error = resp.Result.Set(ctx, types.ObjectValueMust(pfInfoType, map[string]attr.Value{
		"format":             types.Int64Value(int64(h.Format)),
		"minor_version":      types.Int64Value(int64(h.MinorVersion)),
		"pending":            types.BoolValue(h.Pending),
		"encrypted_size":     types.Int64Value(h.FileSize),
		"nodes":              types.Int64Value(h.Nodes),
		"min_plaintext_size": types.Int64Value(h.MinPlaintextSize),
		"max_plaintext_size": types.Int64Value(h.MaxPlaintextSize),
		"header_sha256":      types.StringValue(hex.EncodeToString(h.Digest[:])),
		"warnings":           warningList(h.Warnings),
	}))
}
