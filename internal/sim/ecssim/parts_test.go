package ecssim

import (
	"net/http"
	"testing"
)

func TestDataDisks(t *testing.T) {
	c := newCloud(t, Options{})
	_, vswitch, group := c.network()
	id := c.machine(vswitch, group, map[string]string{"DataDisk.1.Size": "60", "DataDisk.1.Category": "cloud_essd", "DataDisk.2.Size": "80", "DataDisk.2.Category": "cloud_auto", "DataDisk.2.DeleteWithInstance": "false"})
	disks := func(kind string) []any {
		t.Helper()
		all, _ := at(c.ask("DescribeDisks", map[string]string{"InstanceId": id, "DiskType": kind}), "Disks", "Disk").([]any)
		return all
	}
	if len(disks("all")) != 3 || len(disks("system")) != 1 {
		t.Fatalf("%v", disks("all"))
	}
	data := disks("data")
	if len(data) != 2 || at(data[1], "Device") != "/dev/xvdb" || at(data[1], "PerformanceLevel") != "PL1" || at(data[1], "DeleteWithInstance") != true ||
		at(data[0], "Size") != 80.0 || at(data[0], "DeleteWithInstance") != false || at(data[0], "Type") != "data" {
		t.Errorf("%v", data)
	}
	first := text(at(data[1], "DiskId"))
	c.refused(http.StatusNotFound, "InvalidDiskId.NotFound", "AttachDisk", map[string]string{"InstanceId": id, "DiskId": first})
	c.ask("DetachDisk", map[string]string{"InstanceId": id, "DiskId": first})
	c.refused(http.StatusNotFound, "InvalidDiskId.NotFound", "DetachDisk", map[string]string{"InstanceId": id, "DiskId": first})
	if len(disks("data")) != 1 {
		t.Errorf("%v", disks("data"))
	}
	c.ask("AttachDisk", map[string]string{"InstanceId": id, "DiskId": first})
	if data = disks("data"); len(data) != 2 || at(data[0], "Device") != "/dev/xvdb" || at(data[0], "DeleteWithInstance") != false {
		t.Errorf("%v", data)
	}
	for code, arguments := range map[string]map[string]string{
		"InvalidDiskSize.ValueNotSupported":         {"DataDisk.1.Size": "5"},
		"InvalidDataDiskCategory.ValueNotSupported": {"DataDisk.1.Category": "floppy"},
		"InvalidPerformanceLevel.Malformed":         {"DataDisk.1.Category": "cloud_auto", "DataDisk.1.PerformanceLevel": "PL1"},
		"InvalidSpotStrategy":                       {"SpotStrategy": "Cheap"},
		"InvalidSpotPriceLimit":                     {"SpotStrategy": "SpotWithPriceLimit"},
	} {
		arguments["InstanceType"], arguments["VSwitchId"], arguments["SecurityGroupIds.1"], arguments["ImageId"] = "ecs.c7.large", vswitch, group, images[0].ID
		c.refused(http.StatusBadRequest, code, "RunInstances", arguments)
	}
}

func TestReplaceSystemDisk(t *testing.T) {
	c := newCloud(t, Options{})
	_, vswitch, group := c.network()
	id := c.machine(vswitch, group, nil)
	c.refused(http.StatusForbidden, "IncorrectInstanceStatus", "ReplaceSystemDisk", map[string]string{"InstanceId": id, "ImageId": images[0].ID})
	c.ask("StopInstance", map[string]string{"InstanceId": id})
	c.ask("ReplaceSystemDisk", map[string]string{"InstanceId": id, "ImageId": images[0].ID})
	one := at(c.ask("DescribeInstances", map[string]string{"InstanceIds": `["` + id + `"]`}), "Instances", "Instance", 0)
	if at(one, "ImageId") != images[0].ID {
		t.Errorf("%v", one)
	}
}

// TestRoleIsToldByItsOwnCall: the list of instances has no role, and a refusal
// is in the results of a call that succeeds.
func TestRoleIsToldByItsOwnCall(t *testing.T) {
	c := newCloud(t, Options{})
	_, vswitch, group := c.network()
	id := c.machine(vswitch, group, map[string]string{"RamRoleName": "one"})
	ids := map[string]string{"InstanceIds": `["` + id + `"]`}
	one, _ := at(c.ask("DescribeInstances", ids), "Instances", "Instance", 0).(map[string]any)
	if _, told := one["RamRoleName"]; told {
		t.Error("DescribeInstances tells the role, which the real one does not")
	}
	if role := at(c.ask("DescribeInstanceRamRole", ids), "InstanceRamRoleSets", "InstanceRamRoleSet", 0, "RamRoleName"); role != "one" {
		t.Errorf("role %v", role)
	}
	again := c.ask("AttachInstanceRamRole", map[string]string{"InstanceIds": ids["InstanceIds"], "RamRoleName": "two"})
	if again["FailCount"] != 1.0 || at(again, "AttachInstanceRamRoleResults", "AttachInstanceRamRoleResult", 0, "Success") != false {
		t.Errorf("%v", again)
	}
	c.refused(http.StatusBadRequest, "MissingParameter", "DescribeInstanceRamRole", nil)
}

func TestResourceGroups(t *testing.T) {
	c := newCloud(t, Options{})
	_, vswitch, group := c.network()
	id := c.machine(vswitch, group, nil)
	c.ask("JoinResourceGroup", map[string]string{"ResourceType": "instance", "ResourceId": id, "ResourceGroupId": "rg-1"})
	c.ask("JoinResourceGroup", map[string]string{"ResourceId": group, "ResourceGroupId": "rg-2"}) // as Alibaba's provider does
	if got := at(c.ask("DescribeInstances", nil), "Instances", "Instance", 0, "ResourceGroupId"); got != "rg-1" {
		t.Errorf("instance: %v", got)
	}
	if got := at(c.ask("DescribeSecurityGroups", nil), "SecurityGroups", "SecurityGroup", 0, "ResourceGroupId"); got != "rg-2" {
		t.Errorf("group: %v", got)
	}
	c.refused(http.StatusNotFound, "InvalidResourceId.NotFound", "JoinResourceGroup", map[string]string{"ResourceType": "instance", "ResourceId": "i-none", "ResourceGroupId": "rg-1"})
	c.refused(http.StatusBadRequest, "InvalidResourceType.ValueNotSupported", "JoinResourceGroup", map[string]string{"ResourceType": "bucket", "ResourceId": id, "ResourceGroupId": "rg-1"})
}

func TestWhatIsInUseStays(t *testing.T) {
	c := newCloud(t, Options{})
	vpc, vswitch, group := c.network()
	id := c.machine(vswitch, group, nil)
	c.refused(http.StatusBadRequest, "DependencyViolation", "DeleteVSwitch", map[string]string{"VSwitchId": vswitch})
	c.ask("DeleteInstance", map[string]string{"InstanceId": id, "Force": "true"})
	c.ask("DeleteVSwitch", map[string]string{"VSwitchId": vswitch})
	c.refused(http.StatusBadRequest, "DependencyViolation.SecurityGroup", "DeleteVpc", map[string]string{"VpcId": vpc})
	c.ask("DeleteSecurityGroup", map[string]string{"SecurityGroupId": group})
	c.ask("DeleteVpc", map[string]string{"VpcId": vpc})
}
