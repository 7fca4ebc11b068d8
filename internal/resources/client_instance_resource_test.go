package resources_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/compare"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
)

const instanceAddr = "cc_client_instance.client"

// lifelike are latencies that let every state be seen.
var lifelike = ecssim.Latencies{
	Starting: 15 * time.Millisecond, Stopping: 10 * time.Millisecond, Deleting: 15 * time.Millisecond, PublicIP: 10 * time.Millisecond,
	Agent: 10 * time.Millisecond, Consistency: 10 * time.Millisecond,
}

// machines runs the bootstrap in folders that stand in for machines.
func machines(t *testing.T) ecssim.DirectoryRunner {
	t.Helper()
	if _, err := exec.LookPath("flock"); err != nil {
		t.Skip("the bootstrap needs flock, as Alibaba Cloud Linux has it")
	}
	return ecssim.DirectoryRunner{Dir: t.TempDir(), Prepare: ecssim.AlibabaLinux3, Env: []string{"CC_RETRY_SECONDS=0"}}
}

func (c *cloud) instanceConfig(lines ...string) string {
	return c.instanceIn("cc_security_group.client.id", lines...)
}

func (c *cloud) instanceIn(groups string, lines ...string) string {
	return c.groupConfig() + fmt.Sprintf("resource \"cc_client_instance\" \"client\" {\n  vswitch_id = %q\n  security_group_ids = [%s]\n  %s\n}\n", c.vswitch, groups, strings.Join(lines, "\n  "))
}

func (c *cloud) onlyInstance() *ecs.Instance {
	c.t.Helper()
	i, err := c.api.FindInstance(c.ctx(), c.only("DescribeInstances", "Instances", "Instance", "InstanceId"))
	c.check(err)
	return i
}

// expectInstance checks the one instance there is.
func (c *cloud) expectInstance(want func(i *ecs.Instance) bool) resource.TestCheckFunc {
	return checkFunc(func() error {
		if i := c.onlyInstance(); !want(i) {
			return fmt.Errorf("the instance is %+v", i)
		}
		return nil
	})
}

func instanceHas(name string, check knownvalue.Check) statecheck.StateCheck {
	return statecheck.ExpectKnownValue(instanceAddr, tfjsonpath.New(name), check)
}

func TestClientInstanceLife(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{Latencies: lifelike, Runner: machines(t)})
	minimal := c.instanceConfig()
	changed := c.instanceIn("cc_security_group.second.id", `name = "renamed"`, `description = "of the demo"`, `tags = { env = "prod" }`, "internet_max_bandwidth_out = 9",
		`internet_charge_type = "PayByBandwidth"`, `instance_type = "ecs.g7.large"`, `http_tokens = "optional"`, "deletion_protection = true") +
		fmt.Sprintf("resource \"cc_security_group\" \"second\" {\n  vpc_id = %q\n}\n", c.vpc)
	unprotected := strings.Replace(changed, "deletion_protection = true", "deletion_protection = false", 1)
	same := statecheck.CompareValue(compare.ValuesSame())
	c.accept(
		resource.TestStep{
			Config: minimal, ConfigPlanChecks: action(plancheck.ResourceActionCreate, instanceAddr, plancheck.ExpectUnknownValue(instanceAddr, tfjsonpath.New("instance_type"))),
			Check: c.expectInstance(func(i *ecs.Instance) bool {
				return i.Status == ecs.StatusRunning && i.Type == "ecs.c8i.large" && i.ImageID == "aliyun_3_x64_20G_alibase_20260513.vhd" && i.HTTPTokens == "required" && i.BandwidthOut == 5
			}),
			ConfigStateChecks: []statecheck.StateCheck{
				same.AddStateValue(instanceAddr, tfjsonpath.New("id")), instanceHas("status", knownvalue.StringExact("Running")), instanceHas("public_ip", knownvalue.NotNull()),
				instanceHas("zone_id", knownvalue.StringExact("cn-beijing-h")), instanceHas("vpc_id", knownvalue.StringExact(c.vpc)), instanceHas("tags", knownvalue.Null()),
				instanceHas("bootstrap_status", knownvalue.StringExact("done")), instanceHas("bootstrap_steps", knownvalue.ListSizeExact(7)), instanceHas("ssh_host_keys", knownvalue.ListSizeExact(1)),
			},
		},
		resource.TestStep{PreConfig: c.sim.ForgetRequests, RefreshState: true},
		resource.TestStep{
			PreConfig: func() {
				if n := c.calls("DescribeInstances") + c.calls("DescribeDisks"); n > 2*2 || c.calls() > 2*4 { // two refreshes
					t.Errorf("refreshing made %d calls of the instance's, %d in all", n, c.calls())
				}
			},
			ResourceName: instanceAddr, ImportState: true, ImportStateVerify: true, Config: minimal,
			ImportStateVerifyIgnore: []string{"timeouts", "bootstrap_status", "bootstrap_steps", "ssh_host_keys"},
		},
		resource.TestStep{
			Config: changed, ConfigPlanChecks: action(plancheck.ResourceActionUpdate, instanceAddr, plancheck.ExpectKnownValue(instanceAddr, tfjsonpath.New("ssh_host_keys"), knownvalue.ListSizeExact(1))),
			Check: c.expectInstance(func(i *ecs.Instance) bool {
				return i.Name == "renamed" && i.Description == "of the demo" && i.Tags["env"] == "prod" && i.BandwidthOut == 9 && i.InternetChargeType == "PayByBandwidth" &&
					i.Type == "ecs.g7.large" && i.HTTPTokens == "optional" && i.DeletionProtection && len(i.SecurityGroups) == 1 && i.Status == ecs.StatusRunning
			}),
			ConfigStateChecks: []statecheck.StateCheck{same.AddStateValue(instanceAddr, tfjsonpath.New("id"))},
		},
		resource.TestStep{Config: changed, ConfigPlanChecks: emptyPlan()},
		resource.TestStep{Config: changed, Destroy: true, ExpectError: says("Error: Instance protected against deletion")},
		resource.TestStep{Config: strings.Replace(changed, `name = "renamed"`, `image_id = "aliyun_3_x64_20G_alibase_20240819.vhd"`, 1), ExpectError: says("it replaces the instance, which is protected against deletion")},
		resource.TestStep{Config: unprotected},
	)
	if c.calls("DeleteInstance") != 1 || c.total("DescribeInstances") != 0 || c.total("DescribeSecurityGroups") != 0 {
		t.Errorf("%d deletions, %d instances and %d groups are left", c.calls("DeleteInstance"), c.total("DescribeInstances"), c.total("DescribeSecurityGroups"))
	}
	c.expectPermissions("cc_client_instance", "cc_security_group")
}

// TestClientInstanceImport: after an import the plan is empty, with user data
// as well.
func TestClientInstanceImport(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{})
	group := c.do("CreateSecurityGroup", "SecurityGroupId", map[string]string{"VpcId": c.vpc, "SecurityGroupName": "by-hand"})
	id, err := c.api.RunInstance(c.ctx(), ecs.InstanceSpec{
		Name: "by-hand", ImageID: "aliyun_3_x64_20G_alibase_20240819.vhd", Type: "ecs.c7.large", VSwitchID: c.vswitch, SecurityGroups: []string{group}, BandwidthOut: 5,
		UserData: []byte("#!/bin/sh\necho test\n"), HTTPTokens: "required", Disk: ecs.Disk{Category: "cloud_essd", PerformanceLevel: "PL0", SizeGiB: 40},
	})
	c.check(err)
	config := c.provider() + fmt.Sprintf("resource \"cc_client_instance\" \"client\" {\n  vswitch_id = %q\n  security_group_ids = [%q]\n  name = \"by-hand\"\n  user_data = \"#!/bin/sh\\necho test\\n\"\n}\n", c.vswitch, group)
	c.accept(
		resource.TestStep{Config: config, ResourceName: instanceAddr, ImportState: true, ImportStateId: "sgr-1", ExpectError: says("This is the id of a rule")},
		resource.TestStep{Config: config, ResourceName: instanceAddr, ImportState: true, ImportStateId: "i-none", ExpectError: says("Check the id, the provider's region and whose credentials are used")},
		resource.TestStep{Config: config, ResourceName: instanceAddr, ImportState: true, ImportStateId: id, ImportStatePersist: true},
		resource.TestStep{Config: config, ConfigPlanChecks: emptyPlan()},
	)
}

func TestClientInstanceDrift(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{Latencies: lifelike})
	config := c.instanceConfig("bootstrap = false", `tags = { env = "test" }`)
	right := func(i *ecs.Instance) bool {
		return i.Name == "cc-client" && i.Tags["env"] == "test" && len(i.Tags) == 1 && i.BandwidthOut == 5 && i.HTTPTokens == "required" && len(i.SecurityGroups) == 1 && i.Type == "ecs.c8i.large"
	}
	drift := func(change func(id string)) resource.TestStep {
		return resource.TestStep{
			PreConfig: func() { change(c.onlyInstance().ID) }, Config: config,
			ConfigPlanChecks: action(plancheck.ResourceActionUpdate, instanceAddr), Check: c.expectInstance(right),
		}
	}
	name := "other"
	c.accept(
		resource.TestStep{Config: config, Check: c.expectInstance(right), ConfigStateChecks: []statecheck.StateCheck{instanceHas("bootstrap_status", knownvalue.StringExact("off"))}},
		drift(func(id string) { c.check(c.api.ModifyInstance(c.ctx(), id, ecs.InstanceChange{Name: &name})) }),
		drift(func(id string) {
			c.check(c.api.Retag(c.ctx(), ecs.TagInstance, id, map[string]string{"env": "test"}, map[string]string{"by": "hand"}))
			c.check(c.api.SetBandwidth(c.ctx(), id, 1, "", false))
			c.check(c.api.SetMetadataTokens(c.ctx(), id, "optional"))
		}),
		drift(func(id string) {
			other := c.do("CreateSecurityGroup", "SecurityGroupId", map[string]string{"VpcId": c.vpc})
			time.Sleep(lifelike.Consistency)
			c.check(c.api.JoinSecurityGroup(c.ctx(), id, other))
		}),
		// A type that was left to choose is not changed back; the machine is the user's.
		resource.TestStep{
			PreConfig: func() {
				id := c.onlyInstance().ID
				c.check(c.api.StopInstance(c.ctx(), id))
				_, err := c.api.WaitStatus(c.ctx(), id, ecs.StatusStopped)
				c.check(err)
				c.check(c.api.ChangeInstanceType(c.ctx(), id, "ecs.g7.large"))
			},
			Config: config, ConfigPlanChecks: emptyPlan(), ConfigStateChecks: []statecheck.StateCheck{instanceHas("status", knownvalue.StringExact("Stopped"))},
		},
		resource.TestStep{
			PreConfig: func() {
				id := c.onlyInstance().ID
				c.check(c.api.DeleteInstance(c.ctx(), id))
				c.check(c.api.WaitInstanceGone(c.ctx(), id))
			},
			Config: config, ConfigPlanChecks: action(plancheck.ResourceActionCreate, instanceAddr), Check: c.expectInstance(right),
		},
	)
}

// TestClientInstanceReplaced looks at what the plan says.
func TestClientInstanceReplaced(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{})
	w := newWorkspace(t, c.instanceConfig("bootstrap = false"))
	w.terraform("apply", "-auto-approve")
	plan := func(lines ...string) string {
		t.Helper()
		mustWrite(t, filepath.Join(w.dir, "main.tf"), []byte("terraform {\n  required_providers {\n    cc = { source = \"ccctl/cc\" }\n  }\n}\n"+c.instanceConfig(append(lines, "bootstrap = false")...)), 0o600)
		return w.terraform("plan")
	}
	expectOutput(t, plan(`image_id = "aliyun_3_x64_20G_alibase_20240819.vhd"`), "1 to add, 0 to change, 1 to destroy", "Warning: Another image replaces the instance")
	expectOutput(t, plan(`user_data = "#!/bin/sh"`), "1 to add, 0 to change, 1 to destroy", "Warning: Other user data replaces the instance", "Use bootstrap_triggers")
	expectOutput(t, plan(`instance_type = "ecs.g7.large"`), "0 to add, 1 to change, 0 to destroy", "Warning: Instance stopped and started again", "its type changes from ecs.c8i.large to ecs.g7.large")
	expectOutput(t, plan(`system_disk_category = "cloud_auto"`, `system_disk_size = 60`), "1 to add, 0 to change, 1 to destroy")
	expectOutput(t, plan(`key_name = "k"`), "1 to add, 0 to change, 1 to destroy")
	w.terraform("destroy", "-auto-approve")
}

func TestClientInstanceBootstrap(t *testing.T) {
	t.Parallel()
	runner := machines(t)
	c := newCloud(t, ecssim.Options{Latencies: lifelike, Runner: runner})
	config := func(trigger string) string {
		return c.instanceConfig(`bootstrap_user = "ecs-user"`, fmt.Sprintf("bootstrap_triggers = { run = %q }", trigger))
	}
	broken := func(on bool) func() {
		return func() {
			file := filepath.Join(runner.Dir, c.onlyInstance().ID, "fail", "systemctl")
			if on {
				mustWrite(t, file, []byte("Job for docker.service failed\n"), 0o600)
			} else {
				remove(t, file)
			}
		}
	}
	c.accept(
		resource.TestStep{Config: config("1"), ConfigStateChecks: []statecheck.StateCheck{instanceHas("bootstrap_status", knownvalue.StringExact("done"))}},
		resource.TestStep{PreConfig: broken(true), Config: config("2"), ExpectError: says("step docker_service failed with exit code 1")},
		resource.TestStep{ // it is not done, so the next apply tries again
			PreConfig: broken(false), Config: config("2"),
			ConfigPlanChecks:  action(plancheck.ResourceActionUpdate, instanceAddr, plancheck.ExpectUnknownValue(instanceAddr, tfjsonpath.New("bootstrap_status"))),
			ConfigStateChecks: []statecheck.StateCheck{instanceHas("bootstrap_status", knownvalue.StringExact("done"))},
		},
		resource.TestStep{Config: config("2"), ConfigPlanChecks: emptyPlan()},
	)
}

// TestClientInstanceFaults throttles each call, loses each answer, and lets the
// lists lag behind.
func TestClientInstanceFaults(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		faults []ecssim.Fault
		lag    time.Duration
	}{
		"throttled":  {everyCallThrottled(), 20 * time.Millisecond},
		"cut":        {everyWriteCut(), 20 * time.Millisecond},
		"consistent": {nil, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			late := lifelike
			late.Consistency = tt.lag
			c := newCloud(t, ecssim.Options{Latencies: late, Runner: machines(t)})
			bootstrap := "bootstrap = true"
			if name == "consistent" {
				bootstrap = "bootstrap = false" // each command's result would lag behind too
			}
			c.sim.Inject(tt.faults...)
			c.accept(
				resource.TestStep{Config: c.instanceConfig(bootstrap, `ram_role_name = "one"`), Check: c.expectInstance(func(i *ecs.Instance) bool { return i.Status == ecs.StatusRunning && c.role() == "one" })},
				resource.TestStep{
					PreConfig: func() { c.sim.Inject(tt.faults...) }, Config: c.instanceConfig(bootstrap, `name = "other"`, `instance_type = "ecs.g7.large"`, `tags = { a = "1" }`, `ram_role_name = "two"`, `resource_group_id = "rg-two"`),
					ConfigPlanChecks: action(plancheck.ResourceActionUpdate, instanceAddr), Check: c.expectInstance(func(i *ecs.Instance) bool {
						return i.Name == "other" && i.Type == "ecs.g7.large" && i.ResourceGroupID == "rg-two" && len(i.Tags) == 1 && c.role() == "two"
					}),
				},
			)
			if n := c.total("DescribeInstances") + c.total("DescribeSecurityGroups"); n != 0 {
				t.Errorf("%d instances and groups are left", n)
			}
		})
	}
}

// TestClientInstanceIsNeverLost: the id is in the state before any wait.
func TestClientInstanceIsNeverLost(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{Latencies: ecssim.Latencies{Starting: time.Second}})
	c.accept(
		resource.TestStep{Config: c.instanceConfig(`timeouts = { create = "100ms" }`), ExpectError: says("to run: context deadline exceeded")},
	)
	if n := c.calls("RunInstances"); n != 1 {
		t.Errorf("%d creations", n)
	}
	if c.calls("DeleteInstance") == 0 {
		t.Error("the machine was not known to be destroyed")
	}
}

func TestClientInstanceRejects(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{})
	for _, tt := range []rejection{
		{"vswitch", strings.Replace(c.instanceConfig(), c.vswitch, "vpc-1", 1), "the id of a vSwitch, vsw-..."},
		{"no group", c.instanceIn(""), "set must contain at least 1 elements"},
		{"both user data", c.instanceConfig(`user_data = "a"`, `user_data_base64 = "YQ=="`), "cannot be specified when"},
		{"base64", c.instanceConfig(`user_data_base64 = "#!/bin/sh"`), "it is not base64"},
		{"long user data", c.instanceConfig(fmt.Sprintf("user_data = %q", strings.Repeat("x", 33000))), "it has 33000 bytes, more than 32768"},
		{"password alone", c.instanceConfig(`password_wo = "Passw0rd-1"`), `"password_wo_version" must be specified when "password_wo" is specified`},
		{"bandwidth", c.instanceConfig("internet_max_bandwidth_out = 101"), "value must be between 0 and 100"},
		{"user", c.instanceConfig(`bootstrap_user = "a b"`), "is not the name of a user"},
		{"tokens", c.instanceConfig(`http_tokens = "none"`), `value must be one of "required", "optional"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			accept(t, resource.TestStep{Config: tt.config, PlanOnly: true, ExpectError: says(tt.want)})
		})
	}
}

// TestClientInstancePassword sets a bad password, which the simulator repeats
// in its answer, and good ones, of which nothing must be seen.
func TestClientInstancePassword(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{})
	with := func(password string, version int) string {
		return c.instanceConfig("bootstrap = false", fmt.Sprintf("password_wo = %q", password), fmt.Sprintf("password_wo_version = %d", version))
	}
	c.accept(
		resource.TestStep{Config: with("canary", 1), ExpectError: says(`InvalidPassword.Malformed: The specified parameter Password "(redacted)" is not valid`)},
		resource.TestStep{Config: with("Canary-Passw0rd", 1), ConfigStateChecks: []statecheck.StateCheck{instanceHas("password_wo", knownvalue.Null())}},
		resource.TestStep{Config: with("Canary-Passw0rd", 1), ConfigPlanChecks: emptyPlan()},
		resource.TestStep{Config: with("Canary-Passw0rd2", 2), ConfigPlanChecks: action(plancheck.ResourceActionUpdate, instanceAddr)},
	)
	if n := c.calls("StopInstance"); n != 1 {
		t.Errorf("the machine was stopped %d times for a new password", n)
	}
}

func TestClientInstanceCanary(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{})
	const password = "Canary-Passw0rd-7"
	config := strings.TrimPrefix(c.instanceConfig(`name = "planted-name"`, "bootstrap = false", "password_wo = var.password", "password_wo_version = 1"), c.provider()) +
		"variable \"password\" {\n  type      = string\n  ephemeral = true\n}\n"
	canary{
		Env:    append(c.environment(), "TF_VAR_password="+password, "DEBUG=sdk"),
		Config: config, Planted: "planted-name",
		Secrets: func(*testing.T, string) map[string][]byte {
			return map[string][]byte{"password": []byte(password), "secret key": []byte(ecssim.DefaultSecretKey), "access key id": []byte(ecssim.DefaultAccessKey)}
		},
	}.hunt(t)
}

// planLimit is how long the plan of 100 resources may take.
const planLimit = 3 * time.Second

// TestManyResources plans 50 groups and 50 instances that are as they should
// be. It has the machine to itself, because it measures time.
func TestManyResources(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 100 resources")
	}
	c := newCloud(t, ecssim.Options{})
	config := c.provider() + fmt.Sprintf(`
resource "cc_security_group" "client" {
  count            = 50
  vpc_id           = %q
  key_server_cidrs = ["192.0.2.0/24"]
}
resource "cc_client_instance" "client" {
  count              = 50
  vswitch_id         = %q
  security_group_ids = [cc_security_group.client[count.index].id]
  bootstrap          = false
}
`, c.vpc, c.vswitch)
	w := newWorkspace(t, config)
	w.terraform("apply", "-auto-approve", "-parallelism=20")
	c.sim.ForgetRequests()
	expectOutput(t, w.terraform("plan"), "No changes.")
	if n := c.calls("DescribeInstances", "DescribeDisks"); n != 100 {
		t.Errorf("%d calls for 50 instances", n)
	}
	if n := c.calls("DescribeSecurityGroups", "DescribeSecurityGroupAttribute"); n != 100 || c.calls() != 200 {
		t.Errorf("%d calls for 50 groups, %d in all", n, c.calls())
	}
	// Other tests may run beside this one, so the least of a few counts, and at
	// best the time that the processors were at it.
	best := time.Hour
	for n := 0; n < 4 && best > planLimit; n++ {
		cmd := exec.Command("terraform", "plan", "-no-color")
		cmd.Dir = w.dir
		cmd.Env = append(os.Environ(), "TF_CLI_CONFIG_FILE="+filepath.Join(w.aside, "dev.tfrc"))
		started := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		best = min(best, time.Since(started), cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
	}
	t.Logf("a plan without changes took %s", best)
	if best > planLimit {
		t.Errorf("a plan without changes took %s, want at most %s", best, planLimit)
	}
	w.terraform("destroy", "-auto-approve", "-parallelism=20")
	if n := c.total("DescribeInstances") + c.total("DescribeSecurityGroups"); n != 0 {
		t.Errorf("%d are left", n)
	}
}
