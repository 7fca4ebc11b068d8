package resources

import (
	"context"
	"fmt"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/ecs"
)

type securityGroupModel struct {
	ID             types.String   `tfsdk:"id"`
	Region         types.String   `tfsdk:"region"`
	VpcID          types.String   `tfsdk:"vpc_id"`
	Name           types.String   `tfsdk:"name"`
	Description    types.String   `tfsdk:"description"`
	KeyServerPort  types.Int64    `tfsdk:"key_server_port"`
	KeyServerCIDRs types.Set      `tfsdk:"key_server_cidrs"`
	SSHCIDRs       types.Set      `tfsdk:"ssh_cidrs"`
	IngressRules   types.List     `tfsdk:"ingress_rules"`
	Tags           types.Map      `tfsdk:"tags"`
	ResourceGroup  types.String   `tfsdk:"resource_group_id"`
	RuleIDs        types.Map      `tfsdk:"rule_ids"`
	Timeouts       timeouts.Value `tfsdk:"timeouts"`
}

type ingressRuleModel struct {
	Protocol    types.String `tfsdk:"protocol"`
	PortRange   types.String `tfsdk:"port_range"`
	Source      types.String `tfsdk:"source"`
	Policy      types.String `tfsdk:"policy"`
	Priority    types.Int64  `tfsdk:"priority"`
	Description types.String `tfsdk:"description"`
}

var ingressRuleType = types.ObjectType{AttrTypes: map[string]attr.Type{
	"protocol": types.StringType, "port_range": types.StringType, "source": types.StringType,
	"policy": types.StringType, "priority": types.Int64Type, "description": types.StringType,
}}

// Descriptions of the rules that the short arguments make. By them and their
// shape they are told from further rules, on import for instance.
const (
	keyServerRuleText = "cc: key server"
	sshRuleText       = "cc: ssh"
	sshPorts          = "22/22"
)

func (m *securityGroupModel) keyServerPorts() string {
	return fmt.Sprintf("%d/%d", m.KeyServerPort.ValueInt64(), m.KeyServerPort.ValueInt64())
}

func shortRule(ports, source, description string) ecs.Rule {
	return ecs.Rule{Protocol: "tcp", PortRange: ports, Source: source, Policy: "accept", Priority: 1, Description: description}
}

// known tells that every rule is known; before, nothing can be said of them.
func (m *securityGroupModel) known(ctx context.Context) bool {
	return fullyKnown(ctx, m.KeyServerPort, m.KeyServerCIDRs, m.SSHCIDRs, m.IngressRules)
}

// rules lists the rules that the model asks for.
func (m *securityGroupModel) rules(ctx context.Context, diags *diag.Diagnostics) []ecs.Rule {
	var all []ecs.Rule
	for _, cidr := range slices.Sorted(slices.Values(stringSet(ctx, m.KeyServerCIDRs, diags))) {
		all = append(all, shortRule(m.keyServerPorts(), cidr, keyServerRuleText))
	}
	for _, cidr := range slices.Sorted(slices.Values(stringSet(ctx, m.SSHCIDRs, diags))) {
		all = append(all, shortRule(sshPorts, cidr, sshRuleText))
	}
	return append(all, m.furtherRules(ctx, diags)...)
}

func (m *securityGroupModel) furtherRules(ctx context.Context, diags *diag.Diagnostics) []ecs.Rule {
	var models []ingressRuleModel
	if !m.IngressRules.IsNull() && !m.IngressRules.IsUnknown() {
		diags.Append(m.IngressRules.ElementsAs(ctx, &models, false)...)
	}
	var all []ecs.Rule
	for _, r := range models {
		all = append(all, ecs.Rule{
			Protocol: r.Protocol.ValueString(), PortRange: r.PortRange.ValueString(), Source: r.Source.ValueString(),
			Policy: r.Policy.ValueString(), Priority: int(r.Priority.ValueInt64()), Description: r.Description.ValueString(),
		})
	}
	return all
}

// owned lists the rules that the state knows by id.
func (m *securityGroupModel) owned(ctx context.Context, diags *diag.Diagnostics) []ecs.Rule {
	var all []ecs.Rule
	for _, id := range stringMap(ctx, m.RuleIDs, diags) {
		all = append(all, ecs.Rule{ID: id})
	}
	return all
}

// setRules writes the rules that are owned now. A rule that was changed behind
// our back and does not fit its short argument any more shows among the further
// rules, as what it is; the further rules keep their places.
func (m *securityGroupModel) setRules(ctx context.Context, now []ecs.Rule, diags *diag.Diagnostics) {
	ids := map[string]string{}
	var keyServer, ssh []string
	var further []ecs.Rule
	// A further rule has the place of the rule with its id, or that says the same.
	places, byID, byText := stringMap(ctx, m.RuleIDs, diags), map[string]int{}, map[string]int{}
	for n, r := range m.furtherRules(ctx, diags) {
		byText[deploy.RuleText(r)] = n
		if id := places[deploy.RuleText(r)]; id != "" {
			byID[id] = n
		}
	}
	place := func(r ecs.Rule) (int, bool) {
		if n, ok := byID[r.ID]; ok {
			return n, true
		}
		n, ok := byText[deploy.RuleText(r)]
		return n, ok
	}
	for _, r := range now {
		ids[deploy.RuleText(r)] = r.ID
		_, isFurther := place(r)
		short := !isFurther && deploy.ValidCIDR(r.Source) == nil
		switch {
		case short && r.SameMatch(shortRule(m.keyServerPorts(), r.Source, "")) && r.Description == keyServerRuleText:
			keyServer = append(keyServer, r.Source)
		case short && r.SameMatch(shortRule(sshPorts, r.Source, "")) && r.Description == sshRuleText:
			ssh = append(ssh, r.Source)
		default:
			further = append(further, r)
		}
	}
	slices.SortStableFunc(further, func(a, b ecs.Rule) int {
		na, oka := place(a)
		nb, okb := place(b)
		switch {
		case oka && okb:
			return na - nb
		case oka:
			return -1
		case okb:
			return 1
		default:
			return 0 // in the order of their making, as the service lists them
		}
	})
	m.KeyServerCIDRs = setValue(ctx, keyServer, m.KeyServerCIDRs, diags)
	m.SSHCIDRs = setValue(ctx, ssh, m.SSHCIDRs, diags)
	m.IngressRules = furtherValue(ctx, further, m.IngressRules, diags)
	v, more := types.MapValueFrom(ctx, types.StringType, ids)
	diags.Append(more...)
	m.RuleIDs = v
}

func furtherValue(ctx context.Context, rules []ecs.Rule, like types.List, diags *diag.Diagnostics) types.List {
	if len(rules) == 0 && (like.IsNull() || len(like.Elements()) > 0) {
		return types.ListNull(ingressRuleType)
	}
	models := []ingressRuleModel{}
	for _, r := range rules {
		models = append(models, ingressRuleModel{
			Protocol: types.StringValue(r.Protocol), PortRange: types.StringValue(r.PortRange), Source: types.StringValue(r.Source),
			Policy: types.StringValue(r.Policy), Priority: types.Int64Value(int64(r.Priority)), Description: types.StringValue(r.Description),
		})
	}
	v, more := types.ListValueFrom(ctx, ingressRuleType, models)
	diags.Append(more...)
	return v
}

// spec is what the group itself is made of.
func (m *securityGroupModel) spec(ctx context.Context, diags *diag.Diagnostics) ecs.SecurityGroupSpec {
	return ecs.SecurityGroupSpec{
		VpcID: m.VpcID.ValueString(), Name: m.Name.ValueString(), Description: m.Description.ValueString(), Tags: stringMap(ctx, m.Tags, diags),
		ResourceGroupID: m.ResourceGroup.ValueString(),
	}
}

// setGroup writes what is there of the group itself.
func (m *securityGroupModel) setGroup(ctx context.Context, g *ecs.SecurityGroup, diags *diag.Diagnostics) {
	m.VpcID, m.Name, m.Description = types.StringValue(g.VpcID), types.StringValue(g.Name), types.StringValue(g.Description)
	m.ResourceGroup = types.StringValue(g.ResourceGroupID)
	m.Tags = mapValue(ctx, shownTags(g.Tags), m.Tags, diags)
}
