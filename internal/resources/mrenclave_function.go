package resources

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/function"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/sigstruct"
)

var _ function.Function = (*mrenclaveFunction)(nil)

// mrenclaveFunction is provider::cc::mrenclave.
type mrenclaveFunction struct{}

// NewMRENCLAVEFunction returns mrenclave: the measurement in a SIGSTRUCT.
func NewMRENCLAVEFunction() function.Function { return &mrenclaveFunction{} }

func (f *mrenclaveFunction) Metadata(_ context.Context, _ function.MetadataRequest, resp *function.MetadataResponse) {
	resp.Name = "mrenclave"
}

func (f *mrenclaveFunction) Definition(_ context.Context, _ function.DefinitionRequest, resp *function.DefinitionResponse) {
	resp.Definition = function.Definition{
		Summary: "MRENCLAVE of a signed enclave",
		MarkdownDescription: "Returns the measurement (MRENCLAVE, 64 hex digits) that an enclave's SIGSTRUCT states, after verifying the signature. " +
			"`data.cc_sigstruct` tells the rest.",
		Parameters: []function.Parameter{function.StringParameter{
			Name: "sigstruct", MarkdownDescription: "Content of the `.sig` file in base64, as `filebase64` reads it.",
		}},
		Return: function.StringReturn{},
	}
}

func (f *mrenclaveFunction) Run(ctx context.Context, req function.RunRequest, resp *function.RunResponse) {
	var encoded string
	if resp.Error = req.Arguments.Get(ctx, &encoded); resp.Error != nil {
		return
	}
	s, err := decodeSigstruct(encoded)
	if err != nil {
		resp.Error = function.NewArgumentFuncError(0, err.Error())
		return
	}
	resp.Error = resp.Result.Set(ctx, hex.EncodeToString(s.MRENCLAVE[:]))
}

// decodeSigstruct reads and verifies a SIGSTRUCT in base64.
func decodeSigstruct(encoded string) (*sigstruct.Sigstruct, error) {
	data, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, fmt.Errorf("decode SIGSTRUCT: %w: give the file as filebase64 reads it", err)
	}
	s, err := sigstruct.Parse(data)
	if err != nil {
		return nil, err
	}
	if err := s.Verify(); err != nil {
		return nil, err
	}
	return s, nil
}
