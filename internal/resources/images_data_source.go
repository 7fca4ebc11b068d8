package resources

import (
	"context"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/ecs"
)

var _ datasource.DataSourceWithConfigure = (*imagesDataSource)(nil)

// imagesDataSource is data.cc_images.
type imagesDataSource struct{ backend *Backend }

// NewImagesDataSource returns data.cc_images: images, newest first.
func NewImagesDataSource() datasource.DataSource { return &imagesDataSource{} }

type imagesModel struct {
	ID           types.String `tfsdk:"id"`
	Family       types.String `tfsdk:"family"`
	Owner        types.String `tfsdk:"owner"`
	InstanceType types.String `tfsdk:"instance_type"`
	BootMode     types.String `tfsdk:"boot_mode"`
	Images       []imageModel `tfsdk:"images"`
}

type imageModel struct {
	ID           types.String `tfsdk:"id"`
	Family       types.String `tfsdk:"family"`
	OSName       types.String `tfsdk:"os_name"`
	Architecture types.String `tfsdk:"architecture"`
	BootMode     types.String `tfsdk:"boot_mode"`
	SizeGiB      types.Int64  `tfsdk:"size_gib"`
	Created      types.String `tfsdk:"created_at"`
}

var (
	imageOwners = words{{"system", "has Alibaba's images"}, {"self", "has your own"}, {"others", "has what others share with you"}, {"marketplace", "has those of the marketplace"}}
	bootModes   = words{{"BIOS", "is what most images are made for"}, {"UEFI", "is what vSGX needs"}, {"UEFI-Preferred", "starts either way"}}
)

func (d *imagesDataSource) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_images"
}

func (d *imagesDataSource) Configure(_ context.Context, req datasource.ConfigureRequest, resp *datasource.ConfigureResponse) {
	d.backend = backendFrom(req.ProviderData, &resp.Diagnostics)
}

func (d *imagesDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	text := func(description string) schema.StringAttribute {
		return schema.StringAttribute{MarkdownDescription: description, Computed: true}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "Images of the provider's region, newest first.",
		Attributes: map[string]schema.Attribute{
			"family": schema.StringAttribute{
				MarkdownDescription: "Family of the images. Default: `" + deploy.DefaultImageFamily + "`, Alibaba Cloud Linux 3.2104 LTS 64-bit. An empty one asks for all.", Optional: true,
			},
			"owner":         schema.StringAttribute{MarkdownDescription: "Whose images: " + imageOwners.markdown(), Optional: true, Validators: imageOwners.validators()},
			"instance_type": schema.StringAttribute{MarkdownDescription: "Only images that this instance type can boot.", Optional: true},
			"boot_mode":     schema.StringAttribute{MarkdownDescription: "Only images with this boot mode: `BIOS`, `UEFI` or `UEFI-Preferred`.", Optional: true, Validators: bootModes.validators()},
			"images": schema.ListNestedAttribute{
				MarkdownDescription: "The images, newest first.", Computed: true,
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"id": text("Id of the image."), "family": text("Family of the image."), "os_name": text("Name of the system."),
					"architecture": text("`x86_64` or `arm64`."), "boot_mode": text("`BIOS`, `UEFI` or `UEFI-Preferred`."),
					"size_gib":   schema.Int64Attribute{MarkdownDescription: "Size in GiB that a system disk must have at least.", Computed: true},
					"created_at": text("Time of creation, RFC 3339."),
				}},
			},
			"id": text("The region."),
		},
	}
}

func (d *imagesDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m imagesModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	c := d.backend.cloud(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	filter := ecs.ImageFilter{Owner: imageOwners.byDefault(), Family: m.Family.ValueString(), InstanceType: m.InstanceType.ValueString()}
	if m.Family.IsNull() {
		filter.Family = deploy.DefaultImageFamily
	}
	if !m.Owner.IsNull() {
		filter.Owner = m.Owner.ValueString()
	}
	images, err := c.Images(ctx, filter)
	if err != nil {
		addCloudError(&resp.Diagnostics, path.Empty(), "Images not listed", "list images", err)
		return
	}
	slices.SortFunc(images, func(a, b ecs.Image) int {
		if d := strings.Compare(b.Created, a.Created); d != 0 {
			return d
		}
		return strings.Compare(a.ID, b.ID)
	})
	m.ID, m.Images = types.StringValue(c.Region()), []imageModel{}
	for _, i := range images {
		if m.BootMode.IsNull() || m.BootMode.ValueString() == i.BootMode {
			m.Images = append(m.Images, imageModel{
				ID: types.StringValue(i.ID), Family: types.StringValue(i.Family), OSName: types.StringValue(i.OSName), Architecture: types.StringValue(i.Architecture),
				BootMode: types.StringValue(i.BootMode), SizeGiB: types.Int64Value(int64(i.SizeGiB)), Created: types.StringValue(i.Created),
			})
		}
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}
