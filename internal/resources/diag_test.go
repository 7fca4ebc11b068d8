package resources

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/ecs"
)

func TestAddError(t *testing.T) {
	t.Parallel()
	full := "That file system is full. What was there before is unchanged. Free some space on it (df -h, df -i) and apply again."
	failed := &deploy.Error{Summary: "Server not started", Err: fmt.Errorf("start it: %w", syscall.ENOSPC), Remedy: "Its log says why.", Evidence: "the log"}
	known := &deploy.Error{Summary: "Key file missing", Err: errors.New("read key a.key: no such file"), Remedy: "Restore it.", Evidence: "line 1\nline 2\n"}
	for _, tt := range []struct {
		name            string
		err             error
		summary, detail string
	}{
		{"plain", errors.New("read key a.key: no such file"), "Key not read", "Could not read key a.key: no such file."},
		{"known", known, "Key file missing", "Could not read key a.key: no such file.\n\nRestore it.\n\nline 1\nline 2"},
		{"wrapped", fmt.Errorf("encrypt model: %w", known), "Key file missing",
			"Could not encrypt model: read key a.key: no such file.\n\nRestore it.\n\nline 1\nline 2"},
		{"system", fmt.Errorf("write key a.key: %w", syscall.ENOSPC), "Key not read", "Could not write key a.key: no space left on device.\n\n" + full},
		{"cloud", fmt.Errorf("look: %w", &ecs.Error{Action: "X", Class: ecs.ClassAuth, Remedy: "Check the key."}), "Alibaba Cloud refuses the credentials", "Could not look: call X.\n\nCheck the key."},
		{"known and system", failed, "Server not started", "Could not start it: no space left on device.\n\nIts log says why.\n\n" + full + "\n\nthe log"},
	} {
		var diags diag.Diagnostics
		addError(&diags, path.Root("file"), "Key not read", tt.err)
		addWarning(&diags, path.Empty(), "Key not read", tt.err)
		if len(diags) != 2 || !diags.HasError() || diags.WarningsCount() != 1 {
			t.Fatalf("%s: %v", tt.name, diags)
		}
		for _, d := range diags {
			if d.Summary() != tt.summary || d.Detail() != tt.detail {
				t.Errorf("%s: %q, %q", tt.name, d.Summary(), d.Detail())
			}
		}
		if at, ok := diags[0].(diag.DiagnosticWithPath); !ok || !at.Path().Equal(path.Root("file")) {
			t.Errorf("%s: the error is not at the attribute", tt.name)
		}
		if _, ok := diags[1].(diag.DiagnosticWithPath); ok {
			t.Errorf("%s: the warning is at an attribute", tt.name)
		}
	}
}

func TestBackendFrom(t *testing.T) {
	t.Parallel()
	var diags diag.Diagnostics
	if b := backendFrom(nil, &diags); b != nil || diags.HasError() {
		t.Errorf("not configured: %v, %v", b, diags)
	}
	want := &Backend{Version: "1"}
	if b := backendFrom(want, &diags); b != want || diags.HasError() {
		t.Errorf("configured: %v, %v", b, diags)
	}
	if b := backendFrom("something", &diags); b != nil || !diags.HasError() {
		t.Errorf("wrong type: %v, %v", b, diags)
	}
}
