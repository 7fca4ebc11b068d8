package provider

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
	"github.com/ccctl/terraform-provider-cc/internal/resources"
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
		return backend.NewCloud(cloudConfig(values, p.backend))
	})
	resp.ResourceData = &backend
	resp.DataSourceData = &backend
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
			value = fromEnvironment(s.env)
		} else {
			configured[s.key()] = true
		}
		if value != "" {
			values[s.key()] = value
		}
	}
	return values, unknown
}

func fromEnvironment(names []string) string {
	for _, name := range names {
		if v := os.Getenv(name); v != "" {
			return v
		}
	}
	return ""
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

// cloudConfig turns the values into the client's configuration.
func cloudConfig(v map[string]string, backend resources.Backend) (ecs.Config, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		home = "" // then a profile without a file is an error of its own
	}
	conf := ecs.Config{
		Region: v["region"],
		Credentials: ecs.Credentials{
			AccessKey: v["access_key"], SecretKey: v["secret_key"], SecurityToken: v["security_token"],
			Profile: v["profile"], ProfileFile: v["shared_credentials_file"], HomeDir: home, ECSRoleName: v["ecs_role_name"],
			DisableMetadata: strings.EqualFold(os.Getenv("ALIBABA_CLOUD_ECS_METADATA_DISABLED"), "true"),
		},
		Endpoints: ecs.Endpoints{ECS: v["endpoints.ecs"], VPC: v["endpoints.vpc"], STS: v["endpoints.sts"]},
		UserAgent: "terraform-provider-cc/" + backend.Version,
	}
	if conf.Region == "" {
		return conf, errors.New("configure Alibaba Cloud: region is not set, neither in the provider's block nor in ALICLOUD_REGION or ALIBABA_CLOUD_REGION")
	}
	if v["assume_role_with_oidc.oidc_provider_arn"] != "" || v["assume_role_with_oidc.oidc_token_file"] != "" {
		conf.Credentials.OIDC = &ecs.OIDC{
			ProviderARN: v["assume_role_with_oidc.oidc_provider_arn"], TokenFile: v["assume_role_with_oidc.oidc_token_file"],
			RoleARN: v["assume_role_with_oidc.role_arn"], SessionName: v["assume_role_with_oidc.role_session_name"],
		}
		// One variable names the role of both ways; it is taken on once.
		if v["assume_role.role_arn"] == conf.Credentials.OIDC.RoleARN && conf.Credentials.AccessKey == "" {
			return conf, nil
		}
	}
	if v["assume_role.role_arn"] == "" {
		return conf, nil
	}
	seconds := 0
	if s := v["assume_role.session_expiration"]; s != "" {
		if seconds, err = strconv.Atoi(s); err != nil || seconds < 0 {
			return conf, fmt.Errorf("configure Alibaba Cloud: assume_role.session_expiration %q is not a number of seconds", s)
		}
	}
	conf.Credentials.AssumeRole = &ecs.AssumeRole{
		RoleARN: v["assume_role.role_arn"], SessionName: v["assume_role.session_name"], Duration: time.Duration(seconds) * time.Second,
		ExternalID: v["assume_role.external_id"], Policy: v["assume_role.policy"],
	}
	return conf, nil
}
