package ecssim

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Tags.

var tagActions = map[string]func(*Server, *call) (reply, error){
	"TagResources":     tagResources,
	"UntagResources":   untagResources,
	"ListTagResources": listTagResources,
	"DescribeTags": func(*Server, *call) (reply, error) {
		return reply{"Tags": reply{"Tag": []reply{}}, "TotalCount": 0}, nil
	},
}

func tagsOf(p params) map[string]string {
	tags := map[string]string{}
	for _, t := range p.structs("Tag") {
		tags[t["Key"]] = t["Value"]
	}
	return tags
}

func tagReply(tags map[string]string, key, value string) reply {
	all := []reply{}
	for _, k := range sortedKeys(tags) {
		all = append(all, reply{key: k, value: tags[k]})
	}
	return reply{"Tag": all}
}

// hasTags tells that a resource has the tags that the filter Tag.N names.
func hasTags(tags map[string]string, p params) bool {
	for _, t := range p.structs("Tag") {
		if v, ok := tags[t["Key"]]; !ok || (t["Value"] != "" && t["Value"] != v) {
			return false
		}
	}
	return true
}

// taggable returns where a resource keeps its tags.
func (s *Server) taggable(c *call, kind, id string) (map[string]string, error) {
	st := s.state
	switch strings.ToLower(kind) {
	case "instance":
		if i := st.Instances[id]; i != nil && i.alive(c.now) {
			return i.Tags, nil
		}
	case "securitygroup":
		if g := st.Groups[id]; g != nil && g.alive(c.now) {
			return g.Tags, nil
		}
	case "vpc":
		if v := st.VPCs[id]; v != nil {
			return v.Tags, nil
		}
	case "vswitch":
		if w := st.VSwitches[id]; w != nil {
			return w.Tags, nil
		}
	case "keypair":
		if k := st.KeyPairs[c.region+" "+id]; k != nil {
			return k.Tags, nil
		}
	default:
		return nil, refuse(http.StatusBadRequest, "InvalidResourceType.NotFound", "The specified ResourceType is not found.")
	}
	return nil, refuse(http.StatusNotFound, "InvalidResourceId.NotFound", "The specified ResourceId is not found.")
}

// maxTags is how many tags a resource may have.
const maxTags = 20

func tagResources(s *Server, c *call) (reply, error) {
	ids, err := c.list("ResourceId")
	if err != nil {
		return nil, err
	}
	added := tagsOf(c.params)
	if len(added) > maxTags {
		return nil, refuse(http.StatusBadRequest, "NumberExceed.Tags", "The Tags parameter's number is exceeded.")
	}
	for k := range added {
		if strings.HasPrefix(k, "aliyun") || strings.HasPrefix(k, "acs:") || k == "" {
			return nil, refuse(http.StatusBadRequest, "InvalidTagKey.Malformed", "The specified Tag.n.Key is not valid.")
		}
	}
	for _, id := range ids {
		tags, err := s.taggable(c, c.params["ResourceType"], id)
		if err != nil {
			return nil, err
		}
		for k, v := range added {
			tags[k] = v
		}
	}
	return reply{}, nil
}

func untagResources(s *Server, c *call) (reply, error) {
	ids, err := c.list("ResourceId")
	if err != nil {
		return nil, err
	}
	keys, err := c.list("TagKey")
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		tags, err := s.taggable(c, c.params["ResourceType"], id)
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			delete(tags, k)
		}
		if c.params["All"] == "true" && len(keys) == 0 {
			clear(tags)
		}
	}
	return reply{}, nil
}

func listTagResources(s *Server, c *call) (reply, error) {
	ids, err := c.list("ResourceId")
	if err != nil {
		return nil, err
	}
	all := []reply{}
	for _, id := range ids {
		tags, err := s.taggable(c, c.params["ResourceType"], id)
		if err != nil {
			continue
		}
		for _, k := range sortedKeys(tags) {
			all = append(all, reply{"ResourceId": id, "ResourceType": c.params["ResourceType"], "TagKey": k, "TagValue": tags[k]})
		}
	}
	return reply{"NextToken": "", "TagResources": reply{"TagResource": all}}, nil
}

// Who uses what.

// matches tells that a filter is empty or has the value.
func matches(filter []string, value string) bool {
	return len(filter) == 0 || slices.Contains(filter, value)
}

// members lists the instances of a group, those that are on their way out
// included.
func (s *Server) members(c *call, groupID string) []string {
	var ids []string
	for _, i := range sorted(s.state.Instances) {
		if i.alive(c.now) && slices.Contains(i.Groups, groupID) {
			ids = append(ids, i.ID)
		}
	}
	return ids
}

// referrers lists the groups whose rules name a group.
func (s *Server) referrers(c *call, groupID string) []string {
	var ids []string
	for _, g := range sorted(s.state.Groups) {
		if g.ID != groupID && g.alive(c.now) && slices.ContainsFunc(g.Rules, func(r *rule) bool { return r.Source == groupID }) {
			ids = append(ids, g.ID)
		}
	}
	return ids
}

func describeSecurityGroupReferences(s *Server, c *call) (reply, error) {
	ids, err := c.list("SecurityGroupId")
	if err != nil {
		return nil, err
	}
	out := []reply{}
	for _, id := range ids {
		if _, err := s.group(c, id); err != nil {
			return nil, err
		}
		referring := []reply{}
		for _, from := range s.referrers(c, id) {
			referring = append(referring, reply{"SecurityGroupId": from, "AliUid": s.opts.Account})
		}
		if len(referring) > 0 {
			out = append(out, reply{"SecurityGroupId": id, "ReferencingSecurityGroups": reply{"ReferencingSecurityGroup": referring}})
		}
	}
	return reply{"SecurityGroupReferences": reply{"SecurityGroupReference": out}}, nil
}

// STS.

var stsActions = map[string]func(*Server, *call) (reply, error){
	"GetCallerIdentity":  getCallerIdentity,
	"AssumeRole":         assumeRole,
	"AssumeRoleWithOIDC": assumeRoleWithOIDC,
}

func getCallerIdentity(s *Server, c *call) (reply, error) {
	arn, kind := "acs:ram::"+s.opts.Account+":root", "Account"
	if c.session != nil {
		arn, kind = c.session.RoleARN+"/"+c.session.SessionName, "AssumedRoleUser"
	}
	return reply{"AccountId": s.opts.Account, "UserId": s.opts.Account, "Arn": arn, "IdentityType": kind, "PrincipalId": s.opts.Account}, nil
}

func assumeRole(s *Server, c *call) (reply, error) { return s.newSession(c) }

func assumeRoleWithOIDC(s *Server, c *call) (reply, error) {
	if s.opts.OIDCToken == "" || c.params["OIDCToken"] != s.opts.OIDCToken {
		return nil, refuse(http.StatusBadRequest, "AuthenticationFail.OIDCToken.Invalid", "This OIDC Token is not valid.")
	}
	return s.newSession(c)
}

func (s *Server) newSession(c *call) (reply, error) {
	if err := c.need("RoleArn", "RoleSessionName"); err != nil {
		return nil, err
	}
	seconds, err := c.int("DurationSeconds", 3600, 900, 43200)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(c.params["RoleArn"], "acs:ram::"+s.opts.Account+":role/") {
		return nil, refuse(http.StatusNotFound, "EntityNotExist.Role", "The role not exists.")
	}
	k := &tempKey{
		Secret: random(), Token: sessionToken(), RoleARN: c.params["RoleArn"], SessionName: c.params["RoleSessionName"],
		Expires: c.now.Add(time.Duration(seconds) * time.Second),
	}
	id := "STS." + random()[:20]
	s.state.Sessions[id] = k
	return reply{
		"AssumedRoleUser": reply{"Arn": k.RoleARN + "/" + k.SessionName, "AssumedRoleId": "300000000000000001:" + k.SessionName},
		"Credentials":     reply{"AccessKeyId": id, "AccessKeySecret": k.Secret, "SecurityToken": k.Token, "Expiration": k.Expires.UTC().Format(timestampFormat)},
	}, nil
}

// sessionToken has characters that URLs encode, as the real ones do.
func sessionToken() string {
	var b [61]byte
	_, _ = rand.Read(b[:])
	return "CAIS+/" + base64.StdEncoding.EncodeToString(b[:])
}

func random() string {
	var b [20]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// What providers ask on the way.

// billingActions says what kind of account this is.
var billingActions = map[string]func(*Server, *call) (reply, error){
	"QueryAvailableInstances": func(*Server, *call) (reply, error) {
		return reply{"Code": "Success", "Success": true, "Message": "Successful!", "Data": reply{"InstanceList": []reply{}, "TotalCount": 0, "PageNum": 1, "PageSize": 20}}, nil
	},
}

// locationActions says where services are: wherever the caller found this one.
var locationActions = map[string]func(*Server, *call) (reply, error){
	"DescribeEndpoints": func(_ *Server, c *call) (reply, error) {
		service := strings.ToLower(c.params["ServiceCode"])
		if !slices.Contains([]string{"ecs", "vpc", "sts", "kms"}, service) {
			return reply{"Success": true, "Endpoints": reply{"Endpoint": []reply{}}}, nil
		}
		return reply{"Success": true, "Endpoints": reply{"Endpoint": []reply{{
			"Endpoint": service + "." + c.params["Id"] + ".aliyuncs.com", "Id": c.params["Id"], "ServiceCode": service, "Type": c.params["Type"],
			"Protocols": reply{"Protocols": []string{"HTTP", "HTTPS"}},
		}}}}, nil
	},
}
