package resources_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"

	"github.com/ccctl/terraform-provider-cc/internal/provider"
	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
	"github.com/ccctl/terraform-provider-cc/internal/testfault"
)

// TestFaultCredentialsRevoked revokes the access key at each call of a creation in turn. What had been made until then
// is known, and when there is a key again one apply ends with one of it.
func TestFaultCredentialsRevoked(t *testing.T) {
	t.Parallel()
	for name, m := range bothKinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for n := 1; ; n++ {
				c := newCloud(t, m.options)
				group := ""
				if m.kind == "cc_client_instance" {
					group = c.do("CreateSecurityGroup", "SecurityGroupId", map[string]string{"VpcId": c.vpc})
				}
				config := m.config(c, group)
				p := c.newProcess()
				c.sim.Inject(ecssim.Fault{Skip: n - 1, Times: -1, Status: http.StatusForbidden, Code: "InvalidAccessKeyId.Inactive", Message: "Specified access key is disabled."})
				o := p.apply(m.kind, p.null(m.kind), config(p))
				if len(p.calls) < n {
					if o.errors != "" || n < 5 {
						t.Errorf("never revoked, at %d calls: %s", n-1, o.errors)
					}
					return
				}
				c.sim.ClearFaults()
				if o.errors == "" { // of what is not needed, such as the account's id
					if o.id() == "" {
						t.Fatalf("revoked at call %d of %v: neither an error nor an id", n, p.calls)
					}
					continue
				}
				testfault.Expect(t, "Credentials revoked in the middle", testfault.Provider, o.errors)
				if made := c.total(m.list); made > 1 {
					t.Errorf("revoked at call %d: %d were made", n, made)
				}
				final := c.again(m.kind, o, config)
				if final.errors != "" || c.total(m.list) != 1 {
					t.Fatalf("revoked at call %d of %v, then %d of it: %s", n, p.calls, c.total(m.list), final.errors)
				}
			}
		})
	}
}

// TestFaultCloudDown: an API that does not answer, or is answered for by something else.
func TestFaultCloudDown(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{})
	m := bothKinds["group"]
	config := m.config(c, "")
	for _, tt := range []struct {
		fault string
		do    func(p *process)
	}{
		{"ECS API down", func(p *process) { p.door.Close() }},
		{"Something else answers for the ECS API", func(p *process) {
			p.instead = func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>Sign in</html>")) }
		}},
		{"ECS API fails", func(*process) {
			c.sim.Inject(ecssim.Fault{Times: -1, Status: http.StatusServiceUnavailable, Code: "ServiceUnavailable"})
		}},
		{"Clock wrong", func(*process) {
			c.sim.Inject(ecssim.Fault{Times: -1, Status: http.StatusBadRequest, Code: "InvalidTimeStamp.Expired", Message: "Specified time stamp or date value is expired."})
		}},
	} {
		p := c.newProcess()
		tt.do(p)
		o := p.apply(m.kind, p.null(m.kind), config(p))
		testfault.Expect(t, tt.fault, testfault.Provider, o.errors)
		if n := c.total(m.list); n != 0 || o.id() != "" {
			t.Errorf("%s: %d groups, state %v", tt.fault, n, o.state)
		}
		c.sim.ClearFaults()
	}
	p := c.newProcess()
	if o := p.apply(m.kind, p.null(m.kind), config(p)); o.errors != "" || c.total(m.list) != 1 {
		t.Errorf("afterwards: %d groups, %s", c.total(m.list), o.errors)
	}
}

// failing applies a configuration that must fail and returns what is said.
func failing(t *testing.T, config string, options ...provider.Option) string {
	t.Helper()
	said := ""
	resource.UnitTest(t, resource.TestCase{
		ProtoV6ProviderFactories: map[string]func() (tfprotov6.ProviderServer, error){
			"cc": providerserver.NewProtocol6WithError(provider.New("test", options...)()),
		},
		ErrorCheck: func(err error) error {
			said = err.Error()
			return nil
		},
		Steps: []resource.TestStep{{Config: config}},
	})
	return said
}

// TestFaultCloudSlow: an API that lets one wait longer than the resource's timeouts allow, for one reason or another.
func TestFaultCloudSlow(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		fault string
		do    ecssim.Fault
	}{
		{"ECS API throttles", ecssim.Throttled("CreateSecurityGroup", -1)},
		{"ECS API slow", ecssim.Fault{Action: "DescribeSecurityGroups", Times: -1, Delay: 5 * time.Second}},
	} {
		c := newCloud(t, ecssim.Options{})
		c.sim.Inject(tt.do)
		testfault.Expect(t, tt.fault, testfault.Provider, failing(t, c.groupConfig(`timeouts = { create = "400ms" }`), provider.WithPace(brisk)))
		if n := c.total("DescribeSecurityGroups"); n != 0 {
			t.Errorf("%s: %d groups", tt.fault, n)
		}
		c.sim.ClearFaults()
		c.accept(resource.TestStep{Config: c.groupConfig()}, resource.TestStep{Config: c.groupConfig(), ConfigPlanChecks: emptyPlan()})
	}
}

// TestFaultCloudCutAfterWrite: nobody notices that an answer was lost.
func TestFaultCloudCutAfterWrite(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{})
	c.sim.Inject(everyWriteCut()...)
	w := newWorkspace(t, c.groupConfig(`key_server_cidrs = ["192.0.2.0/24"]`))
	w.env = []string{"TF_LOG="}
	testfault.Expect(t, "ECS API cut after a write", testfault.Provider, w.terraform("apply", "-auto-approve"))
	if n := c.total("DescribeSecurityGroups"); n != 1 {
		t.Errorf("%d groups", n)
	}
	expectOutput(t, w.terraform("plan"), "No changes")
}

// TestFaultCollateralServiceOfData: a plan that asks for a verification fails, and says that it is the service.
func TestFaultCollateralServiceOfData(t *testing.T) {
	t.Parallel()
	f := newQuoteFixture(t, nil)
	clock := provider.WithClock(func() time.Time { return quoteTime })
	config := f.configWith("file = "+inDir(f.dir, "quote.bin"), `url = "http://127.0.0.1:1"`)
	testfault.Expect(t, "Collateral service down", testfault.Provider, failing(t, config, clock))
	atQuoteTime(t, resource.TestStep{Config: f.config()})
}
