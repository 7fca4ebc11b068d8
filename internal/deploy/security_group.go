package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
)

// afterwards is how long the traces of a change are still collected after its
// caller gave up.
const afterwards = 15 * time.Second

// ruleLag is how long a new rule may be missing from its group's list.
const ruleLag = 2 * time.Minute

// RuleText names a rule in messages and as a key: "tcp 4433/4433 from
// 192.0.2.0/24", with policy and priority where they are not the usual ones.
func RuleText(r ecs.Rule) string {
	text := r.Protocol + " " + r.PortRange + " from " + r.Source
	if r.Policy != "accept" {
		text += " " + r.Policy
	}
	if r.Priority != 1 {
		text += fmt.Sprintf(" priority %d", r.Priority)
	}
	return text
}

// ObserveSecurityGroup returns a group and its ingress rules: one call and one
// for each page of rules. A group that is gone gives an error for which
// [ecs.IsNotFound] holds.
func ObserveSecurityGroup(ctx context.Context, c *ecs.Client, id string) (*ecs.SecurityGroup, []ecs.Rule, error) {
	group, err := c.FindSecurityGroup(ctx, id)
	if err != nil {
		return nil, nil, explainCloud("Security group not read", verb("read security group "+id, err))
	}
	rules, err := c.IngressRules(ctx, id)
	if err != nil {
		return nil, nil, explainCloud("Security group not read", verb("read rules of security group "+id, err))
	}
	return group, rules, nil
}

// CreateSecurityGroup makes a group without rules. The id is returned as soon
// as there is one; the caller stores it before anything else, and hands it to
// [EndCreation] at last. What a killed run left behind is named, as by
// [CreateInstance].
func CreateSecurityGroup(ctx context.Context, c *ecs.Client, spec ecs.SecurityGroupSpec) (string, error) {
	failed := func(err error) (string, error) {
		return "", explainCloud("Security group not created", verb("create security group "+spec.Name, err))
	}
	before, err := c.SecurityGroupsWithTag(ctx, CreationTag, spec.Name, spec.VpcID)
	if err != nil {
		return failed(err)
	}
	var orphans []string
	for _, g := range before {
		if !c.OwnCreationToken(g.Tags[CreationTag]) {
			orphans = append(orphans, g.ID)
		}
	}
	if err := orphanError("Security group", spec.Name, spec.VpcID, orphans); err != nil {
		return "", err
	}
	spec.Token = c.NewCreationToken()
	spec.Tags = marked(spec.Tags, spec.Token)
	id, err := c.CreateSecurityGroup(ctx, spec)
	if err == nil || ecs.ClassOf(err) != ecs.ClassTransient {
		return id, explainCloud("Security group not created", verb("create security group "+spec.Name, err))
	}
	// Nobody knows whether the last attempt happened.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterwards)
	defer cancel()
	after, lookErr := c.SecurityGroupsWithTag(ctx, CreationTag, spec.Name, spec.VpcID)
	for _, g := range after {
		if lookErr == nil && g.Tags[CreationTag] == spec.Token {
			return g.ID, nil
		}
	}
	return "", perhapsError("Security group", spec.Name, spec.Token, err)
}

// PlanRules compares the rules that are owned, as they are now, with those that
// are wanted. Rules of others are no concern, except one that is wanted too: it
// is never taken over silently, because destroying the resource would remove
// somebody else's rule.
func PlanRules(id string, present, owned, wanted []ecs.Rule) (add, describe, remove []ecs.Rule, err error) {
	mine := map[string]bool{}
	for _, r := range owned {
		mine[r.ID] = true
	}
	kept := map[string]bool{}
	for _, w := range wanted {
		at := slices.IndexFunc(present, w.SameMatch)
		switch {
		case at < 0:
			add = append(add, w)
		case !mine[present[at].ID]:
			return nil, nil, nil, &Error{
				Summary: "Security group rule exists already",
				Err:     fmt.Errorf("add rule %s to security group %s: somebody else's rule %s matches the same traffic (description %q)", RuleText(w), id, present[at].ID, present[at].Description),
				Remedy: "Alibaba Cloud would keep that one rule for both, and destroying this resource would then remove it. Remove the rule by hand to let this " +
					"resource own it, leave it out of the configuration, or import the whole group to take over all its rules.",
			}
		default:
			kept[present[at].ID] = true
			if present[at].Description != w.Description {
				w.ID = present[at].ID
				describe = append(describe, w)
			}
		}
	}
	for _, r := range present {
		if mine[r.ID] && !kept[r.ID] {
			remove = append(remove, r)
		}
	}
	return add, describe, remove, nil
}

// ChangeRules brings the rules of a group from those owned to those wanted: new
// rules first, so that nothing that is wanted before and after is cut off. It
// returns the rules that are owned now, also beside an error: what was added
// before a failure has to be known to be removed later. No rules beside an error
// say that none was added, and that those owned before are what they were.
func ChangeRules(ctx context.Context, c *ecs.Client, id string, owned, wanted []ecs.Rule) ([]ecs.Rule, error) {
	fail := func(now []ecs.Rule, err error) ([]ecs.Rule, error) {
		return now, explainCloud("Security group rules not changed", verb("change rules of security group "+id, err))
	}
	present, err := c.IngressRules(ctx, id)
	if err != nil {
		return fail(nil, err)
	}
	now := ownedRules(present, owned)
	add, describe, remove, err := PlanRules(id, present, owned, wanted)
	if err != nil {
		return now, err
	}
	for part := range slices.Chunk(add, ecs.MaxRulesPerCall) {
		err := c.AddIngressRules(ctx, id, part)
		// Whatever became of the call, rules that appear are ours.
		added, seeErr := seeRules(ctx, c, id, present, part, err == nil)
		now = append(now, added...)
		if err = errors.Join(err, seeErr); err != nil {
			return fail(now, err)
		}
	}
	for _, r := range describe {
		if err := c.DescribeRule(ctx, id, r.ID, r.Description); err != nil {
			return fail(now, err)
		}
		now[slices.IndexFunc(now, func(n ecs.Rule) bool { return n.ID == r.ID })].Description = r.Description
	}
	if len(remove) > 0 {
		var ids []string
		for _, r := range remove {
			ids = append(ids, r.ID)
		}
		if err := c.RemoveRules(ctx, id, ids); err != nil {
			return fail(now, err)
		}
		now = slices.DeleteFunc(now, func(r ecs.Rule) bool { return slices.Contains(ids, r.ID) })
	}
	return now, nil
}

// ownedRules returns the rules that are owned, as they are now.
func ownedRules(present, owned []ecs.Rule) []ecs.Rule {
	var now []ecs.Rule
	for _, r := range present {
		if slices.ContainsFunc(owned, func(o ecs.Rule) bool { return o.ID == r.ID }) {
			now = append(now, r)
		}
	}
	return now
}

// lingering returns a context that ends [afterwards] later than ctx.
func lingering(ctx context.Context) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(afterwards, cancel) })
	return longer, func() { stop(); cancel() }
}

// seeRules finds the ids of rules that were just added, which the service does
// not tell. With patience it waits until all are listed, because lists lag
// behind; without, as after a failure, it looks once. It goes on for a while
// after its caller gave up.
func seeRules(ctx context.Context, c *ecs.Client, id string, before, added []ecs.Rule, patience bool) ([]ecs.Rule, error) {
	ctx, release := lingering(ctx)
	defer release()
	look, cancel := context.WithTimeout(ctx, ruleLag)
	defer cancel()
	var seen []ecs.Rule
	err := c.Wait(look, plural(len(added), "new rule")+" of security group "+id+" to be listed", func(ctx context.Context) (bool, string, error) {
		present, err := c.IngressRules(ctx, id)
		if err != nil {
			return false, "", err
		}
		seen = nil
		for _, r := range present {
			isNew := !slices.ContainsFunc(before, func(b ecs.Rule) bool { return b.ID == r.ID })
			if isNew && slices.ContainsFunc(added, r.SameMatch) {
				seen = append(seen, r)
			}
		}
		return !patience || len(seen) >= len(added), fmt.Sprintf("%d listed", len(seen)), nil
	})
	return seen, err
}

// UpdateSecurityGroup changes the name, the description, the tags and the
// resource group.
func UpdateSecurityGroup(ctx context.Context, c *ecs.Client, id string, from, to ecs.SecurityGroupSpec) error {
	if from.Name != to.Name || from.Description != to.Description {
		if err := c.ModifySecurityGroup(ctx, id, to.Name, to.Description); err != nil {
			return explainCloud("Security group not changed", verb("change security group "+id, err))
		}
	}
	if err := c.Retag(ctx, ecs.TagSecurityGroup, id, from.Tags, to.Tags); err != nil {
		return explainCloud("Security group not changed", verb("change tags of security group "+id, err))
	}
	if from.ResourceGroupID == to.ResourceGroupID || to.ResourceGroupID == "" {
		return nil
	}
	err := c.JoinResourceGroup(ctx, ecs.TagSecurityGroup, id, to.ResourceGroupID)
	return explainCloud("Security group not changed", verb("move security group "+id, err))
}

// DeleteSecurityGroup deletes a group with its rules. A machine that was just
// deleted holds its groups for a while, so it tries for as long as ctx lasts,
// and then says what still uses the group.
func DeleteSecurityGroup(ctx context.Context, c *ecs.Client, id string) error {
	var inUse error // the last answer that said so
	err := c.Wait(ctx, "security group "+id+" to be free", func(ctx context.Context) (bool, string, error) {
		err := c.DeleteSecurityGroup(ctx, id)
		if ecs.ClassOf(err) == ecs.ClassDependency {
			inUse = err
			return false, "in use", nil
		}
		return err == nil, "", err
	})
	if err == nil {
		return nil
	}
	if inUse == nil || ctx.Err() == nil {
		return explainCloud("Security group not deleted", verb("delete security group "+id, err))
	}
	return &Error{
		Summary: "Security group still in use",
		Err:     fmt.Errorf("delete security group %s: %w", id, inUse),
		Remedy:  "Still in use by: " + usersOf(ctx, c, id) + ". Destroy or move those first; a machine that was just deleted holds its groups for some minutes.",
	}
}

// usersOf lists what uses a group, as far as can be known.
func usersOf(ctx context.Context, c *ecs.Client, id string) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterwards)
	defer cancel()
	users, err := c.SecurityGroupUsers(ctx, id)
	switch {
	case err != nil:
		return "something that could not be listed (" + err.Error() + ")"
	case users.Empty():
		return "nothing that is listed any more"
	default:
		return users.String()
	}
}

// ValidRuleSource tells whether s can be the source of a rule, with the reason
// if not: a CIDR block without host bits, or the id of a security group or of a
// prefix list.
func ValidRuleSource(s string) error {
	if strings.HasPrefix(s, "sg-") || strings.HasPrefix(s, "pl-") {
		return nil
	}
	return ValidCIDR(s)
}
