package resources

import (
	"context"
	"fmt"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/ecs"
)

// basetypesOptions lets an object have values that are not known yet.
var basetypesOptions = basetypes.ObjectAsOptions{UnhandledNullAsEmpty: true, UnhandledUnknownAsEmpty: true}

// ImportState takes over a group with every ingress rule that it has: to name
// the group is to name them all.
func (r *securityGroupResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	c := r.backend.cloud(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	id := importTarget(ctx, c, "security group", "sg-", req, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	group, rules, err := deploy.ObserveSecurityGroup(ctx, c, id)
	if ecs.IsNotFound(err) {
		err = &deploy.Error{Summary: "Security group not found", Err: err, Remedy: "Check the id, the provider's region and whose credentials are used."}
	}
	if err != nil {
		addError(&resp.Diagnostics, path.Empty(), "Security group not imported", err)
		return
	}
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("id"), id)...)
	var m securityGroupModel
	resp.Diagnostics.Append(resp.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	m.Region = types.StringValue(c.Region())
	m.KeyServerPort = types.Int64Value(importedPort(rules))
	m.setGroup(ctx, group, &resp.Diagnostics)
	m.save(ctx, rules, &resp.State, resp.Identity, &resp.Diagnostics)
	keepOrigin(ctx, c, resp.Private, &resp.Diagnostics)
}

// importedPort finds the key server's port in the rules that were made for it.
func importedPort(rules []ecs.Rule) int64 {
	port := int64(4433)
	for _, r := range rules {
		var from, to int64
		if n, err := fmt.Sscanf(r.PortRange, "%d/%d", &from, &to); err == nil && n == 2 && r.Description == keyServerRuleText && from == to && from > 0 {
			port = from
		}
	}
	return port
}

// ModifyPlan refuses rules that say the same, and keeps the ids of the rules
// known as long as the rules stay.
func (r *securityGroupResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() {
		return
	}
	var m, old securityGroupModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() || !m.known(ctx) {
		return
	}
	wanted := texts(m.rules(ctx, &resp.Diagnostics))
	for n := 1; n < len(wanted); n++ {
		if wanted[n] == wanted[n-1] {
			resp.Diagnostics.AddError("Security group rule asked for twice",
				fmt.Sprintf("Could not plan the rules: %s is asked for twice. Alibaba Cloud keeps one rule for both; remove one from the configuration.", wanted[n]))
			return
		}
	}
	if req.State.Raw.IsNull() {
		return
	}
	resp.Diagnostics.Append(req.State.Get(ctx, &old)...)
	if resp.Diagnostics.HasError() || m.RuleIDs.Equal(old.RuleIDs) || !slices.Equal(wanted, texts(old.rules(ctx, &resp.Diagnostics))) {
		return
	}
	resp.Diagnostics.Append(resp.Plan.SetAttribute(ctx, path.Root("rule_ids"), old.RuleIDs)...)
}

// texts names rules, in order.
func texts(rules []ecs.Rule) []string {
	var all []string
	for _, r := range rules {
		all = append(all, deploy.RuleText(r))
	}
	slices.Sort(all)
	return all
}
