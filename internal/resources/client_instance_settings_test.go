package resources_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
)

// allSettings are those that an instance is seldom given.
const allSettings = `
  bootstrap         = false
  host_name         = "model-owner"
  resource_group_id = "rg-one"
  ram_role_name     = "one"
  key_name          = "laptop"
  spot_strategy     = "SpotWithPriceLimit"
  spot_price_limit  = 0.25
  data_disks = [
    { size = 60, performance_level = "PL1" },
    { size = 80, category = "cloud_auto" },
  ]`

func (c *cloud) keyPair(name string) {
	c.do("ImportKeyPair", "", map[string]string{"KeyPairName": name, "PublicKeyBody": "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQC7"})
}

// role is the role of the one instance there is.
func (c *cloud) role() string {
	c.t.Helper()
	role, err := c.api.InstanceRole(c.ctx(), c.onlyInstance().ID)
	c.check(err)
	return role
}

func TestClientInstanceSettings(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{Latencies: lifelike})
	c.keyPair("laptop")
	config := c.instanceConfig(allSettings)
	moved := strings.NewReplacer(`"model-owner"`, `"model-user"`, `"rg-one"`, `"rg-two"`, `"one"`, `"two"`).Replace(config)
	c.accept(
		resource.TestStep{
			Config: config,
			Check: c.expectInstance(func(i *ecs.Instance) bool {
				return i.HostName == "model-owner" && i.ResourceGroupID == "rg-one" && i.KeyName == "laptop" && i.SpotStrategy == "SpotWithPriceLimit" && i.SpotPriceLimit == 0.25 && c.role() == "one"
			}),
			ConfigStateChecks: []statecheck.StateCheck{instanceHas("data_disk_ids", knownvalue.ListSizeExact(2)), instanceHas("data_disks", knownvalue.ListSizeExact(2))},
		},
		resource.TestStep{
			ResourceName: instanceAddr, ImportState: true, ImportStateVerify: true, Config: config,
			ImportStateVerifyIgnore: []string{"timeouts", "bootstrap", "bootstrap_status", "bootstrap_steps", "ssh_host_keys"},
		},
		resource.TestStep{Config: config, ConfigPlanChecks: emptyPlan()},
		resource.TestStep{
			Config: moved, ConfigPlanChecks: action(plancheck.ResourceActionUpdate, instanceAddr),
			Check: c.expectInstance(func(i *ecs.Instance) bool {
				return i.HostName == "model-user" && i.ResourceGroupID == "rg-two" && i.Status == ecs.StatusRunning && c.role() == "two"
			}),
		},
		// The role is put back, the disk that somebody attached is none of ours.
		resource.TestStep{
			PreConfig: func() {
				id := c.onlyInstance().ID
				c.check(c.api.SetInstanceRole(c.ctx(), id, "two", "three"))
				c.check(c.api.JoinResourceGroup(c.ctx(), ecs.TagInstance, id, "rg-three"))
				c.attachForeignDisk(id)
			},
			Config: moved, ConfigPlanChecks: action(plancheck.ResourceActionUpdate, instanceAddr),
			Check:             c.expectInstance(func(i *ecs.Instance) bool { return i.ResourceGroupID == "rg-two" && c.role() == "two" }),
			ConfigStateChecks: []statecheck.StateCheck{instanceHas("data_disk_ids", knownvalue.ListSizeExact(2))},
		},
		resource.TestStep{Config: moved, ConfigPlanChecks: emptyPlan()},
		resource.TestStep{
			Config: strings.Replace(moved, `ram_role_name     = "two"`, "", 1), ConfigPlanChecks: action(plancheck.ResourceActionUpdate, instanceAddr),
			Check: checkFunc(func() error {
				if role := c.role(); role != "" {
					return fmt.Errorf("the role is still %s", role)
				}
				return nil
			}),
		},
	)
	c.expectPermissions("cc_client_instance", "cc_security_group")
}

// attachForeignDisk gives an instance a data disk of another one's.
func (c *cloud) attachForeignDisk(id string) {
	c.t.Helper()
	other, err := c.api.RunInstance(c.ctx(), ecs.InstanceSpec{
		Name: "other", ImageID: "aliyun_3_x64_20G_alibase_20240819.vhd", Type: "ecs.c7.large", VSwitchID: c.vswitch, SecurityGroups: []string{c.onlyGroup()},
		DataDisks: []ecs.Disk{{Category: "cloud_auto", SizeGiB: 100}},
	})
	c.check(err)
	disks, err := c.api.InstanceDisks(c.ctx(), other)
	for err == nil && len(disks.Data) == 0 { // not listed yet
		disks, err = c.api.InstanceDisks(c.ctx(), other)
	}
	c.check(err)
	c.do("DetachDisk", "", map[string]string{"InstanceId": other, "DiskId": disks.Data[0].ID})
	c.do("AttachDisk", "", map[string]string{"InstanceId": id, "DiskId": disks.Data[0].ID})
	_, err = c.api.WaitStatus(c.ctx(), other, ecs.StatusRunning)
	c.check(err)
	c.check(c.api.DeleteInstance(c.ctx(), other))
	c.check(c.api.WaitInstanceGone(c.ctx(), other))
}

// TestClientInstanceSaysWhatItDoes looks at what plans say of settings that
// replace, of drift that is left, and of protection that was set elsewhere.
func TestClientInstanceSaysWhatItDoes(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{})
	c.keyPair("laptop")
	w := newWorkspace(t, c.instanceConfig(allSettings))
	w.terraform("apply", "-auto-approve")
	plan := func(old, with string) string {
		t.Helper()
		mustWrite(t, filepath.Join(w.dir, "main.tf"), []byte(terraformBlock+c.instanceConfig(strings.Replace(allSettings, old, with, 1))), 0o600)
		return w.terraform("plan")
	}
	const replaced, changed = "1 to add, 0 to change, 1 to destroy", "0 to add, 1 to change, 0 to destroy"
	expectOutput(t, plan("size = 60", "size = 70"), replaced, "Warning: Other data disks replace the instance")
	expectOutput(t, plan("0.25", "0.5"), replaced, "spot_price_limit")
	expectOutput(t, plan("model-owner", "model-user"), changed, "Warning: Instance stopped and started again", "its host name changes from model-owner to model-user")
	expectOutput(t, plan(`"one"`, `"two"`), changed)

	// A disk that somebody took away.
	id := c.onlyInstance().ID
	disks, err := c.api.InstanceDisks(c.ctx(), id)
	c.check(err)
	c.do("DetachDisk", "", map[string]string{"InstanceId": id, "DiskId": disks.Data[0].ID})
	expectOutput(t, plan("", ""), replaced, "A disk that was detached, deleted or resized outside of Terraform shows here")
	c.do("AttachDisk", "", map[string]string{"InstanceId": id, "DiskId": disks.Data[0].ID})
	expectOutput(t, plan("", ""), "No changes.")

	// An image that somebody else put there, where none is configured and where one is.
	c.check(c.api.StopInstance(c.ctx(), id))
	const other = "aliyun_3_x64_20G_alibase_20251215.vhd"
	c.do("ReplaceSystemDisk", "", map[string]string{"InstanceId": id, "ImageId": other})
	c.check(c.api.StartInstance(c.ctx(), id))
	expectOutput(t, plan("", ""), "No changes.", "Warning: Image changed outside of Terraform", "has image "+other+" now", "this is left as it is")
	expectOutput(t, plan("bootstrap ", "image_id = \"aliyun_3_x64_20G_alibase_20260513.vhd\"\n bootstrap "), replaced, "Warning: Another image replaces the instance")

	// A protection that somebody else set is found by the plan, not half-way.
	on := true
	c.check(c.api.ModifyInstance(c.ctx(), id, ecs.InstanceChange{DeletionProtection: &on}))
	if stderr := w.fails("plan", "-destroy"); !strings.Contains(stderr, "Instance protected against deletion") {
		t.Errorf("the plan says:\n%s", stderr)
	}
	plan("", "")
	w.terraform("apply", "-auto-approve")
	w.terraform("destroy", "-auto-approve")
}

func TestClientInstanceSettingsRejected(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{})
	rejects(t, []rejection{
		{"price without strategy", c.instanceConfig("spot_price_limit = 1"), "go together, and one of them is missing"},
		{"strategy without price", c.instanceConfig(`spot_strategy = "SpotWithPriceLimit"`), "go together, and one of them is missing"},
		{"host name", c.instanceConfig(`host_name = "-a-"`), "a host name of 2 to 64 letters"},
	})
}

// TestRefreshCosts counts the calls of a refresh: two for an instance, one more
// for one with a role, and one for a group beside a page of its rules.
func TestRefreshCosts(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{})
	config := c.instanceConfig("bootstrap = false", `ram_role_name = count.index == 0 ? "one" : null`, "count = 3")
	w := newWorkspace(t, config)
	w.terraform("apply", "-auto-approve")
	c.sim.ForgetRequests()
	expectOutput(t, w.terraform("plan"), "No changes.")
	for action, want := range map[string]int{
		"DescribeInstances": 3, "DescribeDisks": 3, "DescribeInstanceRamRole": 1, "DescribeSecurityGroups": 1, "DescribeSecurityGroupAttribute": 1,
	} {
		if n := c.calls(action); n != want {
			t.Errorf("%d calls of %s, want %d", n, action, want)
		}
	}
	if n := c.calls(); n != 9 {
		t.Errorf("%d calls in all", n)
	}
	w.terraform("destroy", "-auto-approve")
}
