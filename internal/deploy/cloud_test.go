package deploy

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
)

const testImage = "aliyun_3_x64_20G_alibase_20260513.vhd"

// cloud is a simulated region with a network, and a client of it.
type cloud struct {
	t                   *testing.T
	sim                 *ecssim.Server
	client              *ecs.Client
	url                 string
	vpc, vswitch, group string
}

func newCloud(t *testing.T, opts ecssim.Options) *cloud {
	t.Helper()
	sim, err := ecssim.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(sim)
	c := &cloud{t: t, sim: sim, url: web.URL}
	c.client, err = ecs.New(ecs.Config{
		Region: "cn-beijing", Credentials: ecs.Credentials{AccessKey: ecssim.DefaultAccessKey, SecretKey: ecssim.DefaultSecretKey},
		Endpoints: ecs.Endpoints{ECS: web.URL, VPC: web.URL, STS: web.URL}, Backoff: ecs.Backoff{Min: 2 * time.Millisecond, Max: 8 * time.Millisecond},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.client.Close(); web.Close(); sim.Close() })
	c.vpc = c.do("CreateVpc", "VpcId", map[string]string{"CidrBlock": "10.0.0.0/16"})
	c.vswitch = c.do("CreateVSwitch", "VSwitchId", map[string]string{"VpcId": c.vpc, "CidrBlock": "10.0.1.0/24", "ZoneId": "cn-beijing-h"})
	c.group = c.newGroup("first")
	return c
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

func (c *cloud) newGroup(name string) string {
	c.t.Helper()
	return c.do("CreateSecurityGroup", "SecurityGroupId", map[string]string{"VpcId": c.vpc, "SecurityGroupName": name})
}

func (c *cloud) addRule(group, source, description string) {
	c.t.Helper()
	c.do("AuthorizeSecurityGroup", "", map[string]string{"SecurityGroupId": group, "IpProtocol": "tcp", "PortRange": "4433/4433", "SourceCidrIp": source, "Description": description})
}

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
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	c.t.Cleanup(cancel)
	return ctx
}

func (c *cloud) spec() ecs.InstanceSpec {
	return ecs.InstanceSpec{
		Name: "cc-client", ImageID: testImage, Type: "ecs.c7.large", VSwitchID: c.vswitch, SecurityGroups: []string{c.group}, BandwidthOut: 5,
		InternetChargeType: "PayByTraffic", HTTPTokens: "required", Tags: map[string]string{"env": "test"},
	}
}

// running makes an instance and waits for it.
func (c *cloud) running() string {
	c.t.Helper()
	id, err := CreateInstance(c.ctx(), c.client, c.spec())
	c.check(err)
	_, err = WaitInstanceReady(c.ctx(), c.client, id, true)
	c.check(err)
	return id
}

func (c *cloud) check(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// explained fails unless err has the summary, and its text and remedy contain
// the texts.
func explained(t *testing.T, err error, summary string, texts ...string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Errorf("error without a remedy: %v", err)
		return
	}
	if e.Summary != summary {
		t.Errorf("summary %q, want %q", e.Summary, summary)
	}
	all := e.Error() + "\n" + e.Remedy + "\n" + e.Evidence
	for _, text := range texts {
		if !strings.Contains(all, text) {
			t.Errorf("%q is not in:\n%s", text, all)
		}
	}
}

func TestValidCIDR(t *testing.T) {
	for cidr, want := range map[string]string{
		"192.0.2.0/24": "", "0.0.0.0/0": "", "203.0.113.7/32": "", "2001:db8::/32": "", "::/0": "",
		"192.0.2.1/24":       "write 192.0.2.0/24",
		"192.0.2.1":          "as a CIDR block it is 192.0.2.1/32",
		"2001:db8::1":        "as a CIDR block it is 2001:db8::1/128",
		"2001:DB8::/32":      "write 2001:db8::/32",
		"2001:db8:0::/48":    "write 2001:db8::/48",
		"::ffff:192.0.2.0/1": "in IPv6 spelling",
		"192.0.2.0/33":       "is not a CIDR block",
		"192.0.02.0/24":      "is not a CIDR block",
		"office":             "is not a CIDR block",
		"":                   "is not a CIDR block",
	} {
		err := ValidCIDR(cidr)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", cidr, err, want)
		}
	}
	for _, source := range []string{"sg-1", "pl-1", "10.0.0.0/8"} {
		if err := ValidRuleSource(source); err != nil {
			t.Error(err)
		}
	}
	if ValidRuleSource("10.0.0.1/8") == nil || !OpenToTheWorld("::/0") || OpenToTheWorld("10.0.0.0/8") {
		t.Error("rule sources are judged wrongly")
	}
}

func TestExplainCloud(t *testing.T) {
	if explainCloud("x", nil) != nil {
		t.Error("an error out of nothing")
	}
	gone := verb("read x", &ecs.NotFoundError{Kind: "instance", ID: "i", Region: "r"})
	if !ecs.IsNotFound(explainCloud("x", gone)) {
		t.Error("absence is lost")
	}
	explained(t, explainCloud("Thing not made", &ecs.Error{Action: "A", Class: ecs.ClassAuth, Remedy: "r"}), "Alibaba Cloud refuses the credentials", "r")
	explained(t, explainCloud("Thing not made", &ecs.Error{Action: "A", Class: ecs.ClassTransient}), "Thing not made", "nothing is made twice")
	own := &Error{Summary: "Own", Err: errors.New("e")}
	explained(t, explainCloud("Thing not made", verb("v", own)), "Own")
	for n, want := range map[int]string{1: "1 entry", 2: "2 entries"} {
		if got := plural(n, "entry"); got != want {
			t.Error(got)
		}
	}
}
