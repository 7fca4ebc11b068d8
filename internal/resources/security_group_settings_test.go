package resources_test

import (
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
)

// TestSecurityGroupResourceGroup moves a group between resource groups, here
// and behind Terraform's back.
func TestSecurityGroupResourceGroup(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{})
	in := func(group string) string { return c.groupConfig(`resource_group_id = "` + group + `"`) }
	expect := func(group string) resource.TestCheckFunc {
		return checkFunc(func() error {
			g, err := c.api.FindSecurityGroup(c.ctx(), c.onlyGroup())
			if err == nil && (g.ResourceGroupID != group || len(g.Tags) != 0) {
				t.Errorf("the group is in %q with tags %v", g.ResourceGroupID, g.Tags)
			}
			return err
		})
	}
	c.accept(
		resource.TestStep{Config: in("rg-one"), Check: expect("rg-one")},
		resource.TestStep{ResourceName: groupAddr, ImportState: true, ImportStateVerify: true, ImportStateVerifyIgnore: []string{"timeouts"}, Config: in("rg-one")},
		resource.TestStep{Config: in("rg-two"), ConfigPlanChecks: action(plancheck.ResourceActionUpdate, groupAddr), Check: expect("rg-two")},
		resource.TestStep{
			PreConfig: func() { c.check(c.api.JoinResourceGroup(c.ctx(), ecs.TagSecurityGroup, c.onlyGroup(), "rg-three")) },
			Config:    in("rg-two"), ConfigPlanChecks: action(plancheck.ResourceActionUpdate, groupAddr), Check: expect("rg-two"),
		},
		// Where it is not configured, it stays where it is.
		resource.TestStep{Config: c.groupConfig(), ConfigPlanChecks: emptyPlan(), Check: expect("rg-two")},
	)
}
