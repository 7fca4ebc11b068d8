package resources

import (
	"cmp"
	"context"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
)

type dataDiskModel struct {
	Category types.String `tfsdk:"category"`
	Size     types.Int64  `tfsdk:"size"`
	Level    types.String `tfsdk:"performance_level"`
}

var dataDiskType = types.ObjectType{AttrTypes: map[string]attr.Type{
	"category": types.StringType, "size": types.Int64Type, "performance_level": types.StringType,
}}

// diskLevel is the performance level as the service wants it: ESSDs alone have
// one.
func diskLevel(category, level types.String) string {
	if category.ValueString() != "cloud_essd" {
		return ""
	}
	return level.ValueString()
}

// levelOf is the performance level as the state has it: the one that is there,
// or where a disk has none, the one of before.
func levelOf(d ecs.Disk, before types.String) types.String {
	return types.StringValue(cmp.Or(d.PerformanceLevel, before.ValueString(), "PL0"))
}

// dataDisks are the data disks that are asked for.
func (m *clientInstanceModel) dataDisks(ctx context.Context, diags *diag.Diagnostics) []ecs.Disk {
	var disks []ecs.Disk
	for _, d := range m.dataDiskModels(ctx, diags) {
		disks = append(disks, ecs.Disk{Category: d.Category.ValueString(), SizeGiB: int(d.Size.ValueInt64()), PerformanceLevel: diskLevel(d.Category, d.Level)})
	}
	return disks
}

func (m *clientInstanceModel) dataDiskModels(ctx context.Context, diags *diag.Diagnostics) []dataDiskModel {
	var models []dataDiskModel
	if !m.DataDisks.IsNull() && !m.DataDisks.IsUnknown() {
		diags.Append(m.DataDisks.ElementsAs(ctx, &models, false)...)
	}
	return models
}

// setDisks writes what is there of the disks. Of the data disks it looks at
// those that the instance was made with, by their ids: one that somebody
// attached later is not this resource's. One that is gone is missing in the
// state, too.
func (m *clientInstanceModel) setDisks(ctx context.Context, disks ecs.Disks, diags *diag.Diagnostics) {
	if s := disks.System; s != nil {
		m.DiskCategory, m.DiskSize, m.DiskLevel = types.StringValue(s.Category), types.Int64Value(int64(s.SizeGiB)), levelOf(*s, m.DiskLevel)
	}
	var known []string
	switch {
	case !m.DataDiskIDs.IsNull() && !m.DataDiskIDs.IsUnknown():
		diags.Append(m.DataDiskIDs.ElementsAs(ctx, &known, false)...)
	case !m.DataDisks.IsNull(): // the creation was interrupted before they were seen
		known = ownDataDisks(disks)
	}
	before := m.dataDiskModels(ctx, diags)
	ids, models := []string{}, []dataDiskModel{}
	for n, id := range known {
		at := slices.IndexFunc(disks.Data, func(d ecs.Disk) bool { return d.ID == id })
		if at < 0 {
			continue
		}
		level := types.StringNull()
		if n < len(before) {
			level = before[n].Level
		}
		d := disks.Data[at]
		ids = append(ids, id)
		models = append(models, dataDiskModel{Category: types.StringValue(d.Category), Size: types.Int64Value(int64(d.SizeGiB)), Level: levelOf(d, level)})
	}
	if len(models) > 0 || !m.DataDisks.IsNull() {
		var more diag.Diagnostics
		m.DataDisks, more = types.ListValueFrom(ctx, dataDiskType, models)
		diags.Append(more...)
	}
	m.setDataDiskIDs(ctx, ids, diags)
}

func (m *clientInstanceModel) setDataDiskIDs(ctx context.Context, ids []string, diags *diag.Diagnostics) {
	var more diag.Diagnostics
	m.DataDiskIDs, more = types.ListValueFrom(ctx, types.StringType, ids)
	diags.Append(more...)
}

// ownDataDisks are those of an instance's data disks that go with it.
func ownDataDisks(disks ecs.Disks) []string {
	ids := []string{}
	for _, d := range disks.Data {
		if d.WithInstance {
			ids = append(ids, d.ID)
		}
	}
	return ids
}
