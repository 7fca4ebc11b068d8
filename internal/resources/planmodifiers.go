package resources

import (
	"context"
	"path/filepath"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
)

// samePath keeps the path in the state when the configuration names the same
// file in other words, such as ./keys/a.key for keys/a.key: after an import
// the plan is then empty.
type samePath struct{}

func (samePath) Description(context.Context) string {
	return "another spelling of the same path is not a change"
}

func (m samePath) MarkdownDescription(ctx context.Context) string { return m.Description(ctx) }

func (samePath) PlanModifyString(_ context.Context, req planmodifier.StringRequest, resp *planmodifier.StringResponse) {
	if req.StateValue.IsNull() || req.PlanValue.IsNull() || req.PlanValue.IsUnknown() {
		return
	}
	old, errOld := filepath.Abs(req.StateValue.ValueString())
	now, errNow := filepath.Abs(req.PlanValue.ValueString())
	if errOld == nil && errNow == nil && old == now {
		resp.PlanValue = req.StateValue
	}
}

// sameDuration keeps the duration in the state when the configuration writes
// the same one in other words, such as 168h for 168h0m0s.
type sameDuration struct{}

func (sameDuration) Description(context.Context) string {
	return "another spelling of the same duration is not a change"
}

func (m sameDuration) MarkdownDescription(ctx context.Context) string { return m.Description(ctx) }

func (sameDuration) PlanModifyString(_ context.Context, req planmodifier.StringRequest, resp *planmodifier.StringResponse) {
	if req.StateValue.IsNull() || req.PlanValue.IsNull() || req.PlanValue.IsUnknown() {
		return
	}
	old, errOld := time.ParseDuration(req.StateValue.ValueString())
	now, errNow := time.ParseDuration(req.PlanValue.ValueString())
	if errOld == nil && errNow == nil && old == now {
		resp.PlanValue = req.StateValue
	}
}
