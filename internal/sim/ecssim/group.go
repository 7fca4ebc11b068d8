package ecssim

import (
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

type group struct {
	lifetime
	ID, Region, Name, Description, VpcID, Type, InnerAccess string
	ResourceGroup                                           string
	Created                                                 time.Time
	Tags                                                    map[string]string
	Rules                                                   []*rule
}

type rule struct {
	Visible                                                                time.Time
	ID, Direction, Protocol, Ports, Source, SourceKind, Policy, Nic, Descr string
	Priority                                                               int
	Created                                                                time.Time
}

var groupActions = map[string]func(*Server, *call) (reply, error){
	"CreateSecurityGroup":             createSecurityGroup,
	"DescribeSecurityGroups":          describeSecurityGroups,
	"DescribeSecurityGroupReferences": describeSecurityGroupReferences,
	"ModifySecurityGroupAttribute":    modifySecurityGroupAttribute,
	"ModifySecurityGroupPolicy":       modifySecurityGroupPolicy,
	"DeleteSecurityGroup":             deleteSecurityGroup,
}

var ruleActions = map[string]func(*Server, *call) (reply, error){
	"DescribeSecurityGroupAttribute": describeSecurityGroupAttribute,
	"AuthorizeSecurityGroup":         func(s *Server, c *call) (reply, error) { return authorize(s, c, "ingress") },
	"AuthorizeSecurityGroupEgress":   func(s *Server, c *call) (reply, error) { return authorize(s, c, "egress") },
	"RevokeSecurityGroup":            func(s *Server, c *call) (reply, error) { return revoke(s, c, "ingress") },
	"RevokeSecurityGroupEgress":      func(s *Server, c *call) (reply, error) { return revoke(s, c, "egress") },
	"ModifySecurityGroupRule":        modifySecurityGroupRule,
}

var namePattern = regexp.MustCompile(`^[\p{L}][\p{L}\p{N}_.:\-]{1,127}$`)

func checkName(name, code string) error {
	if name != "" && (!namePattern.MatchString(name) || strings.HasPrefix(name, "http://") || strings.HasPrefix(name, "https://")) {
		return refuse(http.StatusBadRequest, code, "The specified name %q is wrongly formed.", name)
	}
	return nil
}

func (s *Server) group(c *call, id string) (*group, error) {
	g := s.state.Groups[id]
	if g == nil || !g.alive(c.now) || (c.region != "" && g.Region != c.region) {
		return nil, refuse(http.StatusNotFound, "InvalidSecurityGroupId.NotFound", "The specified SecurityGroupId does not exist.")
	}
	return g, nil
}

func createSecurityGroup(s *Server, c *call) (reply, error) {
	if err := c.needRegion(); err != nil {
		return nil, err
	}
	if err := checkName(c.params["SecurityGroupName"], "InvalidSecurityGroupName.Malformed"); err != nil {
		return nil, err
	}
	if d := c.params["Description"]; d != "" && (len(d) < 2 || len(d) > 256) {
		return nil, refuse(http.StatusBadRequest, "InvalidDescription.Malformed", "The specified parameter Description is not valid.")
	}
	if id := c.params["VpcId"]; id != "" {
		if _, err := s.vpc(c, id); err != nil {
			return nil, err
		}
	}
	n := 0
	for _, g := range s.state.Groups {
		if g.alive(c.now) && g.Region == c.region {
			n++
		}
	}
	if n >= s.opts.Quotas.SecurityGroups {
		return nil, refuse(http.StatusForbidden, "QuotaExceed.SecurityGroup", "The maximum number of security groups is reached.")
	}
	kind := c.params["SecurityGroupType"]
	if kind == "" {
		kind = "normal"
	}
	g := &group{
		lifetime: lifetime{Visible: c.now.Add(s.opts.Latencies.Consistency)}, ID: s.state.id("sg"), Region: c.region, Name: c.params["SecurityGroupName"],
		Description: c.params["Description"], VpcID: c.params["VpcId"], Type: kind, InnerAccess: "Accept", Created: c.now, Tags: tagsOf(c.params),
		ResourceGroup: c.params["ResourceGroupId"],
	}
	s.state.Groups[g.ID] = g
	return reply{"SecurityGroupId": g.ID}, nil
}

func describeSecurityGroups(s *Server, c *call) (reply, error) {
	ids, err := c.list("SecurityGroupIds")
	if err != nil {
		return nil, err
	}
	if id := c.params["SecurityGroupId"]; id != "" {
		ids = append(ids, id)
	}
	var all []reply
	for _, g := range sorted(s.state.Groups) {
		if !g.listed(c.now) || g.Region != c.region || !matches(ids, g.ID) || !fits(c.params, "VpcId", g.VpcID) ||
			!fits(c.params, "SecurityGroupName", g.Name) || !hasTags(g.Tags, c.params) {
			continue
		}
		all = append(all, reply{
			"SecurityGroupId": g.ID, "SecurityGroupName": g.Name, "Description": g.Description, "VpcId": g.VpcID, "SecurityGroupType": g.Type,
			"ResourceGroupId": g.ResourceGroup, "CreationTime": g.Created.UTC().Format(timestampFormat), "EcsCount": len(s.members(c, g.ID)), "RuleCount": len(g.Rules),
			"ServiceManaged": false, "AvailableInstanceAmount": 2000, "Tags": tagReply(g.Tags, "TagKey", "TagValue"),
		})
	}
	part, meta, err := page(c.params, all, 100)
	if err != nil {
		return nil, err
	}
	meta["RegionId"] = c.region
	meta["SecurityGroups"] = reply{"SecurityGroup": part}
	return meta, nil
}

func modifySecurityGroupAttribute(s *Server, c *call) (reply, error) {
	g, err := s.group(c, c.params["SecurityGroupId"])
	if err != nil {
		return nil, err
	}
	if err := checkName(c.params["SecurityGroupName"], "InvalidSecurityGroupName.Malformed"); err != nil {
		return nil, err
	}
	assign(c.params, "SecurityGroupName", &g.Name)
	assign(c.params, "Description", &g.Description)
	return reply{}, nil
}

func modifySecurityGroupPolicy(s *Server, c *call) (reply, error) {
	g, err := s.group(c, c.params["SecurityGroupId"])
	if err != nil {
		return nil, err
	}
	switch strings.ToLower(c.params["InnerAccessPolicy"]) {
	case "accept":
		g.InnerAccess = "Accept"
	case "drop":
		g.InnerAccess = "Drop"
	default:
		return nil, refuse(http.StatusBadRequest, "InvalidInnerAccessPolicy.Malformed", "The specified InnerAccessPolicy is not valid.")
	}
	return reply{}, nil
}

func deleteSecurityGroup(s *Server, c *call) (reply, error) {
	g, err := s.group(c, c.params["SecurityGroupId"])
	if err != nil {
		return nil, err
	}
	if len(s.members(c, g.ID)) > 0 || len(s.referrers(c, g.ID)) > 0 {
		return nil, refuse(http.StatusForbidden, "DependencyViolation", "There is still instance(s) in the specified security group, or another group's rule refers to it.")
	}
	delete(s.state.Groups, g.ID)
	return reply{}, nil
}

func (r *rule) reply() reply {
	out := reply{
		"SecurityGroupRuleId": r.ID, "Direction": r.Direction, "IpProtocol": r.Protocol, "PortRange": r.Ports, "Policy": r.Policy,
		"Priority": r.Priority, "NicType": r.Nic, "Description": r.Descr, "CreateTime": r.Created.UTC().Format(timestampFormat),
	}
	for _, field := range []string{
		"SourceCidrIp", "Ipv6SourceCidrIp", "SourceGroupId", "SourceGroupName", "SourceGroupOwnerAccount", "SourcePrefixListId", "SourcePrefixListName", "SourcePortRange",
		"DestCidrIp", "Ipv6DestCidrIp", "DestGroupId", "DestGroupName", "DestGroupOwnerAccount", "DestPrefixListId", "DestPrefixListName",
	} {
		out[field] = ""
	}
	kind := r.SourceKind
	if r.Direction == "egress" {
		kind = strings.Replace(strings.Replace(kind, "Ipv6Source", "Ipv6Dest", 1), "Source", "Dest", 1)
	}
	out[kind] = r.Source
	return out
}

func describeSecurityGroupAttribute(s *Server, c *call) (reply, error) {
	g, err := s.group(c, c.params["SecurityGroupId"])
	if err != nil {
		return nil, err
	}
	var all []reply
	for _, r := range g.Rules {
		if direction := c.params["Direction"]; !c.now.Before(r.Visible) && (direction == "" || direction == "all" || direction == r.Direction) {
			all = append(all, r.reply())
		}
	}
	// Without MaxResults the answer has every rule, in one page.
	meta := reply{"NextToken": ""}
	if c.params["MaxResults"] != "" || c.params["NextToken"] != "" {
		if all, meta, err = page(c.params, all, 1000); err != nil {
			return nil, err
		}
	}
	if all == nil {
		all = []reply{}
	}
	return reply{
		"RegionId": g.Region, "SecurityGroupId": g.ID, "SecurityGroupName": g.Name, "Description": g.Description, "VpcId": g.VpcID,
		"InnerAccessPolicy": g.InnerAccess, "NextToken": meta["NextToken"], "Permissions": reply{"Permission": all},
	}, nil
}

var (
	portPattern = regexp.MustCompile(`^(-1/-1|\d{1,5}/\d{1,5})$`)
	protocols   = []string{"TCP", "UDP", "ICMP", "ICMPV6", "GRE", "ALL"}
)

// parseRule reads a rule's arguments, in either direction.
func parseRule(p params, direction string) (*rule, error) {
	r := &rule{Direction: direction, Protocol: strings.ToUpper(p["IpProtocol"]), Ports: p["PortRange"], Policy: "Accept", Priority: 1, Nic: "intranet", Descr: p["Description"]}
	if err := p.need("IpProtocol", "PortRange"); err != nil {
		return nil, err
	}
	if !slices.Contains(protocols, r.Protocol) {
		return nil, refuse(http.StatusBadRequest, "InvalidIpProtocol.ValueNotSupported", "The specified IpProtocol is not supported.")
	}
	if !portPattern.MatchString(r.Ports) {
		return nil, refuse(http.StatusBadRequest, "InvalidPortRange.Malformed", "The specified PortRange is not valid.")
	}
	from, to, _ := strings.Cut(r.Ports, "/")
	low, _ := strconv.Atoi(from)
	high, _ := strconv.Atoi(to)
	if ports := r.Protocol == "TCP" || r.Protocol == "UDP"; ports != (r.Ports != "-1/-1") || low > high || high > 65535 || ports && low < 1 {
		return nil, refuse(http.StatusBadRequest, "InvalidPortRange.Malformed", "The specified PortRange does not go with the protocol.")
	}
	switch strings.ToLower(p["Policy"]) {
	case "", "accept":
	case "drop":
		r.Policy = "Drop"
	default:
		return nil, refuse(http.StatusBadRequest, "InvalidPolicy.Malformed", "The specified Policy is not valid.")
	}
	if v := p["Priority"]; v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > 100 {
			return nil, refuse(http.StatusBadRequest, "InvalidPriority.ValueNotSupported", "The specified Priority is not between 1 and 100.")
		}
		r.Priority = n
	}
	prefix := map[string]string{"ingress": "Source", "egress": "Dest"}[direction]
	for _, kind := range []string{"CidrIp", "GroupId", "PrefixListId", "Ipv6"} {
		name, stored := prefix+kind, "Source"+kind
		if kind == "Ipv6" {
			name, stored = "Ipv6"+prefix+"CidrIp", "Ipv6SourceCidrIp"
		}
		if v := p[name]; v != "" {
			r.Source, r.SourceKind = v, stored
			break
		}
	}
	return r, r.normalise()
}

// normalise spells the source as the cloud stores it, host bits masked.
func (r *rule) normalise() error {
	switch r.SourceKind {
	case "":
		return refuse(http.StatusBadRequest, "MissingParameter.Source", "One of the parameters SourceCidrIp, Ipv6SourceCidrIp, SourceGroupId or SourcePrefixListId must be specified.")
	case "SourceCidrIp", "Ipv6SourceCidrIp":
		text := r.Source
		if !strings.Contains(text, "/") {
			text += map[bool]string{true: "/128", false: "/32"}[strings.Contains(text, ":")]
		}
		p, err := netip.ParsePrefix(text)
		if err != nil || p.Addr().Is4() != (r.SourceKind == "SourceCidrIp") {
			return refuse(http.StatusBadRequest, "InvalidSourceCidrIp.Malformed", "The specified source CIDR block is not valid.")
		}
		r.Source = p.Masked().String()
	}
	return nil
}

func (r *rule) same(o *rule) bool {
	return r.Direction == o.Direction && r.Protocol == o.Protocol && r.Ports == o.Ports && r.Source == o.Source && r.SourceKind == o.SourceKind &&
		r.Policy == o.Policy && r.Priority == o.Priority
}

// rulesOf reads Permissions.N, or the flat form of older callers.
func rulesOf(p params, direction string) ([]*rule, error) {
	items := p.structs("Permissions")
	if len(items) == 0 {
		items = []params{p}
	}
	if len(items) > 100 {
		return nil, refuse(http.StatusBadRequest, "InvalidParam.PermissionsNumber", "At most 100 permissions at once.")
	}
	var rules []*rule
	for _, item := range items {
		r, err := parseRule(item, direction)
		if err != nil {
			return nil, err
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// authorize adds rules. One that exists is passed over without a word.
func authorize(s *Server, c *call, direction string) (reply, error) {
	g, err := s.group(c, c.params["SecurityGroupId"])
	if err != nil {
		return nil, err
	}
	rules, err := rulesOf(c.params, direction)
	if err != nil {
		return nil, err
	}
	for _, r := range rules {
		if r.SourceKind == "SourceGroupId" && s.state.Groups[r.Source] == nil {
			return nil, refuse(http.StatusNotFound, "InvalidSourceGroupId.NotFound", "The specified SourceGroupId does not exist.")
		}
	}
	added := slices.Clone(g.Rules)
	for _, r := range rules {
		if slices.ContainsFunc(added, r.same) {
			continue
		}
		r.ID, r.Created, r.Visible = s.state.id("sgr"), c.now, c.now.Add(s.opts.Latencies.Consistency)
		added = append(added, r)
	}
	if len(added) > s.opts.Quotas.Rules {
		return nil, refuse(http.StatusForbidden, "AuthorizationLimitExceed", "The limit of authorization records in the security group reaches the maximum of %d.", s.opts.Quotas.Rules)
	}
	g.Rules = added
	return reply{}, nil
}

// revoke removes rules by id or by what they match. One that does not exist is
// passed over without a word.
func revoke(s *Server, c *call, direction string) (reply, error) {
	g, err := s.group(c, c.params["SecurityGroupId"])
	if err != nil {
		return nil, err
	}
	ids, err := c.list("SecurityGroupRuleId")
	if err != nil {
		return nil, err
	}
	var targets []*rule
	if len(ids) == 0 {
		if targets, err = rulesOf(c.params, direction); err != nil {
			return nil, err
		}
	}
	g.Rules = slices.DeleteFunc(g.Rules, func(r *rule) bool {
		return slices.Contains(ids, r.ID) || slices.ContainsFunc(targets, r.same)
	})
	return reply{}, nil
}

func modifySecurityGroupRule(s *Server, c *call) (reply, error) {
	g, err := s.group(c, c.params["SecurityGroupId"])
	if err != nil {
		return nil, err
	}
	var found *rule
	for _, r := range g.Rules {
		if id := c.params["SecurityGroupRuleId"]; id == r.ID {
			found = r
		} else if id == "" {
			if want, err := parseRule(c.params, "ingress"); err == nil && want.same(r) {
				found = r
			}
		}
	}
	if found == nil {
		return nil, refuse(http.StatusNotFound, "SecurityGroupRule.NotFound", "The specified security group rule does not exist.")
	}
	assign(c.params, "Description", &found.Descr)
	if c.params["SecurityGroupRuleId"] == "" {
		return reply{}, nil
	}
	merged := params{
		"IpProtocol": found.Protocol, "PortRange": found.Ports, "Policy": found.Policy, "Priority": fmt.Sprint(found.Priority),
		"Description": found.Descr, found.SourceKind: found.Source,
	}
	for _, k := range []string{"SourceCidrIp", "Ipv6SourceCidrIp", "SourceGroupId", "SourcePrefixListId"} {
		if c.params[k] != "" {
			delete(merged, found.SourceKind)
		}
	}
	for k, v := range c.params {
		if v != "" {
			merged[k] = v
		}
	}
	changed, err := parseRule(merged, found.Direction)
	if err != nil {
		return nil, err
	}
	changed.ID, changed.Created, changed.Visible = found.ID, found.Created, found.Visible
	*found = *changed
	return reply{}, nil
}
