package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
)

var lifelike = ecssim.Latencies{
	Starting: 15 * time.Millisecond, Stopping: 10 * time.Millisecond, Deleting: 15 * time.Millisecond, PublicIP: 10 * time.Millisecond,
	Agent: 10 * time.Millisecond, Consistency: 10 * time.Millisecond,
}

func TestResolveInstance(t *testing.T) {
	c := newCloud(t, ecssim.Options{SoldOut: []string{"ecs.c8i.large"}})
	spec := ecs.InstanceSpec{Name: "x", VSwitchID: c.vswitch}
	choice, err := ResolveInstance(c.ctx(), c.client, spec, DefaultImageFamily)
	want := InstanceChoice{ImageID: testImage, Type: "ecs.c7.large", ZoneID: "cn-beijing-h", VpcID: c.vpc}
	if err != nil || choice != want {
		t.Errorf("%+v %v, want %+v", choice, err, want)
	}
	// A UEFI image can be booted by every type, also by those with enclaves,
	// which are not chosen all the same.
	choice, err = ResolveInstance(c.ctx(), c.client, spec, "acs:alibaba_cloud_linux_3_2104_uefi_x64")
	if err != nil || choice.ImageID != "aliyun_3_9_x64_20G_uefi_alibase_20231219.vhd" || choice.Type != "ecs.c7.large" {
		t.Errorf("UEFI: %+v %v", choice, err)
	}
	choice, err = ResolveInstance(c.ctx(), c.client, spec, "acs:alibaba_cloud_linux_3_2104_lts_arm64")
	if err != nil || choice.Type != "ecs.c8y.large" {
		t.Errorf("ARM: %+v %v", choice, err)
	}
	spec.ImageID, spec.Type = "img", "type"
	before := len(c.sim.Requests())
	choice, err = ResolveInstance(c.ctx(), c.client, spec, "")
	if err != nil || choice.ImageID != "img" || choice.Type != "type" || len(c.sim.Requests()) != before+1 {
		t.Errorf("all given: %+v %v", choice, err)
	}
	_, err = ResolveInstance(c.ctx(), c.client, ecs.InstanceSpec{Name: "x", VSwitchID: c.vswitch}, "acs:none")
	explained(t, err, "Image not found", "find the latest image of acs:none: the region cn-beijing has none", "image_family")
	_, err = ResolveInstance(c.ctx(), c.client, ecs.InstanceSpec{Name: "x", VSwitchID: "vsw-none"}, DefaultImageFamily)
	explained(t, err, "vSwitch not found", "create instance x: find vSwitch vsw-none: it does not exist in region cn-beijing", "vswitch_id")
}

func TestNothingInStock(t *testing.T) {
	c := newCloud(t, ecssim.Options{SoldOutZones: []string{"cn-beijing-h"}})
	_, err := ResolveInstance(c.ctx(), c.client, ecs.InstanceSpec{Name: "x", VSwitchID: c.vswitch}, DefaultImageFamily)
	explained(t, err, "No instance type in stock", "choose an instance type in zone cn-beijing-h", "cc_instance_types")
	_, err = CreateInstance(c.ctx(), c.client, c.spec())
	explained(t, err, "Instance not created", "OperationDenied.NoStock", "another zone")
}

func TestInstanceUseCases(t *testing.T) {
	c := newCloud(t, ecssim.Options{Latencies: lifelike})
	id, err := CreateInstance(c.ctx(), c.client, c.spec())
	c.check(err)
	i, err := WaitInstanceReady(c.ctx(), c.client, id, true)
	c.check(err)
	if i.Status != ecs.StatusRunning || i.Address() == "" {
		t.Errorf("%+v", i)
	}
	before := len(c.sim.Requests())
	v, err := ObserveInstance(c.ctx(), c.client, id, false)
	c.check(err)
	if calls := len(c.sim.Requests()) - before; calls != 2 {
		t.Errorf("observing took %d calls", calls)
	}
	if _, marked := v.Tags[CreationTag]; !marked || v.Tags["env"] != "test" || v.Disks.System.Category != "cloud_essd" || len(v.Disks.Data) != 0 {
		t.Errorf("%+v", v)
	}
	c.check(EndCreation(c.ctx(), c.client, ecs.TagInstance, id))
	c.check(EndCreation(c.ctx(), c.client, ecs.TagInstance, id))
	delete(i.Tags, CreationTag)
	second := c.newGroup("second")
	from := InstanceWish{Name: "cc-client", Tags: i.Tags, Groups: i.SecurityGroups, BandwidthOut: 5, InternetChargeType: "PayByTraffic", Type: i.Type, HTTPTokens: "required"}
	to := InstanceWish{
		Name: "renamed", Description: "described", Tags: map[string]string{"env": "prod"}, Groups: []string{second}, BandwidthOut: 9, InternetChargeType: "PayByBandwidth",
		Type: "ecs.g7.large", HTTPTokens: "optional", DeletionProtection: true, Password: "Passw0rd-new",
	}
	if why := from.NeedsRestart(to); why != "its type changes from ecs.c7.large to ecs.g7.large, and a new password takes effect at the next start" {
		t.Error(why)
	}
	time.Sleep(lifelike.Consistency)
	c.check(UpdateInstance(c.ctx(), c.client, id, from, to))
	v, err = ObserveInstance(c.ctx(), c.client, id, true)
	c.check(err)
	if i = v.Instance; i.Name != "renamed" || i.Description != "described" || fmt.Sprint(i.Tags) != "map[env:prod]" || !slices.Equal(i.SecurityGroups, []string{second}) || i.BandwidthOut != 9 ||
		i.InternetChargeType != "PayByBandwidth" || i.Type != "ecs.g7.large" || i.HTTPTokens != "optional" || !i.DeletionProtection || i.Status != ecs.StatusRunning {
		t.Errorf("%+v", i)
	}
	explained(t, DeleteInstance(c.ctx(), c.client, id), "Instance protected against deletion", "deletion_protection = false")
	unprotected := to
	unprotected.DeletionProtection, unprotected.Password = false, ""
	to.Password = ""
	c.check(UpdateInstance(c.ctx(), c.client, id, to, unprotected))
	c.check(DeleteInstance(c.ctx(), c.client, id))
	c.check(DeleteInstance(c.ctx(), c.client, id))
	if _, err := ObserveInstance(c.ctx(), c.client, id, false); !ecs.IsNotFound(err) {
		t.Errorf("after deletion: %v", err)
	}
}

func TestGroupsWithoutRoom(t *testing.T) {
	c := newCloud(t, ecssim.Options{Quotas: ecssim.Quotas{GroupsPerInstance: 2}})
	second, third, fourth := c.newGroup("second"), c.newGroup("third"), c.newGroup("fourth")
	spec := c.spec()
	spec.SecurityGroups = []string{c.group, second}
	id, err := CreateInstance(c.ctx(), c.client, spec)
	c.check(err)
	c.check(changeGroups(c.ctx(), c.client, id, spec.SecurityGroups, []string{third, fourth}))
	i, err := ObserveInstance(c.ctx(), c.client, id, false)
	c.check(err)
	if !slices.Equal(i.SecurityGroups, []string{third, fourth}) {
		t.Errorf("groups %v", i.SecurityGroups)
	}
}

func TestBandwidthFromNothing(t *testing.T) {
	c := newCloud(t, ecssim.Options{Latencies: lifelike})
	spec := c.spec()
	spec.BandwidthOut = 0
	id, err := CreateInstance(c.ctx(), c.client, spec)
	c.check(err)
	i, err := WaitInstanceReady(c.ctx(), c.client, id, false)
	c.check(err)
	if i.Address() != "" {
		t.Errorf("an address without bandwidth: %s", i.Address())
	}
	none := InstanceWish{Name: "cc-client", Tags: map[string]string{"env": "test"}, Groups: spec.SecurityGroups, Type: spec.Type, HTTPTokens: "required", InternetChargeType: "PayByTraffic"}
	some := none
	some.BandwidthOut = 5
	c.check(UpdateInstance(c.ctx(), c.client, id, none, some))
	v, err := ObserveInstance(c.ctx(), c.client, id, false)
	if err != nil || v.Address() == "" {
		t.Errorf("no address: %v", err)
	}
	c.check(UpdateInstance(c.ctx(), c.client, id, some, none))
}

// TestOneInstanceWhateverHappens loses answers, delays lists and gives up.
func TestOneInstanceWhateverHappens(t *testing.T) {
	for name, fault := range map[string]ecssim.Fault{
		"throttled":   ecssim.Throttled("RunInstances", 3),
		"cut":         ecssim.Cut("RunInstances", 3),
		"always cut":  ecssim.Cut("RunInstances", -1),
		"cut before":  {Action: "RunInstances", CutBefore: true, Times: 2},
		"processing":  ecssim.Refused("RunInstances", 403, "IdempotentProcessing", 2),
		"bad gateway": {Action: "RunInstances", Raw: "<html>", Times: 2},
		"unavailable": ecssim.Refused("RunInstances", 503, "ServiceUnavailable", 3),
	} {
		t.Run(name, func(t *testing.T) {
			c := newCloud(t, ecssim.Options{Latencies: ecssim.Latencies{Starting: 5 * time.Millisecond, Consistency: 20 * time.Millisecond}})
			time.Sleep(20 * time.Millisecond)
			c.sim.Inject(fault)
			id, err := CreateInstance(c.ctx(), c.client, c.spec())
			c.check(err)
			_, err = WaitInstanceReady(c.ctx(), c.client, id, true)
			c.check(err)
			if n := c.total("DescribeInstances"); n != 1 {
				t.Errorf("%d instances", n)
			}
		})
	}
}

func TestInterruptedCreation(t *testing.T) {
	c := newCloud(t, ecssim.Options{})
	ctx, cancel := context.WithCancel(c.ctx())
	c.sim.Inject(ecssim.Fault{Action: "RunInstances", Delay: 30 * time.Millisecond})
	time.AfterFunc(10*time.Millisecond, cancel)
	id, err := CreateInstance(ctx, c.client, c.spec())
	if err != nil || id == "" {
		t.Fatalf("%q %v", id, err)
	}
	if _, err := WaitInstanceReady(ctx, c.client, id, true); !errors.Is(err, context.Canceled) {
		t.Errorf("the wait of somebody who gave up: %v", err)
	}
	if n := c.total("DescribeInstances"); n != 1 {
		t.Errorf("%d instances", n)
	}
}

func TestCreationThatNobodyCanTell(t *testing.T) {
	c := newCloud(t, ecssim.Options{})
	c.sim.Inject(ecssim.Fault{Action: "RunInstances", CutBefore: true, Times: -1})
	_, err := CreateInstance(c.ctx(), c.client, c.spec())
	explained(t, err, "Instance perhaps created", "create instance cc-client: call RunInstances: EOF", "if there is one with the tag "+CreationTag+" = ")
}

func TestInterruptedRestartStartsAgain(t *testing.T) {
	c := newCloud(t, ecssim.Options{Latencies: ecssim.Latencies{Starting: 5 * time.Millisecond, Stopping: 40 * time.Millisecond}})
	id := c.running()
	ctx, cancel := context.WithTimeout(c.ctx(), 20*time.Millisecond)
	defer cancel()
	err := restart(ctx, c.client, id, InstanceWish{Type: "ecs.c7.large"}, InstanceWish{Type: "ecs.g7.large"})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	i, err := WaitInstanceReady(c.ctx(), c.client, id, true)
	c.check(err)
	if i.Type != "ecs.c7.large" {
		t.Errorf("type %s", i.Type)
	}
	// A type that cannot be had leaves the machine running, too.
	err = restart(c.ctx(), c.client, id, InstanceWish{Type: "ecs.c7.large"}, InstanceWish{Type: "ecs.none"})
	if !ecs.HasCode(err, "InvalidInstanceType.ValueNotSupported") {
		t.Errorf("%v", err)
	}
	_, err = WaitInstanceReady(c.ctx(), c.client, id, true)
	c.check(err)
}

func TestInstanceNeverRuns(t *testing.T) {
	c := newCloud(t, ecssim.Options{Latencies: ecssim.Latencies{Starting: time.Hour}})
	id, err := CreateInstance(c.ctx(), c.client, c.spec())
	c.check(err)
	ctx, cancel := context.WithTimeout(c.ctx(), 30*time.Millisecond)
	defer cancel()
	_, err = WaitInstanceReady(ctx, c.client, id, true)
	explained(t, err, "Instance not ready", "wait for instance "+id+" to run: context deadline exceeded", "last state: Pending")
}

func TestAccounts(t *testing.T) {
	c := newCloud(t, ecssim.Options{})
	c.check(OfAnotherAccount(c.ctx(), c.client, ""))
	c.check(OfAnotherAccount(c.ctx(), c.client, "1000000000000001"))
	explained(t, OfAnotherAccount(c.ctx(), c.client, "42"), "Credentials of another account", "made in account 42", "belong to account 1000000000000001", "not taken for deleted")
}

func TestSecretsOfWishes(t *testing.T) {
	w := InstanceWish{Name: "n", Password: "Canary-123"}
	if s := fmt.Sprintf("%v %+v %#v", w, w, w); strings.Contains(s, "Canary") {
		t.Error(s)
	}
}
