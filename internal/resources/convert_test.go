package resources

import (
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
)

func TestFullyKnown(t *testing.T) {
	t.Parallel()
	object := func(v attr.Value) types.Object {
		return types.ObjectValueMust(map[string]attr.Type{"x": types.StringType}, map[string]attr.Value{"x": v})
	}
	list := func(v attr.Value) types.List {
		return types.ListValueMust(types.ObjectType{AttrTypes: map[string]attr.Type{"x": types.StringType}}, []attr.Value{object(v)})
	}
	known, unknown := types.StringValue("a"), types.StringUnknown()
	for _, tt := range []struct {
		name   string
		values []attr.Value
		want   bool
	}{
		{"nothing", nil, true},
		{"known", []attr.Value{known, object(known), list(known), types.StringNull()}, true},
		{"string", []attr.Value{known, unknown}, false},
		{"in an object", []attr.Value{object(unknown)}, false},
		{"in a list", []attr.Value{list(unknown)}, false},
		{"whole list", []attr.Value{types.ListUnknown(types.StringType)}, false},
	} {
		if got := fullyKnown(t.Context(), tt.values...); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	if !equalValues([]attr.Value{known}, []attr.Value{known}) || equalValues([]attr.Value{known}, []attr.Value{unknown}) {
		t.Error("equalValues")
	}
}

func TestOptionalDuration(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		168 * time.Hour: "168h", 90 * time.Minute: "1h30m", 10 * time.Second: "10s", time.Minute: "1m", 61 * time.Second: "1m1s",
		time.Hour + time.Second: "1h0m1s", 100 * time.Hour: "100h", 10 * time.Minute: "10m", 1500 * time.Millisecond: "1.5s",
	} {
		got := optionalDuration(d)
		if got.ValueString() != want || parseDuration(got) != d {
			t.Errorf("%v is written as %s", d, got)
		}
	}
	if !optionalDuration(0).IsNull() || parseDuration(types.StringNull()) != 0 {
		t.Error("zero is not null")
	}
}

func TestFieldPath(t *testing.T) {
	t.Parallel()
	for field, want := range map[string]path.Path{
		"":                      path.Empty(),
		"listen":                path.Root("listen"),
		"tls.certificate":       path.Root("tls").AtName("certificate"),
		"rules[2].tcb.accept":   path.Root("rules").AtListIndex(2).AtName("tcb").AtName("accept"),
		"rules[0].mr_signer[1]": path.Root("rules").AtListIndex(0).AtName("mr_signer").AtListIndex(1),
		"rules[x].name":         path.Root("rules"),
	} {
		if got := fieldPath(field); !got.Equal(want) {
			t.Errorf("%q is at %s, want %s", field, got, want)
		}
	}
}

func TestProblemText(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		problem deploy.KeyServerProblem
		want    string
	}{
		{deploy.KeyServerProblem{Field: "listen", Message: "is missing", Remedy: `write it as ":4433"`}, `listen is missing. Write it as ":4433".`},
		{deploy.KeyServerProblem{Field: "listen", Message: `"x" is not host:port`}, `listen "x" is not host:port.`},
		{deploy.KeyServerProblem{Field: "tls", Message: "load server certificate a: it expired."}, "tls: load server certificate a: it expired."},
		{deploy.KeyServerProblem{Message: "the file is empty", Remedy: "fill it"}, "The file is empty. Fill it."},
	} {
		if got := problemText(tt.problem); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
