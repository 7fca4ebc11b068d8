package ecssim

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
)

// What belongs to an instance: disks, price, role, resource group.

var partActions = map[string]func(*Server, *call) (reply, error){
	"DescribeDisks":           describeDisks,
	"AttachDisk":              attachDisk,
	"DetachDisk":              detachDisk,
	"ReplaceSystemDisk":       replaceSystemDisk,
	"DescribeInstanceRamRole": describeInstanceRAMRole,
	"AttachInstanceRamRole":   attachInstanceRAMRole,
	"DetachInstanceRamRole":   detachInstanceRAMRole,
	"JoinResourceGroup":       joinResourceGroup,
}

// maxDataDisks is how many data disks an instance may have.
const maxDataDisks = 16

// dataDisks reads DataDisk.N of RunInstances.
func (c *call) dataDisks() ([]disk, error) {
	asked := c.structs("DataDisk")
	if len(asked) > maxDataDisks {
		return nil, refuse(http.StatusBadRequest, "InvalidDataDisk.LimitExceed", "The number of data disks exceeds %d.", maxDataDisks)
	}
	var out []disk
	for n, p := range asked {
		size, err := p.int("Size", 40, 20, 32768)
		if err != nil {
			return nil, refuse(http.StatusBadRequest, "InvalidDiskSize.ValueNotSupported", "The specified DataDisk.%d.Size is not valid.", n+1)
		}
		d := disk{Category: p["Category"], Level: p["PerformanceLevel"], Name: p["DiskName"], Size: size, Device: "/dev/xvd" + string(rune('b'+n)), Kept: p["DeleteWithInstance"] == "false"}
		if d.Category == "" {
			d.Category = "cloud_efficiency"
		}
		if !slices.Contains(diskCategories, d.Category) {
			return nil, refuse(http.StatusBadRequest, "InvalidDataDiskCategory.ValueNotSupported", "The specified parameter DataDisk.%d.Category is not valid.", n+1)
		}
		if d.Category != "cloud_essd" && d.Level != "" {
			return nil, refuse(http.StatusBadRequest, "InvalidPerformanceLevel.Malformed", "The specified parameter DataDisk.%d.PerformanceLevel is not valid for the category.", n+1)
		}
		if d.Category == "cloud_essd" && d.Level == "" {
			d.Level = "PL1"
		}
		out = append(out, d)
	}
	return out, nil
}

// spot reads how the price of RunInstances is made.
func (c *call) spot() (strategy string, limit float64, err error) {
	strategy = c.params["SpotStrategy"]
	if strategy == "" {
		strategy = "NoSpot"
	}
	if !slices.Contains([]string{"NoSpot", "SpotAsPriceGo", "SpotWithPriceLimit"}, strategy) {
		return "", 0, refuse(http.StatusBadRequest, "InvalidSpotStrategy", "The strategy of spot instance is invalid.")
	}
	if v := c.params["SpotPriceLimit"]; v != "" {
		if limit, err = strconv.ParseFloat(v, 64); err != nil || limit <= 0 {
			return "", 0, refuse(http.StatusBadRequest, "InvalidSpotPriceLimit", "The specified parameter SpotPriceLimit is not valid.")
		}
	}
	if (limit > 0) != (strategy == "SpotWithPriceLimit") {
		return "", 0, refuse(http.StatusBadRequest, "InvalidSpotPriceLimit", "SpotPriceLimit is for SpotWithPriceLimit, which needs it.")
	}
	return strategy, limit, nil
}

func describeDisks(s *Server, c *call) (reply, error) {
	var all []reply
	kind := c.params["DiskType"]
	for _, i := range s.instances(c) {
		if !i.listed(c.now) || !fits(c.params, "InstanceId", i.ID) {
			continue
		}
		// In no order that a client could rely on: the newest first.
		for n := len(i.DataDisks) - 1; n >= 0 && kind != "system"; n-- {
			all = append(all, diskReply(i, i.DataDisks[n], "data"))
		}
		if kind != "data" {
			system := i.Disk
			system.Device = "/dev/xvda"
			all = append(all, diskReply(i, system, "system"))
		}
	}
	part, meta, err := page(c.params, all, 100)
	if err != nil {
		return nil, err
	}
	meta["Disks"] = reply{"Disk": part}
	return meta, nil
}

func diskReply(i *instance, d disk, kind string) reply {
	image := ""
	if kind == "system" {
		image = i.ImageID
	}
	return reply{
		"DiskId": d.ID, "DiskName": d.Name, "InstanceId": i.ID, "Category": d.Category, "PerformanceLevel": d.Level, "Size": d.Size,
		"Type": kind, "Status": "In_use", "Device": d.Device, "RegionId": i.Region, "ZoneId": i.ZoneID, "Encrypted": false, "KMSKeyId": "",
		"ImageId": image, "DeleteWithInstance": !d.Kept, "Portable": kind == "data", "Description": "", "Tags": tagReply(nil, "TagKey", "TagValue"),
		"EnableAutoSnapshot": false, "AutoSnapshotPolicyId": "", "StorageSetId": "", "ProvisionedIops": 0, "BurstingEnabled": false,
	}
}

// detachDisk takes a data disk off an instance; it stays in the account.
func detachDisk(s *Server, c *call) (reply, error) {
	i, err := s.instance(c, c.params["InstanceId"])
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(i.DataDisks, func(d disk) bool { return d.ID == c.params["DiskId"] })
	if at < 0 {
		return nil, refuse(http.StatusNotFound, "InvalidDiskId.NotFound", "The specified disk is not a data disk of the instance.")
	}
	d := i.DataDisks[at]
	s.state.Disks[d.ID] = &d
	i.DataDisks = slices.Delete(slices.Clone(i.DataDisks), at, at+1)
	return reply{}, nil
}

// attachDisk puts a disk that was detached on an instance.
func attachDisk(s *Server, c *call) (reply, error) {
	i, err := s.instance(c, c.params["InstanceId"])
	if err != nil {
		return nil, err
	}
	d := s.state.Disks[c.params["DiskId"]]
	if d == nil {
		return nil, refuse(http.StatusNotFound, "InvalidDiskId.NotFound", "The specified disk does not exist, or is not detached.")
	}
	free := 'b'
	for slices.ContainsFunc(i.DataDisks, func(o disk) bool { return o.Device == "/dev/xvd"+string(free) }) {
		free++
	}
	d.Device, d.Kept = "/dev/xvd"+string(free), c.params["DeleteWithInstance"] != "true"
	i.DataDisks = append(slices.Clone(i.DataDisks), *d)
	delete(s.state.Disks, d.ID)
	return reply{}, nil
}

// replaceSystemDisk gives a stopped instance another image: what was on its
// disk is lost, and the instance keeps its id.
func replaceSystemDisk(s *Server, c *call) (reply, error) {
	i, err := s.instance(c, c.params["InstanceId"])
	if err != nil {
		return nil, err
	}
	img, err := findImage(c.params["ImageId"])
	if err != nil {
		return nil, err
	}
	if i.Status != "Stopped" {
		return nil, wrongStatus()
	}
	i.ImageID, i.Disk.ID = img.ID, s.state.id("d")
	return reply{"DiskId": i.Disk.ID}, nil
}

func describeInstanceRAMRole(s *Server, c *call) (reply, error) {
	ids, err := c.list("InstanceIds")
	if err != nil {
		return nil, err
	}
	if len(ids) == 0 && c.params["RamRoleName"] == "" {
		return nil, refuse(http.StatusBadRequest, "MissingParameter", "InstanceIds or RamRoleName is needed.")
	}
	sets := []reply{}
	for _, i := range s.instances(c) {
		if matches(ids, i.ID) && fits(c.params, "RamRoleName", i.RAMRole) {
			sets = append(sets, reply{"InstanceId": i.ID, "RamRoleName": i.RAMRole})
		}
	}
	return reply{"RegionId": c.region, "TotalCount": len(sets), "InstanceRamRoleSets": reply{"InstanceRamRoleSet": sets}}, nil
}

func attachInstanceRAMRole(s *Server, c *call) (reply, error) {
	return s.setRole(c, "Attach", func(i *instance, role string) *apiError {
		if i.RAMRole != "" {
			return refuse(http.StatusForbidden, "InvalidInstance.AlreadyAttached", "The instance has a role already.")
		}
		i.RAMRole = role
		return nil
	})
}

func detachInstanceRAMRole(s *Server, c *call) (reply, error) {
	return s.setRole(c, "Detach", func(i *instance, role string) *apiError {
		if i.RAMRole == "" || (role != "" && role != i.RAMRole) {
			return refuse(http.StatusForbidden, "RelationNotExist.Ram_Instance", "The instance does not have the role.")
		}
		i.RAMRole = ""
		return nil
	})
}

// setRole changes the role of each instance named. The call is a success even
// if an instance refuses, which its own result says.
func (s *Server) setRole(c *call, verb string, change func(*instance, string) *apiError) (reply, error) {
	ids, err := c.list("InstanceIds")
	if err != nil {
		return nil, err
	}
	role := c.params["RamRoleName"]
	if len(ids) == 0 || (verb == "Attach" && role == "") {
		return nil, refuse(http.StatusBadRequest, "MissingParameter", "InstanceIds and RamRoleName are needed.")
	}
	results, failed := []reply{}, 0
	for _, id := range ids {
		i, err := s.instance(c, id)
		if err != nil {
			return nil, err
		}
		result := reply{"InstanceId": id, "Code": "200", "Message": "Success", "Success": true}
		if refusal := change(i, role); refusal != nil {
			result["Code"], result["Message"], result["Success"] = refusal.code, refusal.message, false
			failed++
		}
		results = append(results, result)
	}
	return reply{
		"RamRoleName": role, "TotalCount": len(ids), "FailCount": failed,
		verb + "InstanceRamRoleResults": reply{verb + "InstanceRamRoleResult": results},
	}, nil
}

func joinResourceGroup(s *Server, c *call) (reply, error) {
	if err := c.need("ResourceId", "ResourceGroupId"); err != nil {
		return nil, err
	}
	id, group := c.params["ResourceId"], c.params["ResourceGroupId"]
	switch kind := c.params["ResourceType"]; kind {
	case "instance":
		i, err := s.instance(c, id)
		if err != nil {
			return nil, refuse(http.StatusNotFound, "InvalidResourceId.NotFound", "The specified ResourceId is not found.")
		}
		i.ResourceGroup = group
	case "securitygroup", "": // Alibaba's provider names no type for a group
		g, err := s.group(c, id)
		if err != nil {
			return nil, refuse(http.StatusNotFound, "InvalidResourceId.NotFound", "The specified ResourceId is not found.")
		}
		g.ResourceGroup = group
	default:
		return nil, refuse(http.StatusBadRequest, "InvalidResourceType.ValueNotSupported", "%s", fmt.Sprintf("The specified ResourceType %q is not supported.", kind))
	}
	return reply{}, nil
}
