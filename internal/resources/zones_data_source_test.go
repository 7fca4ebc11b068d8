package resources_test

import (
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
)

func stringList(values ...string) knownvalue.Check {
	var all []knownvalue.Check
	for _, v := range values {
		all = append(all, knownvalue.StringExact(v))
	}
	return knownvalue.ListExact(all)
}

// outputs expects values at paths of a data source.
func outputs(addr string, want map[string]knownvalue.Check) []statecheck.StateCheck {
	var all []statecheck.StateCheck
	for name, check := range want {
		all = append(all, statecheck.ExpectKnownValue(addr, tfjsonpath.New(name), check))
	}
	return all
}

func TestZones(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{SoldOutZones: []string{"cn-beijing-i"}})
	c.accept(
		resource.TestStep{Config: c.provider() + `data "cc_zones" "z" {}`, ConfigStateChecks: outputs("data.cc_zones.z", map[string]knownvalue.Check{
			"ids": stringList("cn-beijing-h", "cn-beijing-i", "cn-beijing-k", "cn-beijing-l"), "id": knownvalue.StringExact("cn-beijing"),
		})},
		resource.TestStep{Config: c.provider() + `data "cc_zones" "z" {
  instance_type = "ecs.g7t.large"
  disk_category = "cloud_essd"
}`, ConfigStateChecks: outputs("data.cc_zones.z", map[string]knownvalue.Check{"ids": stringList("cn-beijing-h", "cn-beijing-k", "cn-beijing-l")})},
		resource.TestStep{Config: c.provider() + `data "cc_zones" "z" { disk_category = "floppy" }`, ConfigStateChecks: outputs("data.cc_zones.z", map[string]knownvalue.Check{"ids": stringList()})},
		resource.TestStep{Config: c.provider("access_key", "LTAInobodyKnowsThisKey") + `data "cc_zones" "z" {}`, ExpectError: says("list zones: call DescribeZones: InvalidAccessKeyId.NotFound")},
	)
}
