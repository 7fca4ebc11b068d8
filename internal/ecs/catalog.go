package ecs

import (
	"context"
	"strconv"
)

// Zone is a zone of the region.
type Zone struct {
	ID, LocalName  string
	InstanceTypes  []string
	DiskCategories []string
}

// InstanceType is a type of the region's catalog.
type InstanceType struct {
	ID, Family, Architecture string
	VCPUs                    int
	MemoryGiB                float64
	BootModes                []string
}

// InstanceTypeFilter narrows a listing; zero fields do not filter.
type InstanceTypeFilter struct {
	Family           string
	MinVCPUs         int
	MaxVCPUs         int
	MinMemory        float64 // GiB
	MaxMemory        float64
	IDs              []string
	ARM              bool // arm64 instead of x86
	AnyArchitectures bool
}

// Image is an image of the region.
type Image struct {
	ID, Name, Family, Description, OSName, Architecture, BootMode, Created string
	SizeGiB                                                                int
}

// ImageFilter narrows a listing; empty fields do not filter.
type ImageFilter struct{ Owner, Family, ID, Architecture, InstanceType string }

// VSwitch is what an instance needs to know of its vSwitch.
type VSwitch struct{ ID, VpcID, ZoneID, CIDR string }

// Zones lists the zones of the region.
func (c *Client) Zones(ctx context.Context) ([]Zone, error) {
	var out struct {
		Zones struct {
			Zone []struct {
				ZoneID                  text `json:"ZoneId"`
				LocalName               text
				AvailableInstanceTypes  struct{ InstanceTypes []text }
				AvailableDiskCategories struct{ DiskCategories []text }
			}
		}
	}
	if err := c.call(ctx, describeZones, map[string]string{"Verbose": "true", "InstanceChargeType": "PostPaid"}, &out); err != nil {
		return nil, err
	}
	var zones []Zone
	for _, z := range out.Zones.Zone {
		zones = append(zones, Zone{
			ID: string(z.ZoneID), LocalName: string(z.LocalName),
			InstanceTypes: texts(z.AvailableInstanceTypes.InstanceTypes), DiskCategories: texts(z.AvailableDiskCategories.DiskCategories),
		})
	}
	return zones, nil
}

func texts(in []text) []string {
	out := make([]string, len(in))
	for i := range in {
		out[i] = string(in[i])
	}
	return out
}

// InstanceTypes lists the types of the catalog that match, all pages of them,
// whether in stock or not.
func (c *Client) InstanceTypes(ctx context.Context, f InstanceTypeFilter) ([]InstanceType, error) {
	params := map[string]string{}
	set(params, "InstanceTypeFamily", f.Family)
	for _, p := range []struct {
		name  string
		value float64
	}{
		{"MinimumCpuCoreCount", float64(f.MinVCPUs)}, {"MaximumCpuCoreCount", float64(f.MaxVCPUs)},
		{"MinimumMemorySize", f.MinMemory}, {"MaximumMemorySize", f.MaxMemory},
	} {
		if p.value > 0 {
			params[p.name] = strconv.FormatFloat(p.value, 'f', -1, 64)
		}
	}
	list(params, "InstanceTypes", f.IDs)
	if !f.AnyArchitectures {
		params["CpuArchitecture"] = "X86"
		if f.ARM {
			params["CpuArchitecture"] = "ARM"
		}
	}
	type reply struct {
		NextToken     text
		InstanceTypes struct {
			InstanceType []struct {
				InstanceTypeID     text `json:"InstanceTypeId"`
				InstanceTypeFamily text
				CPUArchitecture    text   `json:"CpuArchitecture"`
				CPUCoreCount       number `json:"CpuCoreCount"`
				MemorySize         number
				SupportedBootModes struct{ SupportedBootMode []text }
			}
		}
	}
	var types []InstanceType
	var last *reply
	collect := func() {
		if last == nil {
			return
		}
		for _, t := range last.InstanceTypes.InstanceType {
			types = append(types, InstanceType{
				ID: string(t.InstanceTypeID), Family: string(t.InstanceTypeFamily), Architecture: string(t.CPUArchitecture),
				VCPUs: int(t.CPUCoreCount), MemoryGiB: float64(t.MemorySize), BootModes: texts(t.SupportedBootModes.SupportedBootMode),
			})
		}
	}
	err := c.pages(ctx, describeInstanceTypes, params, func() (any, func() string) {
		collect()
		last = &reply{}
		return last, func() string { return string(last.NextToken) }
	})
	collect()
	return types, err
}

// InStock lists, by zone, the instance types that can be had right now. An
// empty zone asks for all zones, and cores or memory of 0 for any.
func (c *Client) InStock(ctx context.Context, zone string, vcpus int, memoryGiB float64) (map[string][]string, error) {
	params := map[string]string{"DestinationResource": "InstanceType", "InstanceChargeType": "PostPaid", "IoOptimized": "optimized"}
	set(params, "ZoneId", zone)
	if vcpus > 0 {
		params["Cores"] = strconv.Itoa(vcpus)
	}
	if memoryGiB > 0 {
		params["Memory"] = strconv.FormatFloat(memoryGiB, 'f', 6, 64)
	}
	var out struct {
		AvailableZones struct {
			AvailableZone []struct {
				ZoneID             text `json:"ZoneId"`
				AvailableResources struct {
					AvailableResource []struct {
						SupportedResources struct {
							SupportedResource []struct{ Value, Status, StatusCategory text }
						}
					}
				}
			}
		}
	}
	if err := c.call(ctx, describeAvailableResource, params, &out); err != nil {
		return nil, err
	}
	stock := map[string][]string{}
	for _, z := range out.AvailableZones.AvailableZone {
		for _, r := range z.AvailableResources.AvailableResource {
			for _, s := range r.SupportedResources.SupportedResource {
				// ClosedWithStock is on its way out: what is stopped there may
				// not start again.
				if s.Status == "Available" && (s.StatusCategory == "" || s.StatusCategory == "WithStock") {
					stock[string(z.ZoneID)] = append(stock[string(z.ZoneID)], string(s.Value))
				}
			}
		}
	}
	return stock, nil
}

// Images lists the images that match, all pages of them.
func (c *Client) Images(ctx context.Context, f ImageFilter) ([]Image, error) {
	const size = 100
	params := map[string]string{"PageSize": strconv.Itoa(size), "Status": "Available"}
	for _, p := range [][2]string{
		{"ImageOwnerAlias", f.Owner}, {"ImageFamily", f.Family}, {"ImageId", f.ID}, {"Architecture", f.Architecture}, {"InstanceType", f.InstanceType},
	} {
		set(params, p[0], p[1])
	}
	var images []Image
	for page := 1; ; page++ {
		params["PageNumber"] = strconv.Itoa(page)
		var out struct {
			TotalCount number
			Images     struct {
				Image []struct {
					ImageID                                                                   text `json:"ImageId"`
					ImageName, ImageFamily, Description, Architecture, BootMode, CreationTime text
					OSNameEn, OSName                                                          text
					Size                                                                      number
				}
			}
		}
		if err := c.call(ctx, describeImages, params, &out); err != nil {
			return nil, err
		}
		for _, i := range out.Images.Image {
			images = append(images, Image{
				ID: string(i.ImageID), Name: string(i.ImageName), Family: string(i.ImageFamily), Description: string(i.Description),
				OSName: firstOf(i.OSNameEn, i.OSName), Architecture: string(i.Architecture), BootMode: string(i.BootMode),
				Created: string(i.CreationTime), SizeGiB: int(i.Size),
			})
		}
		if len(out.Images.Image) == 0 || len(images) >= int(out.TotalCount) {
			return images, nil
		}
	}
}

// FindVSwitch returns a vSwitch. The service answers for a missing one with a
// success that names none.
func (c *Client) FindVSwitch(ctx context.Context, id string) (*VSwitch, error) {
	var out struct {
		VSwitchID text `json:"VSwitchId"`
		VpcID     text `json:"VpcId"`
		ZoneID    text `json:"ZoneId"`
		CidrBlock text
	}
	err := c.call(ctx, describeVSwitchAttributes, map[string]string{"VSwitchId": id}, &out)
	if err := c.about(describeVSwitchAttributes, "vSwitch", id, err); err != nil {
		return nil, err
	}
	if string(out.VSwitchID) != id {
		return nil, &NotFoundError{Kind: "vSwitch", ID: id, Region: c.region}
	}
	return &VSwitch{ID: id, VpcID: string(out.VpcID), ZoneID: string(out.ZoneID), CIDR: string(out.CidrBlock)}, nil
}
