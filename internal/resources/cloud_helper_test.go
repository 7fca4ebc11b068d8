package resources_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
	"github.com/ccctl/terraform-provider-cc/internal/provider"
	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
)

// cloud is a simulated region with a network, a client that changes things
// behind Terraform's back, and the provider block that leads to it.
type cloud struct {
	t            *testing.T
	sim          *ecssim.Server
	api          *ecs.Client
	url          string
	vpc, vswitch string
}

// brisk is the pace of the provider in tests.
var brisk = ecs.Backoff{Min: 2 * time.Millisecond, Max: 10 * time.Millisecond}

func newCloud(t *testing.T, opts ecssim.Options) *cloud {
	t.Helper()
	if opts.Quotas.SecurityGroups == 0 {
		opts.Quotas.SecurityGroups = 200
	}
	sim, err := ecssim.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(sim)
	c := &cloud{t: t, sim: sim, url: web.URL}
	c.api, err = ecs.New(ecs.Config{
		Region: "cn-beijing", Credentials: ecs.Credentials{AccessKey: ecssim.DefaultAccessKey, SecretKey: ecssim.DefaultSecretKey},
		Endpoints: ecs.Endpoints{ECS: web.URL, VPC: web.URL, STS: web.URL, KMS: web.URL}, Backoff: brisk,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.api.Close(); web.Close(); sim.Close() })
	c.vpc = c.do("CreateVpc", "VpcId", map[string]string{"CidrBlock": "10.0.0.0/16"})
	c.vswitch = c.do("CreateVSwitch", "VSwitchId", map[string]string{"VpcId": c.vpc, "CidrBlock": "10.0.1.0/24", "ZoneId": "cn-beijing-h"})
	return c
}

// provider is the provider block for the simulated region, with changes to its
// settings.
func (c *cloud) provider(changes ...string) string {
	set := map[string]string{"region": "cn-beijing", "access_key": ecssim.DefaultAccessKey, "secret_key": ecssim.DefaultSecretKey}
	for n := 0; n+1 < len(changes); n += 2 {
		set[changes[n]] = changes[n+1]
	}
	return fmt.Sprintf(`
provider "cc" {
  region     = %q
  access_key = %q
  secret_key = %q
  endpoints {
    ecs = %q
    vpc = %q
    sts = %q
    kms = %q
  }
}
`, set["region"], set["access_key"], set["secret_key"], c.url, c.url, c.url, c.url)
}

// environment stands in for the provider block.
func (c *cloud) environment() []string {
	env := []string{"ALICLOUD_REGION=cn-beijing", "ALICLOUD_ACCESS_KEY=" + ecssim.DefaultAccessKey, "ALICLOUD_SECRET_KEY=" + ecssim.DefaultSecretKey}
	for _, product := range []string{"ECS", "VPC", "STS", "KMS"} {
		env = append(env, "ALIBABA_CLOUD_ENDPOINT_"+product+"="+c.url)
	}
	return env
}

// setEnvironment sets it in this process, for a test that runs alone.
func (c *cloud) setEnvironment() {
	c.t.Helper()
	for _, v := range c.environment() {
		name, value, _ := strings.Cut(v, "=")
		c.t.Setenv(name, value)
	}
}

// accept runs steps at the tests' pace.
func (c *cloud) accept(steps ...resource.TestStep) {
	c.t.Helper()
	acceptWith(c.t, []provider.Option{provider.WithPace(brisk)}, steps...)
}

func (c *cloud) do(action, field string, arguments map[string]string) string {
	c.t.Helper()
	out, err := c.sim.Do("cn-beijing", action, arguments)
	if err != nil {
		c.t.Fatal(err)
	}
	s, _ := out[field].(string)
	return s
}

// total counts what there is: groups, instances.
func (c *cloud) total(action string) int {
	c.t.Helper()
	out, err := c.sim.Do("cn-beijing", action, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	n, _ := out["TotalCount"].(float64)
	return int(n)
}

func (c *cloud) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	c.t.Cleanup(cancel)
	return ctx
}

func (c *cloud) check(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// calls counts the calls of actions since the log was emptied, all of them if
// none is named.
func (c *cloud) calls(actions ...string) int {
	n := 0
	for _, r := range c.sim.Requests() {
		if len(actions) == 0 || strings.Contains(" "+strings.Join(actions, " ")+" ", " "+r.Action+" ") {
			n++
		}
	}
	return n
}

// onlyGroup returns the id of the one group there is.
func (c *cloud) onlyGroup() string {
	c.t.Helper()
	return c.only("DescribeSecurityGroups", "SecurityGroups", "SecurityGroup", "SecurityGroupId")
}

func (c *cloud) only(action, outer, inner, id string) string {
	c.t.Helper()
	out, err := c.sim.Do("cn-beijing", action, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	list, _ := out[outer].(map[string]any)
	items, _ := list[inner].([]any)
	if len(items) != 1 {
		c.t.Fatalf("%s: %d items instead of one", action, len(items))
	}
	item, _ := items[0].(map[string]any)
	s, _ := item[id].(string)
	return s
}

// everyCallThrottled throttles each action three times.
func everyCallThrottled() []ecssim.Fault {
	var all []ecssim.Fault
	for _, action := range append(writes, "DescribeInstances", "DescribeDisks", "DescribeSecurityGroups", "DescribeSecurityGroupAttribute", "DescribeVSwitchAttributes",
		"DescribeImages", "DescribeAvailableResource", "DescribeInstanceTypes", "DescribeCloudAssistantStatus", "DescribeInvocationResults", "DescribeInstanceRamRole", "GetCallerIdentity") {
		all = append(all, ecssim.Throttled(action, 3))
	}
	return all
}

// everyWriteCut loses the answer of each action's first call.
func everyWriteCut() []ecssim.Fault {
	var all []ecssim.Fault
	for _, action := range writes {
		all = append(all, ecssim.Cut(action, 1))
	}
	return all
}

var writes = []string{
	"CreateSecurityGroup", "AuthorizeSecurityGroup", "RevokeSecurityGroup", "ModifySecurityGroupAttribute", "ModifySecurityGroupRule", "DeleteSecurityGroup", "TagResources",
	"UntagResources", "RunInstances", "ModifyInstanceAttribute", "ModifyInstanceMetadataOptions", "ModifyInstanceNetworkSpec", "ModifyInstanceSpec", "JoinSecurityGroup",
	"LeaveSecurityGroup", "StopInstance", "StartInstance", "DeleteInstance", "RunCommand", "AttachInstanceRamRole", "DetachInstanceRamRole", "JoinResourceGroup",
}
