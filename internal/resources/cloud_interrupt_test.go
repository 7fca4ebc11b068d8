package resources_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
)

// made is a kind of resource, made through the protocol.
type made struct {
	kind    string
	list    string // the action that lists them
	config  func(c *cloud, group string) func(*process) tftypes.Value
	options ecssim.Options
}

var bothKinds = map[string]made{
	"instance": {
		kind: "cc_client_instance", list: "DescribeInstances",
		config: func(c *cloud, group string) func(*process) tftypes.Value {
			return func(p *process) tftypes.Value {
				return p.object(p.schemas.ResourceSchemas["cc_client_instance"].ValueType(), map[string]tftypes.Value{
					"vswitch_id": text(c.vswitch), "security_group_ids": tftypes.NewValue(tftypes.Set{ElementType: tftypes.String}, []tftypes.Value{text(group)}),
				})
			}
		},
		options: ecssim.Options{Runner: promptMachine{}},
	},
	"group": {
		kind: "cc_security_group", list: "DescribeSecurityGroups",
		config: func(c *cloud, _ string) func(*process) tftypes.Value {
			return func(p *process) tftypes.Value {
				cidrs := tftypes.NewValue(tftypes.Set{ElementType: tftypes.String}, []tftypes.Value{text("192.0.2.0/24"), text("198.51.100.0/24")})
				return p.object(p.schemas.ResourceSchemas["cc_security_group"].ValueType(), map[string]tftypes.Value{"vpc_id": text(c.vpc), "key_server_cidrs": cidrs})
			}
		},
	},
}

// promptMachine stands in for a machine that is prepared in no time.
type promptMachine struct{}

func (promptMachine) Run(_ context.Context, _ ecssim.Machine, script []byte) (output []byte, exitCode int, err error) {
	if !strings.Contains(string(script), "--- steps") {
		return []byte("cc-bootstrap: done\n"), 0, nil
	}
	report := "--- steps\n"
	for _, step := range deploy.BootstrapSteps {
		report += step + "\tok\t0\t1\n"
	}
	return []byte(report + "--- ssh host keys\nssh-ed25519 AAAA host\n"), 0, nil
}

// strikes makes the resource again and again, each time in a new cloud and with
// a strike at the next call, until a creation has no more calls.
func (m made) strikes(t *testing.T, kill bool, then func(t *testing.T, c *cloud, p *process, o outcome, config func(*process) tftypes.Value)) {
	t.Helper()
	for n := 1; ; n++ {
		c := newCloud(t, m.options)
		group := ""
		if m.kind == "cc_client_instance" {
			group = c.do("CreateSecurityGroup", "SecurityGroupId", map[string]string{"VpcId": c.vpc})
		}
		config := m.config(c, group)
		p := c.newProcess()
		p.strike, p.kill = n, kill
		o := p.apply(m.kind, p.null(m.kind), config(p))
		if len(p.calls) < n {
			if o.errors != "" || n < 6 {
				t.Errorf("without a strike, at %d calls: %s", n-1, o.errors)
			}
			t.Logf("struck at each of %d calls", n-1)
			return
		}
		then(t, c, p, o, config)
		if t.Failed() {
			t.Fatalf("struck at call %d of %v", n, p.calls)
		}
	}
}

// TestInterruptAtEveryCall presses Ctrl-C at each call of a creation in turn:
// what was made is in the state, and the next apply ends with one of it.
func TestInterruptAtEveryCall(t *testing.T) {
	t.Parallel()
	for name, m := range bothKinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m.strikes(t, false, func(t *testing.T, c *cloud, p *process, o outcome, config func(*process) tftypes.Value) {
				t.Helper()
				switch n := c.total(m.list); {
				case n > 1:
					t.Errorf("%d were made", n)
				case n == 1 && o.id() != c.idOf(m.kind):
					t.Errorf("%s is not in the state, which has %q: %s", c.idOf(m.kind), o.id(), o.errors)
				case n == 0 && !o.state.IsNull():
					t.Errorf("there is nothing, and the state has %q", o.id())
				}
				if o = c.again(m.kind, o, config); o.errors != "" {
					t.Errorf("the next apply: %s", o.errors)
				}
				if n := c.total(m.list); n != 1 || o.id() != c.idOf(m.kind) {
					t.Errorf("after the next apply: %d, and %q is in the state", n, o.id())
				}
				if last := c.newProcess(); last.apply(m.kind, o.state, last.null(m.kind)).errors != "" || c.total(m.list) != 0 {
					t.Errorf("destroying leaves %d", c.total(m.list))
				}
			})
		})
	}
}

// TestKillAtEveryCall kills the provider at each call of a creation in turn, so
// that Terraform learns nothing: the next apply makes one where there is none,
// and where there is one it names it, and makes no second.
func TestKillAtEveryCall(t *testing.T) {
	t.Parallel()
	for name, m := range bothKinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m.strikes(t, true, func(t *testing.T, c *cloud, p *process, o outcome, config func(*process) tftypes.Value) {
				t.Helper()
				if slices.Contains(p.calls, "UntagResources") {
					return // the creation has ended; only the way to Terraform's state was left
				}
				before := c.total(m.list)
				o = c.again(m.kind, o, config)
				if before == 0 {
					if o.errors != "" || c.total(m.list) != 1 {
						t.Errorf("there was none, and then %d: %s", c.total(m.list), o.errors)
					}
					return
				}
				orphan := c.idOf(m.kind)
				for _, want := range []string{"of an interrupted run found", orphan, "terraform import ADDRESS ID", deploy.CreationTag} {
					if !strings.Contains(o.errors, want) {
						t.Errorf("%q is not in: %s", want, o.errors)
					}
				}
				if c.total(m.list) != 1 || !o.state.IsNull() {
					t.Errorf("there are %d, and the state has %q", c.total(m.list), o.id())
				}
			})
		})
	}
}

// idOf is the id of the one resource of a kind there is.
func (c *cloud) idOf(kind string) string {
	c.t.Helper()
	if kind == "cc_security_group" {
		return c.onlyGroup()
	}
	return c.onlyInstance().ID
}

// change is a resource and what it is changed to.
type change struct {
	made
	to      func(c *cloud, first string) func(*process) tftypes.Value
	arrived func(c *cloud) error
}

// TestInterruptAtEveryCallOfAChange presses Ctrl-C at each call of an update
// that changes all that can be changed in place, a restart among it: the next
// apply ends where this one was to go. Then the same with the deletion.
func TestInterruptAtEveryCallOfAChange(t *testing.T) {
	t.Parallel()
	instance, group := bothKinds["instance"], bothKinds["group"]
	for name, m := range map[string]change{
		"instance": {
			made: instance,
			to: func(c *cloud, first string) func(*process) tftypes.Value {
				second := c.do("CreateSecurityGroup", "SecurityGroupId", map[string]string{"VpcId": c.vpc})
				return func(p *process) tftypes.Value {
					return p.object(p.schemas.ResourceSchemas["cc_client_instance"].ValueType(), map[string]tftypes.Value{
						"vswitch_id": text(c.vswitch), "security_group_ids": tftypes.NewValue(tftypes.Set{ElementType: tftypes.String}, []tftypes.Value{text(second)}),
						"name": text("renamed"), "description": text("described"), "host_name": text("host-2"), "resource_group_id": text("rg-2"), "ram_role_name": text("role-2"),
						"instance_type": text("ecs.g7.large"), "http_tokens": text("optional"), "internet_charge_type": text("PayByBandwidth"),
					})
				}
			},
			arrived: func(c *cloud) error {
				i := c.onlyInstance()
				if i.Name != "renamed" || i.Description != "described" || i.HostName != "host-2" || i.ResourceGroupID != "rg-2" || c.role() != "role-2" || i.Type != "ecs.g7.large" ||
					i.HTTPTokens != "optional" || i.InternetChargeType != "PayByBandwidth" || len(i.SecurityGroups) != 1 || i.Status != "Running" {
					return fmt.Errorf("the instance is %+v", i)
				}
				return nil
			},
		},
		"group": {
			made: group,
			to: func(c *cloud, _ string) func(*process) tftypes.Value {
				return func(p *process) tftypes.Value {
					cidrs := tftypes.NewValue(tftypes.Set{ElementType: tftypes.String}, []tftypes.Value{text("192.0.2.0/24"), text("203.0.113.0/24")})
					return p.object(p.schemas.ResourceSchemas["cc_security_group"].ValueType(), map[string]tftypes.Value{
						"vpc_id": text(c.vpc), "name": text("renamed"), "resource_group_id": text("rg-2"), "key_server_cidrs": cidrs, "ssh_cidrs": cidrs,
					})
				}
			},
			arrived: func(c *cloud) error {
				id := c.onlyGroup()
				g, err := c.api.FindSecurityGroup(c.ctx(), id)
				if err != nil {
					return err
				}
				rules, err := c.api.IngressRules(c.ctx(), id)
				if err == nil && (g.Name != "renamed" || g.ResourceGroupID != "rg-2" || len(rules) != 4) {
					err = fmt.Errorf("the group is %+v with %v", g, rules)
				}
				return err
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for n, struck := 1, true; struck; n++ {
				struck = m.strikeChange(t, n)
			}
		})
	}
}

// strikeChange strikes at the n-th call of an update and of a deletion. It tells
// whether either had so many.
func (m change) strikeChange(t *testing.T, n int) (struck bool) {
	t.Helper()
	c := newCloud(t, m.options)
	first := ""
	if m.kind == "cc_client_instance" {
		first = c.do("CreateSecurityGroup", "SecurityGroupId", map[string]string{"VpcId": c.vpc})
	}
	p := c.newProcess()
	o := p.apply(m.kind, p.null(m.kind), m.config(c, first)(p))
	to := m.to(c, first)
	if o.errors != "" {
		t.Fatal(o.errors)
	}
	p = c.newProcess()
	p.strike = n
	o = p.apply(m.kind, o.state, to(p))
	struck = len(p.calls) >= n
	p = c.newProcess()
	if o = p.apply(m.kind, p.refresh(m.kind, o.state), to(p)); o.errors != "" {
		t.Fatalf("update struck at call %d: the next apply: %s", n, o.errors)
	}
	if err := m.arrived(c); err != nil {
		t.Fatalf("update struck at call %d: after the next apply %v", n, err)
	}
	p = c.newProcess()
	p.strike = n
	o = p.apply(m.kind, o.state, p.null(m.kind))
	struck = struck || len(p.calls) >= n
	p = c.newProcess()
	if !o.state.IsNull() {
		if now := p.refresh(m.kind, o.state); !now.IsNull() {
			o = p.apply(m.kind, now, p.null(m.kind))
		}
	}
	if left := c.total(m.list); left != 0 {
		t.Fatalf("deletion struck at call %d: %d are left: %s", n, left, o.errors)
	}
	if !struck {
		t.Logf("struck at each of %d calls", n-1)
	}
	return struck
}
