package resources_test

import (
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"

	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
)

func TestInstanceTypes(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{SoldOut: []string{"ecs.c7t.large"}, SoldOutZones: []string{"cn-beijing-i", "cn-beijing-k", "cn-beijing-l"}})
	named := func(id string, vcpus int64, memory float64, modes ...string) knownvalue.Check {
		return knownvalue.ObjectPartial(map[string]knownvalue.Check{
			"id": knownvalue.StringExact(id), "vcpus": knownvalue.Int64Exact(vcpus), "memory_gib": knownvalue.Float64Exact(memory),
			"boot_modes": stringList(modes...), "zone_ids": stringList("cn-beijing-h"),
		})
	}
	c.accept(
		resource.TestStep{Config: c.provider() + `data "cc_instance_types" "t" { family = "ecs.g7t" }`, ConfigStateChecks: outputs("data.cc_instance_types.t", map[string]knownvalue.Check{
			"types": knownvalue.ListExact([]knownvalue.Check{named("ecs.g7t.large", 2, 8, "UEFI"), named("ecs.g7t.xlarge", 4, 16, "UEFI")}),
		})},
		resource.TestStep{Config: c.provider() + `data "cc_instance_types" "t" {
  vcpus        = 2
  memory_gib   = 4
  architecture = "arm64"
  zone_id      = "cn-beijing-h"
}`, ConfigStateChecks: outputs("data.cc_instance_types.t", map[string]knownvalue.Check{"types": knownvalue.ListExact([]knownvalue.Check{named("ecs.c8y.large", 2, 4, "UEFI")})})},
		resource.TestStep{Config: c.provider() + `data "cc_instance_types" "t" { family = "ecs.c7t" }`, ConfigStateChecks: outputs("data.cc_instance_types.t", map[string]knownvalue.Check{"types": knownvalue.ListSizeExact(0)})},
		resource.TestStep{Config: c.provider() + `data "cc_instance_types" "t" {
  family           = "ecs.c7t"
  include_sold_out = true
}`, ConfigStateChecks: outputs("data.cc_instance_types.t", map[string]knownvalue.Check{"types": knownvalue.ListSizeExact(1)})},
	)
	accept(t, resource.TestStep{Config: `data "cc_instance_types" "t" { architecture = "mips" }`, ExpectError: says(`value must be one of "x86_64", "arm64"`)})
}
