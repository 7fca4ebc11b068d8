package ecssim

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

type vpc struct {
	lifetime
	ID, Region, Name, Description, CIDR, RouterID, RouteTableID string
	Created                                                     time.Time
	Tags                                                        map[string]string
}

type vswitch struct {
	lifetime
	ID, Region, VpcID, ZoneID, Name, Description, CIDR string
	Created                                            time.Time
	NextHost                                           int
	Tags                                               map[string]string
}

var vpcActions = map[string]func(*Server, *call) (reply, error){
	"CreateVpc":                 createVpc,
	"DescribeVpcAttribute":      describeVpcAttribute,
	"DescribeVpcs":              describeVpcs,
	"ModifyVpcAttribute":        modifyVpcAttribute,
	"DeleteVpc":                 deleteVpc,
	"DescribeRouteTableList":    describeRouteTableList,
	"CreateVSwitch":             createVSwitch,
	"DescribeVSwitchAttributes": describeVSwitchAttributes,
	"DescribeVSwitches":         describeVSwitches,
	"ModifyVSwitchAttribute":    modifyVSwitchAttribute,
	"DeleteVSwitch":             deleteVSwitch,
}

func validCIDR(s string) bool {
	p, err := netip.ParsePrefix(s)
	return err == nil && p.Addr().Is4() && p.Masked() == p
}

func (c *call) needRegion() error {
	if c.region == "" {
		return refuse(http.StatusBadRequest, "MissingParameter", "The input parameter \"RegionId\" that is mandatory for processing this request is not supplied.")
	}
	return nil
}

func createVpc(s *Server, c *call) (reply, error) {
	if err := c.needRegion(); err != nil {
		return nil, err
	}
	cidr := c.params["CidrBlock"]
	if cidr == "" {
		cidr = "172.16.0.0/12"
	}
	if !validCIDR(cidr) {
		return nil, refuse(http.StatusBadRequest, "InvalidCidrBlock.Malformed", "The specified CidrBlock is not valid.")
	}
	st := s.state
	v := &vpc{
		lifetime: lifetime{Visible: c.now}, ID: st.id("vpc"), Region: c.region, Name: c.params["VpcName"], Description: c.params["Description"],
		CIDR: cidr, RouterID: st.id("vrt"), RouteTableID: st.id("vtb"), Created: c.now, Tags: tagsOf(c.params),
	}
	st.VPCs[v.ID] = v
	return reply{"VpcId": v.ID, "VRouterId": v.RouterID, "RouteTableId": v.RouteTableID, "ResourceGroupId": "rg-simulated"}, nil
}

func (s *Server) vpc(c *call, id string) (*vpc, error) {
	v := s.state.VPCs[id]
	if v == nil || !v.alive(c.now) || (c.region != "" && v.Region != c.region) {
		return nil, refuse(http.StatusNotFound, "InvalidVpcId.NotFound", "Specified VPC does not exist.")
	}
	return v, nil
}

func (s *Server) vpcReply(v *vpc) reply {
	switches := []string{}
	for _, w := range sorted(s.state.VSwitches) {
		if w.VpcID == v.ID {
			switches = append(switches, w.ID)
		}
	}
	return reply{
		"VpcId": v.ID, "RegionId": v.Region, "Status": "Available", "VpcName": v.Name, "Description": v.Description, "CidrBlock": v.CIDR,
		"VRouterId": v.RouterID, "IsDefault": false, "CreationTime": v.Created.UTC().Format(timestampFormat), "ResourceGroupId": "rg-simulated",
		"VSwitchIds": reply{"VSwitchId": switches}, "UserCidrs": reply{"UserCidr": []string{}}, "SecondaryCidrBlocks": reply{"SecondaryCidrBlock": []string{}},
		"Ipv6CidrBlock":  "",
		"Ipv6CidrBlocks": reply{"Ipv6CidrBlock": []string{}}, "Tags": tagReply(v.Tags, "Key", "Value"), "OwnerId": json.Number(s.opts.Account),
	}
}

func describeVpcAttribute(s *Server, c *call) (reply, error) {
	v, err := s.vpc(c, c.params["VpcId"])
	if err != nil {
		return nil, err
	}
	out := s.vpcReply(v)
	out["AssociatedCens"], out["CloudResources"] = reply{"AssociatedCen": []string{}}, reply{"CloudResourceSetType": []string{}}
	return out, nil
}

func describeVpcs(s *Server, c *call) (reply, error) {
	ids := strings.FieldsFunc(c.params["VpcId"], func(r rune) bool { return r == ',' })
	var all []reply
	for _, v := range sorted(s.state.VPCs) {
		if v.listed(c.now) && v.Region == c.region && matches(ids, v.ID) && (c.params["VpcName"] == "" || c.params["VpcName"] == v.Name) {
			all = append(all, s.vpcReply(v))
		}
	}
	part, meta, err := page(c.params, all, 50)
	if err != nil {
		return nil, err
	}
	delete(meta, "NextToken") // VPC pages by number alone
	meta["Vpcs"] = reply{"Vpc": part}
	return meta, nil
}

func modifyVpcAttribute(s *Server, c *call) (reply, error) {
	v, err := s.vpc(c, c.params["VpcId"])
	if err != nil {
		return nil, err
	}
	assign(c.params, "VpcName", &v.Name)
	assign(c.params, "Description", &v.Description)
	return reply{}, nil
}

// assign changes a field whose argument is there, even if it is empty.
func assign(p params, name string, field *string) {
	if v, ok := p[name]; ok {
		*field = v
	}
}

func deleteVpc(s *Server, c *call) (reply, error) {
	v, err := s.vpc(c, c.params["VpcId"])
	if err != nil {
		return nil, err
	}
	for _, w := range s.state.VSwitches {
		if w.VpcID == v.ID && w.alive(c.now) {
			return nil, refuse(http.StatusBadRequest, "DependencyViolation.VSwitch", "Specified object has dependent resources.")
		}
	}
	for _, g := range s.state.Groups {
		if g.VpcID == v.ID && g.alive(c.now) {
			return nil, refuse(http.StatusBadRequest, "DependencyViolation.SecurityGroup", "Specified object has dependent resources.")
		}
	}
	delete(s.state.VPCs, v.ID)
	return reply{}, nil
}

func describeRouteTableList(s *Server, c *call) (reply, error) {
	var all []reply
	for _, v := range sorted(s.state.VPCs) {
		if v.alive(c.now) && v.Region == c.region && (c.params["VpcId"] == "" || c.params["VpcId"] == v.ID) {
			all = append(all, reply{
				"RouteTableId": v.RouteTableID, "RouteTableType": "System", "VpcId": v.ID, "RouterId": v.RouterID, "RouterType": "VRouter",
				"Status": "Available", "VSwitchIds": reply{"VSwitchId": []string{}},
			})
		}
	}
	part, meta, err := page(c.params, all, 50)
	if err != nil {
		return nil, err
	}
	delete(meta, "NextToken")
	meta["Code"] = "200"
	meta["RouterTableList"] = reply{"RouterTableListType": part}
	return meta, nil
}

func createVSwitch(s *Server, c *call) (reply, error) {
	if err := c.need("VpcId", "CidrBlock", "ZoneId"); err != nil {
		return nil, err
	}
	v, err := s.vpc(c, c.params["VpcId"])
	if err != nil {
		return nil, err
	}
	cidr := c.params["CidrBlock"]
	if !validCIDR(cidr) || !netip.MustParsePrefix(v.CIDR).Contains(netip.MustParsePrefix(cidr).Addr()) {
		return nil, refuse(http.StatusBadRequest, "InvalidCidrBlock.Malformed", "The specified CidrBlock is not valid or not in the VPC's.")
	}
	for _, w := range s.state.VSwitches {
		if w.VpcID == v.ID && w.alive(c.now) && netip.MustParsePrefix(w.CIDR).Overlaps(netip.MustParsePrefix(cidr)) {
			return nil, refuse(http.StatusBadRequest, "InvalidCidrBlock.Overlapped", "Specified CIDR block overlapped with other subnets.")
		}
	}
	if !matches(regionZones[v.Region], c.params["ZoneId"]) {
		return nil, refuse(http.StatusNotFound, "InvalidZoneId.NotFound", "Specified zone does not exist.")
	}
	w := &vswitch{
		lifetime: lifetime{Visible: c.now}, ID: s.state.id("vsw"), Region: v.Region, VpcID: v.ID, ZoneID: c.params["ZoneId"],
		Name: c.params["VSwitchName"], Description: c.params["Description"], CIDR: cidr, Created: c.now, NextHost: 10, Tags: tagsOf(c.params),
	}
	s.state.VSwitches[w.ID] = w
	return reply{"VSwitchId": w.ID}, nil
}

func vswitchReply(w *vswitch) reply {
	return reply{
		"VSwitchId": w.ID, "VpcId": w.VpcID, "ZoneId": w.ZoneID, "CidrBlock": w.CIDR, "VSwitchName": w.Name, "Description": w.Description,
		"Status": "Available", "AvailableIpAddressCount": 252, "IsDefault": false, "CreationTime": w.Created.UTC().Format(timestampFormat),
		"Ipv6CidrBlock": "", "ResourceGroupId": "rg-simulated", "Tags": tagReply(w.Tags, "Key", "Value"),
	}
}

// describeVSwitchAttributes answers for a missing vSwitch with one without an
// id, as the cloud does.
func describeVSwitchAttributes(s *Server, c *call) (reply, error) {
	w := s.state.VSwitches[c.params["VSwitchId"]]
	if w == nil || !w.alive(c.now) || (c.region != "" && w.Region != c.region) {
		return reply{"VSwitchId": "", "VpcId": "", "ZoneId": "", "CidrBlock": "", "Status": ""}, nil
	}
	out := vswitchReply(w)
	out["CloudResources"] = reply{"CloudResourceSetType": []string{}}
	return out, nil
}

func describeVSwitches(s *Server, c *call) (reply, error) {
	var all []reply
	for _, w := range sorted(s.state.VSwitches) {
		if w.listed(c.now) && w.Region == c.region && fits(c.params, "VSwitchId", w.ID) && fits(c.params, "VpcId", w.VpcID) && fits(c.params, "ZoneId", w.ZoneID) {
			all = append(all, vswitchReply(w))
		}
	}
	part, meta, err := page(c.params, all, 50)
	if err != nil {
		return nil, err
	}
	delete(meta, "NextToken")
	meta["VSwitches"] = reply{"VSwitch": part}
	return meta, nil
}

// fits tells that an argument is absent or has the value.
func fits(p params, name, value string) bool { return p[name] == "" || p[name] == value }

func modifyVSwitchAttribute(s *Server, c *call) (reply, error) {
	w := s.state.VSwitches[c.params["VSwitchId"]]
	if w == nil || !w.alive(c.now) {
		return nil, refuse(http.StatusNotFound, "InvalidVSwitchId.NotFound", "Specified virtual switch does not exist.")
	}
	assign(c.params, "VSwitchName", &w.Name)
	assign(c.params, "Description", &w.Description)
	return reply{}, nil
}

func deleteVSwitch(s *Server, c *call) (reply, error) {
	w := s.state.VSwitches[c.params["VSwitchId"]]
	if w == nil || !w.alive(c.now) || (c.region != "" && w.Region != c.region) {
		return nil, refuse(http.StatusNotFound, "InvalidVSwitchId.NotFound", "Specified virtual switch does not exist.")
	}
	for _, i := range s.state.Instances {
		if i.VSwitchID == w.ID && i.alive(c.now) {
			return nil, refuse(http.StatusBadRequest, "DependencyViolation", "Specified object has dependent resources.")
		}
	}
	delete(s.state.VSwitches, w.ID)
	return reply{}, nil
}
