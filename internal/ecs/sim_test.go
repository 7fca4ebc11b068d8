package ecs_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
)

const imageID = "aliyun_3_x64_20G_alibase_20260513.vhd"

// world is a simulator, a client of it, and a network in it.
type world struct {
	t                   *testing.T
	sim                 *ecssim.Server
	client              *ecs.Client
	endpoint            string
	vpc, vswitch, group string
}

func newWorld(t *testing.T, opts ecssim.Options) *world {
	t.Helper()
	sim, err := ecssim.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(sim)
	w := &world{t: t, sim: sim, endpoint: web.URL}
	w.client = w.newClient(nil)
	t.Cleanup(func() { w.client.Close(); web.Close(); sim.Close() })
	w.vpc = w.do("CreateVpc", "VpcId", map[string]string{"CidrBlock": "10.0.0.0/16"})
	w.vswitch = w.do("CreateVSwitch", "VSwitchId", map[string]string{"VpcId": w.vpc, "CidrBlock": "10.0.1.0/24", "ZoneId": "cn-beijing-h"})
	w.group = w.do("CreateSecurityGroup", "SecurityGroupId", map[string]string{"VpcId": w.vpc})
	return w
}

func (w *world) newClient(change func(*ecs.Config)) *ecs.Client {
	w.t.Helper()
	conf := ecs.Config{
		Region: "cn-beijing", Credentials: ecs.Credentials{AccessKey: ecssim.DefaultAccessKey, SecretKey: ecssim.DefaultSecretKey},
		Endpoints: ecs.Endpoints{ECS: w.endpoint, VPC: w.endpoint, STS: w.endpoint}, Backoff: ecs.Backoff{Min: 2 * time.Millisecond, Max: 10 * time.Millisecond},
	}
	if change != nil {
		change(&conf)
	}
	c, err := ecs.New(conf)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) do(action, field string, arguments map[string]string) string {
	w.t.Helper()
	out, err := w.sim.Do("cn-beijing", action, arguments)
	if err != nil {
		w.t.Fatal(err)
	}
	s, _ := out[field].(string)
	return s
}

func (w *world) ctx() context.Context {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	w.t.Cleanup(cancel)
	return ctx
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) spec() ecs.InstanceSpec {
	return ecs.InstanceSpec{
		Name: "test", ImageID: imageID, Type: "ecs.c7.large", VSwitchID: w.vswitch, SecurityGroups: []string{w.group}, BandwidthOut: 5, HTTPTokens: "required",
		Disk: ecs.Disk{Category: "cloud_essd", SizeGiB: 40, PerformanceLevel: "PL0"}, Tags: map[string]string{"a": "1"}, UserData: []byte("#!/bin/sh\n"),
	}
}

func (w *world) count(action string) int {
	n := 0
	for _, r := range w.sim.Requests() {
		if r.Action == action {
			n++
		}
	}
	return n
}

func TestInstanceFromRunToDelete(t *testing.T) {
	w := newWorld(t, ecssim.Options{Latencies: ecssim.Latencies{Starting: 20 * time.Millisecond, Stopping: 10 * time.Millisecond, Deleting: 20 * time.Millisecond, PublicIP: 10 * time.Millisecond, Consistency: 10 * time.Millisecond}})
	c, ctx := w.client, w.ctx()
	id, err := c.RunInstance(ctx, w.spec())
	w.check(err)
	i, err := c.WaitInstance(ctx, id, "to have an address", func(i *ecs.Instance) (bool, string) {
		return i.Status == ecs.StatusRunning && i.Address() != "", i.Status
	})
	w.check(err)
	if i.Name != "test" || i.VpcID != w.vpc || i.HTTPTokens != "required" || i.Tags["a"] != "1" || i.PrivateIP == "" || i.BandwidthOut != 5 || !slices.Equal(i.SecurityGroups, []string{w.group}) {
		t.Errorf("%+v", i)
	}
	disks, err := c.InstanceDisks(ctx, id)
	w.check(err)
	if len(disks.Data) != 0 {
		t.Errorf("%+v", disks)
	}
	if disk := disks.System; disk.Category != "cloud_essd" || disk.SizeGiB != 40 || disk.PerformanceLevel != "PL0" {
		t.Errorf("%+v", disk)
	}
	if data, err := c.UserData(ctx, id); err != nil || string(data) != "#!/bin/sh\n" {
		t.Errorf("user data %q %v", data, err)
	}
	name, description, protect := "renamed", "", true
	w.check(c.ModifyInstance(ctx, id, ecs.InstanceChange{Name: &name, Description: &description, DeletionProtection: &protect}))
	w.check(c.Retag(ctx, ecs.TagInstance, id, map[string]string{"a": "1"}, map[string]string{"b": "2"}))
	w.check(c.SetMetadataTokens(ctx, id, "optional"))
	w.check(c.SetBandwidth(ctx, id, 7, "", false))
	w.check(c.StopInstance(ctx, id))
	_, err = c.WaitStatus(ctx, id, ecs.StatusStopped)
	w.check(err)
	w.check(c.ChangeInstanceType(ctx, id, "ecs.g7.large"))
	w.check(c.StartInstance(ctx, id))
	_, err = c.WaitStatus(ctx, id, ecs.StatusRunning)
	w.check(err)
	i, err = c.FindInstanceByTag(ctx, "b", "2")
	w.check(err)
	if i == nil || i.ID != id || i.Name != "renamed" || i.HTTPTokens != "optional" || i.BandwidthOut != 7 || i.Type != "ecs.g7.large" || len(i.Tags) != 1 {
		t.Errorf("%+v", i)
	}
	if none, err := c.FindInstanceByTag(ctx, "b", "3"); none != nil || err != nil {
		t.Errorf("found by another tag: %+v %v", none, err)
	}
	if err := c.DeleteInstance(ctx, id); !ecs.HasCode(err, "InvalidOperation.DeletionProtection") || !strings.Contains(ecs.RemedyOf(err), "deletion_protection = false") {
		t.Errorf("protected: %v", err)
	}
	protect = false
	w.check(c.ModifyInstance(ctx, id, ecs.InstanceChange{DeletionProtection: &protect}))
	w.check(c.DeleteInstance(ctx, id))
	users, err := c.SecurityGroupUsers(ctx, w.group)
	w.check(err)
	if users.String() != "instances "+id {
		t.Errorf("users of the group: %q", users)
	}
	w.check(c.WaitInstanceGone(ctx, id))
	w.check(c.DeleteInstance(ctx, id))
	if _, err := c.FindInstance(ctx, id); !ecs.IsNotFound(err) || !strings.Contains(err.Error(), "find instance "+id+": it does not exist in region cn-beijing") {
		t.Errorf("after deletion: %v", err)
	}
	w.check(c.DeleteSecurityGroup(ctx, w.group))
	w.check(c.DeleteSecurityGroup(ctx, w.group))
}

func TestGroupSwap(t *testing.T) {
	w := newWorld(t, ecssim.Options{})
	c, ctx := w.client, w.ctx()
	id, err := c.RunInstance(ctx, w.spec())
	w.check(err)
	second, err := c.CreateSecurityGroup(ctx, ecs.SecurityGroupSpec{VpcID: w.vpc, Name: "second", Description: "the second", Tags: map[string]string{"k": "v"}})
	w.check(err)
	if err := c.LeaveSecurityGroup(ctx, id, w.group); !ecs.HasCode(err, "InstanceLastSecurityGroup") {
		t.Errorf("leaving the last group: %v", err)
	}
	for range 2 { // again is no error
		w.check(c.JoinSecurityGroup(ctx, id, second))
	}
	for range 2 {
		w.check(c.LeaveSecurityGroup(ctx, id, w.group))
	}
	w.check(c.ModifySecurityGroup(ctx, second, "renamed", ""))
	g, err := c.FindSecurityGroup(ctx, second)
	w.check(err)
	if g.Name != "renamed" || g.Description != "" || g.Tags["k"] != "v" || g.VpcID != w.vpc || g.Type != "normal" {
		t.Errorf("%+v", g)
	}
	if err := c.DeleteSecurityGroup(ctx, second); ecs.ClassOf(err) != ecs.ClassDependency {
		t.Errorf("deleting a group in use: %v", err)
	}
}

func TestRulesByPage(t *testing.T) {
	w := newWorld(t, ecssim.Options{})
	c, ctx := w.client, w.ctx()
	var rules []ecs.Rule
	for n := range 120 {
		rules = append(rules, ecs.Rule{Protocol: "tcp", PortRange: "4433/4433", Source: fmt.Sprintf("10.1.%d.0/24", n), Policy: "accept", Priority: 1, Description: "d"})
	}
	rules[0].Source, rules[1].Source, rules[2].Source = "2001:db8::/64", w.group, "203.0.113.7/32"
	if err := c.AddIngressRules(ctx, w.group, rules); err == nil {
		t.Error("120 rules at once were accepted")
	}
	w.check(c.AddIngressRules(ctx, w.group, rules[:100]))
	w.check(c.AddIngressRules(ctx, w.group, rules[100:]))
	w.check(c.AddIngressRules(ctx, w.group, nil))
	w.sim.ForgetRequests()
	found, err := c.IngressRules(ctx, w.group)
	w.check(err)
	if len(found) != 120 || w.count("DescribeSecurityGroupAttribute") != 3 {
		t.Fatalf("%d rules in %d calls", len(found), w.count("DescribeSecurityGroupAttribute"))
	}
	var ids []string
	for n, r := range found {
		if !r.SameMatch(rules[n]) || r.Description != "d" || !strings.HasPrefix(r.ID, "sgr-") {
			t.Errorf("rule %d: %+v, want %+v", n, r, rules[n])
		}
		ids = append(ids, r.ID)
	}
	w.check(c.RemoveRules(ctx, w.group, ids))
	w.check(c.RemoveRules(ctx, w.group, ids[:1]))
	if left, err := c.IngressRules(ctx, w.group); err != nil || len(left) != 0 {
		t.Errorf("%d rules are left (%v)", len(left), err)
	}
	_, err = c.IngressRules(ctx, "sg-none")
	if !ecs.IsNotFound(err) {
		t.Errorf("rules of no group: %v", err)
	}
}

func TestCatalog(t *testing.T) {
	w := newWorld(t, ecssim.Options{SoldOut: []string{"ecs.c7.large"}, SoldOutZones: []string{"cn-beijing-i"}})
	c, ctx := w.client, w.ctx()
	zones, err := c.Zones(ctx)
	if err != nil || len(zones) != 4 || zones[0].ID != "cn-beijing-h" || !slices.Contains(zones[0].DiskCategories, "cloud_essd") || len(zones[1].InstanceTypes) != 0 {
		t.Errorf("zones %+v %v", zones, err)
	}
	types, err := c.InstanceTypes(ctx, ecs.InstanceTypeFilter{MinVCPUs: 2, MaxVCPUs: 2, MinMemory: 4, MaxMemory: 4})
	if err != nil || len(types) != 5 || types[0].VCPUs != 2 || types[0].MemoryGiB != 4 {
		t.Errorf("types %+v %v", types, err)
	}
	arm, err := c.InstanceTypes(ctx, ecs.InstanceTypeFilter{ARM: true})
	if err != nil || len(arm) != 1 || arm[0].ID != "ecs.c8y.large" || !slices.Equal(arm[0].BootModes, []string{"UEFI"}) {
		t.Errorf("ARM types %+v %v", arm, err)
	}
	stock, err := c.InStock(ctx, "", 2, 4)
	if err != nil || len(stock["cn-beijing-i"]) != 0 || slices.Contains(stock["cn-beijing-h"], "ecs.c7.large") || !slices.Contains(stock["cn-beijing-h"], "ecs.c6.large") {
		t.Errorf("stock %v %v", stock, err)
	}
	images, err := c.Images(ctx, ecs.ImageFilter{Owner: "system", Family: "acs:alibaba_cloud_linux_3_2104_lts_x64"})
	if err != nil || len(images) != 3 || images[0].SizeGiB != 20 || images[0].BootMode != "BIOS" {
		t.Errorf("images %+v %v", images, err)
	}
	v, err := c.FindVSwitch(ctx, w.vswitch)
	if err != nil || v.ZoneID != "cn-beijing-h" || v.VpcID != w.vpc {
		t.Errorf("vSwitch %+v %v", v, err)
	}
	if _, err := c.FindVSwitch(ctx, "vsw-none"); !ecs.IsNotFound(err) {
		t.Errorf("no vSwitch: %v", err)
	}
	for range 2 {
		if id, err := c.AccountID(ctx); err != nil || id != "1000000000000001" {
			t.Errorf("account %s %v", id, err)
		}
	}
	if n := w.count("GetCallerIdentity"); n != 1 {
		t.Errorf("the account was asked for %d times", n)
	}
}

func TestCommands(t *testing.T) {
	w := newWorld(t, ecssim.Options{Runner: ecssim.DirectoryRunner{Dir: t.TempDir()}, Latencies: ecssim.Latencies{Agent: 15 * time.Millisecond, Consistency: 5 * time.Millisecond}})
	c, ctx := w.client, w.ctx()
	id, err := c.RunInstance(ctx, w.spec())
	w.check(err)
	r, err := c.Run(ctx, id, ecs.Command{Name: "early", Script: "echo early", Timeout: time.Minute}) // sent again until the agent is there
	if err != nil || !r.Succeeded() || r.Output != "early\n" {
		t.Errorf("%+v %v", r, err)
	}
	w.check(c.WaitAssistant(ctx, id))
	r, err = c.Run(ctx, id, ecs.Command{Name: "fails", Script: "echo bad; exit 4", Timeout: time.Minute})
	if err != nil || r.Succeeded() || r.ExitCode != 4 || r.Output != "bad\n" || r.Code != "ExitCodeNonzero" {
		t.Errorf("%+v %v", r, err)
	}
	if _, err := c.Run(ctx, id, ecs.Command{Name: "long", Script: strings.Repeat("#", 20<<10)}); err == nil || !strings.Contains(err.Error(), "more than the 24576 that Cloud Assistant takes") {
		t.Errorf("too long: %v", err)
	}
	short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	_, err = c.Run(short, id, ecs.Command{Name: "endless", Script: "exec sleep 60", Timeout: time.Minute})
	var wait *ecs.WaitError
	if !errors.As(err, &wait) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "last state: Running") {
		t.Errorf("given up: %v", err)
	}
	if n := w.count("StopInvocation"); n != 1 {
		t.Errorf("the command was stopped %d times", n)
	}
	if _, err := c.Run(ctx, "i-none", ecs.Command{Name: "nowhere", Script: "true"}); !ecs.IsNotFound(err) {
		t.Errorf("nowhere: %v", err)
	}
}

func TestTLSAndTemporaryKeys(t *testing.T) {
	sim, err := ecssim.New(ecssim.Options{OIDCToken: "token"})
	if err != nil {
		t.Fatal(err)
	}
	l, err := ecssim.Listen("127.0.0.1:0", sim)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(l.RootPEM)
	conf := ecs.Config{
		Region: "cn-beijing", RootCAs: roots, Endpoints: ecs.Endpoints{ECS: l.Addr, VPC: l.Addr, STS: l.Addr}, Backoff: ecs.Backoff{Min: time.Millisecond, Max: time.Millisecond},
		Credentials: ecs.Credentials{AccessKey: ecssim.DefaultAccessKey, SecretKey: ecssim.DefaultSecretKey, AssumeRole: &ecs.AssumeRole{RoleARN: "acs:ram::1000000000000001:role/deployer"}},
	}
	c, err := ecs.New(conf)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Zones(t.Context()); err != nil {
		t.Error(err)
	}
	for _, r := range sim.Requests() {
		if !r.TLS {
			t.Errorf("%s came in the clear", r.Action)
		}
	}
	conf.RootCAs = nil
	stranger, err := ecs.New(conf)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	_, err = stranger.Zones(t.Context())
	if err == nil || !strings.Contains(err.Error(), "certificate") || !strings.Contains(ecs.RemedyOf(err), "is not trusted here") || strings.Contains(err.Error(), "attempts") {
		t.Errorf("an unknown certificate: %v", err)
	}
}

func TestTwoClientsDoNotMeet(t *testing.T) {
	w := newWorld(t, ecssim.Options{})
	other := w.newClient(func(c *ecs.Config) { c.Region = "cn-hangzhou" })
	defer other.Close()
	stranger := w.newClient(func(c *ecs.Config) { c.Credentials.AccessKey = "LTAInobodyKnowsMe" })
	defer stranger.Close()
	if _, err := w.client.FindSecurityGroup(w.ctx(), w.group); err != nil {
		t.Error(err)
	}
	if _, err := other.FindSecurityGroup(w.ctx(), w.group); !ecs.IsNotFound(err) || !strings.Contains(err.Error(), "cn-hangzhou") {
		t.Errorf("another region: %v", err)
	}
	_, err := stranger.FindSecurityGroup(w.ctx(), w.group)
	if ecs.IsNotFound(err) || ecs.ClassOf(err) != ecs.ClassAuth || !strings.HasSuffix(ecs.RemedyOf(err), " The credentials come from access_key and secret_key.") {
		t.Errorf("another key: %v (%s)", err, ecs.RemedyOf(err))
	}
}

// TestManyAtOnce runs what 20 parallel operations of Terraform would do.
func TestManyAtOnce(t *testing.T) {
	w := newWorld(t, ecssim.Options{Latencies: ecssim.Latencies{Starting: 10 * time.Millisecond, Deleting: 5 * time.Millisecond, Consistency: 5 * time.Millisecond}})
	w.sim.Inject(ecssim.Throttled("DescribeInstances", 10), ecssim.Cut("RunInstances", 5), ecssim.Throttled("DeleteInstance", 3))
	var wg sync.WaitGroup
	for n := range 20 {
		wg.Go(func() {
			ctx := w.ctx()
			spec := w.spec()
			spec.Name = fmt.Sprintf("node-%d", n)
			id, err := w.client.RunInstance(ctx, spec)
			if err == nil {
				_, err = w.client.WaitStatus(ctx, id, ecs.StatusRunning)
			}
			if err == nil {
				err = w.client.DeleteInstance(ctx, id)
			}
			if err == nil {
				err = w.client.WaitInstanceGone(ctx, id)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	out, err := w.sim.Do("cn-beijing", "DescribeInstances", nil)
	if err != nil || out["TotalCount"] != 0.0 {
		t.Errorf("left behind: %v %v", out, err)
	}
}

// TestEveryWriteSurvives throttles each call three times, and cuts each write
// after the server did it.
func TestEveryWriteSurvives(t *testing.T) {
	for _, fault := range []func(string) ecssim.Fault{
		func(a string) ecssim.Fault { return ecssim.Throttled(a, 3) },
		func(a string) ecssim.Fault { return ecssim.Cut(a, 1) },
		func(a string) ecssim.Fault { return ecssim.Refused(a, 500, "InternalError", 2) },
		func(a string) ecssim.Fault { return ecssim.Fault{Action: a, Raw: "<html>", RawStatus: 502} },
	} {
		w := newWorld(t, ecssim.Options{Runner: ecssim.DirectoryRunner{Dir: t.TempDir()}})
		c, ctx := w.client, w.ctx()
		var id, group string
		one := 1
		text := "x-name"
		rule := []ecs.Rule{{Protocol: "tcp", PortRange: "4433/4433", Source: "192.0.2.0/24", Policy: "accept", Priority: one}}
		for _, step := range []struct {
			action string
			do     func() error
		}{
			{"CreateSecurityGroup", func() (err error) {
				group, err = c.CreateSecurityGroup(ctx, ecs.SecurityGroupSpec{VpcID: w.vpc, Name: "one"})
				return err
			}},
			{"AuthorizeSecurityGroup", func() error { return c.AddIngressRules(ctx, group, rule) }},
			{"ModifySecurityGroupAttribute", func() error { return c.ModifySecurityGroup(ctx, group, text, "") }},
			{"TagResources", func() error { return c.Retag(ctx, ecs.TagSecurityGroup, group, nil, map[string]string{"k": "v"}) }},
			{"UntagResources", func() error { return c.Retag(ctx, ecs.TagSecurityGroup, group, map[string]string{"k": "v"}, nil) }},
			{"RunInstances", func() (err error) { id, err = c.RunInstance(ctx, w.spec()); return err }},
			{"RunCommand", func() error { _, err := c.Run(ctx, id, ecs.Command{Name: "c", Script: "true"}); return err }},
			{"ModifyInstanceAttribute", func() error { return c.ModifyInstance(ctx, id, ecs.InstanceChange{Name: &text}) }},
			{"ModifyInstanceMetadataOptions", func() error { return c.SetMetadataTokens(ctx, id, "optional") }},
			{"JoinSecurityGroup", func() error { return c.JoinSecurityGroup(ctx, id, group) }},
			{"LeaveSecurityGroup", func() error { return c.LeaveSecurityGroup(ctx, id, w.group) }},
			{"ModifyInstanceNetworkSpec", func() error { return c.SetBandwidth(ctx, id, 9, "", true) }},
			{"StopInstance", func() error { return c.StopInstance(ctx, id) }},
			{"ModifyInstanceSpec", func() error { return c.ChangeInstanceType(ctx, id, "ecs.g7.large") }},
			{"StartInstance", func() error { return c.StartInstance(ctx, id) }},
			{"DeleteInstance", func() error { return c.DeleteInstance(ctx, id) }},
			{"RevokeSecurityGroup", func() error {
				rules, err := c.IngressRules(ctx, group)
				if err != nil || len(rules) != 1 {
					return fmt.Errorf("%d rules, %w", len(rules), err)
				}
				return c.RemoveRules(ctx, group, []string{rules[0].ID})
			}},
			{"DeleteSecurityGroup", func() error { return c.DeleteSecurityGroup(ctx, group) }},
		} {
			f := fault(step.action)
			w.sim.Inject(f)
			before := w.count(step.action)
			if err := step.do(); err != nil {
				t.Errorf("%+v: %v", f, err)
			}
			if n := w.count(step.action) - before; n < 2 {
				t.Errorf("%s was called %d times: the fault did not happen", step.action, n)
			}
			w.sim.ClearFaults()
		}
		groups, err := w.sim.Do("cn-beijing", "DescribeSecurityGroups", nil)
		if err != nil || groups["TotalCount"] != 1.0 {
			t.Errorf("groups left: %v (%v)", groups["TotalCount"], err)
		}
		instances, err := w.sim.Do("cn-beijing", "DescribeInstances", nil)
		if err != nil || instances["TotalCount"] != 0.0 {
			t.Errorf("instances left: %v (%v)", instances["TotalCount"], err)
		}
	}
}

func TestWaitSaysWhatItSaw(t *testing.T) {
	w := newWorld(t, ecssim.Options{Latencies: ecssim.Latencies{Starting: time.Hour}})
	id, err := w.client.RunInstance(w.ctx(), w.spec())
	w.check(err)
	ctx, cancel := context.WithTimeout(w.ctx(), 40*time.Millisecond)
	defer cancel()
	_, err = w.client.WaitStatus(ctx, id, ecs.StatusRunning)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "wait for instance "+id+" to be Running: context deadline exceeded after ") || !strings.Contains(err.Error(), "last state: Pending") {
		t.Errorf("%v", err)
	}
}
