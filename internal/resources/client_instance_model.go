package resources

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/ecs"
)

type clientInstanceModel struct {
	ID                 types.String   `tfsdk:"id"`
	Region             types.String   `tfsdk:"region"`
	ZoneID             types.String   `tfsdk:"zone_id"`
	VpcID              types.String   `tfsdk:"vpc_id"`
	VSwitchID          types.String   `tfsdk:"vswitch_id"`
	SecurityGroupIDs   types.Set      `tfsdk:"security_group_ids"`
	Name               types.String   `tfsdk:"name"`
	Description        types.String   `tfsdk:"description"`
	ImageFamily        types.String   `tfsdk:"image_family"`
	ImageID            types.String   `tfsdk:"image_id"`
	InstanceType       types.String   `tfsdk:"instance_type"`
	DiskCategory       types.String   `tfsdk:"system_disk_category"`
	DiskSize           types.Int64    `tfsdk:"system_disk_size"`
	DiskLevel          types.String   `tfsdk:"system_disk_performance_level"`
	DataDisks          types.List     `tfsdk:"data_disks"`
	DataDiskIDs        types.List     `tfsdk:"data_disk_ids"`
	HostName           types.String   `tfsdk:"host_name"`
	ResourceGroupID    types.String   `tfsdk:"resource_group_id"`
	SpotStrategy       types.String   `tfsdk:"spot_strategy"`
	SpotPriceLimit     types.Float64  `tfsdk:"spot_price_limit"`
	Bandwidth          types.Int64    `tfsdk:"internet_max_bandwidth_out"`
	ChargeType         types.String   `tfsdk:"internet_charge_type"`
	HTTPTokens         types.String   `tfsdk:"http_tokens"`
	KeyName            types.String   `tfsdk:"key_name"`
	RoleName           types.String   `tfsdk:"ram_role_name"`
	PasswordWO         types.String   `tfsdk:"password_wo"`
	PasswordWOVersion  types.Int64    `tfsdk:"password_wo_version"`
	DeletionProtection types.Bool     `tfsdk:"deletion_protection"`
	UserData           types.String   `tfsdk:"user_data"`
	UserDataBase64     types.String   `tfsdk:"user_data_base64"`
	Bootstrap          types.Bool     `tfsdk:"bootstrap"`
	BootstrapUser      types.String   `tfsdk:"bootstrap_user"`
	BootstrapTriggers  types.Map      `tfsdk:"bootstrap_triggers"`
	BootstrapStatus    types.String   `tfsdk:"bootstrap_status"`
	BootstrapSteps     types.List     `tfsdk:"bootstrap_steps"`
	SSHHostKeys        types.List     `tfsdk:"ssh_host_keys"`
	Tags               types.Map      `tfsdk:"tags"`
	Status             types.String   `tfsdk:"status"`
	PrivateIP          types.String   `tfsdk:"private_ip"`
	PublicIP           types.String   `tfsdk:"public_ip"`
	Timeouts           timeouts.Value `tfsdk:"timeouts"`
}

type bootstrapStepModel struct {
	Name     types.String `tfsdk:"name"`
	Status   types.String `tfsdk:"status"`
	ExitCode types.Int64  `tfsdk:"exit_code"`
	Seconds  types.Int64  `tfsdk:"seconds"`
}

var bootstrapStepType = types.ObjectType{AttrTypes: map[string]attr.Type{
	"name": types.StringType, "status": types.StringType, "exit_code": types.Int64Type, "seconds": types.Int64Type,
}}

// The values of bootstrap_status.
const (
	bootstrapDone    = "done"
	bootstrapPending = "pending" // not run yet, or not to its end
	bootstrapOff     = "off"     // bootstrap = false
	bootstrapUnknown = "unknown" // of an imported machine
)

// userData decodes what is given of it, in either form.
func (m *clientInstanceModel) userData() ([]byte, error) {
	if !m.UserDataBase64.IsNull() {
		return base64.StdEncoding.DecodeString(m.UserDataBase64.ValueString())
	}
	return []byte(m.UserData.ValueString()), nil
}

// spec is what a new instance is made of, without what is left to choose.
func (m *clientInstanceModel) spec(ctx context.Context, password string, diags *diag.Diagnostics) ecs.InstanceSpec {
	data, err := m.userData()
	if err != nil {
		diags.AddError("User data not readable", "Could not decode user_data_base64: it is not base64.")
	}
	return ecs.InstanceSpec{
		Name: m.Name.ValueString(), Description: m.Description.ValueString(), ImageID: m.ImageID.ValueString(), Type: m.InstanceType.ValueString(),
		VSwitchID: m.VSwitchID.ValueString(), SecurityGroups: stringSet(ctx, m.SecurityGroupIDs, diags),
		Disk:      ecs.Disk{Category: m.DiskCategory.ValueString(), SizeGiB: int(m.DiskSize.ValueInt64()), PerformanceLevel: diskLevel(m.DiskCategory, m.DiskLevel)},
		DataDisks: m.dataDisks(ctx, diags), HostName: m.HostName.ValueString(), ResourceGroupID: m.ResourceGroupID.ValueString(),
		SpotStrategy: m.SpotStrategy.ValueString(), SpotPriceLimit: m.SpotPriceLimit.ValueFloat64(),
		BandwidthOut: int(m.Bandwidth.ValueInt64()), InternetChargeType: m.ChargeType.ValueString(), HTTPTokens: m.HTTPTokens.ValueString(),
		KeyName: m.KeyName.ValueString(), RAMRole: m.RoleName.ValueString(), Password: password, UserData: data,
		DeletionProtection: m.DeletionProtection.ValueBool(), Tags: stringMap(ctx, m.Tags, diags),
	}
}

// wish is what can be changed in place.
func (m *clientInstanceModel) wish(ctx context.Context, diags *diag.Diagnostics) deploy.InstanceWish {
	return deploy.InstanceWish{
		Name: m.Name.ValueString(), Description: m.Description.ValueString(), Tags: stringMap(ctx, m.Tags, diags), Groups: stringSet(ctx, m.SecurityGroupIDs, diags),
		BandwidthOut: int(m.Bandwidth.ValueInt64()), InternetChargeType: m.ChargeType.ValueString(), Type: m.InstanceType.ValueString(),
		HTTPTokens: m.HTTPTokens.ValueString(), DeletionProtection: m.DeletionProtection.ValueBool(),
		HostName: m.HostName.ValueString(), RAMRole: m.RoleName.ValueString(), ResourceGroupID: m.ResourceGroupID.ValueString(),
	}
}

// setInstance writes what is there, but for disks and role.
func (m *clientInstanceModel) setInstance(ctx context.Context, i *ecs.Instance, diags *diag.Diagnostics) {
	m.Name, m.Description, m.Status = types.StringValue(i.Name), types.StringValue(i.Description), types.StringValue(i.Status)
	m.HostName, m.ResourceGroupID = types.StringValue(i.HostName), types.StringValue(i.ResourceGroupID)
	m.ImageID, m.InstanceType = types.StringValue(i.ImageID), types.StringValue(i.Type)
	m.ZoneID, m.VpcID, m.VSwitchID = types.StringValue(i.ZoneID), types.StringValue(i.VpcID), types.StringValue(i.VSwitchID)
	m.Bandwidth, m.ChargeType = types.Int64Value(int64(i.BandwidthOut)), types.StringValue(i.InternetChargeType)
	m.HTTPTokens = types.StringValue(cmp.Or(i.HTTPTokens, m.HTTPTokens.ValueString(), "optional")) // regions without the setting answer to anybody
	m.DeletionProtection = types.BoolValue(i.DeletionProtection)
	m.KeyName = optionalString(i.KeyName)
	m.SpotStrategy, m.SpotPriceLimit = types.StringValue(cmp.Or(i.SpotStrategy, "NoSpot")), types.Float64Null()
	if i.SpotPriceLimit > 0 && i.SpotStrategy == "SpotWithPriceLimit" {
		m.SpotPriceLimit = types.Float64Value(i.SpotPriceLimit)
	}
	m.SecurityGroupIDs = setValue(ctx, i.SecurityGroups, m.SecurityGroupIDs, diags)
	m.Tags = mapValue(ctx, shownTags(i.Tags), m.Tags, diags)
	m.PrivateIP, m.PublicIP = types.StringValue(i.PrivateIP), optionalString(i.Address())
}

// setView writes all that is there. The role is known only where it was asked
// for, which is where there was one.
func (m *clientInstanceModel) setView(ctx context.Context, v *deploy.InstanceView, diags *diag.Diagnostics) {
	m.setInstance(ctx, v.Instance, diags)
	m.setDisks(ctx, v.Disks, diags)
	if !m.RoleName.IsNull() {
		m.RoleName = optionalString(v.RAMRole)
	}
}

// setBootstrap writes how far the preparation is. A nil report tells nothing.
func (m *clientInstanceModel) setBootstrap(ctx context.Context, status string, report *deploy.BootstrapReport, diags *diag.Diagnostics) {
	m.BootstrapStatus = types.StringValue(status)
	steps, keys := []bootstrapStepModel{}, []string{}
	if report != nil {
		keys = append(keys, report.SSHHostKeys...)
		for _, s := range report.Steps {
			steps = append(steps, bootstrapStepModel{
				Name: types.StringValue(s.Name), Status: types.StringValue(s.Status),
				ExitCode: types.Int64Value(int64(s.ExitCode)), Seconds: types.Int64Value(int64(s.Seconds)),
			})
		}
	}
	var more diag.Diagnostics
	m.BootstrapSteps, more = types.ListValueFrom(ctx, bootstrapStepType, steps)
	diags.Append(more...)
	m.SSHHostKeys, more = types.ListValueFrom(ctx, types.StringType, keys)
	diags.Append(more...)
}

// forget makes every computed value null that is still unknown, so that a state
// can be written in the middle of a creation.
func (m *clientInstanceModel) forget() {
	for _, v := range []*types.String{&m.ZoneID, &m.VpcID, &m.Status, &m.PrivateIP, &m.PublicIP, &m.HostName, &m.ResourceGroupID} {
		if v.IsUnknown() {
			*v = types.StringNull()
		}
	}
	if m.DataDiskIDs.IsUnknown() {
		m.DataDiskIDs = types.ListNull(types.StringType)
	}
}

func validUserDataSize(size int) error {
	if size > ecs.MaxUserData {
		return fmt.Errorf("it has %d bytes, more than %d", size, ecs.MaxUserData)
	}
	return nil
}
