package resources_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	cc "github.com/ccctl/terraform-provider-cc/internal/provider"
	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
)

// process is a provider of its own, driven as Terraform drives one: an apply
// can be interrupted, or the process killed, at any of its calls.
type process struct {
	t       *testing.T
	cloud   *cloud
	door    *httptest.Server // between it and the cloud
	instead http.HandlerFunc // answers in the cloud's place, if given
	server  tfprotov6.ProviderServer
	schemas *tfprotov6.GetProviderSchemaResponse

	mu     sync.Mutex
	calls  []string        // that reached the cloud
	strike int             // the call at which it happens, from 1; 0 for never
	kill   bool            // what happens: the end, or an interrupt
	dead   bool            // nothing reaches the cloud any more
	killed chan struct{}   // closed when dead
	ctx    context.Context //nolint:containedctx // Of the test that the process lives in.
}

// newProcess starts a provider that reaches the cloud through a door of its
// own.
func (c *cloud) newProcess() *process {
	c.t.Helper()
	p := &process{t: c.t, cloud: c, killed: make(chan struct{}), ctx: c.ctx()}
	door := httptest.NewServer(http.HandlerFunc(p.pass))
	c.t.Cleanup(door.Close)
	p.door = door
	server, err := providerserver.NewProtocol6WithError(cc.New("test", cc.WithPace(brisk))())()
	c.check(err)
	p.server = server
	p.schemas, err = server.GetProviderSchema(p.ctx, &tfprotov6.GetProviderSchemaRequest{})
	c.check(err)
	config := p.object(p.schemas.Provider.ValueType(), map[string]tftypes.Value{
		"region": text("cn-beijing"), "access_key": text(ecssim.DefaultAccessKey), "secret_key": text(ecssim.DefaultSecretKey),
	})
	var settings map[string]tftypes.Value
	c.check(config.As(&settings))
	endpoints := p.object(settings["endpoints"].Type(), map[string]tftypes.Value{"ecs": text(door.URL), "vpc": text(door.URL), "sts": text(door.URL)})
	settings["endpoints"] = endpoints
	configured, err := server.ConfigureProvider(p.ctx, &tfprotov6.ConfigureProviderRequest{
		Config: p.dynamic(tftypes.NewValue(p.schemas.Provider.ValueType(), settings)), TerraformVersion: "1.11.4",
	})
	c.check(err)
	if d := problems(configured.Diagnostics); d != "" {
		c.t.Fatal(d)
	}
	return p
}

// pass hands a call on to the cloud, and strikes when its turn has come: after
// the cloud has done what it was asked for, and before anybody hears of it.
func (p *process) pass(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	dead := p.dead
	p.mu.Unlock()
	if dead {
		panic(http.ErrAbortHandler)
	}
	if p.instead != nil {
		p.instead(w, r)
		return
	}
	answer := httptest.NewRecorder()
	p.cloud.sim.ServeHTTP(answer, r)
	p.mu.Lock()
	p.calls = append(p.calls, r.Header.Get("X-Acs-Action"))
	struck := p.strike == len(p.calls)
	if struck && p.kill {
		p.dead = true
		close(p.killed)
	}
	p.mu.Unlock()
	if struck {
		// Ctrl-C reaches a provider as this; a killed one needs it to end.
		_, _ = p.server.StopProvider(context.WithoutCancel(r.Context()), &tfprotov6.StopProviderRequest{})
		if p.kill {
			panic(http.ErrAbortHandler)
		}
	}
	for k, v := range answer.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

func text(s string) tftypes.Value { return tftypes.NewValue(tftypes.String, s) }

// object fills an object of a type with values, and null for the rest.
func (p *process) object(kind tftypes.Type, values map[string]tftypes.Value) tftypes.Value {
	p.t.Helper()
	o, ok := kind.(tftypes.Object)
	if !ok {
		p.t.Fatalf("%s is no object", kind)
	}
	all := map[string]tftypes.Value{}
	for name, t := range o.AttributeTypes {
		all[name] = tftypes.NewValue(t, nil)
		if v, ok := values[name]; ok {
			all[name] = tftypes.NewValue(t, mustRaw(p.t, v, t))
		}
	}
	return tftypes.NewValue(kind, all)
}

// mustRaw returns a value for tftypes.NewValue.
func mustRaw(t *testing.T, v tftypes.Value, as tftypes.Type) any {
	t.Helper()
	switch {
	case as.Is(tftypes.String):
		var s string
		if err := v.As(&s); err != nil {
			t.Fatal(err)
		}
		return s
	case as.Is(tftypes.Bool):
		var b bool
		if err := v.As(&b); err != nil {
			t.Fatal(err)
		}
		return b
	default:
		var list []tftypes.Value
		if err := v.As(&list); err != nil {
			t.Fatal(err)
		}
		return list
	}
}

func (p *process) dynamic(v tftypes.Value) *tfprotov6.DynamicValue {
	p.t.Helper()
	d, err := tfprotov6.NewDynamicValue(v.Type(), v)
	p.cloud.check(err)
	return &d
}

func problems(all []*tfprotov6.Diagnostic) string {
	var b strings.Builder
	for _, d := range all {
		if d.Severity == tfprotov6.DiagnosticSeverityError {
			b.WriteString(d.Summary + ": " + d.Detail + "\n")
		}
	}
	return b.String()
}

// outcome is what Terraform has after an apply.
type outcome struct {
	state  tftypes.Value // null when there is nothing
	errors string
}

// id is the id in the state, or nothing.
func (o outcome) id() string {
	if o.state.IsNull() {
		return ""
	}
	var all map[string]tftypes.Value
	var id string
	if o.state.As(&all) != nil || all["id"].As(&id) != nil {
		return ""
	}
	return id
}

// apply plans and applies a resource: from prior (null: it is made) to what is
// configured (null: it is destroyed). A process that is killed tells nothing.
func (p *process) apply(kind string, prior, config tftypes.Value) outcome {
	p.t.Helper()
	planned, err := p.server.PlanResourceChange(p.ctx, &tfprotov6.PlanResourceChangeRequest{
		TypeName: kind, PriorState: p.dynamic(prior), ProposedNewState: p.dynamic(p.proposed(kind, prior, config)), Config: p.dynamic(config),
	})
	p.cloud.check(err)
	if d := problems(planned.Diagnostics); d != "" {
		return outcome{state: prior, errors: d}
	}
	applied, err := p.server.ApplyResourceChange(p.ctx, &tfprotov6.ApplyResourceChangeRequest{
		TypeName: kind, PriorState: p.dynamic(prior), PlannedState: planned.PlannedState, Config: p.dynamic(config), PlannedPrivate: planned.PlannedPrivate,
	})
	p.cloud.check(err)
	select {
	case <-p.killed:
		return outcome{state: prior, errors: "killed"}
	default:
	}
	if !config.IsNull() && problems(applied.Diagnostics) == "" && applied.NewIdentity == nil {
		p.t.Errorf("what was applied of %s has no identity", kind)
	}
	state, err := applied.NewState.Unmarshal(p.schemas.ResourceSchemas[kind].ValueType())
	p.cloud.check(err)
	return outcome{state: state, errors: problems(applied.Diagnostics)}
}

// proposed is what Terraform proposes: the configuration, and what it leaves to
// the provider as it was.
func (p *process) proposed(kind string, prior, config tftypes.Value) tftypes.Value {
	p.t.Helper()
	if prior.IsNull() || config.IsNull() {
		return config
	}
	var before, all map[string]tftypes.Value
	p.cloud.check(prior.As(&before))
	p.cloud.check(config.As(&all))
	for _, a := range p.schemas.ResourceSchemas[kind].Block.Attributes {
		if a.Computed && all[a.Name].IsNull() {
			all[a.Name] = before[a.Name]
		}
	}
	return tftypes.NewValue(config.Type(), all)
}

// refresh reads what is there; null when it is gone.
func (p *process) refresh(kind string, state tftypes.Value) tftypes.Value {
	p.t.Helper()
	read, err := p.server.ReadResource(p.ctx, &tfprotov6.ReadResourceRequest{TypeName: kind, CurrentState: p.dynamic(state)})
	p.cloud.check(err)
	if d := problems(read.Diagnostics); d != "" {
		p.t.Fatal(d)
	}
	now, err := read.NewState.Unmarshal(p.schemas.ResourceSchemas[kind].ValueType())
	p.cloud.check(err)
	return now
}

// null is a resource that is not there.
func (p *process) null(kind string) tftypes.Value {
	return tftypes.NewValue(p.schemas.ResourceSchemas[kind].ValueType(), nil)
}

// again does what the next terraform apply does with an outcome: replace what
// was not made to its end, make what is not there, and leave the rest.
func (c *cloud) again(kind string, o outcome, config func(*process) tftypes.Value) outcome {
	c.t.Helper()
	p := c.newProcess()
	if !o.state.IsNull() && o.errors != "" {
		if o = p.apply(kind, o.state, p.null(kind)); o.errors != "" {
			c.t.Fatalf("what was interrupted is not destroyed: %s", o.errors)
		}
	}
	if o.state.IsNull() {
		o = p.apply(kind, p.null(kind), config(p))
	}
	return o
}

// expectPermissions checks that the documentation of the resources names every
// call that was made for them.
func (c *cloud) expectPermissions(kinds ...string) {
	c.t.Helper()
	schemas := c.newProcess().schemas
	documented := ""
	for _, kind := range kinds {
		documented += schemas.ResourceSchemas[kind].Block.Description
	}
	for _, r := range c.sim.Requests() {
		if r.Action == "GetCallerIdentity" { // needs no permission
			continue
		}
		if !strings.Contains(documented, ":"+r.Action+"`") {
			c.t.Errorf("the documentation of %v does not name the permission for %s", kinds, r.Action)
		}
	}
}
