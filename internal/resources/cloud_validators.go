package resources

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework-validators/helpers/validatordiag"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
)

// checked is a validator made of a function that says what is wrong.
type checked struct {
	what  string
	check func(string) error
}

func (v checked) Description(context.Context) string             { return "value must be " + v.what }
func (v checked) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (v checked) ValidateString(ctx context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	if err := v.check(req.ConfigValue.ValueString()); err != nil {
		resp.Diagnostics.Append(validatordiag.InvalidAttributeValueDiagnostic(req.Path, v.Description(ctx)+": "+err.Error(), req.ConfigValue.ValueString()))
	}
}

// cloudID accepts the id of a resource of a kind.
func cloudID(kind, prefix string) validator.String {
	return checked{fmt.Sprintf("the id of a %s, %s...", kind, prefix), func(s string) error {
		if rest, ok := strings.CutPrefix(s, prefix); !ok || rest == "" || strings.ContainsAny(rest, " :/") {
			return fmt.Errorf("it does not have that form")
		}
		return nil
	}}
}

var (
	cidrBlock  = checked{"a CIDR block in canonical form", deploy.ValidCIDR}
	ruleSource = checked{"a CIDR block in canonical form, or the id of a security group or prefix list", deploy.ValidRuleSource}
	rulePorts  = checked{"FROM/TO with ports from 1 to 65535, or -1/-1 for a protocol without ports", validPorts}
	cloudName  = checked{"2 to 128 letters, digits, periods, underscores, colons or hyphens, starting with a letter", validName}
	cloudAbout = checked{"empty, or 2 to 256 characters that do not start with http:// or https://", validDescription}
)

var (
	namePattern  = regexp.MustCompile(`^\p{L}[\p{L}\p{N}_.:\-]{1,127}$`)
	hostPattern  = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$`)
	portsPattern = regexp.MustCompile(`^([1-9]\d{0,4})/([1-9]\d{0,4})$`)
)

func validName(s string) error {
	if !namePattern.MatchString(s) || strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://") {
		return fmt.Errorf("it is not")
	}
	return nil
}

func validHostName(s string) error {
	if len(s) < 2 || len(s) > 64 || !hostPattern.MatchString(s) {
		return fmt.Errorf("it is not")
	}
	return nil
}

func validDescription(s string) error {
	if s != "" && (len(s) < 2 || len(s) > 256) || strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://") {
		return fmt.Errorf("it is not")
	}
	return nil
}

func validPorts(s string) error {
	if s == "-1/-1" {
		return nil
	}
	m := portsPattern.FindStringSubmatch(s)
	if m == nil {
		return fmt.Errorf("it does not have that form")
	}
	var from, to int
	if _, err := fmt.Sscanf(s, "%d/%d", &from, &to); err != nil || from > to || to > 65535 {
		return fmt.Errorf("it is not a range of ports")
	}
	return nil
}

// validators is the value set as the list that a schema wants.
func (w words) validators() []validator.String { return []validator.String{w} }
