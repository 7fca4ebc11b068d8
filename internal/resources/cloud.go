package resources

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/identityschema"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-log/tflog"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/ecs"
)

// NewCloud makes the client that the resources share. It is called with what
// package provider made of the settings.
func (b *Backend) NewCloud(conf ecs.Config, err error) (*ecs.Client, error) {
	if err != nil {
		return nil, err
	}
	conf.Backoff = b.Pace
	// Names, codes and counts: the client hands over nothing else.
	conf.Log = func(ctx context.Context, message string, fields map[string]any) { tflog.Debug(ctx, message, fields) }
	return ecs.New(conf)
}

// cloud returns the client of Alibaba Cloud, or nil and an error in diags.
func (b *Backend) cloud(diags *diag.Diagnostics) *ecs.Client {
	var c *ecs.Client
	err := errors.New("configure Alibaba Cloud: the provider is not configured yet")
	if b != nil && b.Cloud != nil {
		c, err = b.Cloud()
	}
	if err != nil {
		addError(diags, path.Empty(), "", &deploy.Error{
			Summary: "Alibaba Cloud not configured", Err: err,
			Remedy: "Set region and credentials in the provider's block or in the environment (see the provider's documentation). Resources of this machine alone need neither.",
		})
		return nil
	}
	return c
}

// cloudIdentity is the identity of a cloud resource.
type cloudIdentity struct {
	Region types.String `tfsdk:"region"`
	ID     types.String `tfsdk:"id"`
}

func cloudIdentitySchema() identityschema.Schema {
	return identityschema.Schema{Attributes: map[string]identityschema.Attribute{
		"region": identityschema.StringAttribute{RequiredForImport: true, Description: "Region of the resource."},
		"id":     identityschema.StringAttribute{RequiredForImport: true, Description: "Id of the resource."},
	}}
}

// setIdentity writes the identity where Terraform asks for one. Every operation
// that sets the state calls it: Terraform before 1.12 sends none along, and
// still wants it back.
func setIdentity(ctx context.Context, identity *tfsdk.ResourceIdentity, region, id types.String, diags *diag.Diagnostics) {
	if identity != nil {
		diags.Append(identity.Set(ctx, cloudIdentity{Region: region, ID: id})...)
	}
}

// importTarget reads what is to be imported: an id, or an identity.
func importTarget(ctx context.Context, c *ecs.Client, kind, prefix string, req resource.ImportStateRequest, diags *diag.Diagnostics) (id string) {
	id = req.ID
	if id == "" && req.Identity != nil {
		var identity cloudIdentity
		diags.Append(req.Identity.Get(ctx, &identity)...)
		if diags.HasError() {
			return ""
		}
		checkRegion(c, kind, identity.Region, identity.ID.ValueString(), diags)
		id = identity.ID.ValueString()
	}
	rest, ok := strings.CutPrefix(id, prefix)
	if !ok || rest == "" || strings.ContainsAny(rest, " :/,\"") {
		addError(diags, path.Empty(), "", &deploy.Error{
			Summary: "Import id of another form",
			Err:     fmt.Errorf("import %s %q: its id starts with %q and has no colons", kind, id, prefix),
			Remedy:  importHint(id),
		})
	}
	return id
}

// importHint guesses what somebody meant by an id of another form.
func importHint(id string) string {
	switch {
	case strings.HasPrefix(id, "sgr-"):
		return "This is the id of a rule. A rule is imported with its group: import the group, sg-..."
	case strings.HasPrefix(id, "sg-") && strings.Contains(id, ":"):
		return "This is the id of a rule as Alibaba's provider writes it. A rule is imported with its group: import the part before the first colon."
	default:
		return "The console shows the id in the list of the region's resources."
	}
}

// checkRegion refuses to look for a resource in another region than its own,
// where it would seem deleted. It tells whether it is the right one.
func checkRegion(c *ecs.Client, kind string, region types.String, id string, diags *diag.Diagnostics) bool {
	if region.IsNull() || region.IsUnknown() || region.ValueString() == c.Region() {
		return true
	}
	addError(diags, path.Root("region"), "", &deploy.Error{
		Summary: "Resource in another region",
		Err:     fmt.Errorf("find %s %s: it is in region %s, and the provider is configured for %s", kind, id, region.ValueString(), c.Region()),
		Remedy:  "Set the provider's region back, or use a provider with an alias for that region. The resource is not taken for deleted.",
	})
	return false
}

// The key of the private state, and what is in it: which account a resource was
// made in. It is no secret.
const originKey = "origin"

type origin struct {
	Version int    `json:"v"`
	Account string `json:"account"`
}

type privateSetter interface {
	SetKey(ctx context.Context, key string, value []byte) diag.Diagnostics
}

type privateGetter interface {
	GetKey(ctx context.Context, key string) ([]byte, diag.Diagnostics)
}

// keepOrigin remembers the account, if it can be known.
func keepOrigin(ctx context.Context, c *ecs.Client, private privateSetter, diags *diag.Diagnostics) {
	account, err := c.AccountID(ctx)
	if err != nil {
		tflog.Warn(ctx, "account not known, so that its change would not be noticed")
		return
	}
	data, err := json.Marshal(origin{Version: 1, Account: account})
	if err != nil {
		return
	}
	diags.Append(private.SetKey(ctx, originKey, data)...)
}

// confirmAbsent tells whether a resource that is not found may be taken for
// deleted: not if the credentials belong to another account now.
func confirmAbsent(ctx context.Context, c *ecs.Client, private privateGetter, diags *diag.Diagnostics) bool {
	data, more := private.GetKey(ctx, originKey)
	diags.Append(more...)
	var o origin
	if len(data) > 0 {
		if err := json.Unmarshal(data, &o); err != nil {
			o = origin{}
		}
	}
	if err := deploy.OfAnotherAccount(ctx, c, o.Account); err != nil {
		addError(diags, path.Empty(), "Absence not confirmed", err)
		return false
	}
	return true
}

// permissions is the sentence of a resource's documentation that lists what RAM
// has to allow.
func permissions(actions ...string) string {
	return "The RAM permissions that it needs: `" + strings.Join(actions, "`, `") + "`."
}

// endCreation takes the mark of an unfinished creation off something whose id
// is in the state, or is about to be.
func endCreation(ctx context.Context, c *ecs.Client, kind, id string, diags *diag.Diagnostics) {
	if err := deploy.EndCreation(ctx, c, kind, id); err != nil {
		diags.AddWarning("Creation not ended",
			fmt.Sprintf("Could not %v. The next update tries again; until then nothing else of that kind and name is created in the same place.", err))
	}
}

// shownTags are the tags without the mark of a creation.
func shownTags(tags map[string]string) map[string]string {
	shown := maps.Clone(tags)
	delete(shown, deploy.CreationTag)
	return shown
}

// stringMap reads a map of strings; null is empty.
func stringMap(ctx context.Context, m types.Map, diags *diag.Diagnostics) map[string]string {
	out := map[string]string{}
	if !m.IsNull() && !m.IsUnknown() {
		diags.Append(m.ElementsAs(ctx, &out, false)...)
	}
	return out
}

// mapValue writes a map of strings; an empty one is null unless the
// configuration has an empty one too.
func mapValue(ctx context.Context, m map[string]string, like types.Map, diags *diag.Diagnostics) types.Map {
	if len(m) == 0 && (like.IsNull() || len(like.Elements()) > 0) {
		return types.MapNull(types.StringType)
	}
	v, more := types.MapValueFrom(ctx, types.StringType, m)
	diags.Append(more...)
	return v
}

// stringSet reads a set of strings; null is empty.
func stringSet(ctx context.Context, s types.Set, diags *diag.Diagnostics) []string {
	var out []string
	if !s.IsNull() && !s.IsUnknown() {
		diags.Append(s.ElementsAs(ctx, &out, false)...)
	}
	return out
}

// setValue writes a set of strings, null like mapValue.
func setValue(ctx context.Context, values []string, like types.Set, diags *diag.Diagnostics) types.Set {
	if len(values) == 0 && (like.IsNull() || len(like.Elements()) > 0) {
		return types.SetNull(types.StringType)
	}
	if values == nil {
		values = []string{}
	}
	v, more := types.SetValueFrom(ctx, types.StringType, values)
	diags.Append(more...)
	return v
}

// addCloudError is addError for a call that no use-case of package deploy
// stands between.
func addCloudError(diags *diag.Diagnostics, at path.Path, summary, verb string, err error) {
	if ecs.ClassOf(err) == ecs.ClassAuth {
		summary = "Alibaba Cloud refuses the credentials"
	}
	addError(diags, at, summary, &deploy.Error{Summary: summary, Err: fmt.Errorf("%s: %w", verb, err), Remedy: ecs.RemedyOf(err)})
}
