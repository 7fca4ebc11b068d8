package resources

import (
	"context"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/helpers/validatordiag"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
)

// A word is an accepted value of an enumerated attribute. One table of words
// both validates the attribute and describes it.
type word struct {
	value   string
	meaning string
}

// words is the value set of an attribute; the first one is the default.
type words []word

func (w words) values() []string {
	all := make([]string, len(w))
	for i := range w {
		all[i] = w[i].value
	}
	return all
}

func (w words) byDefault() string { return w[0].value }

// markdown lists the words with their meanings, for a description.
func (w words) markdown() string {
	var b strings.Builder
	for i, word := range w {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString("`\"" + word.value + "\"`")
		if i == 0 {
			b.WriteString(" (default)")
		}
		b.WriteString(" " + word.meaning)
	}
	return b.String() + "."
}

// Description makes words a validator.
func (w words) Description(context.Context) string {
	return `value must be one of "` + strings.Join(w.values(), `", "`) + `"`
}

func (w words) MarkdownDescription(ctx context.Context) string { return w.Description(ctx) }

func (w words) ValidateString(ctx context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	for _, word := range w {
		if req.ConfigValue.ValueString() == word.value {
			return
		}
	}
	resp.Diagnostics.Append(validatordiag.InvalidAttributeValueDiagnostic(req.Path, w.Description(ctx), req.ConfigValue.ValueString()))
}

// filePath accepts what can name a file: not nothing, and not a directory.
type filePath struct{}

func (filePath) Description(context.Context) string {
	return "value must be the path of a file: not empty, not ending in a slash, without NUL"
}

func (v filePath) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (v filePath) ValidateString(ctx context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	s := req.ConfigValue.ValueString()
	if s == "" || s == "." || s == ".." || strings.HasSuffix(s, "/") || strings.ContainsRune(s, 0) {
		resp.Diagnostics.Append(validatordiag.InvalidAttributeValueDiagnostic(req.Path, v.Description(ctx), s))
	}
}

// duration accepts a positive duration in Go's notation.
type duration struct{}

func (duration) Description(context.Context) string {
	return `value must be a positive duration such as "10s", "5m" or "168h"`
}

func (v duration) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (v duration) ValidateString(ctx context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	if d, err := time.ParseDuration(req.ConfigValue.ValueString()); err != nil || d <= 0 {
		resp.Diagnostics.Append(validatordiag.InvalidAttributeValueDiagnostic(req.Path, v.Description(ctx), req.ConfigValue.ValueString()))
	}
}

// directoryPath accepts what can name a directory.
type directoryPath struct{}

func (directoryPath) Description(context.Context) string {
	return "value must be the path of a directory: not empty, without NUL"
}

func (v directoryPath) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (v directoryPath) ValidateString(ctx context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	if s := req.ConfigValue.ValueString(); s == "" || strings.ContainsRune(s, 0) {
		resp.Diagnostics.Append(validatordiag.InvalidAttributeValueDiagnostic(req.Path, v.Description(ctx), s))
	}
}
