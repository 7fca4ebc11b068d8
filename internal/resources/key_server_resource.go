package resources

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-log/tflog"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
)

var (
	_ resource.Resource                   = (*keyServerResource)(nil)
	_ resource.ResourceWithImportState    = (*keyServerResource)(nil)
	_ resource.ResourceWithModifyPlan     = (*keyServerResource)(nil)
	_ resource.ResourceWithValidateConfig = (*keyServerResource)(nil)
)

// How long the operations may take where the configuration does not say. A
// server that starts opens a handful of files; one that stops lets connections
// finish for 15 seconds by default, and a restart is both.
const (
	keyServerCreateTimeout = time.Minute
	keyServerUpdateTimeout = 2 * time.Minute
	keyServerDeleteTimeout = 2 * time.Minute
)

// keyServerResource is cc_key_server.
type keyServerResource struct{}

// NewKeyServerResource returns cc_key_server: a key server that is kept running.
func NewKeyServerResource() resource.Resource { return &keyServerResource{} }

func (r *keyServerResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_key_server"
}

func (r *keyServerResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = keyServerSchema(ctx)
}

// ValidateConfig runs the server's own check as soon as everything that goes
// into its configuration is known, which may be on apply only.
func (r *keyServerResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var m keyServerModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() || !fullyKnown(ctx, m.served()...) {
		return
	}
	k := m.server(ctx, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	if err := m.checkPlacement(ctx, k, &resp.Diagnostics); err != nil {
		addKeyServerError(&resp.Diagnostics, "Key server configuration not valid", err)
	}
}

func (r *keyServerResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m keyServerModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	m.keys = readHostKeys(ctx, m.Host, req.Config, &resp.Diagnostics)
	limit, diags := m.Timeouts.Create(ctx, m.patience(keyServerCreateTimeout))
	resp.Diagnostics.Append(diags...)
	k := m.server(ctx, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	// Before the wait: should it fail, the directory with the log is known to
	// Terraform, and destroyed with the resource.
	m.locate(ctx, &resp.Diagnostics)
	m.Status, m.ConfigSHA256, m.Address, m.AdminAddress = types.StringValue(deploy.KeyServerStopped), types.StringNull(), types.StringNull(), types.StringNull()
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	run, err := m.start(ctx, k)
	if err != nil {
		addKeyServerError(&resp.Diagnostics, "Key server not started", err)
		return
	}
	tflog.Debug(ctx, "started key server", map[string]any{"directory": k.Directory, "address": run.Address, "version": run.Version})
	m.setRun(run)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

func (r *keyServerResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m keyServerModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	found, err := m.observe(ctx, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	if errors.Is(err, errKeyNotAtHand) {
		addWarning(&resp.Diagnostics, path.Root("host"), "Key server not looked at", err)
		return // the state stays as it is
	}
	if err != nil {
		addError(&resp.Diagnostics, path.Empty(), "Key server not found", err)
		return
	}
	if found.Status == deploy.KeyServerStopped && m.Status.ValueString() != deploy.KeyServerStopped {
		addWarning(&resp.Diagnostics, path.Empty(), "", &deploy.Error{
			Summary:  "Key server stopped",
			Err:      fmt.Errorf("find key server in %s: it does not run any more", m.Directory.ValueString()),
			Remedy:   "The next apply starts it again. This is the end of its log:",
			Evidence: found.Log,
		})
	}
	tflog.Debug(ctx, "observed key server", map[string]any{"directory": m.Directory.ValueString(), "status": found.Status})
	m.Status = types.StringValue(found.Status)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

func (r *keyServerResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var m, old keyServerModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &old)...)
	m.keys = readHostKeys(ctx, m.Host, req.Config, &resp.Diagnostics)
	limit, diags := m.Timeouts.Update(ctx, m.patience(keyServerUpdateTimeout))
	resp.Diagnostics.Append(diags...)
	k := m.server(ctx, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	run, err := m.apply(ctx, k, !m.CcctlPath.Equal(old.CcctlPath))
	if err != nil {
		addKeyServerError(&resp.Diagnostics, "Key server not updated", err)
		return
	}
	tflog.Debug(ctx, "updated key server", map[string]any{"directory": k.Directory, "address": run.Address, "version": run.Version})
	m.locate(ctx, &resp.Diagnostics)
	m.setRun(run)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

func (r *keyServerResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m keyServerModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	limit, diags := m.Timeouts.Delete(ctx, m.patience(keyServerDeleteTimeout))
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := m.remove(ctx, &resp.Diagnostics); err != nil {
		addKeyServerError(&resp.Diagnostics, "Key server not stopped", err)
		return
	}
	tflog.Debug(ctx, "stopped key server", map[string]any{"directory": m.Directory.ValueString()})
}

// ModifyPlan turns what a refresh has found into something to do: whatever the
// status is, the plan is that it runs.
func (r *keyServerResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() {
		return
	}
	var m, old keyServerModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	if !req.State.Raw.IsNull() {
		resp.Diagnostics.Append(req.State.Get(ctx, &old)...)
	}
	if resp.Diagnostics.HasError() {
		return
	}
	if !req.State.Raw.IsNull() && old.Status.ValueString() == deploy.KeyServerRunning && equalValues(m.configured(), old.configured()) {
		resp.Plan.Raw = req.State.Raw
		return
	}
	m.checkApply(ctx, &resp.Diagnostics)
	m.Status, m.ConfigSHA256, m.Address, m.AdminAddress = types.StringValue(deploy.KeyServerRunning), types.StringUnknown(), types.StringUnknown(), types.StringUnknown()
	if !old.Address.IsNull() && equalValues([]attr.Value{m.Listen, m.Host, m.Probe}, []attr.Value{old.Listen, old.Host, old.Probe}) && !m.picksPort() {
		m.Address = old.Address
	}
	if m.Admin.IsNull() {
		m.AdminAddress = types.StringNull()
	}
	resp.Diagnostics.Append(resp.Plan.Set(ctx, m)...)
}

// checkApply says before an apply what will fail in it, and what it will make
// less strict than it could be.
func (m *keyServerModel) checkApply(ctx context.Context, diags *diag.Diagnostics) {
	if err := deploy.KeyServerSupported(); err != nil && !m.Runtime.IsUnknown() && !m.inContainer() {
		addError(diags, path.Root("host"), "", err)
		return
	}
	if m.needsCcctl() {
		if _, err := deploy.FindCcctl(m.CcctlPath.ValueString()); err != nil {
			addError(diags, path.Root("ccctl_path"), "", err)
			return
		}
	}
	if !fullyKnown(ctx, m.served()...) {
		return
	}
	k := m.server(ctx, diags)
	for _, w := range k.Warnings() {
		diags.AddWarning("Key server looser than it could be", sentence(w))
	}
}

// locate sets what follows from the directory and its machine. The paths are
// as relative as the directory is: the state may be used in another checkout.
func (m *keyServerModel) locate(ctx context.Context, diags *diag.Diagnostics) {
	directory := m.Directory.ValueString()
	if m.inContainer() {
		h := m.host(ctx, diags)
		m.ID = types.StringValue(h.name() + directory)
		m.ConfigFile, m.LogFile = types.StringValue(directory+"/config/config.yaml"), types.StringNull()
		return
	}
	files := deploy.KeyServerFilesIn(directory)
	m.ID = m.Directory
	m.ConfigFile, m.LogFile = types.StringValue(files.Config), types.StringValue(files.Log)
}

// addKeyServerError puts each problem of a configuration at its attribute.
func addKeyServerError(diags *diag.Diagnostics, summary string, err error) {
	var config *deploy.KeyServerConfigError
	if !errors.As(err, &config) {
		addError(diags, path.Empty(), summary, err)
		return
	}
	for _, p := range config.Problems {
		at := fieldPath(p.Field)
		diags.Append(place(at, diag.NewErrorDiagnostic("Key server configuration not valid", problemText(p))))
	}
}

// problemText words a problem as sentences. Most messages go on from the name
// of the field ("is missing"), which keeps its spelling; others are whole.
func problemText(p deploy.KeyServerProblem) string {
	text := sentence(p.Message)
	if p.Field != "" {
		verb, _, _ := strings.Cut(p.Message, " ")
		joint := ": "
		if slices.Contains([]string{"is", "has", "goes", "does"}, verb) || strings.HasPrefix(verb, `"`) {
			joint = " "
		}
		text = p.Field + joint + strings.TrimRight(p.Message, ".") + "."
	}
	if p.Remedy != "" {
		text += " " + sentence(p.Remedy)
	}
	return text
}

// sentence gives a phrase its capital and its full stop.
func sentence(s string) string {
	r := []rune(strings.TrimRight(s, "."))
	if len(r) > 0 {
		r[0] = unicode.ToUpper(r[0])
	}
	return string(r) + "."
}
