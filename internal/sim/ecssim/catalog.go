package ecssim

import (
	"crypto/md5" //nolint:gosec // Key fingerprints of the API are MD5.
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"
)

// regionZones are the regions that the simulator knows, with their zones.
var regionZones = map[string][]string{
	"cn-beijing":     {"cn-beijing-h", "cn-beijing-i", "cn-beijing-k", "cn-beijing-l"},
	"cn-hangzhou":    {"cn-hangzhou-h", "cn-hangzhou-i", "cn-hangzhou-j", "cn-hangzhou-k"},
	"cn-shanghai":    {"cn-shanghai-b", "cn-shanghai-l"},
	"cn-hongkong":    {"cn-hongkong-b", "cn-hongkong-c"},
	"ap-southeast-1": {"ap-southeast-1a", "ap-southeast-1b", "ap-southeast-1c"},
	"eu-central-1":   {"eu-central-1a", "eu-central-1b"},
}

var diskCategories = []string{"cloud_essd", "cloud_essd_entry", "cloud_auto", "cloud_efficiency"}

type typeInfo struct {
	ID, Family string
	Cores      int
	Memory     float64 // GiB
	uefiOnly   bool
	arm        bool
}

// instanceTypes are a small part of the catalog: enough to choose from.
var instanceTypes = []typeInfo{
	{ID: "ecs.t6-c1m2.large", Family: "ecs.t6", Cores: 2, Memory: 4},
	{ID: "ecs.c6.large", Family: "ecs.c6", Cores: 2, Memory: 4},
	{ID: "ecs.c7.large", Family: "ecs.c7", Cores: 2, Memory: 4},
	{ID: "ecs.c7.xlarge", Family: "ecs.c7", Cores: 4, Memory: 8},
	{ID: "ecs.c8i.large", Family: "ecs.c8i", Cores: 2, Memory: 4},
	{ID: "ecs.g7.large", Family: "ecs.g7", Cores: 2, Memory: 8},
	{ID: "ecs.g7.xlarge", Family: "ecs.g7", Cores: 4, Memory: 16},
	{ID: "ecs.c8y.large", Family: "ecs.c8y", Cores: 2, Memory: 4, arm: true, uefiOnly: true},
	{ID: "ecs.c7t.large", Family: "ecs.c7t", Cores: 2, Memory: 4, uefiOnly: true},
	{ID: "ecs.g7t.large", Family: "ecs.g7t", Cores: 2, Memory: 8, uefiOnly: true},
	{ID: "ecs.g7t.xlarge", Family: "ecs.g7t", Cores: 4, Memory: 16, uefiOnly: true},
}

type image struct {
	ID, Family, OSName, BootMode, Arch, Created string
	Size                                        int
}

const linux3 = "acs:alibaba_cloud_linux_3_2104_lts_x64"

// images come newest last, so that taking the first is a mistake that shows.
var images = []image{
	{"aliyun_3_x64_20G_alibase_20240819.vhd", linux3, "Alibaba Cloud Linux  3.2104 LTS 64 bit", "BIOS", "x86_64", "2024-08-26T03:12:46Z", 20},
	{"aliyun_3_x64_20G_alibase_20260513.vhd", linux3, "Alibaba Cloud Linux  3.2104 LTS 64 bit", "BIOS", "x86_64", "2026-05-20T02:41:07Z", 20},
	{"aliyun_3_x64_20G_alibase_20251215.vhd", linux3, "Alibaba Cloud Linux  3.2104 LTS 64 bit", "BIOS", "x86_64", "2025-12-22T08:00:31Z", 20},
	{"aliyun_3_9_x64_20G_uefi_alibase_20231219.vhd", "acs:alibaba_cloud_linux_3_2104_uefi_x64", "Alibaba Cloud Linux  3.2104 LTS 64 bit UEFI", "UEFI", "x86_64", "2023-12-26T06:30:00Z", 20},
	{"aliyun_3_arm64_20G_alibase_20260513.vhd", "acs:alibaba_cloud_linux_3_2104_lts_arm64", "Alibaba Cloud Linux  3.2104 LTS 64 bit ARM", "UEFI", "arm64", "2026-05-20T02:44:00Z", 20},
	{"ubuntu_22_04_x64_20G_alibase_20260501.vhd", "acs:ubuntu_22_04_x64", "Ubuntu  22.04 64 bit", "BIOS", "x86_64", "2026-05-08T01:00:00Z", 20},
}

type keyPair struct {
	Name, Region, Fingerprint string
	Created                   time.Time
	Tags                      map[string]string
}

var catalogActions = map[string]func(*Server, *call) (reply, error){
	"DescribeRegions":           describeRegions,
	"DescribeZones":             describeZones,
	"DescribeInstanceTypes":     describeInstanceTypes,
	"DescribeAvailableResource": describeAvailableResource,
	"DescribeImages":            describeImages,
	"DescribeImageFromFamily":   describeImageFromFamily,
	"ImportKeyPair":             importKeyPair,
	"DescribeKeyPairs":          describeKeyPairs,
	"DeleteKeyPairs":            deleteKeyPairs,
}

func findType(id string) typeInfo {
	for _, t := range instanceTypes {
		if t.ID == id {
			return t
		}
	}
	return typeInfo{}
}

// sellable returns a type that can be had in a zone now.
func (s *Server) sellable(id, zone string) (typeInfo, error) {
	t := findType(id)
	switch {
	case t.ID == "":
		return t, refuse(http.StatusBadRequest, "InvalidInstanceType.ValueNotSupported", "The specified InstanceType is not supported.")
	case s.soldOut(id, zone):
		return t, refuse(http.StatusForbidden, "OperationDenied.NoStock", "The resource is out of stock in the specified zone. Try other types, or choose other regions and zones.")
	}
	return t, nil
}

func (s *Server) soldOut(id, zone string) bool {
	return slices.Contains(s.opts.SoldOut, id) || slices.Contains(s.opts.SoldOutZones, zone)
}

func describeRegions(*Server, *call) (reply, error) {
	var all []reply
	for _, id := range sortedKeys(regionZones) {
		all = append(all, reply{"RegionId": id, "LocalName": id, "RegionEndpoint": "ecs." + id + ".aliyuncs.com", "Status": "available"})
	}
	return reply{"Regions": reply{"Region": all}}, nil
}

func sortedKeys[T any](m map[string]T) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func describeZones(s *Server, c *call) (reply, error) {
	if err := c.needRegion(); err != nil {
		return nil, err
	}
	var all []reply
	for _, zone := range regionZones[c.region] {
		var types []string
		for _, t := range instanceTypes {
			if !s.soldOut(t.ID, zone) {
				types = append(types, t.ID)
			}
		}
		all = append(all, reply{
			"ZoneId": zone, "LocalName": "Zone " + zone, "ZoneType": "AvailabilityZone",
			"AvailableResourceCreation": reply{"ResourceTypes": []string{"VSwitch", "IoOptimized", "Instance", "DedicatedHost", "Disk"}},
			"AvailableDiskCategories":   reply{"DiskCategories": diskCategories}, "AvailableInstanceTypes": reply{"InstanceTypes": types},
			"AvailableDedicatedHostTypes": reply{"DedicatedHostType": []string{}}, "AvailableResources": reply{"ResourcesInfo": []reply{}},
			"DedicatedHostGenerations": reply{"DedicatedHostGeneration": []string{}}, "AvailableVolumeCategories": reply{"VolumeCategories": []string{}},
		})
	}
	return reply{"Zones": reply{"Zone": all}}, nil
}

func describeInstanceTypes(_ *Server, c *call) (reply, error) {
	ids, err := c.list("InstanceTypes")
	if err != nil {
		return nil, err
	}
	bound := func(name string, value float64, low bool) bool {
		limit := jsonNumber(c.params[name])
		return limit == 0 || low && value >= limit || !low && value <= limit
	}
	var all []reply
	for _, t := range instanceTypes {
		arch := map[bool]string{true: "ARM", false: "X86"}[t.arm]
		if !matches(ids, t.ID) || !fits(c.params, "InstanceTypeFamily", t.Family) || !fits(c.params, "CpuArchitecture", arch) ||
			!bound("MinimumCpuCoreCount", float64(t.Cores), true) || !bound("MaximumCpuCoreCount", float64(t.Cores), false) ||
			!bound("MinimumMemorySize", t.Memory, true) || !bound("MaximumMemorySize", t.Memory, false) {
			continue
		}
		modes := []string{"BIOS", "UEFI"}
		if t.uefiOnly {
			modes = modes[1:]
		}
		all = append(all, reply{
			"InstanceTypeId": t.ID, "InstanceTypeFamily": t.Family, "CpuCoreCount": t.Cores, "MemorySize": t.Memory, "CpuArchitecture": arch,
			"InstanceFamilyLevel": "EnterpriseLevel", "InstanceCategory": "Compute-optimized", "Generation": "ecs-5", "EniQuantity": 3, "GPUAmount": 0, "GPUSpec": "",
			"SupportedBootModes": reply{"SupportedBootMode": modes}, "EniPrivateIpAddressQuantity": 6, "LocalStorageCategory": "", "NvmeSupport": "supported",
		})
	}
	// Without MaxResults the answer has every type, and no token.
	if c.params["MaxResults"] == "" {
		return reply{"InstanceTypes": reply{"InstanceType": all}, "NextToken": ""}, nil
	}
	part, meta, err := page(c.params, all, 100)
	if err != nil {
		return nil, err
	}
	return reply{"InstanceTypes": reply{"InstanceType": part}, "NextToken": meta["NextToken"]}, nil
}

func describeAvailableResource(s *Server, c *call) (reply, error) {
	if err := c.need("DestinationResource"); err != nil {
		return nil, err
	}
	if err := c.needRegion(); err != nil {
		return nil, err
	}
	destination := c.params["DestinationResource"]
	cores, memory := jsonNumber(c.params["Cores"]), jsonNumber(c.params["Memory"])
	var zones []reply
	for _, zone := range regionZones[c.region] {
		if !fits(c.params, "ZoneId", zone) {
			continue
		}
		values := []reply{}
		add := func(value string, sold bool) {
			state, category := "Available", "WithStock"
			if sold {
				state, category = "SoldOut", "WithoutStock"
			}
			values = append(values, reply{"Value": value, "Status": state, "StatusCategory": category, "Min": 20, "Max": 2048, "Unit": "GiB"})
		}
		switch destination {
		case "InstanceType", "Zone":
			for _, t := range instanceTypes {
				if (cores == 0 || cores == float64(t.Cores)) && (memory == 0 || memory == t.Memory) && fits(c.params, "InstanceType", t.ID) {
					add(t.ID, s.soldOut(t.ID, zone))
				}
			}
		case "SystemDisk", "DataDisk":
			for _, d := range diskCategories {
				add(d, false)
			}
		default:
			return nil, refuse(http.StatusBadRequest, "InvalidDestinationResource.ValueNotSupported", "The specified DestinationResource is not supported.")
		}
		kind := destination
		if kind == "Zone" {
			kind = "InstanceType"
		}
		state := map[bool]string{true: "SoldOut", false: "Available"}[slices.Contains(s.opts.SoldOutZones, zone)]
		zones = append(zones, reply{
			"RegionId": c.region, "ZoneId": zone, "Status": state, "StatusCategory": map[string]string{"SoldOut": "WithoutStock", "Available": "WithStock"}[state],
			"AvailableResources": reply{"AvailableResource": []reply{{"Type": kind, "SupportedResources": reply{"SupportedResource": values}}}},
		})
	}
	return reply{"AvailableZones": reply{"AvailableZone": zones}}, nil
}

func findImage(id string) (image, error) {
	for _, i := range images {
		if i.ID == id {
			return i, nil
		}
	}
	return image{}, refuse(http.StatusNotFound, "InvalidImageId.NotFound", "The specified ImageId does not exist.")
}

func (i image) reply() reply {
	return reply{
		"ImageId": i.ID, "ImageName": i.ID, "ImageFamily": i.Family, "OSName": i.OSName, "OSNameEn": i.OSName, "OSType": "linux", "Platform": "Aliyun",
		"Architecture": i.Arch, "BootMode": i.BootMode, "Size": i.Size, "CreationTime": i.Created, "Status": "Available", "ImageOwnerAlias": "system",
		"IsSupportCloudinit": true, "IsSupportIoOptimized": true, "LoginAsNonRootSupported": true, "Description": "Kernel version is 5.10", "Progress": "100%",
		"Usage": "none", "IsSelfShared": "", "IsSubscribed": false, "IsCopied": false, "ProductCode": "", "ResourceGroupId": "", "ImageVersion": "",
		"DiskDeviceMappings": reply{"DiskDeviceMapping": []reply{}}, "Tags": tagReply(nil, "TagKey", "TagValue"),
	}
}

func describeImages(_ *Server, c *call) (reply, error) {
	if err := c.needRegion(); err != nil {
		return nil, err
	}
	ids := strings.FieldsFunc(c.params["ImageId"], func(r rune) bool { return r == ',' })
	uefi := findType(c.params["InstanceType"]).uefiOnly
	var all []reply
	for _, i := range images {
		if matches(ids, i.ID) && fits(c.params, "ImageFamily", i.Family) && fits(c.params, "Architecture", i.Arch) && fits(c.params, "ImageOwnerAlias", "system") &&
			fits(c.params, "OSType", "linux") && (!uefi || i.BootMode != "BIOS") {
			all = append(all, i.reply())
		}
	}
	part, meta, err := page(c.params, all, 100)
	if err != nil {
		return nil, err
	}
	if part == nil {
		part = []reply{}
	}
	delete(meta, "NextToken") // by page number alone
	meta["Images"] = reply{"Image": part}
	meta["RegionId"] = c.region
	return meta, nil
}

// describeImageFromFamily knows custom families only, and there are none.
func describeImageFromFamily(_ *Server, c *call) (reply, error) {
	if strings.HasPrefix(c.params["ImageFamily"], "acs:") {
		return nil, refuse(http.StatusBadRequest, "InvalidImageFamily.NotFound", "The specified ImageFamily is not a custom one.")
	}
	return reply{}, nil
}

func importKeyPair(s *Server, c *call) (reply, error) {
	if err := c.need("KeyPairName", "PublicKeyBody"); err != nil {
		return nil, err
	}
	name := c.params["KeyPairName"]
	if s.state.KeyPairs[c.region+" "+name] != nil {
		return nil, refuse(http.StatusBadRequest, "KeyPair.AlreadyExist", "The specified key pair name already exists.")
	}
	fields := strings.Fields(c.params["PublicKeyBody"])
	if len(fields) < 2 {
		return nil, refuse(http.StatusBadRequest, "InvalidPublicKeyBody.Malformed", "The specified parameter PublicKeyBody is not valid.")
	}
	raw, err := base64.StdEncoding.DecodeString(fields[1])
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "InvalidPublicKeyBody.Malformed", "The specified parameter PublicKeyBody is not valid.")
	}
	sum := md5.Sum(raw) //nolint:gosec // As above.
	k := &keyPair{Name: name, Region: c.region, Fingerprint: hex.EncodeToString(sum[:]), Created: c.now, Tags: tagsOf(c.params)}
	s.state.KeyPairs[c.region+" "+name] = k
	return reply{"KeyPairName": name, "KeyPairFingerPrint": k.Fingerprint}, nil
}

func describeKeyPairs(s *Server, c *call) (reply, error) {
	var all []reply
	for _, k := range sorted(s.state.KeyPairs) {
		if k.Region == c.region && fits(c.params, "KeyPairName", k.Name) {
			all = append(all, reply{
				"KeyPairName": k.Name, "KeyPairFingerPrint": k.Fingerprint, "CreationTime": k.Created.UTC().Format(timestampFormat),
				"ResourceGroupId": "", "Tags": tagReply(k.Tags, "TagKey", "TagValue"),
			})
		}
	}
	part, meta, err := page(c.params, all, 50)
	if err != nil {
		return nil, err
	}
	delete(meta, "NextToken") // by page number alone
	meta["KeyPairs"] = reply{"KeyPair": part}
	return meta, nil
}

func deleteKeyPairs(s *Server, c *call) (reply, error) {
	names, err := c.list("KeyPairNames")
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		delete(s.state.KeyPairs, c.region+" "+n)
	}
	return reply{}, nil
}
