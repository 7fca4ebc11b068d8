package resources

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/ecs"
)

// ImportState takes over an instance. What the service does not tell has its
// default; user data is read here and never again.
func (r *clientInstanceResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	c := r.backend.cloud(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	id := importTarget(ctx, c, "instance", "i-", req, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	v, err := deploy.ObserveInstance(ctx, c, id, true)
	if ecs.IsNotFound(err) {
		err = &deploy.Error{Summary: "Instance not found", Err: err, Remedy: "Check the id, the provider's region and whose credentials are used."}
	}
	var data []byte
	if err == nil {
		data, err = c.UserData(ctx, id)
	}
	if err != nil {
		addError(&resp.Diagnostics, path.Empty(), "Instance not imported", err)
		return
	}
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("id"), id)...)
	var m clientInstanceModel
	resp.Diagnostics.Append(resp.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	m.Region, m.ImageFamily, m.Bootstrap = types.StringValue(c.Region()), types.StringValue(deploy.DefaultImageFamily), types.BoolValue(true)
	m.RoleName = types.StringValue("") // asked for
	m.setDataDiskIDs(ctx, ownDataDisks(v.Disks), &resp.Diagnostics)
	m.setView(ctx, v, &resp.Diagnostics)
	m.setBootstrap(ctx, bootstrapUnknown, nil, &resp.Diagnostics)
	switch {
	case len(data) == 0:
	case utf8.Valid(data):
		m.UserData = types.StringValue(string(data))
	default:
		m.UserDataBase64 = types.StringValue(base64.StdEncoding.EncodeToString(data))
	}
	m.save(ctx, &resp.State, resp.Identity, &resp.Diagnostics)
	keepOrigin(ctx, c, resp.Private, &resp.Diagnostics)
}

// ValidateConfig refuses a price limit without the strategy that has one, and
// the other way round.
func (r *clientInstanceResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var m clientInstanceModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() || m.SpotStrategy.IsUnknown() || m.SpotPriceLimit.IsUnknown() {
		return
	}
	if limited := m.SpotStrategy.ValueString() == "SpotWithPriceLimit"; limited == m.SpotPriceLimit.IsNull() {
		addError(&resp.Diagnostics, path.Root("spot_price_limit"), "", &deploy.Error{
			Summary: "Spot price without its strategy",
			Err:     errors.New(`read the configuration: spot_price_limit and spot_strategy = "SpotWithPriceLimit" go together, and one of them is missing`),
			Remedy:  `Set both, or use "SpotAsPriceGo" (the market's price) or "NoSpot".`,
		})
	}
}

// warnImage says what becomes of an image that was changed behind Terraform's
// back: whether it is put back depends on who chose it.
func (m *clientInstanceModel) warnImage(now string, diags *diag.Diagnostics) {
	if before := m.ImageID.ValueString(); before != "" && before != now {
		diags.AddAttributeWarning(path.Root("image_id"), "Image changed outside of Terraform",
			fmt.Sprintf("Instance %s has image %s now, and had %s. Where image_id is not set this is left as it is; where it is set to another image, the plan replaces the instance.", m.ID.ValueString(), now, before))
	}
}

// ModifyPlan says beforehand what would come as a surprise: a protection that
// forbids what is planned, a machine that is stopped, a bootstrap that runs
// again, and why an instance is replaced.
func (r *clientInstanceResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	var m, old clientInstanceModel
	if !req.State.Raw.IsNull() {
		resp.Diagnostics.Append(req.State.Get(ctx, &old)...)
	}
	if !req.Plan.Raw.IsNull() {
		resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	}
	if resp.Diagnostics.HasError() {
		return
	}
	switch {
	case req.Plan.Raw.IsNull():
		refuseProtected(old, "destroys", &resp.Diagnostics)
	case req.State.Raw.IsNull():
		m.warnUserData(&resp.Diagnostics)
	case len(resp.RequiresReplace) > 0 || m.replaces(old):
		refuseProtected(old, "replaces", &resp.Diagnostics)
		m.explainReplacement(old, &resp.Diagnostics)
	default:
		m.planUpdate(ctx, old, resp)
	}
}

// refuseProtected fails a plan that the service would refuse half-way.
func refuseProtected(old clientInstanceModel, does string, diags *diag.Diagnostics) {
	if !old.DeletionProtection.ValueBool() {
		return
	}
	addError(diags, path.Root("deletion_protection"), "", &deploy.Error{
		Summary: "Instance protected against deletion",
		Err:     fmt.Errorf("plan the change of instance %s: it %s the instance, which is protected against deletion", old.ID.ValueString(), does),
		Remedy:  "Set deletion_protection = false and apply that first.",
	})
}

func (m *clientInstanceModel) warnUserData(diags *diag.Diagnostics) {
	data, err := m.userData()
	if err == nil && len(data) > ecs.SafeUserData {
		diags.AddAttributeWarning(path.Root("user_data"), "User data larger than 16 KiB",
			fmt.Sprintf("The user data has %d bytes. Regions have been documented with a limit of %d; if this one has it, creating the instance fails.", len(data), ecs.SafeUserData))
	}
}

// replaces tells whether the plan replaces the instance.
func (m *clientInstanceModel) replaces(old clientInstanceModel) bool {
	for _, pair := range [][2]attr.Value{
		{m.VSwitchID, old.VSwitchID}, {m.ImageFamily, old.ImageFamily}, {m.ImageID, old.ImageID}, {m.DiskCategory, old.DiskCategory}, {m.DiskSize, old.DiskSize},
		{m.DiskLevel, old.DiskLevel}, {m.DataDisks, old.DataDisks}, {m.SpotStrategy, old.SpotStrategy}, {m.SpotPriceLimit, old.SpotPriceLimit},
		{m.KeyName, old.KeyName}, {m.UserData, old.UserData}, {m.UserDataBase64, old.UserDataBase64},
	} {
		if !pair[0].Equal(pair[1]) {
			return true
		}
	}
	return false
}

// explainReplacement says why what other providers do in place is a
// replacement here.
func (m *clientInstanceModel) explainReplacement(old clientInstanceModel, diags *diag.Diagnostics) {
	if !m.ImageID.Equal(old.ImageID) || !m.ImageFamily.Equal(old.ImageFamily) {
		diags.AddAttributeWarning(path.Root("image_id"), "Another image replaces the instance",
			"Changing the image in place would wipe the system disk and keep the id. Everything on the machine is lost either way; keep what you need first, or leave image_id as it is.")
	}
	if !m.DataDisks.Equal(old.DataDisks) {
		diags.AddAttributeWarning(path.Root("data_disks"), "Other data disks replace the instance",
			"The data disks are made and deleted with the instance. A disk that was detached, deleted or resized outside of Terraform shows here, too: to keep the instance, make data_disks what is there.")
	}
	if !m.UserData.Equal(old.UserData) || !m.UserDataBase64.Equal(old.UserDataBase64) {
		diags.AddAttributeWarning(path.Root("user_data"), "Other user data replaces the instance",
			"User data runs at the first start only; changed in place it would do nothing. Use bootstrap_triggers to run the bootstrap again on the same machine.")
	}
}

// planUpdate decides what is known of the result before it is there.
func (m *clientInstanceModel) planUpdate(ctx context.Context, old clientInstanceModel, resp *resource.ModifyPlanResponse) {
	unsettled := !m.Bandwidth.Equal(old.Bandwidth) && (m.Bandwidth.ValueInt64() == 0 || old.Bandwidth.ValueInt64() == 0)
	if !fullyKnown(ctx, m.InstanceType, m.HostName, m.PasswordWOVersion) {
		unsettled = true
	} else {
		from := deploy.InstanceWish{Type: old.InstanceType.ValueString(), HostName: old.HostName.ValueString()}
		to := deploy.InstanceWish{Type: m.InstanceType.ValueString(), HostName: m.HostName.ValueString()}
		if !m.PasswordWOVersion.Equal(old.PasswordWOVersion) {
			to.Password = "changed" // stands for the new one, which a plan does not know
		}
		if why := from.NeedsRestart(to); why != "" {
			unsettled = true
			resp.Diagnostics.AddWarning("Instance stopped and started again", fmt.Sprintf("The update stops instance %s and starts it again, because %s.", old.ID.ValueString(), why))
		}
	}
	// Each change of a plan costs a walk through all of it, and most plans
	// change nothing.
	set := func(name string, now, then attr.Value) {
		if !now.Equal(then) {
			resp.Diagnostics.Append(resp.Plan.SetAttribute(ctx, path.Root(name), then)...)
		}
	}
	rerun := m.reruns(old)
	if rerun {
		set("bootstrap_status", m.BootstrapStatus, types.StringUnknown())
		set("bootstrap_steps", m.BootstrapSteps, types.ListUnknown(bootstrapStepType))
		set("ssh_host_keys", m.SSHHostKeys, types.ListUnknown(types.StringType))
	} else {
		set("bootstrap_status", m.BootstrapStatus, old.BootstrapStatus)
		set("bootstrap_steps", m.BootstrapSteps, old.BootstrapSteps)
		set("ssh_host_keys", m.SSHHostKeys, old.SSHHostKeys)
	}
	if !unsettled && !rerun {
		set("public_ip", m.PublicIP, old.PublicIP)
		set("status", m.Status, old.Status)
	}
}

// reruns tells whether the update prepares the machine again: because it is
// asked to, or because the last time did not come to its end.
func (m *clientInstanceModel) reruns(old clientInstanceModel) bool {
	if !m.Bootstrap.Equal(old.Bootstrap) {
		return true
	}
	if !m.Bootstrap.ValueBool() {
		return false
	}
	return old.BootstrapStatus.ValueString() == bootstrapPending || !m.BootstrapUser.Equal(old.BootstrapUser) || !m.BootstrapTriggers.Equal(old.BootstrapTriggers)
}
