package resources_test

import (
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"

	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
)

func TestImages(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{})
	id := func(s string) knownvalue.Check {
		return knownvalue.ObjectPartial(map[string]knownvalue.Check{"id": knownvalue.StringExact(s), "size_gib": knownvalue.Int64Exact(20)})
	}
	c.accept(
		resource.TestStep{Config: c.provider() + `data "cc_images" "i" {}`, ConfigStateChecks: outputs("data.cc_images.i", map[string]knownvalue.Check{
			"images": knownvalue.ListExact([]knownvalue.Check{ // newest first
				id("aliyun_3_x64_20G_alibase_20260513.vhd"), id("aliyun_3_x64_20G_alibase_20251215.vhd"), id("aliyun_3_x64_20G_alibase_20240819.vhd"),
			}),
		})},
		resource.TestStep{Config: c.provider() + `data "cc_images" "i" {
  family        = ""
  boot_mode     = "UEFI"
  instance_type = "ecs.g7t.large"
}`, ConfigStateChecks: outputs("data.cc_images.i", map[string]knownvalue.Check{"images": knownvalue.ListSizeExact(2)})},
		resource.TestStep{Config: c.provider() + `data "cc_images" "i" { owner = "self" }`, ConfigStateChecks: outputs("data.cc_images.i", map[string]knownvalue.Check{"images": knownvalue.ListSizeExact(0)})},
	)
	accept(t, resource.TestStep{Config: `data "cc_images" "i" { owner = "nobody" }`, ExpectError: says(`value must be one of "system"`)})
}
