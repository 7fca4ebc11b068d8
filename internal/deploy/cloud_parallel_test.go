package deploy

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
)

// TestTwentyAtOnce makes, changes and deletes 20 groups and 20 instances side
// by side through one client, under faults, half of them given up in the middle:
// nothing is left in the cloud, and no goroutine here.
func TestTwentyAtOnce(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Run("operations", func(t *testing.T) { twentyAtOnce(t) })
	goleak.VerifyNone(t, before)
}

func twentyAtOnce(t *testing.T) {
	t.Helper()
	c := newCloud(t, ecssim.Options{Latencies: lifelike})
	c.sim.Inject(ecssim.Throttled("DescribeInstances", 10), ecssim.Cut("RunInstances", 4), ecssim.Cut("CreateSecurityGroup", 4), ecssim.Throttled("AuthorizeSecurityGroup", 5),
		ecssim.Refused("DeleteInstance", 503, "ServiceUnavailable", 3), ecssim.Fault{Action: "TagResources", Raw: "<html>", Times: 2})
	var wg sync.WaitGroup
	for n := range 20 {
		wg.Go(func() {
			ctx, giveUp := context.WithCancel(c.ctx())
			defer giveUp()
			if n%2 == 1 {
				defer time.AfterFunc(time.Duration(n)*4*time.Millisecond, giveUp).Stop()
			}
			if err := c.oneOf(ctx, n); err != nil && ctx.Err() == nil {
				t.Errorf("operation %d: %v", n, err)
			}
		})
	}
	wg.Wait()
	if n := c.total("DescribeInstances"); n != 0 {
		t.Errorf("%d instances are left", n)
	}
	if n := c.total("DescribeSecurityGroups"); n != 1 { // the one of the scene
		t.Errorf("%d groups are left", n-1)
	}
}

// oneOf does what Terraform does with one group and one instance, and destroys
// what it has the id of, also when it gave up.
func (c *cloud) oneOf(ctx context.Context, n int) (err error) {
	last := func(do func(context.Context) error) {
		if doErr := do(c.ctx()); doErr != nil {
			c.t.Errorf("operation %d: destroying: %v", n, doErr)
		}
	}
	name := fmt.Sprintf("node-%d", n)
	group, err := CreateSecurityGroup(ctx, c.client, ecs.SecurityGroupSpec{VpcID: c.vpc, Name: name})
	if err != nil {
		return err
	}
	defer last(func(ctx context.Context) error { return DeleteSecurityGroup(ctx, c.client, group) })
	defer last(func(ctx context.Context) error { return EndCreation(ctx, c.client, ecs.TagSecurityGroup, group) })
	if _, err := c.client.WaitSecurityGroup(ctx, group); err != nil {
		return err
	}
	if _, err := ChangeRules(ctx, c.client, group, nil, []ecs.Rule{keyServerRule(fmt.Sprintf("10.%d.0.0/16", n))}); err != nil {
		return err
	}
	spec := c.spec()
	spec.Name, spec.SecurityGroups = name, []string{group}
	id, err := CreateInstance(ctx, c.client, spec)
	if err != nil {
		return err
	}
	defer last(func(ctx context.Context) error { return DeleteInstance(ctx, c.client, id) })
	if _, err := WaitInstanceReady(ctx, c.client, id, true); err != nil {
		return err
	}
	if err := EndCreation(ctx, c.client, ecs.TagInstance, id); err != nil {
		return err
	}
	from := InstanceWish{Name: name, Tags: map[string]string{"env": "test"}, Groups: []string{group}, BandwidthOut: 5, InternetChargeType: "PayByTraffic", Type: spec.Type, HTTPTokens: "required"}
	to := from
	to.Tags, to.Groups, to.Type = map[string]string{"env": "prod"}, []string{c.group}, "ecs.g7.large"
	return UpdateInstance(ctx, c.client, id, from, to)
}
