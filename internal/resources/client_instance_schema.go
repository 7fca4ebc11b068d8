package resources

import (
	"context"
	"encoding/base64"
	"errors"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/float64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/mapvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/setvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/float64planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/listplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/ecs"
)

var (
	tokenModes     = words{{"required", "lets the metadata service answer to a token alone, so that a request forged through a program on the machine gets nothing"}, {"optional", "lets it answer without"}}
	internetCharge = words{{"PayByTraffic", "charges what is sent"}, {"PayByBandwidth", "charges the bandwidth"}}
	spotStrategies = words{{"NoSpot", "pays the usual price"}, {"SpotAsPriceGo", "pays the market's, and may be reclaimed"}, {"SpotWithPriceLimit", "pays the market's up to `spot_price_limit`"}}
	diskCategories = words{{"cloud_essd", "is an ESSD"}, {"cloud_essd_entry", "is a small one"}, {"cloud_auto", "is one that adapts"}, {"cloud_efficiency", "is an older kind"}}
)

// maxTags leaves room for the creation tag.
const maxTags = ecs.MaxTags - 1

var (
	linuxLogin   = checked{"the name of a Linux user", deploy.ValidLogin}
	machineName  = checked{"a host name of 2 to 64 letters, digits, hyphens and periods, neither starting nor ending with one of the latter two", validHostName}
	userDataText = checked{"user data of at most 32768 bytes", func(s string) error { return validUserDataSize(len(s)) }}
	userData64   = checked{"user data of at most 32768 bytes, in base64", func(s string) error {
		data, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return errors.New("it is not base64")
		}
		return validUserDataSize(len(data))
	}}
)

func clientInstanceSchema(ctx context.Context) schema.Schema {
	keep := []planmodifier.String{stringplanmodifier.UseStateForUnknown()}
	replace := []planmodifier.String{stringplanmodifier.RequiresReplace()}
	text := func(description, byDefault string, v ...validator.String) schema.StringAttribute {
		return schema.StringAttribute{MarkdownDescription: description, Optional: true, Computed: true, Default: stringdefault.StaticString(byDefault), Validators: v}
	}
	replaced := func(a schema.StringAttribute) schema.StringAttribute { a.PlanModifiers = replace; return a }
	optional := func(description string, v ...validator.String) schema.StringAttribute {
		return schema.StringAttribute{MarkdownDescription: description, Optional: true, Validators: v, PlanModifiers: replace}
	}
	computed := func(description string) schema.StringAttribute {
		return schema.StringAttribute{MarkdownDescription: description, Computed: true, PlanModifiers: keep}
	}
	return schema.Schema{
		MarkdownDescription: "The machine that models and certificates are prepared on, and where the key server may run: an ordinary pay-as-you-go ECS instance, with " +
			"Docker-CE and the tutorial's other requirements put in place through Cloud Assistant, so that no port need be open for it. " +
			"With a vSwitch and a security group alone it becomes a 2 vCPU, 4 GiB machine with the latest Alibaba Cloud Linux 3 and a public IPv4 address.\n\n" +
			permissions("ecs:RunInstances", "ecs:DescribeInstances", "ecs:DescribeDisks", "ecs:DescribeImages", "ecs:DescribeAvailableResource", "ecs:DescribeInstanceTypes",
				"ecs:DeleteInstance", "ecs:TagResources", "ecs:UntagResources", "vpc:DescribeVSwitchAttributes") +
			" The bootstrap needs `ecs:DescribeCloudAssistantStatus`, `ecs:RunCommand`, `ecs:DescribeInvocationResults` and `ecs:StopInvocation`; changes in place need " +
			"`ecs:ModifyInstanceAttribute`, `ecs:ModifyInstanceMetadataOptions`, `ecs:ModifyInstanceNetworkSpec`, `ecs:ModifyInstanceSpec`, `ecs:StopInstance`, `ecs:StartInstance`, " +
			"`ecs:JoinSecurityGroup`, `ecs:LeaveSecurityGroup` and `ecs:JoinResourceGroup`; a role needs `ecs:DescribeInstanceRamRole`, `ecs:AttachInstanceRamRole`, `ecs:DetachInstanceRamRole` " +
			"and `ram:PassRole`; an import needs `ecs:DescribeUserData` and `ecs:DescribeInstanceRamRole`.",
		Attributes: map[string]schema.Attribute{
			"vswitch_id": schema.StringAttribute{
				MarkdownDescription: "vSwitch of the instance, and with it its zone and VPC. Another one replaces the instance.",
				Required:            true, Validators: []validator.String{cloudID("vSwitch", "vsw-")}, PlanModifiers: replace,
			},
			"security_group_ids": schema.SetAttribute{
				MarkdownDescription: "Security groups of the instance. New ones are joined before old ones are left.",
				ElementType:         types.StringType, Required: true,
				Validators: []validator.Set{setvalidator.SizeBetween(1, 16), setvalidator.ValueStringsAre(cloudID("security group", "sg-"))},
			},
			"name":        text("Name of the instance. Default: `cc-client`.", "cc-client", cloudName),
			"description": text("Description of the instance.", "", cloudAbout),
			"image_family": replaced(text("Family whose newest image is taken when the instance is created and `image_id` is not set. A newer image later is no change. Default: `"+
				deploy.DefaultImageFamily+"`, Alibaba Cloud Linux 3.2104 LTS 64-bit. Another family replaces the instance.", deploy.DefaultImageFamily)),
			"image_id": schema.StringAttribute{
				MarkdownDescription: "Image of the system. Default: the newest of `image_family` at creation. Another one replaces the instance: its disk is never wiped in place.",
				Optional:            true, Computed: true, PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown(), stringplanmodifier.RequiresReplaceIfConfigured()},
			},
			"instance_type": schema.StringAttribute{
				MarkdownDescription: "Type of the instance. Default: one with 2 vCPUs and 4 GiB that the zone has in stock at creation. Another one stops the machine, changes it and starts it.",
				Optional:            true, Computed: true, PlanModifiers: keep, Validators: []validator.String{stringvalidator.LengthAtLeast(1)},
			},
			"system_disk_category": replaced(text("Category of the system disk: "+diskCategories.markdown()+" Another one replaces the instance.", diskCategories.byDefault(), diskCategories)),
			"system_disk_size": schema.Int64Attribute{
				MarkdownDescription: "Size of the system disk in GiB. Default: 40. Another size replaces the instance.", Optional: true, Computed: true,
				Default: int64default.StaticInt64(40), Validators: []validator.Int64{int64validator.Between(20, 2048)}, PlanModifiers: []planmodifier.Int64{int64planmodifier.RequiresReplace()},
			},
			"system_disk_performance_level": replaced(text("Performance level of an ESSD: `PL0` (default), `PL1`, `PL2` or `PL3`. Another one replaces the instance.", "PL0", stringvalidator.OneOf("PL0", "PL1", "PL2", "PL3"))),
			"data_disks": schema.ListNestedAttribute{
				MarkdownDescription: "Data disks, in the order of their devices (`/dev/xvdb` and so on), empty and not mounted. They are made and deleted with the instance. Others replace the instance.",
				Optional:            true, Validators: []validator.List{listvalidator.SizeBetween(1, 16)}, PlanModifiers: []planmodifier.List{listplanmodifier.RequiresReplace()},
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"category":          text("Category: "+diskCategories.markdown(), diskCategories.byDefault(), diskCategories),
					"size":              schema.Int64Attribute{MarkdownDescription: "Size in GiB.", Required: true, Validators: []validator.Int64{int64validator.Between(20, 32768)}},
					"performance_level": text("Performance level of an ESSD: `PL0` (default), `PL1`, `PL2` or `PL3`.", "PL0", stringvalidator.OneOf("PL0", "PL1", "PL2", "PL3")),
				}},
			},
			"spot_strategy": replaced(text("How the price is made: "+spotStrategies.markdown()+" Another one replaces the instance.", spotStrategies.byDefault(), spotStrategies)),
			"spot_price_limit": schema.Float64Attribute{
				MarkdownDescription: "The most to pay an hour with `SpotWithPriceLimit`, in the account's currency. Another one replaces the instance.", Optional: true,
				Validators: []validator.Float64{float64validator.AtLeast(0.001)}, PlanModifiers: []planmodifier.Float64{float64planmodifier.RequiresReplace()},
			},
			"host_name": schema.StringAttribute{
				MarkdownDescription: "Host name of the system. Default: one that the service makes. Another one stops the machine and starts it.", Optional: true, Computed: true,
				PlanModifiers: keep, Validators: []validator.String{machineName},
			},
			"resource_group_id": schema.StringAttribute{
				MarkdownDescription: "Resource group of the instance, `rg-...`. Default: the account's. The instance is moved in place.", Optional: true, Computed: true,
				PlanModifiers: keep, Validators: []validator.String{cloudID("resource group", "rg-")},
			},
			"internet_max_bandwidth_out": schema.Int64Attribute{
				MarkdownDescription: "Outbound bandwidth to the internet in Mbit/s; more than 0 gives the instance a public IPv4 address. Default: 5.", Optional: true, Computed: true,
				Default: int64default.StaticInt64(5), Validators: []validator.Int64{int64validator.Between(0, 100)},
			},
			"internet_charge_type": text("What is charged for it: "+internetCharge.markdown(), internetCharge.byDefault(), internetCharge),
			"http_tokens":          text("Access to the metadata service: "+tokenModes.markdown(), tokenModes.byDefault(), tokenModes),
			"key_name":             optional("Key pair for SSH. Another one replaces the instance."),
			"ram_role_name": schema.StringAttribute{
				MarkdownDescription: "RAM role of the instance. It is changed in place. Where it is set, a refresh makes one call more, because the list of instances does not tell the role.",
				Optional:            true, Validators: []validator.String{stringvalidator.LengthBetween(1, 64)},
			},
			"password_wo": schema.StringAttribute{
				MarkdownDescription: "Password of the login, write-only: it is in no state and no plan. Better use a key pair.",
				Optional:            true, WriteOnly: true, Sensitive: true, Validators: []validator.String{stringvalidator.AlsoRequires(path.MatchRoot("password_wo_version"))},
			},
			"password_wo_version": schema.Int64Attribute{
				MarkdownDescription: "Number of the password: another one sets `password_wo` again, which stops the machine and starts it.", Optional: true,
				Validators: []validator.Int64{int64validator.AlsoRequires(path.MatchRoot("password_wo"))},
			},
			"deletion_protection": schema.BoolAttribute{
				MarkdownDescription: "Whether the instance is protected against deletion. A plan that would delete it fails then. Default: `false`.", Optional: true, Computed: true, Default: booldefault.StaticBool(false),
			},
			"user_data": optional("User data for cloud-init, as plain text. It runs at the first start only, so another one replaces the instance. It is no place for secrets: every process on the machine can read it.",
				userDataText, stringvalidator.ConflictsWith(path.MatchRoot("user_data_base64"))),
			"user_data_base64": optional("User data for cloud-init in base64, for what is not text.", userData64),
			"bootstrap": schema.BoolAttribute{
				MarkdownDescription: "Whether wget, git, python3-pip and Docker-CE are put in place through Cloud Assistant, and podman-docker removed. It needs Alibaba Cloud Linux 3. Default: `true`.",
				Optional:            true, Computed: true, Default: booldefault.StaticBool(true),
			},
			"bootstrap_user": schema.StringAttribute{
				MarkdownDescription: "User to put into the group docker, which makes it as powerful as root. It must exist in the image.", Optional: true, Validators: []validator.String{linuxLogin},
			},
			"bootstrap_triggers": schema.MapAttribute{
				MarkdownDescription: "Values whose change runs the bootstrap again. What is done already is not done twice.", ElementType: types.StringType, Optional: true,
			},
			"tags": schema.MapAttribute{
				MarkdownDescription: "Tags of the instance, 19 at most.", ElementType: types.StringType, Optional: true, Validators: []validator.Map{mapvalidator.SizeAtMost(maxTags)},
			},
			"bootstrap_status": schema.StringAttribute{
				MarkdownDescription: "`done`, `pending` if the bootstrap has not come to its end, `off`, or `unknown` for an imported machine.", Computed: true,
			},
			"bootstrap_steps": schema.ListNestedAttribute{
				MarkdownDescription: "The steps of the bootstrap.", Computed: true,
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"name":      schema.StringAttribute{MarkdownDescription: "Name of the step.", Computed: true},
					"status":    schema.StringAttribute{MarkdownDescription: "`ok`, `failed` or `running`.", Computed: true},
					"exit_code": schema.Int64Attribute{MarkdownDescription: "Exit code of the step.", Computed: true},
					"seconds":   schema.Int64Attribute{MarkdownDescription: "Duration in seconds.", Computed: true},
				}},
			},
			"data_disk_ids": schema.ListAttribute{
				MarkdownDescription: "Ids of `data_disks`, in their order.", ElementType: types.StringType, Computed: true,
				PlanModifiers: []planmodifier.List{listplanmodifier.UseStateForUnknown()},
			},
			"ssh_host_keys": schema.ListAttribute{
				MarkdownDescription: "Public SSH host keys of the machine, read through Cloud Assistant by the bootstrap: a later connection need not trust whatever answers first. Empty without bootstrap.",
				ElementType:         types.StringType, Computed: true,
			},
			"status":     schema.StringAttribute{MarkdownDescription: "State of the machine, such as `Running`.", Computed: true},
			"public_ip":  schema.StringAttribute{MarkdownDescription: "Address on the internet: the EIP if there is one, else the assigned one.", Computed: true},
			"private_ip": computed("Address in the VPC."),
			"zone_id":    computed("Zone of the instance."),
			"vpc_id":     computed("VPC of the instance."),
			"region":     computed("Region of the instance."),
			"id":         computed("Id of the instance, `i-...`."),
			"timeouts": timeoutsAttribute(ctx, timeouts.Opts{Create: true, Update: true, Delete: true,
				CreateDescription: "How long creating may take, bootstrap included. Default: 30m.", UpdateDescription: "How long an update may take, bootstrap included. Default: 30m.",
				DeleteDescription: "How long deleting may take. Default: 15m."}),
		},
	}
}
