package provider

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
)

// Configure hands every resource and data source the same backend. It asks for
// nothing and calls nobody: local artefacts need no account, so what is wrong
// with the cloud settings is an error of the first cloud resource.
func (p *ccProvider) Configure(ctx context.Context, req provider.ConfigureRequest, resp *provider.ConfigureResponse) {
	backend := p.backend
	values, unknown := readSettings(ctx, req.Config, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	backend.Cloud = sync.OnceValues(func() (*ecs.Client, error) {
		if len(unknown) > 0 {
			return nil, fmt.Errorf("configure Alibaba Cloud: not known before apply: %s. "+
				"The environment does not stand in for them: it might be another account's", strings.Join(unknown, ", "))
		}
		conf, err := ecs.ConfigOf(func(name string) string { return values[name] })
		conf.UserAgent = "terraform-provider-cc/" + p.backend.Version
		return backend.NewCloud(conf, err)
	})
	resp.ResourceData = &backend
	resp.DataSourceData = &backend
	resp.EphemeralResourceData = &backend
}

// readSettings returns what is set, in the configuration or else in the
// environment, and names what is not known yet.
func readSettings(ctx context.Context, config tfsdk.Config, diags *diag.Diagnostics) (values map[string]string, unknown []string) {
	values = map[string]string{}
	configured := map[string]bool{}
	for _, s := range settings {
		value, known := readSetting(ctx, config, s, diags)
		if !known {
			unknown = append(unknown, s.key())
			continue
		}
		// The environment's token belongs to the environment's key.
		if value == "" && (s.name != "security_token" || !configured["access_key"]) {
			value = ecs.FromEnvironment(s.key())
		} else {
			configured[s.key()] = true
		}
		if value != "" {
			values[s.key()] = value
		}
	}
	return values, unknown
}

func readSetting(ctx context.Context, config tfsdk.Config, s setting, diags *diag.Diagnostics) (value string, known bool) {
	if config.Raw.IsNull() { // no provider block at all
		return "", true
	}
	at := path.Root(s.name)
	if s.block != "" {
		at = path.Root(s.block).AtName(s.name)
	}
	if s.number {
		var n types.Int64
		diags.Append(config.GetAttribute(ctx, at, &n)...)
		if n.IsNull() {
			return "", true
		}
		return strconv.FormatInt(n.ValueInt64(), 10), !n.IsUnknown()
	}
	var v types.String
	diags.Append(config.GetAttribute(ctx, at, &v)...)
	return v.ValueString(), !v.IsUnknown()
}
