package resources_test

import (
	"encoding/json"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
)

// What a plan does about another value of an attribute.
const (
	replaces = "replaces"
	inPlace  = "in place"
	secret   = "write-only"
)

// attribute is another value of an attribute, and what a plan says of it.
type attribute struct {
	value string // of the configuration
	does  string
	drift bool // whether a change outside shows
}

// settings joins the values of attributes of the given kinds, and the base
// values of the others.
func settings(base map[string]string, all map[string]attribute, kinds ...string) string {
	values := maps.Clone(base)
	for name, a := range all {
		if slices.Contains(kinds, a.does) {
			values[name] = a.value
		}
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(values)) {
		b.WriteString("  " + name + " = " + values[name] + "\n")
	}
	return b.String()
}

// namesOf are the attributes that a condition holds for.
func namesOf(all map[string]attribute, is func(attribute) bool) []string {
	var names []string
	for name, a := range all {
		if is(a) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// planned is what a plan says of one resource.
type planned struct {
	Actions       []string       `json:"actions"`
	Before, After map[string]any // by their own names in lower case
	ReplacePaths  [][]any        `json:"replace_paths"`
}

// changed are the attributes with another value, but those that are known only
// after the apply.
func (p planned) changed() []string {
	var names []string
	for name, before := range p.Before {
		if after, known := p.After[name]; known && !reflect.DeepEqual(before, after) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (p planned) replacing() []string {
	var names []string
	for _, at := range p.ReplacePaths {
		names = append(names, at[0].(string))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// plan makes a plan and returns what it says of a resource: its change, and
// what was found changed.
func (w *workspace) plan(addr string, flags ...string) (change, drift planned) {
	w.t.Helper()
	file := filepath.Join(w.aside, "attributes.tfplan")
	w.terraform(append([]string{"plan", "-out=" + file}, flags...)...)
	type resourceChange struct {
		Address string
		Change  planned
	}
	var shown struct {
		ResourceChanges []resourceChange `json:"resource_changes"`
		ResourceDrift   []resourceChange `json:"resource_drift"`
	}
	if err := json.Unmarshal([]byte(w.terraform("show", "-json", file)), &shown); err != nil {
		w.t.Fatal(err)
	}
	of := func(list []resourceChange) planned {
		for _, r := range list {
			if r.Address == addr {
				return r.Change
			}
		}
		return planned{}
	}
	return of(shown.ResourceChanges), of(shown.ResourceDrift)
}

// settable lists the attributes of a resource that a configuration may set.
func (c *cloud) settable(kind string) []string {
	c.t.Helper()
	var names []string
	for _, a := range c.newProcess().schemas.ResourceSchemas[kind].Block.Attributes {
		if (a.Required || a.Optional) && a.Name != "timeouts" {
			names = append(names, a.Name)
		}
	}
	slices.Sort(names)
	return names
}

// checkAttributes holds plans against the table: of all attributes that
// replace, of all that are changed in place, and of what was changed outside.
// An apply then puts it right, after what has to be done by hand before.
func (c *cloud) checkAttributes(addr string, config func(settings string) string, base map[string]string, all map[string]attribute, outside func(), before ...func()) {
	t := c.t
	t.Helper()
	kind, _, _ := strings.Cut(addr, ".")
	known := append(namesOf(all, func(attribute) bool { return true }), slices.Sorted(maps.Keys(base))...)
	slices.Sort(known)
	if diff := cmp.Diff(c.settable(kind), slices.Compact(known)); diff != "" {
		t.Errorf("attributes of %s that this test does not know (-) or that are gone (+):\n%s", kind, diff)
	}
	w := newWorkspace(t, config(settings(base, all)))
	w.terraform("apply", "-auto-approve")
	set := func(kinds ...string) {
		mustWrite(t, filepath.Join(w.dir, "main.tf"), []byte(terraformBlock+config(settings(base, all, kinds...))), 0o600)
	}

	set(replaces)
	change, _ := w.plan(addr)
	if diff := cmp.Diff(namesOf(all, func(a attribute) bool { return a.does == replaces }), change.replacing()); diff != "" {
		t.Errorf("%v of what should replace (-want +got):\n%s", change.Actions, diff)
	}
	set(inPlace, secret)
	change, _ = w.plan(addr)
	if diff := cmp.Diff(namesOf(all, func(a attribute) bool { return a.does == inPlace }), change.changed()); diff != "" {
		t.Errorf("%v of what should change in place (-want +got):\n%s", change.Actions, diff)
	}
	if !slices.Equal(change.Actions, []string{"update"}) || len(change.ReplacePaths) != 0 {
		t.Errorf("in place: %v %v", change.Actions, change.ReplacePaths)
	}

	set()
	outside()
	_, drift := w.plan(addr, "-refresh-only")
	found := drift.changed()
	if missed := slices.DeleteFunc(namesOf(all, func(a attribute) bool { return a.drift }), func(name string) bool { return slices.Contains(found, name) }); len(missed) > 0 {
		t.Errorf("changes outside that no plan shows: %v; it shows %v", missed, found)
	}
	for _, mend := range before {
		mend()
	}
	w.terraform("apply", "-auto-approve")
	if change, _ := w.plan(addr); !slices.Equal(change.Actions, []string{"no-op"}) {
		t.Errorf("after it was put right: %v of %v", change.Actions, change.changed())
	}
	w.terraform("destroy", "-auto-approve")
}

func TestClientInstanceAttributes(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{})
	c.keyPair("laptop")
	c.keyPair("other")
	elsewhere := c.do("CreateVSwitch", "VSwitchId", map[string]string{"VpcId": c.vpc, "CidrBlock": "10.0.2.0/24", "ZoneId": "cn-beijing-h"})
	second := c.do("CreateSecurityGroup", "SecurityGroupId", map[string]string{"VpcId": c.vpc})
	quoted := func(s string) string { return `"` + s + `"` }
	base := map[string]string{
		"vswitch_id": quoted(c.vswitch), "security_group_ids": "[cc_security_group.client.id]", "instance_type": quoted("ecs.c7.large"), "image_id": quoted("aliyun_3_x64_20G_alibase_20260513.vhd"),
		"host_name": quoted("owner"), "resource_group_id": quoted("rg-one"), "key_name": quoted("laptop"), "ram_role_name": quoted("one"), "data_disks": "[{ size = 60 }]",
		"spot_strategy": quoted("SpotWithPriceLimit"), "spot_price_limit": "0.25", "user_data": quoted("#!/bin/sh"), "bootstrap": "false", "bootstrap_triggers": `{ a = "1" }`,
		"password_wo": quoted("Correct-Horse-1"), "password_wo_version": "1", "bootstrap_user": quoted("ecs-user"), "tags": `{ env = "test" }`,
	}
	all := map[string]attribute{
		"vswitch_id":                    {quoted(elsewhere), replaces, false}, // an instance moves only by being stopped and modified, which DescribeInstances shows as another id
		"security_group_ids":            {"[" + quoted(second) + "]", inPlace, true},
		"name":                          {quoted("renamed"), inPlace, true},
		"description":                   {quoted("described"), inPlace, true},
		"image_family":                  {quoted("acs:alibaba_cloud_linux_3_arm64"), replaces, false}, // a choice, not a property
		"image_id":                      {quoted("aliyun_3_x64_20G_alibase_20240819.vhd"), replaces, true},
		"instance_type":                 {quoted("ecs.g7.large"), inPlace, true},
		"system_disk_category":          {quoted("cloud_auto"), replaces, false},
		"system_disk_size":              {"80", replaces, false},
		"system_disk_performance_level": {quoted("PL1"), replaces, false},
		"data_disks":                    {"[{ size = 70 }]", replaces, true},
		"spot_strategy":                 {quoted("SpotAsPriceGo"), replaces, false},
		"spot_price_limit":              {"null", replaces, false},
		"host_name":                     {quoted("user"), inPlace, true},
		"resource_group_id":             {quoted("rg-two"), inPlace, true},
		"internet_max_bandwidth_out":    {"9", inPlace, true},
		"internet_charge_type":          {quoted("PayByBandwidth"), inPlace, true},
		"http_tokens":                   {quoted("optional"), inPlace, true},
		"key_name":                      {quoted("other"), replaces, true},
		"ram_role_name":                 {quoted("two"), inPlace, true},
		"password_wo":                   {quoted("Correct-Horse-2"), secret, false},
		"password_wo_version":           {"2", inPlace, false},
		"deletion_protection":           {"true", inPlace, true},
		"user_data":                     {"null", replaces, false},
		"user_data_base64":              {quoted("IyEvYmluL2Jhc2g="), replaces, false},
		"bootstrap_triggers":            {`{ a = "2" }`, inPlace, false},
		"bootstrap_user":                {quoted("admin"), inPlace, false},
		"tags":                          {`{ env = "prod" }`, inPlace, true},
		"bootstrap":                     {"false", "", false}, // its life is another test's
	}
	c.checkAttributes(instanceAddr, func(s string) string {
		return c.groupConfig() + "resource \"cc_client_instance\" \"client\" {\n" + s + "}\n"
	}, base, all, func() {
		id, yes := c.onlyInstance().ID, true
		text := func(s string) *string { return &s }
		c.check(c.api.JoinSecurityGroup(c.ctx(), id, second))
		c.check(c.api.ModifyInstance(c.ctx(), id, ecs.InstanceChange{Name: text("by-hand"), Description: text("by hand"), HostName: text("h-h"), DeletionProtection: &yes}))
		c.check(c.api.StopInstance(c.ctx(), id))
		c.check(c.api.ChangeInstanceType(c.ctx(), id, "ecs.g7.large"))
		c.do("ReplaceSystemDisk", "", map[string]string{"InstanceId": id, "ImageId": "aliyun_3_x64_20G_alibase_20251215.vhd"})
		disks, err := c.api.InstanceDisks(c.ctx(), id)
		c.check(err)
		c.do("DetachDisk", "", map[string]string{"InstanceId": id, "DiskId": disks.Data[0].ID})
		c.check(c.api.StartInstance(c.ctx(), id))
		c.check(c.api.JoinResourceGroup(c.ctx(), ecs.TagInstance, id, "rg-two"))
		c.check(c.api.SetBandwidth(c.ctx(), id, 9, "PayByBandwidth", false))
		c.check(c.api.SetMetadataTokens(c.ctx(), id, "optional"))
		c.do("AttachKeyPair", "", map[string]string{"InstanceIds": `["` + id + `"]`, "KeyPairName": "other"})
		c.check(c.api.SetInstanceRole(c.ctx(), id, "one", "two"))
		c.check(c.api.Retag(c.ctx(), ecs.TagInstance, id, map[string]string{"env": "prod"}, nil))
	}, func() { // nothing replaces a protected instance
		no := false
		c.check(c.api.ModifyInstance(c.ctx(), c.onlyInstance().ID, ecs.InstanceChange{DeletionProtection: &no}))
	})
}

func TestSecurityGroupAttributes(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{})
	other := c.do("CreateVpc", "VpcId", map[string]string{"CidrBlock": "10.1.0.0/16"})
	base := map[string]string{
		"vpc_id": `"` + c.vpc + `"`, "resource_group_id": `"rg-one"`, "tags": `{ env = "test" }`, "key_server_cidrs": `["192.0.2.0/24"]`, "ssh_cidrs": `["203.0.113.0/24"]`,
		"ingress_rules": `[{ port_range = "8500/8500", source = "10.0.0.0/8" }]`,
	}
	all := map[string]attribute{
		"vpc_id":            {`"` + other + `"`, replaces, false}, // a group stays in its VPC
		"name":              {`"renamed"`, inPlace, true},
		"description":       {`"described"`, inPlace, true},
		"key_server_port":   {"4434", inPlace, false}, // a setting, seen in the rules
		"key_server_cidrs":  {`["198.51.100.0/24"]`, inPlace, true},
		"ssh_cidrs":         {`["198.51.100.0/24"]`, inPlace, true},
		"ingress_rules":     {`[{ port_range = "8501/8501", source = "10.0.0.0/8" }]`, inPlace, true},
		"resource_group_id": {`"rg-two"`, inPlace, true},
		"tags":              {`{ env = "prod" }`, inPlace, true},
	}
	c.checkAttributes(groupAddr, func(s string) string {
		return c.provider() + "resource \"cc_security_group\" \"client\" {\n" + s + "}\n"
	}, base, all, func() {
		id := c.onlyGroup()
		c.check(c.api.ModifySecurityGroup(c.ctx(), id, "by-hand", "by hand"))
		rules, err := c.api.IngressRules(c.ctx(), id)
		c.check(err)
		for _, r := range rules {
			c.do("RevokeSecurityGroup", "", map[string]string{"SecurityGroupId": id, "SecurityGroupRuleId.1": r.ID})
		}
		c.check(c.api.JoinResourceGroup(c.ctx(), ecs.TagSecurityGroup, id, "rg-two"))
		c.check(c.api.Retag(c.ctx(), ecs.TagSecurityGroup, id, map[string]string{"env": "prod"}, nil))
	})
}
