package ecssim

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
)

type instance struct {
	lifetime
	ID, Region, Name, Description, HostName, Status   string
	ImageID, Type, ZoneID, VpcID, VSwitchID           string
	PrivateIP, PublicIP                               string
	Bandwidth                                         int
	NetCharge, KeyName, RAMRole, UserData, HTTPTokens string
	PasswordSet                                       int // how often
	Protected                                         bool
	Groups                                            []string
	Tags                                              map[string]string
	Disk                                              disk
	DataDisks                                         []disk
	ResourceGroup, Spot                               string
	SpotLimit                                         float64
	Created, RunningSince                             time.Time
	Steps                                             []step
}

type disk struct {
	ID, Category, Level, Name, Device string
	Size                              int  // GiB
	Kept                              bool // when the instance is deleted
}

// step is a state that comes by itself.
type step struct {
	Status string
	At     time.Time
}

var instanceActions = map[string]func(*Server, *call) (reply, error){
	"RunInstances":                          runInstances,
	"DescribeInstances":                     describeInstances,
	"DescribeInstanceStatus":                describeInstanceStatus,
	"DescribeInstanceAttribute":             describeInstanceAttribute,
	"DescribeUserData":                      describeUserData,
	"DescribeNetworkInterfaces":             describeNetworkInterfaces,
	"DescribeInstanceMaintenanceAttributes": describeInstanceMaintenance,
	"DescribeInstanceAttachmentAttributes":  describeInstanceAttachments,
}

// settle moves an instance on to where it is by now.
func (i *instance) settle(now time.Time) {
	for len(i.Steps) > 0 && !now.Before(i.Steps[0].At) {
		i.Status = i.Steps[0].Status
		if i.Status == "Running" {
			i.RunningSince = i.Steps[0].At
		}
		i.Steps = i.Steps[1:]
	}
}

func (s *Server) instances(c *call) []*instance {
	var out []*instance
	for _, i := range sorted(s.state.Instances) {
		i.settle(c.now)
		if i.alive(c.now) && (c.region == "" || i.Region == c.region) {
			out = append(out, i)
		}
	}
	return out
}

func (s *Server) instance(c *call, id string) (*instance, error) {
	for _, i := range s.instances(c) {
		if i.ID == id {
			return i, nil
		}
	}
	return nil, refuse(http.StatusNotFound, "InvalidInstanceId.NotFound", "The specified InstanceId does not exist.")
}

func runInstances(s *Server, c *call) (reply, error) {
	if err := c.needRegion(); err != nil {
		return nil, err
	}
	if err := c.need("InstanceType", "VSwitchId", "ImageId"); err != nil {
		return nil, err
	}
	amount, err := c.int("Amount", 1, 1, 100)
	if err != nil {
		return nil, err
	}
	i, err := s.newInstance(c)
	if err != nil {
		return nil, err
	}
	if len(s.instances(c))+amount > s.opts.Quotas.Instances {
		return nil, refuse(http.StatusForbidden, "QuotaExceed.ElasticQuota", "The number of vCPUs assigned to the ECS instances has exceeded the quota in the zone.")
	}
	if c.params["DryRun"] == "true" {
		return nil, refuse(http.StatusBadRequest, "DryRunOperation", "Request validation has been passed with DryRun flag set.")
	}
	ids := []string{}
	for range amount {
		one := *i
		one.ID, one.Disk.ID = s.state.id("i"), s.state.id("d")
		one.DataDisks = slices.Clone(i.DataDisks)
		for n := range one.DataDisks {
			one.DataDisks[n].ID = s.state.id("d")
		}
		one.PrivateIP = s.nextPrivateIP(i.VSwitchID)
		if one.HostName == "" {
			one.HostName = "iZ" + strings.TrimPrefix(one.ID, "i-")
		}
		if i.Bandwidth > 0 {
			one.PublicIP = s.nextPublicIP()
		}
		s.state.Instances[one.ID] = &one
		ids = append(ids, one.ID)
	}
	return reply{"InstanceIdSets": reply{"InstanceIdSet": ids}}, nil
}

// newInstance checks the arguments of RunInstances in about the order of the
// cloud.
func (s *Server) newInstance(c *call) (*instance, error) {
	p := c.params
	w := s.state.VSwitches[p["VSwitchId"]]
	if w == nil || !w.alive(c.now) || w.Region != c.region {
		return nil, refuse(http.StatusNotFound, "InvalidVSwitchId.NotFound", "The specified VSwitchId does not exist.")
	}
	if !fits(p, "ZoneId", w.ZoneID) {
		return nil, refuse(http.StatusNotFound, "InvalidVSwitchId.NotFound", "The specified virtual switch is not in the zone.")
	}
	kind, err := s.sellable(p["InstanceType"], w.ZoneID)
	if err != nil {
		return nil, err
	}
	img, err := findImage(p["ImageId"])
	if err != nil {
		return nil, err
	}
	if kind.uefiOnly && img.BootMode == "BIOS" {
		return nil, refuse(http.StatusForbidden, "ImageNotSupportInstanceType", "The specified image does not support the specified instance type.")
	}
	groups, err := s.groupsFor(c, w.VpcID)
	if err != nil {
		return nil, err
	}
	bandwidth, err := c.int("InternetMaxBandwidthOut", 0, 0, 100)
	if err != nil {
		return nil, err
	}
	size, err := c.int("SystemDisk.Size", max(40, img.Size), img.Size, 2048)
	if err != nil {
		return nil, err
	}
	dataDisks, err := c.dataDisks()
	if err != nil {
		return nil, err
	}
	spot, limit, err := c.spot()
	if err != nil {
		return nil, err
	}
	i := &instance{
		DataDisks: dataDisks, Spot: spot, SpotLimit: limit, ResourceGroup: c.params["ResourceGroupId"],
		lifetime: lifetime{Visible: c.now.Add(s.opts.Latencies.Consistency)}, Region: c.region, Name: p["InstanceName"], Description: p["Description"],
		HostName: p["HostName"], Status: "Pending", ImageID: img.ID, Type: kind.ID, ZoneID: w.ZoneID, VpcID: w.VpcID, VSwitchID: w.ID,
		Bandwidth: bandwidth, NetCharge: "PayByTraffic", KeyName: p["KeyPairName"], RAMRole: p["RamRoleName"], UserData: p["UserData"], HTTPTokens: "optional",
		Protected: p["DeletionProtection"] == "true", Groups: groups, Tags: tagsOf(p), Created: c.now,
		Disk: disk{Category: "cloud_essd", Level: "PL1", Size: size, Name: p["SystemDisk.DiskName"]},
		Steps: []step{
			{"Starting", c.now.Add(s.opts.Latencies.Starting / 2)},
			{"Running", c.now.Add(s.opts.Latencies.Starting)},
		},
	}
	if i.Name == "" {
		i.Name = "iZsimulated"
	}
	for name, field := range map[string]*string{
		"SystemDisk.Category": &i.Disk.Category, "SystemDisk.PerformanceLevel": &i.Disk.Level, "InternetChargeType": &i.NetCharge, "HttpTokens": &i.HTTPTokens,
	} {
		if p[name] != "" {
			*field = p[name]
		}
	}
	return i, s.checkInstance(c, i)
}

func (s *Server) checkInstance(c *call, i *instance) error {
	if err := checkName(c.params["InstanceName"], "InvalidInstanceName.Malformed"); err != nil {
		return err
	}
	if !slices.Contains(diskCategories, i.Disk.Category) {
		return refuse(http.StatusBadRequest, "InvalidSystemDiskCategory.ValueNotSupported", "The specified parameter SystemDisk.Category is not valid.")
	}
	if !slices.Contains([]string{"required", "optional"}, i.HTTPTokens) {
		return refuse(http.StatusBadRequest, "InvalidHttpTokens.ValueNotSupported", "The specified parameter HttpTokens is not valid.")
	}
	if i.KeyName != "" && s.state.KeyPairs[i.Region+" "+i.KeyName] == nil {
		return refuse(http.StatusNotFound, "InvalidKeyPairName.NotFound", "The specified key pair does not exist.")
	}
	if password, ok := c.params["Password"]; ok {
		if err := checkPassword(password); err != nil {
			return err
		}
		i.PasswordSet = 1
	}
	return checkUserData(i.UserData)
}

// checkPassword asks for 8 to 30 characters of three classes. It repeats the
// password, as careless services do, to see who passes that on.
func checkPassword(password string) error {
	classes := map[string]bool{}
	for _, r := range password {
		switch {
		case unicode.IsUpper(r):
			classes["upper"] = true
		case unicode.IsLower(r):
			classes["lower"] = true
		case unicode.IsDigit(r):
			classes["digit"] = true
		default:
			classes["special"] = true
		}
	}
	if len(password) < 8 || len(password) > 30 || len(classes) < 3 {
		return refuse(http.StatusBadRequest, "InvalidPassword.Malformed", "The specified parameter Password %q is not valid.", password)
	}
	return nil
}

// maxUserData is the limit before base64, in bytes.
const maxUserData = 32 << 10

func checkUserData(encoded string) error {
	data, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return refuse(http.StatusBadRequest, "InvalidUserData.Base64FormatInvalid", "The specified parameter UserData must be base64 encoded.")
	}
	if len(data) > maxUserData {
		return refuse(http.StatusBadRequest, "InvalidUserData.SizeExceeded", "The specified parameter UserData exceeds the size.")
	}
	return nil
}

// groupsFor reads and checks the groups of a new instance.
func (s *Server) groupsFor(c *call, vpcID string) ([]string, error) {
	ids, err := c.list("SecurityGroupIds")
	if err != nil {
		return nil, err
	}
	if id := c.params["SecurityGroupId"]; id != "" {
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return nil, refuse(http.StatusBadRequest, "MissingParameter", "The input parameter \"SecurityGroupId\" that is mandatory for processing this request is not supplied.")
	}
	if len(ids) > s.opts.Quotas.GroupsPerInstance {
		return nil, refuse(http.StatusForbidden, "SecurityGroupLimitExceeded", "The number of security groups of the instance exceeds %d.", s.opts.Quotas.GroupsPerInstance)
	}
	for _, id := range ids {
		g, err := s.group(c, id)
		if err != nil {
			return nil, err
		}
		if g.VpcID != vpcID {
			return nil, refuse(http.StatusForbidden, "InvalidSecurityGroupId.VpcMismatch", "The specified security group is not in the VPC of the vSwitch.")
		}
	}
	return ids, nil
}

func (s *Server) nextPrivateIP(vswitchID string) string {
	w := s.state.VSwitches[vswitchID]
	w.NextHost++
	addr := netip.MustParsePrefix(w.CIDR).Addr()
	for range w.NextHost {
		addr = addr.Next()
	}
	return addr.String()
}

// nextPublicIP hands out addresses of the documentation ranges, unless it is told others.
func (s *Server) nextPublicIP() string {
	if s.opts.PublicIP != nil {
		return s.opts.PublicIP()
	}
	s.state.Sequence++
	n := s.state.Sequence % 500
	return fmt.Sprintf("%s.%d", []string{"198.51.100", "203.0.113"}[n/250], n%250+1)
}

func (s *Server) instanceReply(c *call, i *instance) reply {
	public := []string{}
	if i.PublicIP != "" && !i.RunningSince.IsZero() && !c.now.Before(i.RunningSince.Add(s.opts.Latencies.PublicIP)) {
		public = append(public, i.PublicIP)
	}
	kind := findType(i.Type)
	out := reply{
		"InstanceId": i.ID, "InstanceName": i.Name, "Description": i.Description, "HostName": i.HostName, "Hostname": i.HostName, "Status": i.Status,
		"ImageId": i.ImageID, "InstanceType": i.Type, "InstanceTypeFamily": kind.Family, "ZoneId": i.ZoneID, "RegionId": i.Region,
		"Cpu": kind.Cores, "Memory": int(kind.Memory * 1024), "OSName": "Alibaba Cloud Linux  3.2104 LTS 64 bit", "OSType": "linux",
		"InstanceChargeType": "PostPaid", "InternetChargeType": i.NetCharge, "InternetMaxBandwidthOut": i.Bandwidth, "InternetMaxBandwidthIn": 100,
		"InstanceNetworkType": "vpc", "IoOptimized": true, "KeyPairName": i.KeyName, "DeletionProtection": i.Protected,
		"StoppedMode": map[bool]string{true: "KeepCharging", false: "Not-applicable"}[i.Status == "Stopped"], "ResourceGroupId": i.ResourceGroup, "SpotStrategy": i.Spot, "SpotPriceLimit": i.SpotLimit,
		"CreationTime": i.Created.UTC().Format("2006-01-02T15:04Z"), "StartTime": i.RunningSince.UTC().Format("2006-01-02T15:04Z"),
		"ExpiredTime": "2099-12-31T15:59Z", "AutoReleaseTime": "", "CreditSpecification": "", "DeploymentSetId": "", "SerialNumber": i.ID, "ClusterId": "",
		"VpcAttributes": reply{
			"VpcId": i.VpcID, "VSwitchId": i.VSwitchID, "NatIpAddress": "", "PrivateIpAddress": reply{"IpAddress": []string{i.PrivateIP}},
		},
		"PublicIpAddress": reply{"IpAddress": public}, "InnerIpAddress": reply{"IpAddress": []string{}},
		"EipAddress":       reply{"AllocationId": "", "IpAddress": "", "InternetChargeType": ""},
		"SecurityGroupIds": reply{"SecurityGroupId": i.Groups}, "Tags": tagReply(i.Tags, "TagKey", "TagValue"),
		"OperationLocks": reply{"LockReason": []reply{}}, "NetworkInterfaces": reply{"NetworkInterface": []reply{{
			"NetworkInterfaceId": interfaceID(i), "Type": "Primary", "PrimaryIpAddress": i.PrivateIP, "MacAddress": "00:16:3e:00:00:01",
			"PrivateIpSets": reply{"PrivateIpSet": []reply{{"PrivateIpAddress": i.PrivateIP, "Primary": true}}},
		}}},
		"CpuOptions": reply{"CoreCount": kind.Cores / 2, "ThreadsPerCore": 2, "Numa": ""}, "DedicatedHostAttribute": reply{"DedicatedHostId": "", "DedicatedHostName": ""},
		"EcsCapacityReservationAttr": reply{"CapacityReservationId": "", "CapacityReservationPreference": ""}, "HibernationOptions": reply{"Configured": false},
	}
	attributes, _ := c.list("AdditionalAttributes")
	if slices.Contains(attributes, "META_OPTIONS") {
		out["MetadataOptions"] = reply{"HttpEndpoint": "enabled", "HttpTokens": i.HTTPTokens, "HttpPutResponseHopLimit": 1}
	}
	return out
}

func interfaceID(i *instance) string { return "eni-" + strings.TrimPrefix(i.ID, "i-") }

func describeInstances(s *Server, c *call) (reply, error) {
	if err := c.needRegion(); err != nil {
		return nil, err
	}
	ids, err := c.list("InstanceIds")
	if err != nil {
		return nil, err
	}
	if len(ids) > 100 {
		return nil, refuse(http.StatusBadRequest, "InvalidInstanceIds.Malformed", "The amount of specified instance Ids exceeds the limit.")
	}
	var all []reply
	for _, i := range s.instances(c) {
		if i.listed(c.now) && matches(ids, i.ID) && fits(c.params, "VpcId", i.VpcID) && fits(c.params, "VSwitchId", i.VSwitchID) && fits(c.params, "Status", i.Status) &&
			fits(c.params, "InstanceName", i.Name) && (c.params["SecurityGroupId"] == "" || slices.Contains(i.Groups, c.params["SecurityGroupId"])) && hasTags(i.Tags, c.params) {
			all = append(all, s.instanceReply(c, i))
		}
	}
	part, meta, err := page(c.params, all, 100)
	if err != nil {
		return nil, err
	}
	meta["Instances"] = reply{"Instance": part}
	return meta, nil
}

func describeInstanceStatus(s *Server, c *call) (reply, error) {
	ids, err := c.list("InstanceId")
	if err != nil {
		return nil, err
	}
	var all []reply
	for _, i := range s.instances(c) {
		if i.listed(c.now) && matches(ids, i.ID) {
			all = append(all, reply{"InstanceId": i.ID, "Status": i.Status})
		}
	}
	part, meta, err := page(c.params, all, 50)
	if err != nil {
		return nil, err
	}
	delete(meta, "NextToken") // by page number alone
	meta["InstanceStatuses"] = reply{"InstanceStatus": part}
	return meta, nil
}

func describeInstanceAttribute(s *Server, c *call) (reply, error) {
	i, err := s.instance(c, c.params["InstanceId"])
	if err != nil {
		return nil, err
	}
	// It tells less than DescribeInstances, and some of it in another type.
	out := reply{"EnableJumboFrame": false, "IoOptimized": "optimized", "VlanId": ""}
	all := s.instanceReply(c, i)
	for _, k := range []string{
		"Status", "SerialNumber", "CreationTime", "Description", "InstanceName", "InstanceNetworkType", "Memory", "ImageId", "ClusterId", "StoppedMode", "HostName",
		"InstanceId", "InstanceType", "InternetMaxBandwidthIn", "InternetMaxBandwidthOut", "RegionId", "InstanceChargeType", "Cpu", "ExpiredTime", "ZoneId",
		"InternetChargeType", "CreditSpecification", "SecurityGroupIds", "PublicIpAddress", "InnerIpAddress", "VpcAttributes", "EipAddress", "DedicatedHostAttribute", "OperationLocks",
	} {
		out[k] = all[k]
	}
	return out, nil
}

func describeUserData(s *Server, c *call) (reply, error) {
	i, err := s.instance(c, c.params["InstanceId"])
	if err != nil {
		return nil, err
	}
	return reply{"InstanceId": i.ID, "RegionId": i.Region, "UserData": i.UserData}, nil
}

func describeNetworkInterfaces(s *Server, c *call) (reply, error) {
	var all []reply
	for _, i := range s.instances(c) {
		if !fits(c.params, "InstanceId", i.ID) || (c.params["SecurityGroupId"] != "" && !slices.Contains(i.Groups, c.params["SecurityGroupId"])) {
			continue
		}
		all = append(all, reply{
			"NetworkInterfaceId": interfaceID(i), "Type": "Primary", "Status": "InUse", "InstanceId": i.ID, "VpcId": i.VpcID, "VSwitchId": i.VSwitchID, "ZoneId": i.ZoneID,
			"PrivateIpAddress": i.PrivateIP, "MacAddress": "00:16:3e:00:00:01", "SecurityGroupIds": reply{"SecurityGroupId": i.Groups}, "QueueNumber": 2,
			"PrivateIpSets": reply{"PrivateIpSet": []reply{{"PrivateIpAddress": i.PrivateIP, "Primary": true}}}, "NetworkInterfaceTrafficMode": "Standard",
			"Attachment": reply{"InstanceId": i.ID, "DeviceIndex": 0, "TrunkNetworkInterfaceId": ""}, "Ipv6Sets": reply{"Ipv6Set": []reply{}}, "DeleteOnRelease": true,
			"Tags": tagReply(nil, "TagKey", "TagValue"),
		})
	}
	part, meta, err := page(c.params, all, 500)
	if err != nil {
		return nil, err
	}
	meta["NetworkInterfaceSets"] = reply{"NetworkInterfaceSet": part}
	return meta, nil
}
