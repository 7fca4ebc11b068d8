package resources

import (
	"context"
	"encoding/hex"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/function"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/sigstruct"
)

var _ function.Function = (*mrsignerFunction)(nil)

// mrsignerFunction is provider::cc::mrsigner.
type mrsignerFunction struct{}

// NewMRSIGNERFunction returns mrsigner: the signer's identity, from a
// SIGSTRUCT or from the signer's public key.
func NewMRSIGNERFunction() function.Function { return &mrsignerFunction{} }

func (f *mrsignerFunction) Metadata(_ context.Context, _ function.MetadataRequest, resp *function.MetadataResponse) {
	resp.Name = "mrsigner"
}

func (f *mrsignerFunction) Definition(_ context.Context, _ function.DefinitionRequest, resp *function.DefinitionResponse) {
	resp.Definition = function.Definition{
		Summary: "MRSIGNER of a signed enclave or of a signer's public key",
		MarkdownDescription: "Returns the identity of an enclave's signer (MRSIGNER, 64 hex digits): from the enclave's SIGSTRUCT, after verifying the signature, " +
			"or from the signer's public key. The latter needs no enclave, and does not take its word for who has signed it.",
		Parameters: []function.Parameter{function.StringParameter{
			Name: "source", MarkdownDescription: "Content of the `.sig` file in base64, as `filebase64` reads it, or the signer's public key in PEM, " +
				"as `openssl rsa -in enclave-key.pem -pubout` prints it.",
		}},
		Return: function.StringReturn{},
	}
}

func (f *mrsignerFunction) Run(ctx context.Context, req function.RunRequest, resp *function.RunResponse) {
	var source string
	if resp.Error = req.Arguments.Get(ctx, &source); resp.Error != nil {
		return
	}
	signer, err := mrsigner(source)
	if err != nil {
		resp.Error = function.NewArgumentFuncError(0, err.Error())
		return
	}
	resp.Error = resp.Result.Set(ctx, hex.EncodeToString(signer[:]))
}

func mrsigner(source string) ([32]byte, error) {
	if strings.HasPrefix(strings.TrimSpace(source), "-----BEGIN ") {
		return sigstruct.MRSIGNEROfKey([]byte(source))
	}
	s, err := decodeSigstruct(source)
	if err != nil {
		return [32]byte{}, err
	}
	return s.MRSIGNER(), nil
}
