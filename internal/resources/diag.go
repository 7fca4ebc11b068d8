package resources

import (
	"errors"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/ecs"
	"github.com/ccctl/terraform-provider-cc/internal/remote"
)

// addError turns err into an error diagnostic at an attribute, or at the whole
// resource for [path.Empty]. The summary is for errors that bring none: a noun
// phrase in sentence case without full stop. The caller returns next: nothing
// goes on after an error.
//
// The detail reads "Could not VERB NOUN: WHAT WAS FOUND.", then what to do,
// then what another program had to say, so err must be worded as Go errors are
// here: "verb noun: cause".
func addError(diags *diag.Diagnostics, at path.Path, summary string, err error) {
	summary, detail := describe(summary, err)
	diags.Append(place(at, diag.NewErrorDiagnostic(summary, detail)))
}

// addWarning is [addError] for what does not keep Terraform from going on.
func addWarning(diags *diag.Diagnostics, at path.Path, summary string, err error) {
	summary, detail := describe(summary, err)
	diags.Append(place(at, diag.NewWarningDiagnostic(summary, detail)))
}

func describe(summary string, err error) (string, string) {
	paragraphs := []string{"Could not " + strings.TrimRight(err.Error(), ".\n") + "."}
	var known *deploy.Error
	if errors.As(err, &known) {
		summary = known.Summary
		if known.Remedy != "" {
			paragraphs = append(paragraphs, known.Remedy)
		}
	}
	if remedy := ecs.RemedyOf(err); known == nil && remedy != "" {
		if ecs.ClassOf(err) == ecs.ClassAuth {
			summary = "Alibaba Cloud refuses the credentials"
		}
		paragraphs = append(paragraphs, remedy)
	}
	hinted := known != nil && known.Remedy != "" && errors.Is(err, remote.ErrConnectionLost)
	if remedy := deploy.SystemRemedy(err, "apply again"); remedy != "" && !hinted {
		paragraphs = append(paragraphs, remedy)
	}
	if known != nil && known.Evidence != "" {
		paragraphs = append(paragraphs, strings.TrimRight(known.Evidence, "\n"))
	}
	return summary, strings.Join(paragraphs, "\n\n")
}

func place(at path.Path, d diag.Diagnostic) diag.Diagnostic {
	if at.Equal(path.Empty()) {
		return d
	}
	return diag.WithPath(at, d)
}
