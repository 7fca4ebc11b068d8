package ecssim

import (
	"net/http"
	"slices"
)

var lifecycleActions = map[string]func(*Server, *call) (reply, error){
	"StartInstance":                 startInstance,
	"StopInstance":                  stopInstance,
	"RebootInstance":                rebootInstance,
	"DeleteInstance":                deleteInstance,
	"ModifyInstanceAttribute":       modifyInstanceAttribute,
	"ModifyInstanceMetadataOptions": modifyInstanceMetadataOptions,
	"ModifyInstanceSpec":            modifyInstanceSpec,
	"ModifyInstanceNetworkSpec":     modifyInstanceNetworkSpec,
	"AllocatePublicIpAddress":       allocatePublicIPAddress,
	"JoinSecurityGroup":             joinSecurityGroup,
	"LeaveSecurityGroup":            leaveSecurityGroup,
	"AttachKeyPair":                 attachKeyPair,
	"DetachKeyPair":                 detachKeyPair,
}

func wrongStatus() error {
	return refuse(http.StatusForbidden, "IncorrectInstanceStatus", "The current status of the resource does not support this operation.")
}

func startInstance(s *Server, c *call) (reply, error) {
	i, err := s.instance(c, c.params["InstanceId"])
	if err != nil {
		return nil, err
	}
	switch {
	case i.Status == "Running" || i.Status == "Starting": // started before, perhaps by the call whose answer was lost
		return reply{}, nil
	case i.Status != "Stopped" || !i.Gone.IsZero():
		return nil, wrongStatus()
	}
	if _, err := s.sellable(i.Type, i.ZoneID); err != nil {
		return nil, refuse(http.StatusForbidden, "OperationDenied.NoStock", "Sales of this resource are temporarily suspended in the specified zone.")
	}
	i.Status = "Starting"
	i.Steps = []step{{"Running", c.now.Add(s.opts.Latencies.Starting)}}
	return reply{}, nil
}

func stopInstance(s *Server, c *call) (reply, error) {
	i, err := s.instance(c, c.params["InstanceId"])
	if err != nil {
		return nil, err
	}
	switch i.Status {
	case "Stopped", "Stopping":
		return reply{}, nil
	case "Running":
	default:
		return nil, wrongStatus()
	}
	// Alibaba's provider sends back the "Not-applicable" that it read.
	if m := c.params["StoppedMode"]; !slices.Contains([]string{"", "KeepCharging", "StopCharging", "Not-applicable"}, m) {
		return nil, refuse(http.StatusBadRequest, "InvalidParameter.StoppedMode", "The specified StoppedMode is not valid.")
	}
	i.Status = "Stopping"
	i.Steps = []step{{"Stopped", c.now.Add(s.opts.Latencies.Stopping)}}
	if c.params["StoppedMode"] == "StopCharging" && i.PublicIP != "" {
		i.PublicIP = s.nextPublicIP()
	}
	return reply{}, nil
}

func rebootInstance(s *Server, c *call) (reply, error) {
	i, err := s.instance(c, c.params["InstanceId"])
	if err != nil {
		return nil, err
	}
	if i.Status != "Running" {
		return nil, wrongStatus()
	}
	i.Status = "Starting"
	i.Steps = []step{{"Running", c.now.Add(s.opts.Latencies.Starting)}}
	return reply{}, nil
}

func deleteInstance(s *Server, c *call) (reply, error) {
	i, err := s.instance(c, c.params["InstanceId"])
	if err != nil {
		return nil, err
	}
	switch {
	case i.Protected:
		return nil, refuse(http.StatusForbidden, "InvalidOperation.DeletionProtection", "The operation is not allowed due to deletion protection.")
	case !i.Gone.IsZero():
		return reply{}, nil
	case i.Status == "Pending":
		return nil, refuse(http.StatusForbidden, "IncorrectInstanceStatus.Initializing", "The specified instance status does not support this operation.")
	case i.Status != "Stopped" && c.params["Force"] != "true":
		return nil, wrongStatus()
	}
	i.Gone = c.now.Add(s.opts.Latencies.Deleting)
	i.Status, i.Steps = "Stopping", nil
	return reply{}, nil
}

func modifyInstanceAttribute(s *Server, c *call) (reply, error) {
	i, err := s.instance(c, c.params["InstanceId"])
	if err != nil {
		return nil, err
	}
	p := c.params
	if err := checkName(p["InstanceName"], "InvalidInstanceName.Malformed"); err != nil {
		return nil, err
	}
	if password, ok := p["Password"]; ok {
		if err := checkPassword(password); err != nil {
			return nil, err
		}
		i.PasswordSet++
	}
	if data, ok := p["UserData"]; ok {
		if err := checkUserData(data); err != nil {
			return nil, err
		}
		i.UserData = data
	}
	groups, err := c.list("SecurityGroupIds")
	if err != nil {
		return nil, err
	}
	for _, id := range groups {
		if _, err := s.group(c, id); err != nil {
			return nil, err
		}
	}
	if len(groups) > 0 {
		i.Groups = groups
	}
	assign(p, "InstanceName", &i.Name)
	assign(p, "Description", &i.Description)
	assign(p, "HostName", &i.HostName)
	if v, ok := p["DeletionProtection"]; ok {
		i.Protected = v == "true"
	}
	return reply{}, nil
}

func modifyInstanceMetadataOptions(s *Server, c *call) (reply, error) {
	i, err := s.instance(c, c.params["InstanceId"])
	if err != nil {
		return nil, err
	}
	assign(c.params, "HttpTokens", &i.HTTPTokens)
	return reply{}, nil
}

func modifyInstanceSpec(s *Server, c *call) (reply, error) {
	i, err := s.instance(c, c.params["InstanceId"])
	if err != nil {
		return nil, err
	}
	if i.Status != "Stopped" {
		return nil, refuse(http.StatusForbidden, "IncorrectInstanceStatus", "The current status of the instance does not support this operation: stop it first.")
	}
	kind, err := s.sellable(c.params["InstanceType"], i.ZoneID)
	if err != nil {
		return nil, err
	}
	if img, err := findImage(i.ImageID); err == nil && kind.uefiOnly && img.BootMode == "BIOS" {
		return nil, refuse(http.StatusForbidden, "ImageNotSupportInstanceType", "The specified image does not support the specified instance type.")
	}
	i.Type = kind.ID
	return reply{"OrderId": "", "RequestId": ""}, nil
}

func modifyInstanceNetworkSpec(s *Server, c *call) (reply, error) {
	i, err := s.instance(c, c.params["InstanceId"])
	if err != nil {
		return nil, err
	}
	if !slices.Contains([]string{"Running", "Stopped"}, i.Status) {
		return nil, wrongStatus()
	}
	if i.Bandwidth, err = c.int("InternetMaxBandwidthOut", i.Bandwidth, 0, 100); err != nil {
		return nil, err
	}
	if v := c.params["NetworkChargeType"]; v != "" {
		i.NetCharge = v
	}
	switch {
	case i.Bandwidth == 0:
		i.PublicIP = ""
	case i.PublicIP == "" && c.params["AllocatePublicIp"] == "true":
		i.PublicIP = s.nextPublicIP()
	}
	return reply{"OrderId": ""}, nil
}

func allocatePublicIPAddress(s *Server, c *call) (reply, error) {
	i, err := s.instance(c, c.params["InstanceId"])
	if err != nil {
		return nil, err
	}
	switch {
	case i.PublicIP != "":
		return nil, refuse(http.StatusForbidden, "AllocatedAlready", "The public ip address already assigned.")
	case i.Bandwidth == 0:
		return nil, refuse(http.StatusForbidden, "AllocateIpInvalidInstanceBandwidth", "The bandwidth of the instance does not support this operation.")
	}
	i.PublicIP = s.nextPublicIP()
	return reply{"IpAddress": i.PublicIP}, nil
}

func joinSecurityGroup(s *Server, c *call) (reply, error) {
	i, err := s.instance(c, c.params["InstanceId"])
	if err != nil {
		return nil, err
	}
	g, err := s.group(c, c.params["SecurityGroupId"])
	if err != nil {
		return nil, err
	}
	switch {
	case slices.Contains(i.Groups, g.ID):
		return nil, refuse(http.StatusForbidden, "InvalidInstanceId.AlreadyExists", "The specified instance already exists in the specified security group.")
	case len(i.Groups) >= s.opts.Quotas.GroupsPerInstance:
		return nil, refuse(http.StatusForbidden, "InstanceSecurityGroupLimitExceeded", "Exceeding the allowed amount of security groups that an instance can be in.")
	case g.VpcID != i.VpcID:
		return nil, refuse(http.StatusForbidden, "InvalidInstanceId.VpcMismatch", "The specified instance and security group are not in the same VPC.")
	case !slices.Contains([]string{"Running", "Stopped"}, i.Status):
		return nil, wrongStatus()
	}
	i.Groups = append(slices.Clone(i.Groups), g.ID)
	return reply{}, nil
}

func leaveSecurityGroup(s *Server, c *call) (reply, error) {
	i, err := s.instance(c, c.params["InstanceId"])
	if err != nil {
		return nil, err
	}
	at := slices.Index(i.Groups, c.params["SecurityGroupId"])
	switch {
	case at < 0:
		return nil, refuse(http.StatusForbidden, "InstanceNotInSecurityGroup", "The instance is not in the group.")
	case len(i.Groups) == 1:
		return nil, refuse(http.StatusForbidden, "InstanceLastSecurityGroup", "The instance can not be removed from its last security group.")
	case !slices.Contains([]string{"Running", "Stopped"}, i.Status):
		return nil, wrongStatus()
	}
	i.Groups = slices.Delete(slices.Clone(i.Groups), at, at+1)
	return reply{}, nil
}

func attachKeyPair(s *Server, c *call) (reply, error) {
	if s.state.KeyPairs[c.region+" "+c.params["KeyPairName"]] == nil {
		return nil, refuse(http.StatusNotFound, "InvalidKeyPairName.NotFound", "The specified key pair does not exist.")
	}
	return s.setKey(c, c.params["KeyPairName"])
}

func detachKeyPair(s *Server, c *call) (reply, error) { return s.setKey(c, "") }

func (s *Server) setKey(c *call, name string) (reply, error) {
	ids, err := c.list("InstanceIds")
	if err != nil {
		return nil, err
	}
	results := []reply{}
	for _, id := range ids {
		i, err := s.instance(c, id)
		if err != nil {
			return nil, err
		}
		i.KeyName = name
		results = append(results, reply{"InstanceId": id, "Success": "true", "Code": "200", "Message": "successful"})
	}
	return reply{"TotalCount": len(ids), "FailCount": 0, "KeyPairName": name, "Results": reply{"Result": results}}, nil
}

func describeInstanceMaintenance(s *Server, c *call) (reply, error) {
	ids, err := c.list("InstanceId")
	if err != nil {
		return nil, err
	}
	sets := []reply{}
	for _, i := range s.instances(c) {
		if matches(ids, i.ID) {
			sets = append(sets, reply{"InstanceId": i.ID, "ActionOnMaintenance": reply{"Value": "AutoRecover", "DefaultValue": "AutoRecover"},
				"MaintenanceWindows": reply{"MaintenanceWindow": []reply{}}, "NotifyOnMaintenance": false})
		}
	}
	return reply{"TotalCount": len(sets), "PageNumber": 1, "PageSize": 10, "MaintenanceAttributes": reply{"MaintenanceAttribute": sets}}, nil
}

func describeInstanceAttachments(s *Server, c *call) (reply, error) {
	ids, err := c.list("InstanceIds")
	if err != nil {
		return nil, err
	}
	sets := []reply{}
	for _, i := range s.instances(c) {
		if matches(ids, i.ID) {
			sets = append(sets, reply{"InstanceId": i.ID, "PrivatePoolOptionsMatchCriteria": "None", "PrivatePoolOptionsId": ""})
		}
	}
	return reply{"TotalCount": len(sets), "PageNumber": 1, "PageSize": 10, "Instances": reply{"Instance": sets}}, nil
}
