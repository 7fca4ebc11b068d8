package resources

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// fullyKnown tells that nothing in the values is unknown, at any depth.
func fullyKnown(ctx context.Context, values ...attr.Value) bool {
	for _, v := range values {
		raw, err := v.ToTerraformValue(ctx)
		if err != nil || !raw.IsFullyKnown() {
			return false
		}
	}
	return true
}

// equalValues tells that two lists of values are the same, one by one.
func equalValues(a, b []attr.Value) bool {
	for i := range a {
		if !a[i].Equal(b[i]) {
			return false
		}
	}
	return len(a) == len(b)
}

// optionalString is s, or null where there is none.
func optionalString(s string) types.String {
	if s == "" {
		return types.StringNull()
	}
	return types.StringValue(s)
}

// optionalBool is true, or null for what is false unless it is said.
func optionalBool(b bool) types.Bool {
	if !b {
		return types.BoolNull()
	}
	return types.BoolValue(true)
}

// optionalInt64 is n, or null for zero, where that stands for the default.
func optionalInt64(n int64) types.Int64 {
	if n == 0 {
		return types.Int64Null()
	}
	return types.Int64Value(n)
}

// parseDuration reads a duration that the validator has let pass; null is 0.
func parseDuration(s types.String) time.Duration {
	d, err := time.ParseDuration(s.ValueString())
	if err != nil {
		return 0
	}
	return d
}

// optionalDuration writes a duration as people do ("168h", not "168h0m0s");
// zero is null.
func optionalDuration(d time.Duration) types.String {
	if d == 0 {
		return types.StringNull()
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return types.StringValue(s)
}

// fieldPath turns the name of a field of a document, such as
// rules[0].tcb.accept, into the path of the attribute of that name.
func fieldPath(field string) path.Path {
	at := path.Empty()
	for part := range strings.SplitSeq(field, ".") {
		name, rest, indexed := strings.Cut(part, "[")
		if name == "" {
			return at
		}
		if at.Equal(path.Empty()) {
			at = path.Root(name)
		} else {
			at = at.AtName(name)
		}
		if !indexed {
			continue
		}
		i, err := strconv.Atoi(strings.TrimSuffix(rest, "]"))
		if err != nil {
			return at
		}
		at = at.AtListIndex(i)
	}
	return at
}
