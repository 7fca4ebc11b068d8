package resources

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/function"

	"github.com/ccctl/terraform-provider-cc/internal/serving/tlsmaterials"
)

var _ function.Function = (*sslConfigFunction)(nil)

// sslConfigFunction is provider::cc::ssl_config.
type sslConfigFunction struct{}

// NewSSLConfigFunction returns ssl_config: TensorFlow Serving's ssl.cfg from
// its parts.
func NewSSLConfigFunction() function.Function { return &sslConfigFunction{} }

func (f *sslConfigFunction) Metadata(_ context.Context, _ function.MetadataRequest, resp *function.MetadataResponse) {
	resp.Name = "ssl_config"
}

func (f *sslConfigFunction) Definition(_ context.Context, _ function.DefinitionRequest, resp *function.DefinitionResponse) {
	resp.Definition = function.Definition{
		Summary: "TensorFlow Serving's ssl.cfg",
		MarkdownDescription: "Returns the text of an `ssl.cfg` for `tensorflow_model_server --ssl_config_file`. The parts are checked: the key must belong to the certificate. " +
			"The result contains the private key. Terraform keeps it out of the state only if the key comes from an ephemeral value, and the result goes into a write-only argument.",
		Parameters: []function.Parameter{
			function.StringParameter{Name: "server_key", MarkdownDescription: "The server's private key in PEM."},
			function.StringParameter{Name: "server_certificate", MarkdownDescription: "The server's certificate in PEM, followed by any intermediate ones."},
			function.StringParameter{Name: "client_ca", AllowNullValue: true,
				MarkdownDescription: "Certificates, in PEM, of the authorities that issue clients' certificates; the server then requires a certificate from every client. " +
					"Null or empty for one-way TLS."},
		},
		Return: function.StringReturn{},
	}
}

func (f *sslConfigFunction) Run(ctx context.Context, req function.RunRequest, resp *function.RunResponse) {
	var c tlsmaterials.SSLConfig
	var clientCA *string
	if resp.Error = req.Arguments.Get(ctx, &c.ServerKey, &c.ServerCert, &clientCA); resp.Error != nil {
		return
	}
	if clientCA != nil && *clientCA != "" {
		c.CustomCA, c.ClientVerify = *clientCA, true
	}
	text, err := c.Marshal() // its errors show nothing of the key
	if err != nil {
		resp.Error = function.NewFuncError(err.Error())
		return
	}
	resp.Error = resp.Result.Set(ctx, string(text))
}
