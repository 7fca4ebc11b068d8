package deploy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
)

func keyServerRule(source string) ecs.Rule {
	return ecs.Rule{Protocol: "tcp", PortRange: "4433/4433", Source: source, Policy: "accept", Priority: 1, Description: "key server"}
}

func sources(rules []ecs.Rule) string {
	var all []string
	for _, r := range rules {
		all = append(all, r.Source)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func (c *cloud) rules(group string) []ecs.Rule {
	c.t.Helper()
	rules, err := c.client.IngressRules(c.ctx(), group)
	c.check(err)
	return rules
}

func TestChangeRules(t *testing.T) {
	c := newCloud(t, ecssim.Options{Latencies: ecssim.Latencies{Consistency: 5 * time.Millisecond}})
	c.addRule(c.group, "198.51.100.0/24", "of somebody else")
	time.Sleep(6 * time.Millisecond)
	owned, err := ChangeRules(c.ctx(), c.client, c.group, nil, []ecs.Rule{keyServerRule("192.0.2.0/24"), keyServerRule("203.0.113.0/24")})
	c.check(err)
	if sources(owned) != "192.0.2.0/24 203.0.113.0/24" || owned[0].ID == "" {
		t.Fatalf("owned: %+v", owned)
	}
	// One stays, one goes, one comes, one is described anew.
	changed := keyServerRule("203.0.113.0/24")
	changed.Description = "described anew"
	owned, err = ChangeRules(c.ctx(), c.client, c.group, owned, []ecs.Rule{changed, keyServerRule("2001:db8::/32")})
	c.check(err)
	if sources(owned) != "2001:db8::/32 203.0.113.0/24" {
		t.Fatalf("owned: %+v", owned)
	}
	present := c.rules(c.group)
	if sources(present) != "198.51.100.0/24 2001:db8::/32 203.0.113.0/24" {
		t.Errorf("present: %+v", present)
	}
	if at := slices.IndexFunc(present, changed.SameMatch); present[at].Description != "described anew" {
		t.Errorf("description: %+v", present[at])
	}
	before := len(c.sim.Requests())
	if owned, err = ChangeRules(c.ctx(), c.client, c.group, owned, owned); err != nil || len(c.sim.Requests()) != before+1 {
		t.Errorf("no change made %d calls (%v)", len(c.sim.Requests())-before, err)
	}
	owned, err = ChangeRules(c.ctx(), c.client, c.group, owned, nil)
	if err != nil || len(owned) != 0 || sources(c.rules(c.group)) != "198.51.100.0/24" {
		t.Errorf("after removing all: %+v, present %s (%v)", owned, sources(c.rules(c.group)), err)
	}
}

func TestRulesOfOthersAreNotAdopted(t *testing.T) {
	c := newCloud(t, ecssim.Options{})
	c.addRule(c.group, "192.0.2.0/24", "theirs")
	id := c.rules(c.group)[0].ID
	owned, err := ChangeRules(c.ctx(), c.client, c.group, nil, []ecs.Rule{keyServerRule("203.0.113.0/24"), keyServerRule("192.0.2.0/24")})
	explained(t, err, "Security group rule exists already", "add rule tcp 4433/4433 from 192.0.2.0/24 to security group "+c.group, id, `description "theirs"`, "import the whole group")
	if len(owned) != 0 || len(c.rules(c.group)) != 1 {
		t.Errorf("rules were changed all the same: %+v", c.rules(c.group))
	}
}

func TestManyRules(t *testing.T) {
	c := newCloud(t, ecssim.Options{Quotas: ecssim.Quotas{Rules: 500}})
	var wanted []ecs.Rule
	for n := range 250 {
		wanted = append(wanted, keyServerRule(fmt.Sprintf("10.0.%d.0/24", n)))
	}
	owned, err := ChangeRules(c.ctx(), c.client, c.group, nil, wanted)
	c.check(err)
	if len(owned) != 250 {
		t.Errorf("%d rules are owned", len(owned))
	}
	owned, err = ChangeRules(c.ctx(), c.client, c.group, owned, nil)
	if err != nil || len(owned) != 0 || len(c.rules(c.group)) != 0 {
		t.Errorf("%d rules are left (%v)", len(c.rules(c.group)), err)
	}
}

// TestRulesOfAFailedChangeAreKnown makes the second of three calls fail.
func TestRulesOfAFailedChangeAreKnown(t *testing.T) {
	c := newCloud(t, ecssim.Options{Quotas: ecssim.Quotas{Rules: 150}})
	var wanted []ecs.Rule
	for n := range 250 {
		wanted = append(wanted, keyServerRule(fmt.Sprintf("10.0.%d.0/24", n)))
	}
	owned, err := ChangeRules(c.ctx(), c.client, c.group, nil, wanted)
	explained(t, err, "Security group rules not changed", "AuthorizationLimitExceed", "as many rules as a group may have")
	if len(owned) != 100 || len(c.rules(c.group)) != 100 {
		t.Errorf("%d rules are owned of %d", len(owned), len(c.rules(c.group)))
	}
}

// TestInterruptedChange gives up while rules are being added.
func TestInterruptedChange(t *testing.T) {
	c := newCloud(t, ecssim.Options{})
	ctx, cancel := context.WithCancel(c.ctx())
	c.sim.Inject(ecssim.Fault{Action: "AuthorizeSecurityGroup", Delay: 30 * time.Millisecond})
	time.AfterFunc(15*time.Millisecond, cancel)
	owned, err := ChangeRules(ctx, c.client, c.group, nil, []ecs.Rule{keyServerRule("192.0.2.0/24")})
	if err != nil || len(owned) != 1 {
		t.Errorf("owned %+v, %v", owned, err)
	}
	if _, err := ChangeRules(ctx, c.client, c.group, owned, nil); err == nil {
		t.Error("somebody who gave up changes rules")
	}
}

func TestDeleteSecurityGroup(t *testing.T) {
	c := newCloud(t, ecssim.Options{Latencies: ecssim.Latencies{Deleting: 30 * time.Millisecond}})
	c.check(DeleteSecurityGroup(c.ctx(), c.client, c.newGroup("free")))
	c.check(DeleteSecurityGroup(c.ctx(), c.client, "sg-none"))
	id := c.running()
	referring := c.newGroup("referring")
	c.do("AuthorizeSecurityGroup", "", map[string]string{"SecurityGroupId": referring, "IpProtocol": "tcp", "PortRange": "1/1", "SourceGroupId": c.group})
	short, cancel := context.WithTimeout(c.ctx(), 40*time.Millisecond)
	defer cancel()
	err := DeleteSecurityGroup(short, c.client, c.group)
	explained(t, err, "Security group still in use", "delete security group "+c.group, "DependencyViolation", "Still in use by: instances "+id+"; rules of security groups "+referring)
	// A machine that is on its way out is waited for.
	c.do("DeleteSecurityGroup", "", map[string]string{"SecurityGroupId": referring})
	c.check(c.client.DeleteInstance(c.ctx(), id))
	c.check(DeleteSecurityGroup(c.ctx(), c.client, c.group))
}

func TestUpdateAndObserveSecurityGroup(t *testing.T) {
	c := newCloud(t, ecssim.Options{})
	from := ecs.SecurityGroupSpec{VpcID: c.vpc, Name: "one", Description: "the first", Tags: map[string]string{"a": "1", "b": "2"}}
	id, err := CreateSecurityGroup(c.ctx(), c.client, from)
	c.check(err)
	to := ecs.SecurityGroupSpec{VpcID: c.vpc, Name: "two", Tags: map[string]string{"b": "3"}}
	c.check(UpdateSecurityGroup(c.ctx(), c.client, id, from, to))
	c.check(EndCreation(c.ctx(), c.client, ecs.TagSecurityGroup, id))
	before := len(c.sim.Requests())
	group, rules, err := ObserveSecurityGroup(c.ctx(), c.client, id)
	c.check(err)
	if group.Name != "two" || group.Description != "" || fmt.Sprint(group.Tags) != "map[b:3]" || len(rules) != 0 || len(c.sim.Requests()) != before+2 {
		t.Errorf("%+v %v in %d calls", group, rules, len(c.sim.Requests())-before)
	}
	if _, _, err := ObserveSecurityGroup(c.ctx(), c.client, "sg-none"); !ecs.IsNotFound(err) {
		t.Errorf("no group: %v", err)
	}
	c.sim.Inject(ecssim.Refused("DescribeSecurityGroups", 404, "InvalidAccessKeyId.NotFound", -1))
	_, _, err = ObserveSecurityGroup(c.ctx(), c.client, id)
	explained(t, err, "Alibaba Cloud refuses the credentials", "Check access_key")
	if ecs.IsNotFound(err) {
		t.Error("an unknown access key reads as absence")
	}
	c.sim.ClearFaults()
	_, err = CreateSecurityGroup(c.ctx(), c.client, ecs.SecurityGroupSpec{VpcID: "vpc-none", Name: "xx"})
	explained(t, err, "Security group not created", "create security group xx: call CreateSecurityGroup: InvalidVpcId.NotFound", "Check vpc_id")
}

func TestRuleText(t *testing.T) {
	r := keyServerRule("192.0.2.0/24")
	if got := RuleText(r); got != "tcp 4433/4433 from 192.0.2.0/24" {
		t.Error(got)
	}
	r.Policy, r.Priority = "drop", 7
	if got := RuleText(r); got != "tcp 4433/4433 from 192.0.2.0/24 drop priority 7" {
		t.Error(got)
	}
}

// TestDescriptionIsSentOnce: Alibaba's provider sends it twice, and drops the
// error of the first.
func TestDescriptionIsSentOnce(t *testing.T) {
	c := newCloud(t, ecssim.Options{})
	owned, err := ChangeRules(c.ctx(), c.client, c.group, nil, []ecs.Rule{keyServerRule("192.0.2.0/24")})
	c.check(err)
	wanted := slices.Clone(owned)
	wanted[0].Description = "changed"
	c.sim.ForgetRequests()
	c.sim.Inject(ecssim.Refused("ModifySecurityGroupRule", 403, "Forbidden.RAM", 1))
	if _, err := ChangeRules(c.ctx(), c.client, c.group, owned, wanted); !ecs.HasCode(err, "Forbidden.RAM") {
		t.Errorf("a refusal: %v", err)
	}
	_, err = ChangeRules(c.ctx(), c.client, c.group, owned, wanted)
	c.check(err)
	sent := 0
	for _, r := range c.sim.Requests() {
		if r.Action == "ModifySecurityGroupRule" {
			sent++
		}
	}
	if sent != 2 { // one refused, one done
		t.Errorf("sent %d times", sent)
	}
}

// TestGroupInUseIsNamedHoweverLate ends the caller's time while the group's
// deletion is on its way: what was known before is still told.
func TestGroupInUseIsNamedHoweverLate(t *testing.T) {
	c := newCloud(t, ecssim.Options{})
	id := c.running()
	ctx, cancel := context.WithCancel(c.ctx())
	defer cancel()
	c.sim.Inject(ecssim.Fault{Action: "DeleteSecurityGroup", Skip: 1, Delay: 60 * time.Millisecond, Status: 503, Code: "ServiceUnavailable"})
	go func() {
		for {
			seen := 0
			for _, r := range c.sim.Requests() {
				if r.Action == "DeleteSecurityGroup" {
					seen++
				}
			}
			if seen > 0 { // the second, slow one is next
				time.Sleep(20 * time.Millisecond)
				cancel()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	explained(t, DeleteSecurityGroup(ctx, c.client, c.group), "Security group still in use", "DependencyViolation", "instances "+id)
}
