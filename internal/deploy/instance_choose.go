package deploy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
)

// DefaultImageFamily is Alibaba Cloud Linux 3.2104 LTS 64-bit, the system that
// the tutorial of the confidential inference service asks for.
const DefaultImageFamily = "acs:alibaba_cloud_linux_3_2104_lts_x64"

// The size of a client instance that the tutorial recommends.
const (
	ClientVCPUs     = 2
	ClientMemoryGiB = 4
)

// LatestImage returns the newest image of a family. Families of Alibaba's own
// images are found through the list: DescribeImageFromFamily knows custom
// families only.
func LatestImage(ctx context.Context, c *ecs.Client, family string) (*ecs.Image, error) {
	images, err := c.Images(ctx, ecs.ImageFilter{Family: family})
	if err != nil {
		return nil, explainCloud("Image not found", verb("find the latest image of "+family, err))
	}
	if len(images) == 0 {
		return nil, &Error{
			Summary: "Image not found",
			Err:     fmt.Errorf("find the latest image of %s: the region %s has none", family, c.Region()),
			Remedy:  "Correct image_family, or set image_id.",
		}
	}
	newest := slices.MaxFunc(images, func(a, b ecs.Image) int { return strings.Compare(a.Created, b.Created) })
	return &newest, nil
}

// preferredFamilies are the families that a client instance is chosen from
// first: current, not burstable, and without enclaves, which would be paid for
// in vain.
var preferredFamilies = []string{"ecs.c8i", "ecs.c8a", "ecs.c7", "ecs.c7a", "ecs.c6", "ecs.c6e", "ecs.u1", "ecs.e"}

// ChooseInstanceType returns a type with 2 vCPUs and 4 GiB that the zone has in
// stock and that boots the image: of the preferred families if possible, else
// the first by name.
func ChooseInstanceType(ctx context.Context, c *ecs.Client, zone string, image *ecs.Image) (string, error) {
	fail := func(err error) error {
		return explainCloud("No instance type found", verb("choose an instance type in zone "+zone, err))
	}
	stock, err := c.InStock(ctx, zone, ClientVCPUs, ClientMemoryGiB)
	if err != nil {
		return "", fail(err)
	}
	catalog, err := c.InstanceTypes(ctx, ecs.InstanceTypeFilter{
		MinVCPUs: ClientVCPUs, MaxVCPUs: ClientVCPUs, MinMemory: ClientMemoryGiB, MaxMemory: ClientMemoryGiB, ARM: image.Architecture == "arm64",
	})
	if err != nil {
		return "", fail(err)
	}
	usable := slices.DeleteFunc(catalog, func(t ecs.InstanceType) bool { return !slices.Contains(stock[zone], t.ID) || !boots(image, t) })
	if len(usable) == 0 {
		return "", &Error{
			Summary: "No instance type in stock",
			Err:     fmt.Errorf("choose an instance type in zone %s: none with %d vCPUs and %d GiB that boots %s is in stock", zone, ClientVCPUs, ClientMemoryGiB, image.ID),
			Remedy:  "Set instance_type, or use a vSwitch in another zone; the data source cc_instance_types tells what is in stock where.",
		}
	}
	rank := func(t ecs.InstanceType) int {
		if at := slices.Index(preferredFamilies, t.Family); at >= 0 {
			return at
		}
		return len(preferredFamilies)
	}
	best := slices.MinFunc(usable, func(a, b ecs.InstanceType) int {
		if d := rank(a) - rank(b); d != 0 {
			return d
		}
		return strings.Compare(a.ID, b.ID)
	})
	return best.ID, nil
}

// boots tells whether a type starts an image. Unknown boot modes count as a
// match: the service itself has the last word.
func boots(image *ecs.Image, t ecs.InstanceType) bool {
	if len(t.BootModes) == 0 || image.BootMode == "" || image.BootMode == "UEFI-Preferred" {
		return true
	}
	return slices.Contains(t.BootModes, image.BootMode)
}
