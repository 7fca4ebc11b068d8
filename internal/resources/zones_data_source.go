package resources

import (
	"context"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

var _ datasource.DataSourceWithConfigure = (*zonesDataSource)(nil)

// zonesDataSource is data.cc_zones.
type zonesDataSource struct{ backend *Backend }

// NewZonesDataSource returns data.cc_zones: the zones of the region.
func NewZonesDataSource() datasource.DataSource { return &zonesDataSource{} }

type zonesModel struct {
	ID           types.String `tfsdk:"id"`
	InstanceType types.String `tfsdk:"instance_type"`
	DiskCategory types.String `tfsdk:"disk_category"`
	Zones        types.List   `tfsdk:"ids"`
}

func (d *zonesDataSource) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_zones"
}

func (d *zonesDataSource) Configure(_ context.Context, req datasource.ConfigureRequest, resp *datasource.ConfigureResponse) {
	d.backend = backendFrom(req.ProviderData, &resp.Diagnostics)
}

func (d *zonesDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "The zones of the provider's region, optionally those alone that offer an instance type or a disk category.",
		Attributes: map[string]schema.Attribute{
			"instance_type": schema.StringAttribute{MarkdownDescription: "Only zones that have this instance type in stock now.", Optional: true},
			"disk_category": schema.StringAttribute{MarkdownDescription: "Only zones with this category of disks, such as `cloud_essd`.", Optional: true},
			"ids":           schema.ListAttribute{MarkdownDescription: "Ids of the zones, sorted.", ElementType: types.StringType, Computed: true},
			"id":            schema.StringAttribute{MarkdownDescription: "The region.", Computed: true},
		},
	}
}

func (d *zonesDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m zonesModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	c := d.backend.cloud(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	zones, err := c.Zones(ctx)
	if err != nil {
		addCloudError(&resp.Diagnostics, path.Empty(), "Zones not listed", "list zones", err)
		return
	}
	// The list of zones is slow to learn what is sold out; the stock is not.
	stock := map[string][]string{}
	if !m.InstanceType.IsNull() {
		if stock, err = c.InStock(ctx, "", 0, 0); err != nil {
			addCloudError(&resp.Diagnostics, path.Root("instance_type"), "Zones not listed", "list zones", err)
			return
		}
	}
	ids := []string{}
	for _, z := range zones {
		if (m.InstanceType.IsNull() || slices.Contains(stock[z.ID], m.InstanceType.ValueString())) &&
			(m.DiskCategory.IsNull() || slices.Contains(z.DiskCategories, m.DiskCategory.ValueString())) {
			ids = append(ids, z.ID)
		}
	}
	slices.Sort(ids)
	list, diags := types.ListValueFrom(ctx, types.StringType, ids)
	resp.Diagnostics.Append(diags...)
	m.Zones, m.ID = list, types.StringValue(c.Region())
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}
