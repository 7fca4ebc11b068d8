package resources

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/mapvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/setvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-log/tflog"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/ecs"
)

var (
	_ resource.ResourceWithConfigure      = (*securityGroupResource)(nil)
	_ resource.ResourceWithIdentity       = (*securityGroupResource)(nil)
	_ resource.ResourceWithImportState    = (*securityGroupResource)(nil)
	_ resource.ResourceWithModifyPlan     = (*securityGroupResource)(nil)
	_ resource.ResourceWithValidateConfig = (*securityGroupResource)(nil)
)

// How long the operations may take where the configuration does not say. A
// deletion waits for machines that still hold the group.
const (
	securityGroupTimeout       = 5 * time.Minute
	securityGroupDeleteTimeout = 10 * time.Minute
)

// securityGroupResource is cc_security_group.
type securityGroupResource struct{ backend *Backend }

// NewSecurityGroupResource returns cc_security_group: a security group with the
// rules that a key server's clients need.
func NewSecurityGroupResource() resource.Resource { return &securityGroupResource{} }

func (r *securityGroupResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_security_group"
}

func (r *securityGroupResource) Configure(_ context.Context, req resource.ConfigureRequest, resp *resource.ConfigureResponse) {
	r.backend = backendFrom(req.ProviderData, &resp.Diagnostics)
}

func (r *securityGroupResource) IdentitySchema(_ context.Context, _ resource.IdentitySchemaRequest, resp *resource.IdentitySchemaResponse) {
	resp.IdentitySchema = cloudIdentitySchema()
}

func (r *securityGroupResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	keep := []planmodifier.String{stringplanmodifier.UseStateForUnknown()}
	cidrs := []validator.Set{setvalidator.ValueStringsAre(cidrBlock)}
	text := func(description, byDefault string, v ...validator.String) schema.StringAttribute {
		return schema.StringAttribute{MarkdownDescription: description, Optional: true, Computed: true, Default: stringdefault.StaticString(byDefault), Validators: v}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "A security group for a client machine, with the rules that let enclaves reach the key server. It owns exactly the ingress rules " +
			"it made, by their ids: rules of others in the group are left alone, and never taken over silently.\n\n" +
			permissions("ecs:CreateSecurityGroup", "ecs:DescribeSecurityGroups", "ecs:DescribeSecurityGroupAttribute", "ecs:AuthorizeSecurityGroup", "ecs:RevokeSecurityGroup",
				"ecs:ModifySecurityGroupRule", "ecs:ModifySecurityGroupAttribute", "ecs:DeleteSecurityGroup", "ecs:TagResources", "ecs:UntagResources", "ecs:JoinResourceGroup") +
			" To say what keeps a group from being deleted it needs `ecs:DescribeNetworkInterfaces` and `ecs:DescribeSecurityGroupReferences`.",
		Attributes: map[string]schema.Attribute{
			"vpc_id": schema.StringAttribute{
				MarkdownDescription: "VPC of the group. Another one replaces the group.",
				Required:            true, Validators: []validator.String{cloudID("VPC", "vpc-")},
				PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"name":        text("Name of the group. Default: `cc-client`.", "cc-client", cloudName),
			"description": text("Description of the group.", "", cloudAbout),
			"key_server_port": schema.Int64Attribute{
				MarkdownDescription: "Port of the key server. Default: 4433, Gramine's usual one.",
				Optional:            true, Computed: true, Default: int64default.StaticInt64(4433), Validators: []validator.Int64{int64validator.Between(1, 65535)},
			},
			"key_server_cidrs": schema.SetAttribute{
				MarkdownDescription: "CIDR blocks that may reach the key server, in canonical form. None, the default, means no rule: a key server on the same machine as the enclave needs none.",
				ElementType:         types.StringType, Optional: true, Validators: cidrs,
			},
			"ssh_cidrs": schema.SetAttribute{
				MarkdownDescription: "CIDR blocks that may reach SSH (port 22). None, the default, means no rule: the bootstrap of `cc_client_instance` needs none.",
				ElementType:         types.StringType, Optional: true, Validators: cidrs,
			},
			"ingress_rules": schema.ListNestedAttribute{
				MarkdownDescription: "Further ingress rules.",
				Optional:            true, Validators: []validator.List{listvalidator.UniqueValues()},
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"protocol": text("`tcp` (default), `udp`, `icmp`, `icmpv6`, `gre` or `all`.", "tcp", stringvalidator.OneOf("tcp", "udp", "icmp", "icmpv6", "gre", "all")),
					"port_range": schema.StringAttribute{
						MarkdownDescription: "`FROM/TO`, or `-1/-1` for a protocol without ports.", Required: true, Validators: []validator.String{rulePorts},
					},
					"source": schema.StringAttribute{
						MarkdownDescription: "CIDR block in canonical form, or the id of a security group or prefix list.", Required: true, Validators: []validator.String{ruleSource},
					},
					"policy": text("`accept` (default) or `drop`.", "accept", stringvalidator.OneOf("accept", "drop")),
					"priority": schema.Int64Attribute{
						MarkdownDescription: "1 (default, decided first) to 100.", Optional: true, Computed: true,
						Default: int64default.StaticInt64(1), Validators: []validator.Int64{int64validator.Between(1, 100)},
					},
					"description": text("Description of the rule.", "", stringvalidator.LengthAtMost(512)),
				}},
			},
			"tags": schema.MapAttribute{
				MarkdownDescription: "Tags of the group, 19 at most.",
				ElementType:         types.StringType, Optional: true, Validators: []validator.Map{mapvalidator.SizeAtMost(maxTags)},
			},
			"resource_group_id": schema.StringAttribute{
				MarkdownDescription: "Resource group of the security group, `rg-...`. Default: the account's. The group is moved in place.", Optional: true, Computed: true,
				PlanModifiers: keep, Validators: []validator.String{cloudID("resource group", "rg-")},
			},
			"rule_ids": schema.MapAttribute{
				MarkdownDescription: "Ids of the rules that this resource owns, by what they say, such as `tcp 4433/4433 from 192.0.2.0/24`.",
				ElementType:         types.StringType, Computed: true,
			},
			"region": schema.StringAttribute{MarkdownDescription: "Region of the group.", Computed: true, PlanModifiers: keep},
			"id":     schema.StringAttribute{MarkdownDescription: "Id of the group, `sg-...`.", Computed: true, PlanModifiers: keep},
			"timeouts": timeoutsAttribute(ctx, timeouts.Opts{Create: true, Update: true, Delete: true,
				CreateDescription: "How long creating may take. Default: 5m.", UpdateDescription: "How long an update may take. Default: 5m.",
				DeleteDescription: "How long deleting may take, with the wait for machines that still hold the group. Default: 10m."}),
		},
	}
}

// ValidateConfig warns of ports that are open to the world, and refuses a rule
// that is asked for twice.
func (r *securityGroupResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var m securityGroupModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() || m.KeyServerPort.IsUnknown() {
		return
	}
	if m.KeyServerPort.IsNull() {
		m.KeyServerPort = types.Int64Value(4433)
	}
	for _, list := range []struct {
		name, summary string
		set           types.Set
		why           string
	}{
		{"key_server_cidrs", "Key server open to the world", m.KeyServerCIDRs, "It answers attested enclaves only, but everybody can try it"},
		{"ssh_cidrs", "SSH open to the world", m.SSHCIDRs, "Everybody can try to log in"},
	} {
		for _, v := range list.set.Elements() {
			if s, ok := v.(types.String); ok && deploy.OpenToTheWorld(s.ValueString()) {
				resp.Diagnostics.AddAttributeWarning(path.Root(list.name), list.summary, fmt.Sprintf("The port is open to %s. %s. Name the networks that need it.", s.ValueString(), list.why))
			}
		}
	}
	for n, v := range m.IngressRules.Elements() {
		warnOpenRule(ctx, n, v, m.keyServerPorts(), &resp.Diagnostics)
	}
}

func warnOpenRule(ctx context.Context, n int, v attr.Value, keyServerPorts string, diags *diag.Diagnostics) {
	object, ok := v.(types.Object)
	if !ok || object.IsUnknown() || object.IsNull() {
		return
	}
	var rule ingressRuleModel
	diags.Append(object.As(ctx, &rule, basetypesOptions)...)
	ports := rule.PortRange.ValueString()
	if rule.Policy.ValueString() != "drop" && deploy.OpenToTheWorld(rule.Source.ValueString()) && (ports == keyServerPorts || ports == sshPorts || ports == "-1/-1" || ports == "1/65535") {
		diags.AddAttributeWarning(path.Root("ingress_rules").AtListIndex(n), "Rule open to the world",
			fmt.Sprintf("The rule opens %s to %s. Name the networks that need it.", ports, rule.Source.ValueString()))
	}
}

func (r *securityGroupResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m securityGroupModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	limit, diags := m.Timeouts.Create(ctx, securityGroupTimeout)
	resp.Diagnostics.Append(diags...)
	c := r.backend.cloud(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	id, err := deploy.CreateSecurityGroup(ctx, c, m.spec(ctx, &resp.Diagnostics))
	if err != nil {
		addError(&resp.Diagnostics, path.Empty(), "Security group not created", err)
		return
	}
	tflog.Debug(ctx, "created security group", map[string]any{"id": id, "name": m.Name.ValueString()})
	m.ID, m.Region = types.StringValue(id), types.StringValue(c.Region())
	wanted := m.rules(ctx, &resp.Diagnostics)
	// Before anything else: whatever happens now, Terraform knows the group.
	asked := m.ResourceGroup
	if asked.IsUnknown() {
		m.ResourceGroup = types.StringNull() // until it is seen
	}
	m.save(ctx, nil, &resp.State, resp.Identity, &resp.Diagnostics)
	keepOrigin(ctx, c, resp.Private, &resp.Diagnostics)
	defer endCreation(ctx, c, ecs.TagSecurityGroup, id, &resp.Diagnostics)
	group, err := c.WaitSecurityGroup(ctx, id)
	if err != nil {
		addError(&resp.Diagnostics, path.Empty(), "Security group not created", err)
		return
	}
	if asked.IsUnknown() {
		m.ResourceGroup = types.StringValue(group.ResourceGroupID)
	}
	owned, err := deploy.ChangeRules(ctx, c, id, nil, wanted)
	m.save(ctx, owned, &resp.State, resp.Identity, &resp.Diagnostics)
	if err != nil {
		addError(&resp.Diagnostics, path.Empty(), "Security group rules not created", err)
	}
}

// save writes the state with the rules that are owned now.
func (m *securityGroupModel) save(ctx context.Context, owned []ecs.Rule, state *tfsdk.State, identity *tfsdk.ResourceIdentity, diags *diag.Diagnostics) {
	now := *m
	now.setRules(ctx, owned, diags)
	diags.Append(state.Set(ctx, now)...)
	setIdentity(ctx, identity, m.Region, m.ID, diags)
}

func (r *securityGroupResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m securityGroupModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	c := r.backend.cloud(&resp.Diagnostics)
	if resp.Diagnostics.HasError() || !checkRegion(c, "security group", m.Region, m.ID.ValueString(), &resp.Diagnostics) {
		return
	}
	setIdentity(ctx, resp.Identity, m.Region, m.ID, &resp.Diagnostics)
	group, rules, err := deploy.ObserveSecurityGroup(ctx, c, m.ID.ValueString())
	switch {
	case ecs.IsNotFound(err):
		if confirmAbsent(ctx, c, req.Private, &resp.Diagnostics) {
			tflog.Debug(ctx, "security group is gone", map[string]any{"id": m.ID.ValueString()})
			resp.State.RemoveResource(ctx)
		}
		return
	case err != nil:
		addError(&resp.Diagnostics, path.Empty(), "Security group not read", err)
		return
	}
	owned := m.owned(ctx, &resp.Diagnostics)
	m.setGroup(ctx, group, &resp.Diagnostics)
	present := slices.DeleteFunc(rules, func(r ecs.Rule) bool {
		return !slices.ContainsFunc(owned, func(o ecs.Rule) bool { return o.ID == r.ID })
	})
	m.save(ctx, present, &resp.State, resp.Identity, &resp.Diagnostics)
}

func (r *securityGroupResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var m, old securityGroupModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &old)...)
	limit, diags := m.Timeouts.Update(ctx, securityGroupTimeout)
	resp.Diagnostics.Append(diags...)
	c := r.backend.cloud(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	id := m.ID.ValueString()
	if err := deploy.UpdateSecurityGroup(ctx, c, id, old.spec(ctx, &resp.Diagnostics), m.spec(ctx, &resp.Diagnostics)); err != nil {
		addError(&resp.Diagnostics, path.Empty(), "Security group not changed", err)
		return
	}
	group, err := c.FindSecurityGroup(ctx, id)
	if err != nil {
		addCloudError(&resp.Diagnostics, path.Empty(), "Security group not changed", "read security group "+id, err)
		return
	}
	if _, unfinished := group.Tags[deploy.CreationTag]; unfinished {
		endCreation(ctx, c, ecs.TagSecurityGroup, id, &resp.Diagnostics)
	}
	owned, err := deploy.ChangeRules(ctx, c, id, old.owned(ctx, &resp.Diagnostics), m.rules(ctx, &resp.Diagnostics))
	if err != nil {
		addError(&resp.Diagnostics, path.Empty(), "Security group rules not changed", err)
		if owned == nil {
			return // the state stays as it was; the next refresh sees how far it got
		}
	}
	m.save(ctx, owned, &resp.State, resp.Identity, &resp.Diagnostics)
}

func (r *securityGroupResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m securityGroupModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	limit, diags := m.Timeouts.Delete(ctx, securityGroupDeleteTimeout)
	resp.Diagnostics.Append(diags...)
	c := r.backend.cloud(&resp.Diagnostics)
	if resp.Diagnostics.HasError() || !checkRegion(c, "security group", m.Region, m.ID.ValueString(), &resp.Diagnostics) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := deploy.DeleteSecurityGroup(ctx, c, m.ID.ValueString()); err != nil {
		addError(&resp.Diagnostics, path.Empty(), "Security group not deleted", err)
		return
	}
	tflog.Debug(ctx, "deleted security group", map[string]any{"id": m.ID.ValueString()})
}
