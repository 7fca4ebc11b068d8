package ecs_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
)

// TestDisksAreInTheOrderOfTheirDevices: the service lists them in another one.
func TestDisksAreInTheOrderOfTheirDevices(t *testing.T) {
	w := newWorld(t, ecssim.Options{})
	c, ctx := w.client, w.ctx()
	spec := w.spec()
	spec.DataDisks = []ecs.Disk{{Category: "cloud_essd", SizeGiB: 60, PerformanceLevel: "PL0"}, {Category: "cloud_auto", SizeGiB: 80}, {Category: "cloud_efficiency", SizeGiB: 100}}
	id, err := c.RunInstance(ctx, spec)
	w.check(err)
	disks, err := c.InstanceDisks(ctx, id)
	w.check(err)
	if len(disks.Data) != 3 || disks.System == nil || disks.System.Device != "/dev/xvda" {
		t.Fatalf("%+v", disks)
	}
	for n, want := range spec.DataDisks {
		got := disks.Data[n]
		if got.ID == "" || got.Category != want.Category || got.SizeGiB != want.SizeGiB || got.PerformanceLevel != want.PerformanceLevel || !got.WithInstance {
			t.Errorf("disk %d: %+v, want %+v", n, got, want)
		}
	}
}

func TestSpotAndResourceGroup(t *testing.T) {
	w := newWorld(t, ecssim.Options{})
	c, ctx := w.client, w.ctx()
	spec := w.spec()
	spec.SpotStrategy, spec.SpotPriceLimit, spec.ResourceGroupID, spec.HostName = "SpotWithPriceLimit", 0.25, "rg-one", "host-1"
	id, err := c.RunInstance(ctx, spec)
	w.check(err)
	i, err := c.FindInstance(ctx, id)
	w.check(err)
	if i.SpotStrategy != "SpotWithPriceLimit" || i.SpotPriceLimit != 0.25 || i.ResourceGroupID != "rg-one" || i.HostName != "host-1" || i.Created == "" {
		t.Errorf("%+v", i)
	}
	w.check(c.JoinResourceGroup(ctx, ecs.TagInstance, id, "rg-two"))
	w.check(c.JoinResourceGroup(ctx, ecs.TagSecurityGroup, w.group, "rg-two"))
	i, err = c.FindInstance(ctx, id)
	w.check(err)
	g, err := c.FindSecurityGroup(ctx, w.group)
	w.check(err)
	if i.ResourceGroupID != "rg-two" || g.ResourceGroupID != "rg-two" {
		t.Errorf("%q %q", i.ResourceGroupID, g.ResourceGroupID)
	}
	if err := c.JoinResourceGroup(ctx, ecs.TagInstance, "i-none", "rg-two"); !ecs.IsNotFound(err) {
		t.Errorf("a missing instance: %v", err)
	}
}

// TestRole changes the role, which the list of instances does not tell, and
// whose calls succeed when the instance refuses.
func TestRole(t *testing.T) {
	w := newWorld(t, ecssim.Options{})
	c, ctx := w.client, w.ctx()
	id, err := c.RunInstance(ctx, w.spec())
	w.check(err)
	role := func() string {
		r, err := c.InstanceRole(ctx, id)
		w.check(err)
		return r
	}
	if r := role(); r != "" {
		t.Errorf("role %q", r)
	}
	w.check(c.SetInstanceRole(ctx, id, "", "one"))
	w.check(c.SetInstanceRole(ctx, id, "", "one")) // has it already, perhaps from a call whose answer was lost
	w.check(c.SetInstanceRole(ctx, id, "one", "two"))
	if r := role(); r != "two" {
		t.Errorf("role %q", r)
	}
	w.sim.Inject(ecssim.Cut("DetachInstanceRamRole", 1), ecssim.Throttled("AttachInstanceRamRole", 2), ecssim.Cut("AttachInstanceRamRole", 1))
	w.check(c.SetInstanceRole(ctx, id, "two", "three"))
	if r := role(); r != "three" {
		t.Errorf("after faults: role %q", r)
	}
	// Somebody else's role is neither detached nor covered up.
	err = c.SetInstanceRole(ctx, id, "another", "four")
	if !ecs.HasCode(err, "RelationNotExist.Ram_Instance") || role() != "three" {
		t.Errorf("%v, role %q", err, role())
	}
	w.check(c.SetInstanceRole(ctx, id, "three", ""))
	w.check(c.SetInstanceRole(ctx, id, "three", ""))
	if r := role(); r != "" {
		t.Errorf("role %q", r)
	}
	if err := c.SetInstanceRole(ctx, "i-none", "", "one"); !ecs.IsNotFound(err) {
		t.Errorf("a missing instance: %v", err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := c.SetInstanceRole(gone, id, "", "one"); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
}

func TestInstancesWithTag(t *testing.T) {
	w := newWorld(t, ecssim.Options{Quotas: ecssim.Quotas{Instances: 200}})
	c, ctx := w.client, w.ctx()
	for n := range 60 {
		spec := w.spec()
		spec.Tags = map[string]string{"mark": "x"}
		if n >= 55 {
			spec.Tags = nil
		}
		_, err := c.RunInstance(ctx, spec)
		w.check(err)
	}
	for name, want := range map[string]int{"test": 55, "other": 0} {
		found, err := c.InstancesWithTag(ctx, "mark", name, w.spec().VSwitchID)
		w.check(err)
		if len(found) != want {
			t.Errorf("%d of name %s, want %d", len(found), name, want)
		}
	}
}

func TestCreationTokens(t *testing.T) {
	one, other := newWorld(t, ecssim.Options{}).client, newWorld(t, ecssim.Options{}).client
	a, b := one.NewCreationToken(), one.NewCreationToken()
	if a == b || len(a) != 32 || !one.OwnCreationToken(a) || !one.OwnCreationToken(b) || other.OwnCreationToken(a) || one.OwnCreationToken("") || one.OwnCreationToken(a+"0") {
		t.Errorf("tokens %s and %s", a, b)
	}
}

// TestAnswerThatStopsInItsMiddle: a read ends with its caller, and a write is
// not believed to have failed.
func TestAnswerThatStopsInItsMiddle(t *testing.T) {
	w := newWorld(t, ecssim.Options{})
	w.sim.Inject(ecssim.Fault{Action: "DescribeZones", Stall: true})
	ctx, cancel := context.WithTimeout(w.ctx(), 50*time.Millisecond)
	defer cancel()
	started := time.Now()
	_, err := w.client.Zones(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(started) > 10*time.Second {
		t.Errorf("after %s: %v", time.Since(started), err)
	}
	_, err = w.client.Zones(w.ctx())
	w.check(err)
}
