package resources

import (
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

func TestValidators(t *testing.T) {
	t.Parallel()
	set := words{{"keep", "keeps it"}, {"delete", "deletes it"}}
	for _, tt := range []struct {
		name     string
		v        validator.String
		good     []string
		bad      []string
		sentence string
	}{
		{"words", set, []string{"keep", "delete"}, []string{"", "Keep", "keep "}, `value must be one of "keep", "delete"`},
		{"filePath", filePath{}, []string{"a", "./a", "/a/b", "a b", "..."}, []string{"", ".", "..", "a/", "a\x00b"},
			"value must be the path of a file: not empty, not ending in a slash, without NUL"},
		{"directoryPath", directoryPath{}, []string{"a", ".", "..", "/", "a/"}, []string{"", "a\x00b"},
			"value must be the path of a directory: not empty, without NUL"},
		{"duration", duration{}, []string{"1ns", "10s", "1h30m", "168h"}, []string{"", "0s", "-1s", "10", "1d", "ten seconds"},
			`value must be a positive duration such as "10s", "5m" or "168h"`},
	} {
		if tt.v.Description(t.Context()) != tt.sentence || tt.v.MarkdownDescription(t.Context()) != tt.sentence {
			t.Errorf("%s describes itself as %q", tt.name, tt.v.Description(t.Context()))
		}
		check := func(value types.String, want bool) {
			t.Helper()
			var resp validator.StringResponse
			tt.v.ValidateString(t.Context(), validator.StringRequest{Path: path.Root("x"), ConfigValue: value}, &resp)
			if resp.Diagnostics.HasError() == want {
				t.Errorf("%s accepts %s: %v", tt.name, value, !want)
			}
		}
		check(types.StringNull(), true)
		check(types.StringUnknown(), true) // looked at again on apply
		for _, s := range tt.good {
			check(types.StringValue(s), true)
		}
		for _, s := range tt.bad {
			check(types.StringValue(s), false)
		}
	}
	if got := set.markdown(); got != "`\"keep\"` (default) keeps it; `\"delete\"` deletes it." {
		t.Errorf("markdown is %s", got)
	}
	if set.byDefault() != "keep" {
		t.Errorf("default is %s", set.byDefault())
	}
}

func TestEquivalentSpellings(t *testing.T) {
	t.Chdir(t.TempDir())
	str := types.StringValue
	for _, tt := range []struct {
		name            string
		modifier        planmodifier.String
		state, now, out types.String
	}{
		{"same path", samePath{}, str("keys/a"), str("./keys/../keys/a"), str("keys/a")},
		{"another path", samePath{}, str("keys/a"), str("keys/b"), str("keys/b")},
		{"no path before", samePath{}, types.StringNull(), str("a"), str("a")},
		{"no path any more", samePath{}, str("a"), types.StringNull(), types.StringNull()},
		{"unknown path", samePath{}, str("a"), types.StringUnknown(), types.StringUnknown()},
		{"same duration", sameDuration{}, str("168h0m0s"), str("168h"), str("168h0m0s")},
		{"another duration", sameDuration{}, str("168h"), str("169h"), str("169h")},
		{"no duration before", sameDuration{}, types.StringNull(), str("1s"), str("1s")},
		{"no duration any more", sameDuration{}, str("1s"), types.StringNull(), types.StringNull()},
		{"unknown duration", sameDuration{}, str("1s"), types.StringUnknown(), types.StringUnknown()},
		{"not a duration", sameDuration{}, str("x"), str("y"), str("y")},
	} {
		req := planmodifier.StringRequest{StateValue: tt.state, PlanValue: tt.now}
		resp := planmodifier.StringResponse{PlanValue: tt.now}
		tt.modifier.PlanModifyString(t.Context(), req, &resp)
		if !resp.PlanValue.Equal(tt.out) {
			t.Errorf("%s: planned %s, want %s", tt.name, resp.PlanValue, tt.out)
		}
	}
	for _, m := range []planmodifier.String{samePath{}, sameDuration{}} {
		if m.Description(t.Context()) == "" || m.MarkdownDescription(t.Context()) != m.Description(t.Context()) {
			t.Errorf("%T has no description", m)
		}
	}
}
