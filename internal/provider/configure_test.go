package provider_test

import (
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	cc "github.com/ccctl/terraform-provider-cc/internal/provider"
	"github.com/ccctl/terraform-provider-cc/internal/resources"
)

// configured runs Configure with some settings, unknown ones for the value nil,
// and returns where the credentials come from, or the error.
func configured(t *testing.T, settings map[string]any) (string, error) {
	t.Helper()
	p := cc.New("test")()
	var schema provider.SchemaResponse
	p.Schema(t.Context(), provider.SchemaRequest{}, &schema)
	kind, ok := schema.Schema.Type().TerraformType(t.Context()).(tftypes.Object)
	if !ok {
		t.Fatal("the provider's configuration is no object")
	}
	value := func(kind tftypes.Type, key string) tftypes.Value {
		switch v, set := settings[key]; {
		case !set:
			return tftypes.NewValue(kind, nil)
		case v == nil:
			return tftypes.NewValue(kind, tftypes.UnknownValue)
		default:
			return tftypes.NewValue(kind, v)
		}
	}
	values := map[string]tftypes.Value{}
	for name, k := range kind.AttributeTypes {
		block, ok := k.(tftypes.Object)
		if !ok {
			values[name] = value(k, name)
			continue
		}
		inner := map[string]tftypes.Value{}
		for field, fk := range block.AttributeTypes {
			inner[field] = value(fk, name+"."+field)
		}
		values[name] = tftypes.NewValue(block, inner)
	}
	var resp provider.ConfigureResponse
	p.Configure(t.Context(), provider.ConfigureRequest{Config: tfsdk.Config{Schema: schema.Schema, Raw: tftypes.NewValue(kind, values)}}, &resp)
	for _, d := range resp.Diagnostics {
		t.Fatalf("%s: %s", d.Summary(), d.Detail())
	}
	backend, ok := resp.ResourceData.(*resources.Backend)
	if !ok {
		t.Fatalf("resources get a %T", resp.ResourceData)
	}
	c, err := backend.Cloud()
	if err != nil {
		return "", err
	}
	defer c.Close()
	return c.Region() + ": " + c.CredentialSource(), nil
}

func TestCloudSettings(t *testing.T) {
	key := func(more ...any) map[string]any {
		m := map[string]any{"region": "cn-beijing", "access_key": "LTAIa", "secret_key": "s"}
		for n := 0; n+1 < len(more); n += 2 {
			name, _ := more[n].(string)
			m[name] = more[n+1]
		}
		return m
	}
	for _, tt := range []struct {
		name     string
		settings map[string]any
		env      map[string]string
		want     string // contained in the source, or in the error
		fails    bool
	}{
		{"nothing", nil, nil, "region is not set", true},
		{"keys", key(), nil, "cn-beijing: access_key and secret_key", false},
		{"region alone", map[string]any{"region": "cn-beijing"}, nil, "neither access_key and secret_key", true},
		{"environment of Alibaba's provider", nil, map[string]string{"ALICLOUD_REGION": "cn-hangzhou", "ALICLOUD_ACCESS_KEY": "LTAIb", "ALICLOUD_SECRET_KEY": "s"}, "cn-hangzhou: access_key", false},
		{"environment of the SDK", nil, map[string]string{"ALIBABA_CLOUD_REGION": "cn-shanghai", "ALIBABA_CLOUD_ACCESS_KEY_ID": "LTAIb", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "s"}, "cn-shanghai: access_key", false},
		{"configuration before environment", key(), map[string]string{"ALICLOUD_REGION": "cn-hangzhou"}, "cn-beijing: access_key", false},
		{"first variable before second", nil, map[string]string{"ALICLOUD_REGION": "cn-hangzhou", "ALIBABA_CLOUD_REGION": "cn-beijing", "ALICLOUD_ACCESS_KEY": "a", "ALICLOUD_SECRET_KEY": "s"}, "cn-hangzhou", false},
		{"unknown key", key("access_key", nil), map[string]string{"ALICLOUD_ACCESS_KEY": "LTAIother"}, "not known before apply: access_key", true},
		{"unknown endpoint", key("endpoints.ecs", nil), nil, "not known before apply: endpoints.ecs", true},
		{"unknown number", key("assume_role.session_expiration", nil), nil, "not known before apply: assume_role.session_expiration", true},
		{"secret alone", map[string]any{"region": "cn-beijing", "secret_key": "s"}, nil, "only one of the two is set", true},
		{"role", key("assume_role.role_arn", "acs:ram::1:role/r"), nil, "role acs:ram::1:role/r, assumed with access_key", false},
		{"role of the environment", key(), map[string]string{"ALICLOUD_ASSUME_ROLE_ARN": "acs:ram::1:role/e"}, "role acs:ram::1:role/e", false},
		{"short session", key("assume_role.role_arn", "acs:ram::1:role/r", "assume_role.session_expiration", 60), nil, "shorter than the 15 minutes", true},
		{"expiration that is no number", key("assume_role.role_arn", "acs:ram::1:role/r"), map[string]string{"ALICLOUD_ASSUME_ROLE_SESSION_EXPIRATION": "soon"}, "is not a number of seconds", true},
		{"OIDC of the environment", map[string]any{"region": "cn-beijing"}, map[string]string{
			"ALIBABA_CLOUD_OIDC_PROVIDER_ARN": "p", "ALIBABA_CLOUD_OIDC_TOKEN_FILE": "/f", "ALIBABA_CLOUD_ROLE_ARN": "acs:ram::1:role/rrsa",
		}, "cn-beijing: role acs:ram::1:role/rrsa, with the OIDC token in /f", false},
		{"keys before OIDC", key(), map[string]string{"ALIBABA_CLOUD_OIDC_PROVIDER_ARN": "p", "ALIBABA_CLOUD_OIDC_TOKEN_FILE": "/f"}, "access_key and secret_key", false},
		{"metadata", map[string]any{"region": "cn-beijing", "ecs_role_name": "r"}, map[string]string{"ALIBABA_CLOUD_ECS_METADATA_DISABLED": "false"}, "RAM role r of this ECS instance", false},
		{"metadata disabled", map[string]any{"region": "cn-beijing", "ecs_role_name": "r"}, nil, "forbids", true},
		{"profile", map[string]any{"region": "cn-beijing", "profile": "p", "shared_credentials_file": "/none"}, nil, `profile "p" is in none of: /none (missing)`, true},
		{"plain http", key("endpoints.ecs", "http://ecs.example.com"), nil, "plain http is for loopback addresses only", true},
		{"the environment's token is of the environment's key", key(), map[string]string{"ALICLOUD_SECURITY_TOKEN": "token\n"}, "access_key and secret_key", false},
		{"token of the environment", map[string]any{"region": "cn-beijing"}, map[string]string{"ALICLOUD_ACCESS_KEY": "a", "ALICLOUD_SECRET_KEY": "s", "ALICLOUD_SECURITY_TOKEN": "token\n"}, "white space", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, s := range cc.CloudEnvironment() {
				t.Setenv(s, "")
			}
			t.Setenv("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			source, err := configured(t, tt.settings)
			got := source
			if err != nil {
				got = err.Error()
			}
			if (err != nil) != tt.fails || !strings.Contains(got, tt.want) {
				t.Errorf("%q (%v), want %q", source, err, tt.want)
			}
		})
	}
}

// TestTwoConfigurationsDoNotMeet: aliases of the provider keep to themselves.
func TestTwoConfigurationsDoNotMeet(t *testing.T) {
	t.Setenv("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")
	one, err := configured(t, map[string]any{"region": "cn-beijing", "access_key": "a", "secret_key": "s"})
	if err != nil {
		t.Fatal(err)
	}
	two, err := configured(t, map[string]any{"region": "cn-hangzhou", "access_key": "a", "secret_key": "s"})
	if err != nil || one == two {
		t.Errorf("%s and %s (%v)", one, two, err)
	}
}
