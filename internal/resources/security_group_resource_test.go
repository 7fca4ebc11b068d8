package resources_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/compare"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
)

const groupAddr = "cc_security_group.client"

func (c *cloud) groupConfig(lines ...string) string {
	return c.provider() + fmt.Sprintf("resource \"cc_security_group\" \"client\" {\n  vpc_id = %q\n  %s\n}\n", c.vpc, strings.Join(lines, "\n  "))
}

// sources lists the rules of a group as PORT:SOURCE.
func (c *cloud) sources(group string) string {
	c.t.Helper()
	rules, err := c.api.IngressRules(c.ctx(), group)
	c.check(err)
	var all []string
	for _, r := range rules {
		all = append(all, strings.Split(r.PortRange, "/")[0]+":"+r.Source)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func action(a plancheck.ResourceActionType, addr string, more ...plancheck.PlanCheck) resource.ConfigPlanChecks {
	return resource.ConfigPlanChecks{PreApply: append([]plancheck.PlanCheck{plancheck.ExpectResourceAction(addr, a)}, more...)}
}

func (c *cloud) expectSources(want string) resource.TestCheckFunc {
	return checkFunc(func() error {
		if got := c.sources(c.onlyGroup()); got != want {
			return fmt.Errorf("rules %q, want %q", got, want)
		}
		return nil
	})
}

func checkFunc(check func() error) resource.TestCheckFunc {
	return func(*terraform.State) error { return check() }
}

func TestSecurityGroupLife(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{})
	full := c.groupConfig(`name = "clients"`, `description = "of the demo"`, `key_server_cidrs = ["192.0.2.0/24", "2001:db8::/32"]`, `ssh_cidrs = ["203.0.113.7/32"]`,
		`ingress_rules = [
    { port_range = "8500/8501", source = "10.0.0.0/8", description = "grpc and rest" },
    { protocol = "icmp", port_range = "-1/-1", source = "10.0.0.0/8", policy = "drop", priority = 9 },
  ]`, `tags = { env = "test" }`)
	changed := c.groupConfig(`name = "renamed"`, `key_server_port = 4434`, `key_server_cidrs = ["192.0.2.0/24"]`,
		`ingress_rules = [{ port_range = "8500/8501", source = "10.0.0.0/8", description = "described anew" }]`, `tags = { env = "prod", owner = "me" }`)
	same := statecheck.CompareValue(compare.ValuesSame())
	c.accept(
		resource.TestStep{
			Config: full, ConfigPlanChecks: action(plancheck.ResourceActionCreate, groupAddr),
			Check: c.expectSources("-1:10.0.0.0/8 22:203.0.113.7/32 4433:192.0.2.0/24 4433:2001:db8::/32 8500:10.0.0.0/8"),
			ConfigStateChecks: []statecheck.StateCheck{
				same.AddStateValue(groupAddr, tfjsonpath.New("id")),
				statecheck.ExpectKnownValue(groupAddr, tfjsonpath.New("region"), knownvalue.StringExact("cn-beijing")),
				statecheck.ExpectKnownValue(groupAddr, tfjsonpath.New("rule_ids"), knownvalue.MapSizeExact(5)),
				statecheck.ExpectKnownValue(groupAddr, tfjsonpath.New("rule_ids").AtMapKey("icmp -1/-1 from 10.0.0.0/8 drop priority 9"), knownvalue.NotNull()),
			},
		},
		resource.TestStep{Config: full, ConfigPlanChecks: emptyPlan()},
		resource.TestStep{ResourceName: groupAddr, ImportState: true, ImportStateVerify: true, ImportStateVerifyIgnore: []string{"timeouts"}, Config: full},
		resource.TestStep{
			Config: changed, ConfigPlanChecks: action(plancheck.ResourceActionUpdate, groupAddr, plancheck.ExpectUnknownValue(groupAddr, tfjsonpath.New("rule_ids"))),
			Check: c.expectSources("4434:192.0.2.0/24 8500:10.0.0.0/8"), ConfigStateChecks: []statecheck.StateCheck{same.AddStateValue(groupAddr, tfjsonpath.New("id"))},
		},
		resource.TestStep{Config: changed, ConfigPlanChecks: emptyPlan()},
		resource.TestStep{
			Config: c.groupConfig(`name = "again"`), ConfigPlanChecks: action(plancheck.ResourceActionUpdate, groupAddr), Check: c.expectSources(""),
		},
		resource.TestStep{ // name alone keeps the ids known
			Config:           c.groupConfig(`name = "finally"`),
			ConfigPlanChecks: action(plancheck.ResourceActionUpdate, groupAddr, plancheck.ExpectKnownValue(groupAddr, tfjsonpath.New("rule_ids"), knownvalue.MapSizeExact(0))),
		},
	)
	if n := c.total("DescribeSecurityGroups"); n != 0 {
		t.Errorf("%d groups are left", n)
	}
	c.expectPermissions("cc_security_group")
}

// TestSecurityGroupNeedsNoRules: client and enclave on one host.
func TestSecurityGroupNeedsNoRules(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{})
	c.accept(
		resource.TestStep{Config: c.groupConfig(), Check: c.expectSources("")},
		resource.TestStep{Config: c.groupConfig(), ConfigPlanChecks: emptyPlan()},
		resource.TestStep{Config: c.groupConfig("key_server_cidrs = []", "tags = {}", "ingress_rules = []"), ConfigPlanChecks: action(plancheck.ResourceActionUpdate, groupAddr)},
		resource.TestStep{Config: c.groupConfig("key_server_cidrs = []", "tags = {}", "ingress_rules = []"), ConfigPlanChecks: emptyPlan()},
	)
}

func TestSecurityGroupReplaced(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{})
	first := c.groupConfig()
	c.vpc = c.do("CreateVpc", "VpcId", map[string]string{"CidrBlock": "10.1.0.0/16"})
	c.accept(
		resource.TestStep{Config: first},
		resource.TestStep{Config: c.groupConfig(), ConfigPlanChecks: action(plancheck.ResourceActionDestroyBeforeCreate, groupAddr)},
	)
}

// TestSecurityGroupDrift changes each thing behind Terraform's back.
func TestSecurityGroupDrift(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{})
	config := c.groupConfig(`key_server_cidrs = ["192.0.2.0/24", "198.51.100.0/24"]`, `ssh_cidrs = ["203.0.113.0/24"]`,
		`ingress_rules = [{ port_range = "8500/8500", source = "10.0.0.0/8" }, { port_range = "8501/8501", source = "10.0.0.0/8" }]`, `tags = { env = "test" }`)
	const right = "22:203.0.113.0/24 4433:192.0.2.0/24 4433:198.51.100.0/24 8500:10.0.0.0/8 8501:10.0.0.0/8"
	rule := func(ports, source string) string {
		rules, err := c.api.IngressRules(c.ctx(), c.onlyGroup())
		c.check(err)
		for _, r := range rules {
			if r.PortRange == ports && r.Source == source {
				return r.ID
			}
		}
		c.t.Fatalf("no rule %s from %s", ports, source)
		return ""
	}
	modify := func(id string, arguments map[string]string) {
		arguments["SecurityGroupId"], arguments["SecurityGroupRuleId"] = c.onlyGroup(), id
		c.do("ModifySecurityGroupRule", "", arguments)
	}
	// After each step the harness itself expects the plan to be empty.
	drift := func(change func()) []resource.TestStep {
		return []resource.TestStep{{PreConfig: change, Config: config, ConfigPlanChecks: action(plancheck.ResourceActionUpdate, groupAddr), Check: c.expectSources(right)}}
	}
	steps := []resource.TestStep{{Config: config, Check: c.expectSources(right)}}
	steps = append(steps, drift(func() {
		c.check(c.api.RemoveRules(c.ctx(), c.onlyGroup(), []string{rule("4433/4433", "192.0.2.0/24")}))
	})...)
	steps = append(steps, drift(func() { modify(rule("4433/4433", "198.51.100.0/24"), map[string]string{"SourceCidrIp": "0.0.0.0/0"}) })...)
	steps = append(steps, drift(func() { modify(rule("22/22", "203.0.113.0/24"), map[string]string{"PortRange": "2222/2222"}) })...)
	steps = append(steps, drift(func() { modify(rule("8500/8500", "10.0.0.0/8"), map[string]string{"Policy": "drop"}) })...)
	steps = append(steps, drift(func() { modify(rule("8501/8501", "10.0.0.0/8"), map[string]string{"Description": "scribbled"}) })...)
	steps = append(steps, drift(func() { modify(rule("4433/4433", "192.0.2.0/24"), map[string]string{"Description": "scribbled"}) })...)
	steps = append(steps, drift(func() { c.check(c.api.ModifySecurityGroup(c.ctx(), c.onlyGroup(), "other", "other")) })...)
	steps = append(steps, drift(func() {
		c.check(c.api.Retag(c.ctx(), ecs.TagSecurityGroup, c.onlyGroup(), map[string]string{"env": "test"}, map[string]string{"by": "hand"}))
	})...)
	// Rules of others are nobody's business.
	steps = append(steps, resource.TestStep{
		PreConfig: func() {
			c.do("AuthorizeSecurityGroup", "", map[string]string{"SecurityGroupId": c.onlyGroup(), "IpProtocol": "udp", "PortRange": "53/53", "SourceCidrIp": "10.0.0.0/8"})
		},
		Config: config, ConfigPlanChecks: emptyPlan(), Check: c.expectSources("22:203.0.113.0/24 4433:192.0.2.0/24 4433:198.51.100.0/24 53:10.0.0.0/8 8500:10.0.0.0/8 8501:10.0.0.0/8"),
	})
	c.accept(steps...)
}

func TestSecurityGroupDeletedOutside(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{})
	config := c.groupConfig(`key_server_cidrs = ["192.0.2.0/24"]`)
	c.accept(
		resource.TestStep{Config: config},
		resource.TestStep{
			PreConfig: func() { c.do("DeleteSecurityGroup", "", map[string]string{"SecurityGroupId": c.onlyGroup()}) },
			Config:    config, ConfigPlanChecks: action(plancheck.ResourceActionCreate, groupAddr), Check: c.expectSources("4433:192.0.2.0/24"),
		},
	)
}

func TestSecurityGroupAdoptsNothing(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{})
	c.accept(
		resource.TestStep{Config: c.groupConfig()},
		resource.TestStep{
			PreConfig: func() {
				c.do("AuthorizeSecurityGroup", "", map[string]string{"SecurityGroupId": c.onlyGroup(), "IpProtocol": "tcp", "PortRange": "4433/4433", "SourceCidrIp": "192.0.2.0/24", "Description": "theirs"})
			},
			Config:      c.groupConfig(`key_server_cidrs = ["192.0.2.0/24"]`),
			ExpectError: says("Error: Security group rule exists already"),
		},
	)
}

// TestSecurityGroupImportTakesAll imports a group that was made by hand.
func TestSecurityGroupImportTakesAll(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{})
	group := c.do("CreateSecurityGroup", "SecurityGroupId", map[string]string{"VpcId": c.vpc, "SecurityGroupName": "by-hand"})
	for _, port := range []string{"4433/4433", "80/80"} {
		c.do("AuthorizeSecurityGroup", "", map[string]string{"SecurityGroupId": group, "IpProtocol": "tcp", "PortRange": port, "SourceCidrIp": "192.0.2.0/24"})
	}
	config := c.groupConfig(`name = "by-hand"`, `ingress_rules = [{ port_range = "4433/4433", source = "192.0.2.0/24" }, { port_range = "80/80", source = "192.0.2.0/24" }]`)
	c.accept(
		resource.TestStep{Config: config, ResourceName: groupAddr, ImportState: true, ImportStateId: group, ImportStatePersist: true},
		resource.TestStep{Config: config, ConfigPlanChecks: emptyPlan()},
	)
}

// TestImportOfOtherIds: Alibaba's provider crashes on the id of a rule
// (aliyun/terraform-provider-alicloud issues 4888, 6179 and 9284).
func TestImportOfOtherIds(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{})
	for id, want := range map[string]string{
		"sgr-2ze1": "This is the id of a rule. A rule is imported with its group",
		"sg-2ze1:ingress:tcp:4433/4433:intranet:192.0.2.0/24:accept:1": "This is the id of a rule as Alibaba's provider writes it",
		"i-2ze1":  "its id starts with \"sg-\"",
		"sg-":     "its id starts with \"sg-\"",
		"sg-none": "Check the id, the provider's region and whose credentials are used",
	} {
		c.accept(resource.TestStep{Config: c.groupConfig(), ResourceName: groupAddr, ImportState: true, ImportStateId: id, ExpectError: says(want)})
	}
}

func TestSecurityGroupRejects(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{})
	rule := func(fields string) string { return "ingress_rules = [{ " + fields + " }]" }
	tests := []rejection{
		{"vpc", strings.Replace(c.groupConfig(), c.vpc, "sg-1", 1), "value must be the id of a VPC, vpc-..."},
		{"host bits", c.groupConfig(`key_server_cidrs = ["192.0.2.1/24"]`), "is not in canonical form; write 192.0.2.0/24"},
		{"address", c.groupConfig(`ssh_cidrs = ["192.0.2.1"]`), "is an address; as a CIDR block it is 192.0.2.1/32"},
		{"port", c.groupConfig(`key_server_port = 0`), "value must be between 1 and 65535"},
		{"name", c.groupConfig(`name = "1"`), "value must be 2 to 128 letters"},
		{"description", c.groupConfig(`description = "x"`), "empty, or 2 to 256 characters"},
		{"protocol", c.groupConfig(rule(`protocol = "TCP", port_range = "1/1", source = "10.0.0.0/8"`)), `value must be one of`},
		{"ports", c.groupConfig(rule(`port_range = "4433", source = "10.0.0.0/8"`)), "FROM/TO with ports from 1 to 65535"},
		{"port order", c.groupConfig(rule(`port_range = "9/8", source = "10.0.0.0/8"`)), "it is not a range of ports"},
		{"source", c.groupConfig(rule(`port_range = "1/1", source = "office"`)), "is not a CIDR block"},
		{"priority", c.groupConfig(rule(`port_range = "1/1", source = "10.0.0.0/8", priority = 101`)), "value must be between 1 and 100"},
		{"twice", c.groupConfig(`key_server_cidrs = ["10.0.0.0/8"]`, rule(`port_range = "4433/4433", source = "10.0.0.0/8"`)), "tcp 4433/4433 from 10.0.0.0/8 is asked for twice"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			accept(t, resource.TestStep{Config: tt.config, PlanOnly: true, ExpectError: says(tt.want)})
		})
	}
	if n := c.calls(); n != 0 {
		t.Errorf("%d calls for configurations that are wrong", n)
	}
}

// TestSecurityGroupFaults throttles each call and loses each answer, with lists
// that lag behind.
func TestSecurityGroupFaults(t *testing.T) {
	t.Parallel()
	for name, faults := range map[string][]ecssim.Fault{"throttled": everyCallThrottled(), "cut": everyWriteCut()} {
		t.Run(name, func(t *testing.T) {
			c := newCloud(t, ecssim.Options{Latencies: ecssim.Latencies{Consistency: 30 * time.Millisecond}})
			c.sim.Inject(faults...)
			c.accept(
				resource.TestStep{Config: c.groupConfig(`name = "one"`, `key_server_cidrs = ["192.0.2.0/24"]`, `tags = { a = "1" }`), Check: c.expectSources("4433:192.0.2.0/24")},
				resource.TestStep{
					PreConfig: func() { c.sim.Inject(faults...) },
					Config:    c.groupConfig(`name = "two"`, `key_server_cidrs = ["198.51.100.0/24"]`, `tags = { b = "2" }`), Check: c.expectSources("4433:198.51.100.0/24"),
				},
			)
			if n := c.total("DescribeSecurityGroups"); n != 0 {
				t.Errorf("%d groups are left", n)
			}
		})
	}
}

// TestSecurityGroupConsistency lets the lists lag behind for five seconds.
func TestSecurityGroupConsistency(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{Latencies: ecssim.Latencies{Consistency: 5 * time.Second}})
	config := c.groupConfig(`key_server_cidrs = ["192.0.2.0/24"]`)
	c.accept(resource.TestStep{Config: config, Check: c.expectSources("4433:192.0.2.0/24")})
}

func TestSecurityGroupPartOfTheRules(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{Quotas: ecssim.Quotas{Rules: 1, SecurityGroups: 10}})
	c.accept(
		resource.TestStep{Config: c.groupConfig(`key_server_cidrs = ["192.0.2.0/24"]`)},
		resource.TestStep{
			Config:      c.groupConfig(`key_server_cidrs = ["192.0.2.0/24", "198.51.100.0/24"]`, `ssh_cidrs = ["203.0.113.0/24"]`),
			ExpectError: says("AuthorizationLimitExceed"),
		},
		resource.TestStep{Config: c.groupConfig(`key_server_cidrs = ["192.0.2.0/24"]`), ConfigPlanChecks: emptyPlan(), Check: c.expectSources("4433:192.0.2.0/24")},
	)
}

func TestSecurityGroupInUse(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{})
	config := c.groupConfig(`timeouts = { delete = "100ms" }`)
	var id string
	c.accept(
		resource.TestStep{Config: config},
		resource.TestStep{
			PreConfig: func() {
				var err error
				id, err = c.api.RunInstance(c.ctx(), ecs.InstanceSpec{ImageID: "aliyun_3_x64_20G_alibase_20260513.vhd", Type: "ecs.c7.large", VSwitchID: c.vswitch, SecurityGroups: []string{c.onlyGroup()}})
				c.check(err)
			},
			Config: config, Destroy: true, ExpectError: says("Still in use by: instances i-sim"),
		},
		resource.TestStep{PreConfig: func() { c.check(c.api.DeleteInstance(c.ctx(), id)) }, Config: config, ConfigPlanChecks: emptyPlan()},
	)
	c.expectPermissions("cc_client_instance", "cc_security_group")
}

func TestSecurityGroupTimeout(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{Latencies: ecssim.Latencies{Consistency: time.Hour}})
	c.accept(resource.TestStep{
		Config: c.groupConfig(`timeouts = { create = "100ms" }`), ExpectError: says("to be listed: context deadline exceeded"),
	})
}

// TestWrongCredentialsAreNotAbsence is the regression of a defect of Alibaba's
// provider: an unknown access key, answered with 404, emptied the state.
func TestWrongCredentialsAreNotAbsence(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{Keys: map[string]string{ecssim.DefaultAccessKey: ecssim.DefaultSecretKey}})
	other := newCloud(t, ecssim.Options{Account: "2000000000000002"})
	config := c.groupConfig()
	with := func(changes ...string) string {
		return strings.Replace(config, c.provider(), c.provider(changes...), 1)
	}
	c.accept(
		resource.TestStep{Config: config},
		resource.TestStep{Config: with("access_key", "LTAInobodyKnowsThisKey"), ExpectError: says("The credentials come from access_key and secret_key.")},
		resource.TestStep{Config: with("secret_key", "wrong-secret"), ExpectError: says("SignatureDoesNotMatch")},
		resource.TestStep{Config: with("region", "cn-hangzhou"), ExpectError: says("it is in region cn-beijing, and the provider is configured for cn-hangzhou")},
		resource.TestStep{Config: strings.ReplaceAll(config, c.url, other.url), ExpectError: says("Error: Credentials of another account")},
		resource.TestStep{Config: config, ConfigPlanChecks: emptyPlan()},
	)
}

func TestCloudSettings(t *testing.T) {
	c := newCloud(t, ecssim.Options{})
	group := strings.TrimPrefix(c.groupConfig(), c.provider())
	accept(t, resource.TestStep{Config: "provider \"cc\" {}\n" + group, ExpectError: says("region is not set, neither in the configuration nor in ALICLOUD_REGION")})
	accept(t, resource.TestStep{Config: "provider \"cc\" { region = \"cn-beijing\" }\n" + group, ExpectError: says("neither access_key and secret_key, nor OIDC, profile or ecs_role_name is set")})
	accept(t, resource.TestStep{Config: c.provider("region", "Beijing") + group, ExpectError: says("is not the id of a region")})
	accept(t, resource.TestStep{Config: strings.ReplaceAll(c.provider(), "127.0.0.1", "192.0.2.1") + group, ExpectError: says("plain http is for loopback addresses only")})
	unknown := "resource \"terraform_data\" \"key\" { input = \"x\" }\n" + strings.Replace(c.provider(), fmt.Sprintf("%q", ecssim.DefaultAccessKey), "terraform_data.key.output", 1)
	c.setEnvironment()
	accept(t, resource.TestStep{Config: unknown + "data \"cc_zones\" \"z\" {}", ExpectError: says("not known before apply: access_key")})
	// The environment alone suffices.
	accept(t, resource.TestStep{Config: group})
}

// TestSecurityGroupCanary runs with DEBUG=sdk as well, under which Alibaba's
// SDK prints its requests.
func TestSecurityGroupCanary(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{})
	config := strings.TrimPrefix(c.groupConfig(`name = "planted-name"`, `key_server_cidrs = ["192.0.2.0/24"]`), c.provider())
	canary{
		Env:     append(c.environment(), "DEBUG=sdk"),
		Config:  config,
		Planted: "planted-name",
		Secrets: func(*testing.T, string) map[string][]byte {
			return map[string][]byte{"secret key": []byte(ecssim.DefaultSecretKey), "access key id": []byte(ecssim.DefaultAccessKey)}
		},
	}.hunt(t)
}

func TestSecurityGroupWarnings(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{})
	w := newWorkspace(t, c.groupConfig(`key_server_cidrs = ["0.0.0.0/0"]`, `ssh_cidrs = ["::/0"]`, `ingress_rules = [{ port_range = "22/22", source = "0.0.0.0/0" }, { port_range = "80/80", source = "0.0.0.0/0" }]`))
	out := w.terraform("plan")
	expectOutput(t, out, "Warning: Key server open to the world", "The port is open to 0.0.0.0/0", "Warning: SSH open to the world", "The port is open to ::/0", "Warning: Rule open to the world", "The rule opens 22/22 to 0.0.0.0/0")
	if strings.Contains(out, "opens 80/80") {
		t.Error("a web port is warned of")
	}
}
