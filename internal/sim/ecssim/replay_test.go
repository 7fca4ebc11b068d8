package ecssim

import (
	"net/http"
	"strings"
	"testing"
)

// TestReplayOfTheOfficialProvider makes the calls that
// terraform-provider-alicloud 1.290 makes for a VPC, a vSwitch, a group with a
// rule and an instance, in its order, with its mixture of query ("q") and body
// ("f"), and looks at the shapes that it takes for granted.
func TestReplayOfTheOfficialProvider(t *testing.T) {
	c := newCloud(t, Options{})
	q := func(action string, arguments map[string]string) map[string]any {
		t.Helper()
		status, out := c.send(http.MethodPost, signed(action, arguments), nil)
		if status != 200 {
			t.Fatalf("%s: HTTP %d %v", action, status, out)
		}
		return out
	}
	get := func(action string, arguments map[string]string) {
		t.Helper()
		if status, out := c.send(http.MethodGet, signed(action, arguments), nil); status != 200 {
			t.Fatalf("GET %s: HTTP %d %v", action, status, out)
		}
	}
	f := c.ask
	has := func(v any, way ...any) any {
		t.Helper()
		found := at(v, way...)
		if found == nil {
			t.Errorf("%v is missing in %v", way, v)
		}
		return found
	}

	has(f("QueryAvailableInstances", map[string]string{"ProductCode": "ecs"}), "Data", "InstanceList")
	has(q("DescribeAvailableResource", map[string]string{"DestinationResource": "Zone"}), "AvailableZones", "AvailableZone", 0, "ZoneId")
	has(q("DescribeZones", nil), "Zones", "Zone", 0, "AvailableResourceCreation", "ResourceTypes", 0)
	stock := q("DescribeAvailableResource", map[string]string{"DestinationResource": "InstanceType", "Cores": "2", "Memory": "4.000000"})
	has(stock, "AvailableZones", "AvailableZone", 0, "AvailableResources", "AvailableResource", 0, "SupportedResources", "SupportedResource", 0, "Value")
	types := f("DescribeInstanceTypes", nil)
	if has(types, "InstanceTypes", "InstanceType", 0, "InstanceTypeId"); text(types["NextToken"]) != "" {
		t.Error("DescribeInstanceTypes without MaxResults has a NextToken: the provider would loop")
	}
	has(q("DescribeImages", map[string]string{"PageSize": "100"}), "Images", "Image", 0, "CreationTime")
	q("DescribeTags", map[string]string{"ResourceType": "image"})

	vpc := text(f("CreateVpc", map[string]string{"CidrBlock": "172.16.0.0/12", "ClientToken": "TF-CreateVpc-1"})["VpcId"])
	if got := f("DescribeVpcAttribute", map[string]string{"VpcId": vpc}); got["Status"] != "Available" {
		t.Errorf("VPC: %v", got)
	}
	tables := f("DescribeRouteTableList", map[string]string{"VpcId": vpc})
	if has(tables, "RouterTableList", "RouterTableListType", 0, "RouteTableType") != "System" {
		t.Errorf("route tables: %v", tables)
	}
	vswitch := text(f("CreateVSwitch", map[string]string{"VpcId": vpc, "CidrBlock": "172.16.0.0/24", "ZoneId": "cn-beijing-h"})["VSwitchId"])
	f("DescribeVSwitchAttributes", map[string]string{"VSwitchId": vswitch})

	group := text(f("CreateSecurityGroup", map[string]string{"VpcId": vpc, "SecurityGroupName": "tf", "ClientToken": "t"})["SecurityGroupId"])
	has(f("DescribeSecurityGroupAttribute", map[string]string{"SecurityGroupId": group}), "InnerAccessPolicy")
	f("ModifySecurityGroupPolicy", map[string]string{"SecurityGroupId": group, "InnerAccessPolicy": "Drop"})
	has(f("DescribeSecurityGroups", map[string]string{"SecurityGroupId": group}), "SecurityGroups", "SecurityGroup", 0, "Tags", "Tag")
	f("ModifySecurityGroupAttribute", map[string]string{"SecurityGroupId": group, "SecurityGroupName": "tf-2", "Description": "changed"})
	f("TagResources", map[string]string{"ResourceType": "securitygroup", "ResourceId.1": group, "Tag.1.Key": "k", "Tag.1.Value": "v"})
	f("UntagResources", map[string]string{"ResourceType": "securitygroup", "ResourceId.1": group, "TagKey.1": "k"})
	f("JoinResourceGroup", map[string]string{"ResourceId": group, "ResourceGroupId": "rg"})

	rule := map[string]string{"SecurityGroupId": group, "IpProtocol": "tcp", "PortRange": "4433/4433", "SourceCidrIp": "198.51.100.0/24", "NicType": "intranet", "Policy": "accept", "Priority": "1"}
	q("DescribeSecurityGroupAttribute", map[string]string{"SecurityGroupId": group, "Direction": "ingress", "NicType": "<nil>"})
	f("AuthorizeSecurityGroup", map[string]string{"SecurityGroupId": group, "Permissions.1.IpProtocol": "tcp", "Permissions.1.PortRange": "4433/4433", "Permissions.1.SourceCidrIp": "198.51.100.0/24", "Permissions.1.Policy": "accept", "Permissions.1.Priority": "1"})
	described := map[string]string{"Description": "changed"}
	for k, v := range rule {
		described[k] = v
	}
	get("ModifySecurityGroupRule", described)
	get("ModifySecurityGroupRule", described)
	seen := q("DescribeSecurityGroupAttribute", map[string]string{"SecurityGroupId": group, "Direction": "ingress"})
	if has(seen, "Permissions", "Permission", 0, "Description") != "changed" {
		t.Errorf("rule: %v", seen)
	}

	f("ImportKeyPair", map[string]string{"KeyPairName": "laptop", "PublicKeyBody": "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQC7 me"})
	has(f("DescribeKeyPairs", map[string]string{"KeyPairName": "laptop"}), "KeyPairs", "KeyPair", 0, "KeyPairFingerPrint")
	run := f("RunInstances", map[string]string{
		"DryRun": "false", "ImageId": "aliyun_3_x64_20G_alibase_20240819.vhd", "InstanceType": "ecs.c6.large", "SecurityGroupIds.1": group, "VSwitchId": vswitch,
		"SystemDisk.Category": "cloud_essd", "UserData": "IyEvYmluL3No", "ClientToken": strings.Repeat("x", 63), "InternetMaxBandwidthOut": "0",
	})
	id := text(has(run, "InstanceIdSets", "InstanceIdSet", 0))
	one := map[string]string{
		"InstanceIds": `["` + id + `"]`, "AdditionalAttributes.1": "META_OPTIONS", "AdditionalAttributes.2": "DDH_CLUSTER", "AdditionalAttributes.3": "NETWORK_PRIMARY_ENI_IP",
	}
	i := at(q("DescribeInstances", one), "Instances", "Instance", 0)
	for _, way := range [][]any{
		{"VpcAttributes", "VSwitchId"}, {"SecurityGroupIds", "SecurityGroupId", 0}, {"PublicIpAddress", "IpAddress"}, {"OperationLocks", "LockReason"},
		{"MetadataOptions", "HttpTokens"}, {"NetworkInterfaces", "NetworkInterface", 0, "Type"}, {"EipAddress"}, {"Tags", "Tag"},
	} {
		has(i, way...)
	}
	disk := at(f("DescribeDisks", map[string]string{"InstanceId": id, "DiskType": "system"}), "Disks", "Disk", 0)
	if has(disk, "InstanceId") != id {
		t.Errorf("disk: %v", disk)
	}
	if has(q("DescribeUserData", map[string]string{"InstanceId": id}), "UserData") != "IyEvYmluL3No" {
		t.Error("user data changed")
	}
	q("DescribeInstanceRamRole", map[string]string{"InstanceIds": `["` + id + `"]`})
	nic := at(f("DescribeNetworkInterfaces", map[string]string{"InstanceId": id, "Type": "Primary"}), "NetworkInterfaceSets", "NetworkInterfaceSet", 0)
	if has(nic, "PrivateIpSets", "PrivateIpSet", 0, "Primary") != true {
		t.Errorf("network interface: %v", nic)
	}
	has(nic, "Attachment", "InstanceId")
	upkeep := f("DescribeInstanceMaintenanceAttributes", map[string]string{"InstanceId.1": id})
	has(upkeep, "MaintenanceAttributes", "MaintenanceAttribute", 0, "ActionOnMaintenance", "Value")
	if q("DescribeInstanceAttribute", map[string]string{"InstanceId": id})["InstanceId"] != id {
		t.Error("DescribeInstanceAttribute names another instance")
	}
	has(f("DescribeInstanceAttachmentAttributes", map[string]string{"InstanceIds": `["` + id + `"]`}), "Instances", "Instance", 0)

	f("ModifyInstanceAttribute", map[string]string{"InstanceId": id, "InstanceName": "renamed"})
	f("ModifyInstanceAttribute", map[string]string{"InstanceId": id, "UserData": "IyEvYmluL2E="})
	q("StopInstance", map[string]string{"InstanceId": id, "ForceStop": "false", "StoppedMode": "Not-applicable"})
	q("ModifyInstanceSpec", map[string]string{"InstanceId": id, "InstanceType": "ecs.c7.large", "ClientToken": "spec"})
	q("StartInstance", map[string]string{"InstanceId": id})
	q("TagResources", map[string]string{"ResourceType": "instance", "ResourceId.1": id, "Tag.1.Key": "a", "Tag.1.Value": "b"})
	q("UntagResources", map[string]string{"ResourceType": "instance", "ResourceId.1": id, "TagKey.1": "a"})
	q("ModifyInstanceNetworkSpec", map[string]string{"InstanceId": id, "InternetMaxBandwidthOut": "5", "ClientToken": "net"})
	q("AllocatePublicIpAddress", map[string]string{"InstanceId": id})

	f("AttachKeyPair", map[string]string{"KeyPairName": "laptop", "InstanceIds": `["` + id + `"]`})
	has(f("DescribeInstances", one), "Instances", "Instance", 0, "KeyPairName") // the second list of a read is asked for in the body

	q("DeleteInstance", map[string]string{"InstanceId": id, "Force": "true"})
	if n := size(at(q("DescribeInstances", one), "Instances", "Instance")); n != 0 {
		t.Error("the instance is still listed")
	}
	f("DeleteKeyPairs", map[string]string{"KeyPairNames": `["laptop"]`})
	get("RevokeSecurityGroup", described)
	f("DeleteSecurityGroup", map[string]string{"SecurityGroupId": group})
	f("DeleteVSwitch", map[string]string{"VSwitchId": vswitch})
	if got := f("DescribeVSwitchAttributes", map[string]string{"VSwitchId": vswitch}); got["VSwitchId"] != "" {
		t.Errorf("a deleted vSwitch: %v", got)
	}
	f("DeleteVpc", map[string]string{"VpcId": vpc})
	c.refused(404, "InvalidVpcId.NotFound", "DescribeVpcAttribute", map[string]string{"VpcId": vpc})
}

// TestShapes holds answers against the structures of Alibaba's SDK (v1.63.107,
// services/ecs and services/vpc), where they are easily taken for more than
// they are, and looks for null in place of an empty list, on which
// terraform-provider-alicloud fails.
func TestShapes(t *testing.T) {
	c := newCloud(t, Options{})
	vpc, vswitch, group := c.network()
	var nulls func(where string, v any)
	nulls = func(where string, v any) {
		switch v := v.(type) {
		case nil:
			t.Errorf("%s is null", where)
		case map[string]any:
			for k, e := range v {
				nulls(where+"."+k, e)
			}
		case []any:
			for _, e := range v {
				nulls(where+"[]", e)
			}
		}
	}
	describe := func(more map[string]map[string]string) {
		t.Helper()
		for action := range handlers {
			if strings.HasPrefix(action, "Describe") && !strings.HasPrefix(action, "DescribeInvocation") && action != "DescribeSendFileResults" {
				nulls(action, c.ask(action, more[action]))
			}
		}
	}
	needed := map[string]map[string]string{
		"DescribeAvailableResource": {"DestinationResource": "Zone"}, "DescribeSecurityGroupAttribute": {"SecurityGroupId": group}, "DescribeSecurityGroupReferences": {"SecurityGroupId.1": group},
		"DescribeVpcAttribute": {"VpcId": vpc}, "DescribeVSwitchAttributes": {"VSwitchId": vswitch}, "DescribeInstanceRamRole": {"RamRoleName": "none"},
		"DescribeImageFromFamily": {"ImageFamily": "custom"}, "DescribeEndpoints": {"ServiceCode": "ecs", "Id": region},
	}
	metadata, _ := c.ask("CreateKey", nil)["KeyMetadata"].(map[string]any)
	needed["DescribeKey"] = map[string]string{"KeyId": text(metadata["KeyId"])}
	id := c.machine(vswitch, group, map[string]string{"RamRoleName": "one"})
	needed["DescribeUserData"], needed["DescribeInstanceAttribute"] = map[string]string{"InstanceId": id}, map[string]string{"InstanceId": id}
	describe(needed)
	c.ask("DeleteInstance", map[string]string{"InstanceId": id, "Force": "true"})
	c.ask("DeleteSecurityGroup", map[string]string{"SecurityGroupId": group})
	for _, action := range []string{"DescribeInstances", "DescribeSecurityGroups", "DescribeDisks", "DescribeNetworkInterfaces", "DescribeInstanceStatus", "DescribeKeyPairs"} {
		nulls("empty "+action, c.ask(action, nil))
	}

	id = c.machine(vswitch, text(c.ask("CreateSecurityGroup", map[string]string{"VpcId": vpc})["SecurityGroupId"]), map[string]string{"RamRoleName": "one", "KeyPairName": ""})
	attribute := c.ask("DescribeInstanceAttribute", map[string]string{"InstanceId": id})
	for _, absent := range []string{"Tags", "RamRoleName", "DeletionProtection", "KeyPairName", "NetworkInterfaces"} {
		if _, there := attribute[absent]; there {
			t.Errorf("DescribeInstanceAttribute has %s, which the real one does not", absent)
		}
	}
	if attribute["IoOptimized"] != "optimized" {
		t.Errorf("DescribeInstanceAttribute: IoOptimized is %v", attribute["IoOptimized"])
	}
	if one := c.ask("DescribeVpcAttribute", map[string]string{"VpcId": vpc}); one["OwnerId"] != 1000000000000001.0 {
		t.Errorf("DescribeVpcAttribute: OwnerId is %v", one["OwnerId"])
	}
	for _, action := range []string{"DescribeImages", "DescribeKeyPairs", "DescribeInstanceStatus", "DescribeVpcs", "DescribeVSwitches", "DescribeRouteTableList"} {
		if _, there := c.ask(action, nil)["NextToken"]; there {
			t.Errorf("%s has a NextToken, and pages by number", action)
		}
	}
}
