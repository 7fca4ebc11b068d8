// Package provider puts the Terraform provider "cc" together: its schema, its
// configuration, and the lists of what it offers. What each entry of a list
// does is in package resources, a file each.
package provider

import (
	"context"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/ephemeral"
	"github.com/hashicorp/terraform-plugin-framework/function"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
	"github.com/ccctl/terraform-provider-cc/internal/keysource"
	"github.com/ccctl/terraform-provider-cc/internal/resources"
)

var (
	_ provider.Provider              = (*ccProvider)(nil)
	_ provider.ProviderWithFunctions = (*ccProvider)(nil)

	_ provider.ProviderWithEphemeralResources = (*ccProvider)(nil)
)

type ccProvider struct {
	backend resources.Backend
	environ *keysource.Environ // what has been taken out of the environment
}

// Option changes what the provider works with.
type Option func(*resources.Backend)

// WithClock makes the provider read the time from now instead of the system's
// clock, so that a test can see a certificate age.
func WithClock(now func() time.Time) Option {
	return func(b *resources.Backend) { b.Now = now }
}

// WithPace makes the cloud client wait as b says between attempts and polls, so
// that a test against a simulator need not.
func WithPace(pace ecs.Backoff) Option {
	return func(b *resources.Backend) { b.Pace = pace }
}

// New returns the constructor of the provider that the plugin server wants.
// The version is shown in Terraform's logs and says "devel" for a local build.
func New(version string, options ...Option) func() provider.Provider {
	backend := resources.Backend{Version: version, Now: time.Now}
	for _, o := range options {
		o(&backend)
	}
	environ := keysource.NewEnviron()
	return func() provider.Provider { return &ccProvider{backend: backend, environ: environ} }
}

func (p *ccProvider) Metadata(_ context.Context, _ provider.MetadataRequest, resp *provider.MetadataResponse) {
	resp.TypeName = "cc"
	resp.Version = p.backend.Version
}

func (p *ccProvider) Schema(_ context.Context, _ provider.SchemaRequest, resp *provider.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "Confidential TensorFlow Serving in SGX enclaves under Gramine: keys, encrypted models, " +
			"TLS materials, and the attestation key server that releases the key to the right enclave; and on Alibaba Cloud " +
			"the client machine that all this is made on. The cloud settings are needed for cloud resources only.",
		Attributes: attributesOf(""),
		Blocks:     cloudBlocks(),
	}
}

// Resources lists the managed resources, a line each.
func (p *ccProvider) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{
		resources.NewArtifactUploadResource,
		resources.NewClientInstanceResource,
		resources.NewKeyServerResource,
		resources.NewEncryptedFileResource,
		resources.NewSavedModelResource,
		resources.NewSecurityGroupResource,
		resources.NewWrapKeyResource,
		resources.NewTLSMaterialsResource,
	}
}

// DataSources lists the data sources, a line each.
func (p *ccProvider) DataSources(context.Context) []func() datasource.DataSource {
	return []func() datasource.DataSource{
		resources.NewKeyServerStatusDataSource,
		resources.NewZonesDataSource,
		resources.NewInstanceTypesDataSource,
		resources.NewImagesDataSource,
		resources.NewProtectedFileDataSource,
		resources.NewQuoteVerificationDataSource,
		resources.NewSigstructDataSource,
	}
}

// EphemeralResources lists the ephemeral resources, a line each.
func (p *ccProvider) EphemeralResources(context.Context) []func() ephemeral.EphemeralResource {
	return []func() ephemeral.EphemeralResource{
		resources.NewWrapKeyEphemeral(p.environ),
	}
}

// Functions lists the functions, a line each.
func (p *ccProvider) Functions(context.Context) []func() function.Function {
	return []func() function.Function{
		resources.NewMRENCLAVEFunction,
		resources.NewMRSIGNERFunction,
		resources.NewPFInfoFunction,
		resources.NewQuoteInfoFunction,
		resources.NewSSLConfigFunction,
	}
}
