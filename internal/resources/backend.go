package resources

import (
	"fmt"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
)

// Backend is what the provider's configuration gives to every resource and
// data source. It is shared by concurrent operations and never written to.
type Backend struct {
	Version string           // of the provider, "devel" for a local build
	Now     func() time.Time // the clock
	Pace    ecs.Backoff      // of the cloud client, zero for the usual one
	// Cloud returns the client of Alibaba Cloud, the same one each time, or
	// what is wrong with the provider's settings. Nil means: not configured.
	Cloud func() (*ecs.Client, error)
}

// backendFrom unpacks the data a Configure method is given. It returns nil as
// long as the provider is not configured, which is so during validation.
func backendFrom(data any, diags *diag.Diagnostics) *Backend {
	if data == nil {
		return nil
	}
	b, ok := data.(*Backend)
	if !ok {
		diags.AddError("Provider data of the wrong type",
			fmt.Sprintf("Could not configure the resource: the provider handed it a %T instead of a %T. This is a defect of the provider; please report it.", data, b))
		return nil
	}
	return b
}
