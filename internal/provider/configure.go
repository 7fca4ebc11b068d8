package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/provider"
)

// Configure hands every resource and data source the same backend. It asks
// for nothing: local artefacts need no account.
func (p *ccProvider) Configure(_ context.Context, _ provider.ConfigureRequest, resp *provider.ConfigureResponse) {
	resp.ResourceData = &p.backend
	resp.DataSourceData = &p.backend
}
