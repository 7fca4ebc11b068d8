package ecs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// SecurityGroup is a security group without its rules.
type SecurityGroup struct {
	ID, Name, Description, VpcID, Type, ResourceGroupID string
	Tags                                                map[string]string
}

// SecurityGroupSpec is what a group is made of.
type SecurityGroupSpec struct {
	VpcID, Name, Description, ResourceGroupID string
	Tags                                      map[string]string
	// Token makes repeated calls one call; see [NewToken].
	Token string
}

// Rule is an ingress rule, in this package's spelling: lower-case protocol and
// policy, and one of the sources.
type Rule struct {
	ID          string // sgr-...; empty before the rule exists
	Protocol    string // tcp, udp, icmp, icmpv6, gre, all
	PortRange   string // "4433/4433", "-1/-1" without ports
	Source      string // a CIDR block of IPv4 or IPv6, or sg-... or pl-...
	Policy      string // accept or drop
	Priority    int    // 1 (first) to 100
	Description string
}

// SameMatch tells that two rules match the same traffic at the same place, in
// which case the service takes them for one and ignores the second.
func (r Rule) SameMatch(o Rule) bool {
	return r.Protocol == o.Protocol && r.PortRange == o.PortRange && r.Source == o.Source &&
		r.Policy == o.Policy && r.Priority == o.Priority
}

// MaxRulesPerCall is how many rules one call adds or removes.
const MaxRulesPerCall = 100

// CreateSecurityGroup makes a group and returns its id. The group may not be
// listed yet.
func (c *Client) CreateSecurityGroup(ctx context.Context, spec SecurityGroupSpec) (string, error) {
	params := map[string]string{"VpcId": spec.VpcID, "SecurityGroupType": "normal"}
	set(params, "SecurityGroupName", spec.Name)
	set(params, "Description", spec.Description)
	set(params, "ResourceGroupId", spec.ResourceGroupID)
	set(params, "ClientToken", spec.Token)
	setTags(params, spec.Tags)
	var out struct {
		ID text `json:"SecurityGroupId"`
	}
	if err := c.call(ctx, createSecurityGroup, params, &out); err != nil {
		return "", err
	}
	if out.ID == "" {
		return "", &Error{Action: createSecurityGroup.name, Err: errors.New("the answer has no SecurityGroupId")}
	}
	return string(out.ID), nil
}

// FindSecurityGroup returns a group, or a [*NotFoundError] once its absence is
// certain.
func (c *Client) FindSecurityGroup(ctx context.Context, id string) (*SecurityGroup, error) {
	var group *SecurityGroup
	gone, err := c.confirmGone(ctx, func(ctx context.Context) (bool, error) {
		var err error
		group, err = c.describeSecurityGroup(ctx, id)
		return group != nil, err
	})
	if err != nil {
		return nil, err
	}
	if gone {
		return nil, &NotFoundError{Kind: "security group", ID: id, Region: c.region}
	}
	return group, nil
}

// WaitSecurityGroup waits until a new group is listed, and returns it.
func (c *Client) WaitSecurityGroup(ctx context.Context, id string) (*SecurityGroup, error) {
	var group *SecurityGroup
	err := c.Wait(ctx, "security group "+id+" to be listed", func(ctx context.Context) (bool, string, error) {
		var err error
		group, err = c.describeSecurityGroup(ctx, id)
		return group != nil, "", err
	})
	return group, err
}

// describeSecurityGroup returns nil when the group is not listed.
func (c *Client) describeSecurityGroup(ctx context.Context, id string) (*SecurityGroup, error) {
	groups, err := c.securityGroups(ctx, map[string]string{"SecurityGroupIds": jsonList(id)})
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		if g.ID == id {
			return g, nil
		}
	}
	return nil, nil //nolint:nilnil // Absence is an answer here; the exported callers turn it into an error.
}

// SecurityGroupsWithTag lists the groups of a name in a VPC that have a tag,
// whatever its value.
func (c *Client) SecurityGroupsWithTag(ctx context.Context, key, name, vpcID string) ([]*SecurityGroup, error) {
	groups, err := c.securityGroups(ctx, map[string]string{"Tag.1.Key": key, "SecurityGroupName": name, "VpcId": vpcID})
	return slices.DeleteFunc(groups, func(g *SecurityGroup) bool {
		_, tagged := g.Tags[key]
		return !tagged || g.Name != name || g.VpcID != vpcID
	}), err
}

// securityGroups lists the groups that fit, all pages of them.
func (c *Client) securityGroups(ctx context.Context, filter map[string]string) ([]*SecurityGroup, error) {
	type reply struct {
		NextToken      text
		SecurityGroups struct {
			SecurityGroup []struct {
				SecurityGroupID   text `json:"SecurityGroupId"`
				SecurityGroupName text
				Description       text
				VpcID             text `json:"VpcId"`
				SecurityGroupType text
				ResourceGroupID   text `json:"ResourceGroupId"`
				Tags              tagSet
			}
		}
	}
	var all []*SecurityGroup
	last := &reply{}
	collect := func() {
		for _, g := range last.SecurityGroups.SecurityGroup {
			all = append(all, &SecurityGroup{
				ID: string(g.SecurityGroupID), Name: string(g.SecurityGroupName), Description: string(g.Description), VpcID: string(g.VpcID),
				Type: string(g.SecurityGroupType), ResourceGroupID: string(g.ResourceGroupID), Tags: g.Tags.tags(),
			})
		}
	}
	err := c.pages(ctx, describeSecurityGroups, filter, func() (any, func() string) {
		collect()
		last = &reply{}
		return last, func() string { return string(last.NextToken) }
	})
	collect()
	return all, err
}

// ModifySecurityGroup renames a group or changes its description. Both are
// sent, so that an empty description clears the old one.
func (c *Client) ModifySecurityGroup(ctx context.Context, id, name, description string) error {
	return c.groupCall(ctx, modifySecurityGroup, id, map[string]string{"SecurityGroupName": name, "Description": description})
}

// DeleteSecurityGroup deletes a group; one that is gone is no error. While
// something uses the group the error is of [ClassDependency].
func (c *Client) DeleteSecurityGroup(ctx context.Context, id string) error {
	err := c.groupCall(ctx, deleteSecurityGroup, id, map[string]string{})
	if IsNotFound(err) {
		return nil
	}
	return err
}

// groupCall makes a call about a group and translates the codes by which it
// does not exist.
func (c *Client) groupCall(ctx context.Context, a *action, id string, params map[string]string) error {
	params["SecurityGroupId"] = id
	return c.about(a, "security group", id, c.call(ctx, a, params, nil))
}

// about turns the codes of an action that mean "missing" and "done already"
// into what they mean.
func (c *Client) about(a *action, kind, id string, err error) error {
	switch {
	case err == nil || HasCode(err, a.done...):
		return nil
	case HasCode(err, a.missing...):
		return &NotFoundError{Kind: kind, ID: id, Region: c.region}
	default:
		return err
	}
}

// IngressRules lists every ingress rule of a group, all pages of them.
func (c *Client) IngressRules(ctx context.Context, id string) ([]Rule, error) {
	type reply struct {
		NextToken   text
		Permissions struct {
			Permission []struct {
				SecurityGroupRuleID text `json:"SecurityGroupRuleId"`
				Direction           text
				IPProtocol          text `json:"IpProtocol"`
				PortRange           text
				SourceCidrIP        text `json:"SourceCidrIp"`
				IPv6SourceCidrIP    text `json:"Ipv6SourceCidrIp"`
				SourceGroupID       text `json:"SourceGroupId"`
				SourcePrefixListID  text `json:"SourcePrefixListId"`
				Policy              text
				Priority            number
				Description         text
			}
		}
	}
	var rules []Rule
	var last *reply
	collect := func() {
		if last == nil {
			return
		}
		for _, p := range last.Permissions.Permission {
			if strings.EqualFold(string(p.Direction), "egress") {
				continue
			}
			source := firstOf(p.SourceCidrIP, p.IPv6SourceCidrIP, p.SourceGroupID, p.SourcePrefixListID)
			rules = append(rules, Rule{
				ID: string(p.SecurityGroupRuleID), Protocol: strings.ToLower(string(p.IPProtocol)), PortRange: string(p.PortRange),
				Source: source, Policy: strings.ToLower(string(p.Policy)), Priority: int(p.Priority), Description: string(p.Description),
			})
		}
	}
	err := c.pages(ctx, describeSecurityGroupAttr, map[string]string{"SecurityGroupId": id, "Direction": "ingress"}, func() (any, func() string) {
		collect()
		last = &reply{}
		return last, func() string { return string(last.NextToken) }
	})
	if err := c.about(describeSecurityGroupAttr, "security group", id, err); err != nil {
		return nil, err
	}
	collect()
	return rules, nil
}

func firstOf(values ...text) string {
	for _, v := range values {
		if v != "" {
			return string(v)
		}
	}
	return ""
}

// AddIngressRules adds rules, at most [MaxRulesPerCall]. The service says
// nothing of the new rules' ids, nor of a rule that was there already.
func (c *Client) AddIngressRules(ctx context.Context, id string, rules []Rule) error {
	if len(rules) == 0 {
		return nil
	}
	if len(rules) > MaxRulesPerCall {
		return fmt.Errorf("add %d rules to %s: at most %d at once", len(rules), id, MaxRulesPerCall)
	}
	params := map[string]string{}
	for i, r := range rules {
		prefix := fmt.Sprintf("Permissions.%d.", i+1)
		params[prefix+"IpProtocol"] = r.Protocol
		params[prefix+"PortRange"] = r.PortRange
		params[prefix+"Policy"] = r.Policy
		params[prefix+"Priority"] = strconv.Itoa(r.Priority)
		params[prefix+sourceParam(r.Source)] = r.Source
		set(params, prefix+"Description", r.Description)
	}
	return c.groupCall(ctx, authorizeSecurityGroup, id, params)
}

func sourceParam(source string) string {
	switch {
	case strings.HasPrefix(source, "sg-"):
		return "SourceGroupId"
	case strings.HasPrefix(source, "pl-"):
		return "SourcePrefixListId"
	case strings.Contains(source, ":"):
		return "Ipv6SourceCidrIp"
	default:
		return "SourceCidrIp"
	}
}

// RemoveRules removes rules by their ids; rules that are gone are no error.
func (c *Client) RemoveRules(ctx context.Context, id string, ruleIDs []string) error {
	for part := range slices.Chunk(ruleIDs, MaxRulesPerCall) {
		params := map[string]string{}
		list(params, "SecurityGroupRuleId", part)
		if err := c.groupCall(ctx, revokeSecurityGroup, id, params); err != nil {
			return err
		}
	}
	return nil
}

// DescribeRule changes the description of a rule, by its id. An empty one
// clears the old.
func (c *Client) DescribeRule(ctx context.Context, id, ruleID, description string) error {
	err := c.groupCall(ctx, modifySecurityGroupRule, id, map[string]string{"SecurityGroupRuleId": ruleID, "Description": description})
	if HasCode(err, "SecurityGroupRule.NotFound", "InvalidSecurityGroupRule.RuleNotExist") {
		return &NotFoundError{Kind: "security group rule", ID: ruleID, Region: c.region}
	}
	return err
}

// GroupUsers is what keeps a group from being deleted.
type GroupUsers struct {
	Instances  []string // ids
	Interfaces []string // of network interfaces that belong to none of the instances
	Groups     []string // whose rules name the group
}

// Empty tells that nothing uses the group.
func (u GroupUsers) Empty() bool { return len(u.Instances)+len(u.Interfaces)+len(u.Groups) == 0 }

func (u GroupUsers) String() string {
	var parts []string
	for _, p := range []struct {
		what string
		ids  []string
	}{{"instances", u.Instances}, {"network interfaces", u.Interfaces}, {"rules of security groups", u.Groups}} {
		if len(p.ids) > 0 {
			parts = append(parts, p.what+" "+strings.Join(p.ids, ", "))
		}
	}
	return strings.Join(parts, "; ")
}

// SecurityGroupUsers lists what uses a group.
func (c *Client) SecurityGroupUsers(ctx context.Context, id string) (GroupUsers, error) {
	var users GroupUsers
	var interfaces struct {
		NetworkInterfaceSets struct {
			NetworkInterfaceSet []struct {
				NetworkInterfaceID text `json:"NetworkInterfaceId"`
				InstanceID         text `json:"InstanceId"`
			}
		}
	}
	if err := c.call(ctx, describeNetworkInterfaces, map[string]string{"SecurityGroupId": id, "PageSize": strconv.Itoa(pageSize)}, &interfaces); err != nil {
		return users, err
	}
	for _, n := range interfaces.NetworkInterfaceSets.NetworkInterfaceSet {
		if n.InstanceID != "" {
			users.Instances = append(users.Instances, string(n.InstanceID))
		} else {
			users.Interfaces = append(users.Interfaces, string(n.NetworkInterfaceID))
		}
	}
	var references struct {
		SecurityGroupReferences struct {
			SecurityGroupReference []struct {
				ReferencingSecurityGroups struct {
					ReferencingSecurityGroup []struct {
						SecurityGroupID text `json:"SecurityGroupId"`
					}
				}
			}
		}
	}
	if err := c.call(ctx, describeSecurityGroupRefs, map[string]string{"SecurityGroupId.1": id}, &references); err != nil {
		return users, err
	}
	for _, r := range references.SecurityGroupReferences.SecurityGroupReference {
		for _, g := range r.ReferencingSecurityGroups.ReferencingSecurityGroup {
			users.Groups = append(users.Groups, string(g.SecurityGroupID))
		}
	}
	return users, nil
}

// tagSet is how answers carry tags.
type tagSet struct {
	Tag []struct{ TagKey, TagValue text }
}

func (s tagSet) tags() map[string]string {
	tags := map[string]string{}
	for _, t := range s.Tag {
		tags[string(t.TagKey)] = string(t.TagValue)
	}
	return tags
}

// MaxTags is how many tags a resource may have, and one call may set.
const MaxTags = 20

func setTags(params, tags map[string]string) {
	keys := make([]string, 0, len(tags))
	for k := range tags {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for i, k := range keys {
		params[fmt.Sprintf("Tag.%d.Key", i+1)] = k
		params[fmt.Sprintf("Tag.%d.Value", i+1)] = tags[k]
	}
}

// The resource types that tags are set on.
const (
	TagInstance      = "instance"
	TagSecurityGroup = "securitygroup"
)

// Retag changes a resource's tags from old to wanted, touching no other tag. It
// sets before it removes.
func (c *Client) Retag(ctx context.Context, kind, id string, old, wanted map[string]string) error {
	changed := map[string]string{}
	for k, v := range wanted {
		if o, ok := old[k]; !ok || o != v {
			changed[k] = v
		}
	}
	var removed []string
	for k := range old {
		if _, ok := wanted[k]; !ok {
			removed = append(removed, k)
		}
	}
	slices.Sort(removed)
	if len(changed) > 0 {
		params := map[string]string{"ResourceType": kind, "ResourceId.1": id}
		setTags(params, changed)
		if err := c.about(tagResources, kind, id, c.call(ctx, tagResources, params, nil)); err != nil {
			return err
		}
	}
	if len(removed) > 0 {
		params := map[string]string{"ResourceType": kind, "ResourceId.1": id}
		list(params, "TagKey", removed)
		return c.about(untagResources, kind, id, c.call(ctx, untagResources, params, nil))
	}
	return nil
}
