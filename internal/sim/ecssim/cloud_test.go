package ecssim

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestRules(t *testing.T) {
	c := newCloud(t, Options{})
	_, _, group := c.network()
	add := func(arguments map[string]string) {
		t.Helper()
		arguments["SecurityGroupId"] = group
		c.ask("AuthorizeSecurityGroup", arguments)
	}
	rules := func() []any {
		t.Helper()
		l, _ := at(c.ask("DescribeSecurityGroupAttribute", map[string]string{"SecurityGroupId": group, "Direction": "ingress", "NicType": "<nil>"}), "Permissions", "Permission").([]any)
		return l
	}
	add(map[string]string{"Permissions.1.IpProtocol": "tcp", "Permissions.1.PortRange": "4433/4433", "Permissions.1.SourceCidrIp": "198.51.100.7/24", "Permissions.1.Policy": "accept"})
	add(map[string]string{"IpProtocol": "TCP", "PortRange": "22/22", "SourceCidrIp": "203.0.113.9", "Priority": "5", "Description": "flat"})
	add(map[string]string{"IpProtocol": "icmpv6", "PortRange": "-1/-1", "Ipv6SourceCidrIp": "2001:db8::1/64"})
	got := rules()
	if len(got) != 3 {
		t.Fatalf("%d rules: %v", len(got), got)
	}
	for i, want := range []map[string]any{
		{"IpProtocol": "TCP", "Policy": "Accept", "PortRange": "4433/4433", "SourceCidrIp": "198.51.100.0/24", "Priority": 1.0, "NicType": "intranet", "Direction": "ingress"},
		{"SourceCidrIp": "203.0.113.9/32", "Priority": 5.0, "Description": "flat"},
		{"IpProtocol": "ICMPV6", "Ipv6SourceCidrIp": "2001:db8::/64", "SourceCidrIp": ""},
	} {
		for k, v := range want {
			if at(got[i], k) != v {
				t.Errorf("rule %d: %s is %v, want %v", i, k, at(got[i], k), v)
			}
		}
		if !strings.HasPrefix(text(at(got[i], "SecurityGroupRuleId")), "sgr-") {
			t.Errorf("rule %d has no id: %v", i, got[i])
		}
	}
	// Adding a rule that exists succeeds and adds nothing; so does removing
	// one that does not.
	add(map[string]string{"IpProtocol": "tcp", "PortRange": "4433/4433", "SourceCidrIp": "198.51.100.0/24", "Description": "mine too"})
	if got := rules(); len(got) != 3 || at(got[0], "Description") != "" {
		t.Errorf("after adding a rule again: %v", got)
	}
	c.ask("RevokeSecurityGroup", map[string]string{"SecurityGroupId": group, "IpProtocol": "udp", "PortRange": "1/1", "SourceCidrIp": "0.0.0.0/0"})
	c.ask("RevokeSecurityGroup", map[string]string{"SecurityGroupId": group, "SecurityGroupRuleId.1": text(at(got[1], "SecurityGroupRuleId"))})
	if got := rules(); len(got) != 2 {
		t.Errorf("after removing one: %v", got)
	}
	c.ask("ModifySecurityGroupRule", map[string]string{"SecurityGroupId": group, "SecurityGroupRuleId": text(at(got[0], "SecurityGroupRuleId")), "SourceCidrIp": "192.0.2.0/24", "Description": "changed"})
	if got := rules(); at(got[0], "SourceCidrIp") != "192.0.2.0/24" || at(got[0], "Description") != "changed" || at(got[0], "PortRange") != "4433/4433" {
		t.Errorf("after changing one: %v", got[0])
	}
	for _, tt := range []struct {
		status    int
		code      string
		arguments map[string]string
	}{
		{400, "MissingParameter", map[string]string{"PortRange": "1/1"}},
		{400, "InvalidIpProtocol.ValueNotSupported", map[string]string{"IpProtocol": "sctp", "PortRange": "1/1"}},
		{400, "InvalidPortRange.Malformed", map[string]string{"IpProtocol": "tcp", "PortRange": "4433"}},
		{400, "InvalidPortRange.Malformed", map[string]string{"IpProtocol": "tcp", "PortRange": "-1/-1"}},
		{400, "InvalidPortRange.Malformed", map[string]string{"IpProtocol": "tcp", "PortRange": "9/8"}},
		{400, "InvalidPortRange.Malformed", map[string]string{"IpProtocol": "icmp", "PortRange": "1/2"}},
		{400, "MissingParameter.Source", map[string]string{"IpProtocol": "tcp", "PortRange": "1/1"}},
		{400, "InvalidSourceCidrIp.Malformed", map[string]string{"IpProtocol": "tcp", "PortRange": "1/1", "SourceCidrIp": "300.0.0.0/8"}},
		{400, "InvalidPriority.ValueNotSupported", map[string]string{"IpProtocol": "tcp", "PortRange": "1/1", "SourceCidrIp": "10.0.0.0/8", "Priority": "101"}},
		{400, "InvalidPolicy.Malformed", map[string]string{"IpProtocol": "tcp", "PortRange": "1/1", "SourceCidrIp": "10.0.0.0/8", "Policy": "maybe"}},
		{404, "InvalidSourceGroupId.NotFound", map[string]string{"IpProtocol": "tcp", "PortRange": "1/1", "SourceGroupId": "sg-none"}},
	} {
		tt.arguments["SecurityGroupId"] = group
		c.refused(tt.status, tt.code, "AuthorizeSecurityGroup", tt.arguments)
	}
	c.refused(404, "InvalidSecurityGroupId.NotFound", "DescribeSecurityGroupAttribute", map[string]string{"SecurityGroupId": "sg-none"})
}

func TestRulePages(t *testing.T) {
	c := newCloud(t, Options{Quotas: Quotas{Rules: 130}})
	_, _, group := c.network()
	for part := range 3 {
		arguments := map[string]string{"SecurityGroupId": group}
		for i := 1; i <= 40; i++ {
			p := fmt.Sprintf("Permissions.%d.", i)
			arguments[p+"IpProtocol"], arguments[p+"PortRange"], arguments[p+"SourceCidrIp"] = "tcp", "4433/4433", fmt.Sprintf("10.%d.%d.0/24", part, i)
		}
		c.ask("AuthorizeSecurityGroup", arguments)
	}
	total, token := 0, ""
	for {
		arguments := map[string]string{"SecurityGroupId": group, "MaxResults": "50"}
		if token != "" {
			arguments["NextToken"] = token
		}
		out := c.ask("DescribeSecurityGroupAttribute", arguments)
		total += size(at(out, "Permissions", "Permission"))
		if token = text(out["NextToken"]); token == "" {
			break
		}
	}
	if total != 120 {
		t.Errorf("%d rules in all pages", total)
	}
	arguments := map[string]string{"SecurityGroupId": group}
	for i := 1; i <= 11; i++ {
		p := fmt.Sprintf("Permissions.%d.", i)
		arguments[p+"IpProtocol"], arguments[p+"PortRange"], arguments[p+"SourceCidrIp"] = "udp", "1/1", fmt.Sprintf("10.9.%d.0/24", i)
	}
	c.refused(403, "AuthorizationLimitExceed", "AuthorizeSecurityGroup", arguments)
}

func TestInstanceLife(t *testing.T) {
	now := time.Now()
	c := newCloud(t, Options{Now: func() time.Time { return now }, Latencies: Latencies{
		Starting: 10 * time.Second, Stopping: 4 * time.Second, Deleting: 6 * time.Second, PublicIP: 3 * time.Second, Agent: 5 * time.Second, Consistency: 2 * time.Second,
	}})
	pass := func(seconds int) { now = now.Add(time.Duration(seconds) * time.Second) }
	_, vswitch, group := c.network()
	pass(2)
	id := c.machine(vswitch, group, map[string]string{"InternetMaxBandwidthOut": "5"})
	describe := func() any {
		return at(c.ask("DescribeInstances", map[string]string{"InstanceIds": `["` + id + `"]`}), "Instances", "Instance", 0)
	}
	if describe() != nil {
		t.Error("listed at once, in spite of the delay")
	}
	c.refused(403, "IncorrectInstanceStatus.Initializing", "DeleteInstance", map[string]string{"InstanceId": id, "Force": "true"})
	for _, tt := range []struct {
		after  int
		status string
	}{{2, "Pending"}, {3, "Starting"}, {5, "Running"}} {
		pass(tt.after)
		if got := at(describe(), "Status"); got != tt.status {
			t.Errorf("%v instead of %s", got, tt.status)
		}
	}
	agent := func() string {
		return text(at(c.ask("DescribeCloudAssistantStatus", map[string]string{"InstanceId.1": id}), "InstanceCloudAssistantStatusSet", "InstanceCloudAssistantStatus", 0, "CloudAssistantStatus"))
	}
	if at(describe(), "PublicIpAddress", "IpAddress", 0) != nil || agent() != "false" {
		t.Error("address or agent are there at once")
	}
	pass(5)
	if at(describe(), "PublicIpAddress", "IpAddress", 0) == nil || agent() != "true" {
		t.Error("address or agent do not come")
	}
	c.refused(403, "IncorrectInstanceStatus", "ModifyInstanceSpec", map[string]string{"InstanceId": id, "InstanceType": "ecs.g7.large"})
	c.refused(403, "IncorrectInstanceStatus", "DeleteInstance", map[string]string{"InstanceId": id})
	c.ask("StopInstance", map[string]string{"InstanceId": id, "StoppedMode": "Not-applicable"})
	c.ask("StopInstance", map[string]string{"InstanceId": id})
	if c.status(id) != "Stopping" {
		t.Error("stopped at once")
	}
	c.refused(403, "IncorrectInstanceStatus", "StartInstance", map[string]string{"InstanceId": id})
	pass(4)
	c.ask("ModifyInstanceSpec", map[string]string{"InstanceId": id, "InstanceType": "ecs.g7.large"})
	c.ask("StartInstance", map[string]string{"InstanceId": id})
	pass(10)
	if got := describe(); at(got, "Status") != "Running" || at(got, "InstanceType") != "ecs.g7.large" {
		t.Errorf("after the change of type: %v", got)
	}
	c.ask("DeleteInstance", map[string]string{"InstanceId": id, "Force": "true"})
	c.refused(403, "DependencyViolation", "DeleteSecurityGroup", map[string]string{"SecurityGroupId": group})
	pass(6)
	if describe() != nil {
		t.Error("still listed after its deletion")
	}
	c.ask("DeleteSecurityGroup", map[string]string{"SecurityGroupId": group})
	c.refused(404, "InvalidInstanceId.NotFound", "DeleteInstance", map[string]string{"InstanceId": id})
}

func TestRunInstancesRefuses(t *testing.T) {
	c := newCloud(t, Options{SoldOut: []string{"ecs.c6.large"}, Quotas: Quotas{Instances: 2}})
	vpc, vswitch, group := c.network()
	other := text(c.ask("CreateVpc", map[string]string{"CidrBlock": "10.0.0.0/16"})["VpcId"])
	foreign := text(c.ask("CreateSecurityGroup", map[string]string{"VpcId": other})["SecurityGroupId"])
	for _, tt := range []struct {
		status int
		code   string
		change map[string]string
	}{
		{400, "MissingParameter", map[string]string{"ImageId": ""}},
		{400, "MissingParameter", map[string]string{"SecurityGroupIds.1": ""}},
		{404, "InvalidVSwitchId.NotFound", map[string]string{"VSwitchId": "vsw-none"}},
		{404, "InvalidVSwitchId.NotFound", map[string]string{"ZoneId": "cn-beijing-i"}},
		{404, "InvalidImageId.NotFound", map[string]string{"ImageId": "none.vhd"}},
		{400, "InvalidInstanceType.ValueNotSupported", map[string]string{"InstanceType": "ecs.none"}},
		{403, "OperationDenied.NoStock", map[string]string{"InstanceType": "ecs.c6.large"}},
		{403, "ImageNotSupportInstanceType", map[string]string{"InstanceType": "ecs.g7t.large"}},
		{403, "InvalidSecurityGroupId.VpcMismatch", map[string]string{"SecurityGroupIds.1": foreign}},
		{404, "InvalidKeyPairName.NotFound", map[string]string{"KeyPairName": "none"}},
		{400, "InvalidPassword.Malformed", map[string]string{"Password": "short"}},
		{400, "InvalidUserData.Base64FormatInvalid", map[string]string{"UserData": "#!/bin/sh"}},
		{400, "InvalidUserData.SizeExceeded", map[string]string{"UserData": strings.Repeat("QUFB", 12000)}},
		{400, "InvalidInternetMaxBandwidthOut.ValueNotSupported", map[string]string{"InternetMaxBandwidthOut": "101"}},
		{400, "InvalidSystemDiskCategory.ValueNotSupported", map[string]string{"SystemDisk.Category": "floppy"}},
		{400, "InvalidInstanceName.Malformed", map[string]string{"InstanceName": "1"}},
		{400, "DryRunOperation", map[string]string{"DryRun": "true"}},
		{403, "QuotaExceed.ElasticQuota", map[string]string{"Amount": "3"}},
	} {
		arguments := map[string]string{"InstanceType": "ecs.c7.large", "VSwitchId": vswitch, "SecurityGroupIds.1": group, "ImageId": "aliyun_3_x64_20G_alibase_20260513.vhd"}
		for k, v := range tt.change {
			if arguments[k] = v; v == "" {
				delete(arguments, k)
			}
		}
		c.refused(tt.status, tt.code, "RunInstances", arguments)
	}
	if n := size(at(c.ask("DescribeInstances", nil), "Instances", "Instance")); n != 0 {
		t.Errorf("%d instances were made by refused calls", n)
	}
	c.refused(400, "DependencyViolation.VSwitch", "DeleteVpc", map[string]string{"VpcId": vpc})
}

func TestClientToken(t *testing.T) {
	c := newCloud(t, Options{})
	_, vswitch, group := c.network()
	first := c.machine(vswitch, group, map[string]string{"ClientToken": "one"})
	if again := c.machine(vswitch, group, map[string]string{"ClientToken": "one"}); again != first {
		t.Errorf("the same token made %s and %s", first, again)
	}
	c.refused(403, "IdempotentParameterMismatch", "RunInstances", map[string]string{
		"InstanceType": "ecs.g7.large", "VSwitchId": vswitch, "SecurityGroupIds.1": group, "ImageId": "aliyun_3_x64_20G_alibase_20260513.vhd", "ClientToken": "one",
	})
	c.refused(400, "InvalidParameter", "CreateSecurityGroup", map[string]string{"ClientToken": strings.Repeat("x", 65)})
	if other := c.machine(vswitch, group, map[string]string{"ClientToken": "two"}); other == first {
		t.Error("another token gave the same instance")
	}
}

func TestGroupsOfAnInstance(t *testing.T) {
	c := newCloud(t, Options{Quotas: Quotas{GroupsPerInstance: 2}})
	vpc, vswitch, group := c.network()
	id := c.machine(vswitch, group, nil)
	second := text(c.ask("CreateSecurityGroup", map[string]string{"VpcId": vpc})["SecurityGroupId"])
	third := text(c.ask("CreateSecurityGroup", map[string]string{"VpcId": vpc})["SecurityGroupId"])
	on := func(g string) map[string]string { return map[string]string{"InstanceId": id, "SecurityGroupId": g} }
	c.refused(403, "InstanceLastSecurityGroup", "LeaveSecurityGroup", on(group))
	c.ask("JoinSecurityGroup", on(second))
	c.refused(403, "InvalidInstanceId.AlreadyExists", "JoinSecurityGroup", on(second))
	c.refused(403, "InstanceSecurityGroupLimitExceeded", "JoinSecurityGroup", on(third))
	c.ask("LeaveSecurityGroup", on(group))
	c.refused(403, "InstanceNotInSecurityGroup", "LeaveSecurityGroup", on(group))
	c.ask("AuthorizeSecurityGroup", map[string]string{"SecurityGroupId": third, "IpProtocol": "tcp", "PortRange": "1/1", "SourceGroupId": group})
	c.refused(403, "DependencyViolation", "DeleteSecurityGroup", map[string]string{"SecurityGroupId": group})
	refs := c.ask("DescribeSecurityGroupReferences", map[string]string{"SecurityGroupId.1": group})
	if got := at(refs, "SecurityGroupReferences", "SecurityGroupReference", 0, "ReferencingSecurityGroups", "ReferencingSecurityGroup", 0, "SecurityGroupId"); got != third {
		t.Errorf("references: %v", refs)
	}
	c.ask("ModifyInstanceAttribute", map[string]string{"InstanceId": id, "DeletionProtection": "true"})
	c.refused(403, "InvalidOperation.DeletionProtection", "DeleteInstance", map[string]string{"InstanceId": id, "Force": "true"})
}

func TestBandwidthAndAddress(t *testing.T) {
	c := newCloud(t, Options{})
	_, vswitch, group := c.network()
	id := c.machine(vswitch, group, nil)
	address := func() any {
		return at(c.ask("DescribeInstances", map[string]string{"InstanceIds": `["` + id + `"]`}), "Instances", "Instance", 0, "PublicIpAddress", "IpAddress", 0)
	}
	c.refused(403, "AllocateIpInvalidInstanceBandwidth", "AllocatePublicIpAddress", map[string]string{"InstanceId": id})
	c.ask("ModifyInstanceNetworkSpec", map[string]string{"InstanceId": id, "InternetMaxBandwidthOut": "5"})
	if address() != nil {
		t.Error("bandwidth alone gave an address")
	}
	c.ask("AllocatePublicIpAddress", map[string]string{"InstanceId": id})
	c.refused(403, "AllocatedAlready", "AllocatePublicIpAddress", map[string]string{"InstanceId": id})
	if address() == nil {
		t.Error("no address was allocated")
	}
	c.ask("ModifyInstanceNetworkSpec", map[string]string{"InstanceId": id, "InternetMaxBandwidthOut": "0"})
	if address() != nil {
		t.Error("an address without bandwidth")
	}
	c.ask("ModifyInstanceNetworkSpec", map[string]string{"InstanceId": id, "InternetMaxBandwidthOut": "5", "AllocatePublicIp": "true"})
	if address() == nil {
		t.Error("AllocatePublicIp gave none")
	}
}

func TestFaults(t *testing.T) {
	c := newCloud(t, Options{})
	vpc, _, _ := c.network()
	groups := func() int {
		return size(at(c.ask("DescribeSecurityGroups", map[string]string{"VpcId": vpc, "MaxResults": "50"}), "SecurityGroups", "SecurityGroup"))
	}
	create := func() (int, map[string]any) {
		return c.send(http.MethodPost, signed("CreateSecurityGroup", map[string]string{"VpcId": vpc}), nil)
	}
	c.sim.Inject(Throttled("CreateSecurityGroup", 2))
	for range 2 {
		if status, out := create(); status != 400 || out["Code"] != "Throttling.User" {
			t.Errorf("throttled: HTTP %d %v", status, out)
		}
	}
	c.sim.Inject(Cut("CreateSecurityGroup", 1))
	if status, out := create(); status != 0 || groups() != 2 {
		t.Errorf("cut after: HTTP %d %v, %d groups", status, out, groups())
	}
	c.sim.Inject(Fault{Action: "CreateSecurityGroup", CutBefore: true})
	if status, out := create(); status != 0 || groups() != 2 {
		t.Errorf("cut before: HTTP %d %v, %d groups", status, out, groups())
	}
	c.sim.Inject(Fault{Action: "CreateSecurityGroup", Raw: "<html>", Skip: 1})
	if status, _ := create(); status != 200 {
		t.Error("the skipped call did not go well")
	}
	if status, out := create(); status != 502 || out["raw"] != "<html>" {
		t.Errorf("raw: HTTP %d %v", status, out)
	}
	c.sim.Inject(Fault{Raw: `{"Code": 42}`, RawStatus: 500, Times: -1})
	if status, out := create(); status != 500 || out["Code"] != 42.0 {
		t.Errorf("every action: HTTP %d %v", status, out)
	}
	c.sim.ClearFaults()
	if status, _ := create(); status != 200 {
		t.Error("faults stay after ClearFaults")
	}
	c.sim.Inject(Refused("CreateSecurityGroup", 403, "IdempotentProcessing", 1))
	if status, out := create(); status != 403 || out["Code"] != "IdempotentProcessing" {
		t.Errorf("refused: HTTP %d %v", status, out)
	}
}

func TestRegionsDoNotMeet(t *testing.T) {
	c := newCloud(t, Options{})
	_, vswitch, group := c.network()
	id := c.machine(vswitch, group, nil)
	elsewhere := map[string]string{"RegionId": "cn-hangzhou", "InstanceIds": `["` + id + `"]`}
	if n := size(at(c.ask("DescribeInstances", elsewhere), "Instances", "Instance")); n != 0 {
		t.Error("an instance is listed in another region")
	}
	c.refused(404, "InvalidSecurityGroupId.NotFound", "DescribeSecurityGroupAttribute", map[string]string{"RegionId": "cn-hangzhou", "SecurityGroupId": group})
}

func TestDoWithoutTheWire(t *testing.T) {
	c := newCloud(t, Options{})
	out, err := c.sim.Do(region, "CreateVpc", map[string]string{"CidrBlock": "10.0.0.0/16"})
	if err != nil || text(out["VpcId"]) == "" || len(c.sim.Requests()) != 0 {
		t.Errorf("%v %v", out, err)
	}
	if _, err := c.sim.Do(region, "CreateVpc", map[string]string{"CidrBlock": "x"}); err == nil || !strings.Contains(err.Error(), "InvalidCidrBlock.Malformed") {
		t.Errorf("refusal: %v", err)
	}
	if _, err := c.sim.Do(region, "Nothing", nil); err == nil {
		t.Error("an unknown action succeeded")
	}
}
