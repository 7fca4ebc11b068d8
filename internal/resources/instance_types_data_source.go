package resources

import (
	"context"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
)

var _ datasource.DataSourceWithConfigure = (*instanceTypesDataSource)(nil)

// instanceTypesDataSource is data.cc_instance_types.
type instanceTypesDataSource struct{ backend *Backend }

// NewInstanceTypesDataSource returns data.cc_instance_types: the types that can
// be had.
func NewInstanceTypesDataSource() datasource.DataSource { return &instanceTypesDataSource{} }

type instanceTypesModel struct {
	ID           types.String        `tfsdk:"id"`
	Zone         types.String        `tfsdk:"zone_id"`
	VCPUs        types.Int64         `tfsdk:"vcpus"`
	Memory       types.Float64       `tfsdk:"memory_gib"`
	Family       types.String        `tfsdk:"family"`
	Architecture types.String        `tfsdk:"architecture"`
	SoldOut      types.Bool          `tfsdk:"include_sold_out"`
	Types        []instanceTypeModel `tfsdk:"types"`
}

type instanceTypeModel struct {
	ID        types.String  `tfsdk:"id"`
	Family    types.String  `tfsdk:"family"`
	VCPUs     types.Int64   `tfsdk:"vcpus"`
	Memory    types.Float64 `tfsdk:"memory_gib"`
	BootModes []string      `tfsdk:"boot_modes"`
	Zones     []string      `tfsdk:"zone_ids"`
}

var architectures = words{{"x86_64", "has Intel's and AMD's types"}, {"arm64", "has the ARM types"}}

func (d *instanceTypesDataSource) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_instance_types"
}

func (d *instanceTypesDataSource) Configure(_ context.Context, req datasource.ConfigureRequest, resp *datasource.ConfigureResponse) {
	d.backend = backendFrom(req.ProviderData, &resp.Diagnostics)
}

func (d *instanceTypesDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "The instance types of the provider's region that are in stock now, pay-as-you-go. For vSGX look for the families `ecs.g7t`, `ecs.c7t` and `ecs.r7t`.",
		Attributes: map[string]schema.Attribute{
			"zone_id":          schema.StringAttribute{MarkdownDescription: "Only what this zone has.", Optional: true},
			"vcpus":            schema.Int64Attribute{MarkdownDescription: "Only types with as many vCPUs.", Optional: true},
			"memory_gib":       schema.Float64Attribute{MarkdownDescription: "Only types with as much memory, in GiB.", Optional: true},
			"family":           schema.StringAttribute{MarkdownDescription: "Only types of this family, such as `ecs.g7t`.", Optional: true},
			"architecture":     schema.StringAttribute{MarkdownDescription: "Architecture: " + architectures.markdown(), Optional: true, Validators: architectures.validators()},
			"include_sold_out": schema.BoolAttribute{MarkdownDescription: "Whether types that no zone has are listed too.", Optional: true},
			"types": schema.ListNestedAttribute{
				MarkdownDescription: "The types: smaller before larger, then by id.", Computed: true,
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"id":         schema.StringAttribute{MarkdownDescription: "Name of the type, such as `ecs.c7.large`.", Computed: true},
					"family":     schema.StringAttribute{MarkdownDescription: "Family of the type.", Computed: true},
					"vcpus":      schema.Int64Attribute{MarkdownDescription: "Number of vCPUs.", Computed: true},
					"memory_gib": schema.Float64Attribute{MarkdownDescription: "Memory in GiB.", Computed: true},
					"boot_modes": schema.ListAttribute{MarkdownDescription: "`BIOS`, `UEFI` or both: what an image must be made for.", ElementType: types.StringType, Computed: true},
					"zone_ids":   schema.ListAttribute{MarkdownDescription: "Zones that have it in stock.", ElementType: types.StringType, Computed: true},
				}},
			},
			"id": schema.StringAttribute{MarkdownDescription: "The region.", Computed: true},
		},
	}
}

func (d *instanceTypesDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m instanceTypesModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	c := d.backend.cloud(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	vcpus, memory := int(m.VCPUs.ValueInt64()), m.Memory.ValueFloat64()
	catalog, err := c.InstanceTypes(ctx, ecs.InstanceTypeFilter{
		Family: m.Family.ValueString(), MinVCPUs: vcpus, MaxVCPUs: vcpus, MinMemory: memory, MaxMemory: memory, ARM: m.Architecture.ValueString() == "arm64",
	})
	if err != nil {
		addCloudError(&resp.Diagnostics, path.Empty(), "Instance types not listed", "list instance types", err)
		return
	}
	stock, err := c.InStock(ctx, m.Zone.ValueString(), vcpus, memory)
	if err != nil {
		addCloudError(&resp.Diagnostics, path.Empty(), "Instance types not listed", "list what is in stock", err)
		return
	}
	m.ID, m.Types = types.StringValue(c.Region()), []instanceTypeModel{}
	slices.SortFunc(catalog, func(a, b ecs.InstanceType) int {
		if d := a.VCPUs - b.VCPUs; d != 0 {
			return d
		}
		if a.MemoryGiB != b.MemoryGiB {
			return int(a.MemoryGiB - b.MemoryGiB)
		}
		return strings.Compare(a.ID, b.ID)
	})
	for _, t := range catalog {
		zones := []string{}
		for zone, ids := range stock {
			if slices.Contains(ids, t.ID) {
				zones = append(zones, zone)
			}
		}
		slices.Sort(zones)
		if len(zones) == 0 && !m.SoldOut.ValueBool() {
			continue
		}
		m.Types = append(m.Types, instanceTypeModel{
			ID: types.StringValue(t.ID), Family: types.StringValue(t.Family), VCPUs: types.Int64Value(int64(t.VCPUs)), Memory: types.Float64Value(t.MemoryGiB),
			BootModes: t.BootModes, Zones: zones,
		})
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}
