package resources_test

import (
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	cc "github.com/ccctl/terraform-provider-cc/internal/provider"
	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
)

// importByIdentity asks the provider's protocol server what Terraform 1.12 and
// newer ask: to import the resource with an identity.
func (c *cloud) importByIdentity(kind, region, id string) (state map[string]tftypes.Value, problems string) {
	c.t.Helper()
	ctx := c.ctx()
	server, err := providerserver.NewProtocol6WithError(cc.New("test", cc.WithPace(brisk))())()
	c.check(err)
	c.setEnvironment()
	schemas, err := server.GetProviderSchema(ctx, &tfprotov6.GetProviderSchemaRequest{})
	c.check(err)
	providerType := schemas.Provider.ValueType()
	empty := map[string]tftypes.Value{}
	object, ok := providerType.(tftypes.Object)
	if !ok {
		c.t.Fatal("the provider's configuration is no object")
	}
	for name, t := range object.AttributeTypes {
		empty[name] = tftypes.NewValue(t, nil)
	}
	config, err := tfprotov6.NewDynamicValue(providerType, tftypes.NewValue(providerType, empty))
	c.check(err)
	configured, err := server.ConfigureProvider(ctx, &tfprotov6.ConfigureProviderRequest{Config: &config, TerraformVersion: "1.12.0"})
	c.check(err)
	for _, d := range configured.Diagnostics {
		c.t.Fatalf("%s: %s", d.Summary, d.Detail)
	}
	identityType := tftypes.Object{AttributeTypes: map[string]tftypes.Type{"region": tftypes.String, "id": tftypes.String}}
	identity, err := tfprotov6.NewDynamicValue(identityType, tftypes.NewValue(identityType, map[string]tftypes.Value{
		"region": tftypes.NewValue(tftypes.String, region), "id": tftypes.NewValue(tftypes.String, id),
	}))
	c.check(err)
	resp, err := server.ImportResourceState(ctx, &tfprotov6.ImportResourceStateRequest{TypeName: kind, Identity: &tfprotov6.ResourceIdentityData{IdentityData: &identity}})
	c.check(err)
	var all []string
	for _, d := range resp.Diagnostics {
		all = append(all, d.Summary+": "+d.Detail)
	}
	if len(resp.ImportedResources) != 1 {
		return nil, strings.Join(all, "\n")
	}
	imported := resp.ImportedResources[0]
	value, err := imported.State.Unmarshal(schemas.ResourceSchemas[kind].ValueType())
	c.check(err)
	c.check(value.As(&state))
	if imported.Identity == nil {
		c.t.Errorf("the imported %s has no identity", kind)
	}
	return state, strings.Join(all, "\n")
}

// TestImportByIdentity does by hand what the Terraform here is too old to do.
func TestImportByIdentity(t *testing.T) {
	c := newCloud(t, ecssim.Options{})
	group := c.do("CreateSecurityGroup", "SecurityGroupId", map[string]string{"VpcId": c.vpc, "SecurityGroupName": "by-hand"})
	state, problems := c.importByIdentity("cc_security_group", "cn-beijing", group)
	if problems != "" || !state["id"].Equal(tftypes.NewValue(tftypes.String, group)) || !state["name"].Equal(tftypes.NewValue(tftypes.String, "by-hand")) {
		t.Errorf("imported %v %s", state, problems)
	}
	for _, tt := range []struct{ kind, region, id, want string }{
		{"cc_security_group", "cn-hangzhou", group, "it is in region cn-hangzhou, and the provider is configured for cn-beijing"},
		{"cc_security_group", "cn-beijing", "sg-none", "it does not exist in region cn-beijing"},
		{"cc_client_instance", "cn-beijing", group, `its id starts with "i-"`},
		{"cc_client_instance", "cn-beijing", "i-none", "it does not exist in region cn-beijing"},
	} {
		if _, problems := c.importByIdentity(tt.kind, tt.region, tt.id); !strings.Contains(problems, tt.want) {
			t.Errorf("%s %s in %s: %q, want %q", tt.kind, tt.id, tt.region, problems, tt.want)
		}
	}
}
