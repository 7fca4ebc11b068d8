package ecs

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// The states of an instance, as the service spells them.
const (
	StatusPending  = "Pending"
	StatusStarting = "Starting"
	StatusRunning  = "Running"
	StatusStopping = "Stopping"
	StatusStopped  = "Stopped"
)

// Instance is what DescribeInstances tells of an instance.
type Instance struct {
	ID, Name, Description, HostName                 string
	Status, ImageID, Type, ZoneID, VpcID, VSwitchID string
	PrivateIP, PublicIP, EIP                        string
	BandwidthOut                                    int // Mbit/s
	InternetChargeType, KeyName                     string
	DeletionProtection                              bool
	SecurityGroups                                  []string
	Tags                                            map[string]string
	HTTPTokens                                      string // "required" or "optional"
	Locks                                           []string
	ResourceGroupID, SpotStrategy                   string
	SpotPriceLimit                                  float64 // an hour, in the account's currency
	Created                                         string  // "2026-01-02T15:04Z"
}

// Address returns the address under which the instance is reached from the
// internet, an EIP before an assigned one, or nothing.
func (i *Instance) Address() string {
	if i.EIP != "" {
		return i.EIP
	}
	return i.PublicIP
}

// InstanceSpec is what an instance is made of. The fields are RunInstances'.
type InstanceSpec struct {
	Name, Description, HostName string
	ImageID, Type, VSwitchID    string
	SecurityGroups              []string
	Disk                        Disk
	DataDisks                   []Disk // in the order of their devices; deleted with the instance
	BandwidthOut                int
	InternetChargeType          string
	KeyName, RAMRole            string
	Password                    string
	UserData                    []byte // raw, at most [MaxUserData]
	HTTPTokens                  string
	DeletionProtection          bool
	Tags                        map[string]string
	ResourceGroupID             string
	// SpotStrategy is NoSpot, SpotAsPriceGo or SpotWithPriceLimit, which alone
	// has a SpotPriceLimit.
	SpotStrategy   string
	SpotPriceLimit float64
	// Token makes repeated calls one call; see [NewToken].
	Token string
}

// String keeps the password out of logs.
func (s InstanceSpec) String() string { return "ecs.InstanceSpec(" + s.Name + ")" }

// GoString is like String, for %#v.
func (s InstanceSpec) GoString() string { return s.String() }

// MaxUserData is the size in bytes, before base64, that user data may have, and
// SafeUserData the size that every region accepts.
const (
	MaxUserData  = 32 << 10
	SafeUserData = 16 << 10
)

// RunInstance makes one instance and returns its id. It is not running yet and
// may not be listed yet.
func (c *Client) RunInstance(ctx context.Context, s InstanceSpec) (string, error) {
	if s.Token == "" {
		s.Token = NewToken()
	}
	params := map[string]string{
		"Amount": "1", "ClientToken": s.Token, "ImageId": s.ImageID, "InstanceType": s.Type, "VSwitchId": s.VSwitchID,
		"InternetMaxBandwidthOut": strconv.Itoa(s.BandwidthOut), "InstanceChargeType": "PostPaid", "HttpEndpoint": "enabled",
	}
	list(params, "SecurityGroupIds", s.SecurityGroups)
	for _, p := range [][2]string{
		{"InstanceName", s.Name}, {"Description", s.Description}, {"HostName", s.HostName},
		{"SystemDisk.Category", s.Disk.Category}, {"SystemDisk.PerformanceLevel", s.Disk.PerformanceLevel},
		{"InternetChargeType", s.InternetChargeType}, {"KeyPairName", s.KeyName}, {"RamRoleName", s.RAMRole},
		{"Password", s.Password}, {"HttpTokens", s.HTTPTokens}, {"ResourceGroupId", s.ResourceGroupID}, {"SpotStrategy", s.SpotStrategy},
	} {
		set(params, p[0], p[1])
	}
	if s.SpotPriceLimit > 0 {
		params["SpotPriceLimit"] = strconv.FormatFloat(s.SpotPriceLimit, 'f', -1, 64)
	}
	if s.Disk.SizeGiB > 0 {
		params["SystemDisk.Size"] = strconv.Itoa(s.Disk.SizeGiB)
	}
	for i, d := range s.DataDisks {
		prefix := fmt.Sprintf("DataDisk.%d.", i+1)
		params[prefix+"Size"], params[prefix+"DeleteWithInstance"] = strconv.Itoa(d.SizeGiB), "true"
		set(params, prefix+"Category", d.Category)
		set(params, prefix+"PerformanceLevel", d.PerformanceLevel)
	}
	if s.DeletionProtection {
		params["DeletionProtection"] = "true"
	}
	if len(s.UserData) > 0 {
		params["UserData"] = base64.StdEncoding.EncodeToString(s.UserData)
	}
	setTags(params, s.Tags)
	var out struct {
		InstanceIDSets struct {
			InstanceIDSet []text `json:"InstanceIdSet"`
		} `json:"InstanceIdSets"`
	}
	if err := c.call(ctx, runInstances, params, &out); err != nil {
		return "", err
	}
	if ids := out.InstanceIDSets.InstanceIDSet; len(ids) == 1 && ids[0] != "" {
		return string(ids[0]), nil
	}
	return "", &Error{Action: runInstances.name, Err: fmt.Errorf("the answer names %d instances instead of one", len(out.InstanceIDSets.InstanceIDSet))}
}

// FindInstance returns an instance, or a [*NotFoundError] once its absence is
// certain. It makes one call for an instance that is there.
func (c *Client) FindInstance(ctx context.Context, id string) (*Instance, error) {
	var found *Instance
	gone, err := c.confirmGone(ctx, func(ctx context.Context) (bool, error) {
		var err error
		found, err = c.describeInstance(ctx, map[string]string{"InstanceIds": jsonList(id)})
		return found != nil, err
	})
	if err != nil {
		return nil, err
	}
	if gone {
		return nil, &NotFoundError{Kind: "instance", ID: id, Region: c.region}
	}
	return found, nil
}

// FindInstanceByTag returns the instance with a tag, or nil when none is
// listed.
func (c *Client) FindInstanceByTag(ctx context.Context, key, value string) (*Instance, error) {
	return c.describeInstance(ctx, map[string]string{"Tag.1.Key": key, "Tag.1.Value": value})
}

// InstancesWithTag lists the instances of a name in a vSwitch that have a tag,
// whatever its value.
func (c *Client) InstancesWithTag(ctx context.Context, key, name, vswitchID string) ([]*Instance, error) {
	params := map[string]string{"Tag.1.Key": key, "InstanceName": name, "VSwitchId": vswitchID}
	type reply struct {
		NextToken text
		Instances struct{ Instance []instanceReply }
	}
	var all []*Instance
	last := &reply{}
	collect := func() {
		for _, r := range last.Instances.Instance {
			i := r.instance()
			// The service's own filters are no promise: names may be patterns there.
			if _, tagged := i.Tags[key]; tagged && i.Name == name && i.VSwitchID == vswitchID {
				all = append(all, i)
			}
		}
	}
	err := c.pages(ctx, describeInstances, params, func() (any, func() string) {
		collect()
		last = &reply{}
		return last, func() string { return string(last.NextToken) }
	})
	collect()
	return all, err
}

func jsonList(values ...string) string {
	data, err := json.Marshal(values)
	if err != nil {
		return "[]"
	}
	return string(data)
}

type instanceReply struct {
	InstanceID              text `json:"InstanceId"`
	InstanceName            text
	Description             text
	HostName                text
	Status                  text
	ImageID                 text `json:"ImageId"`
	InstanceType            text
	ZoneID                  text `json:"ZoneId"`
	InternetMaxBandwidthOut number
	InternetChargeType      text
	KeyPairName             text
	ResourceGroupID         text `json:"ResourceGroupId"`
	SpotStrategy            text
	SpotPriceLimit          number
	CreationTime            text
	DeletionProtection      bool
	VpcAttributes           struct {
		VpcID            text `json:"VpcId"`
		VSwitchID        text `json:"VSwitchId"`
		PrivateIPAddress struct {
			IPAddress []text `json:"IpAddress"`
		} `json:"PrivateIpAddress"`
	}
	PublicIPAddress struct {
		IPAddress []text `json:"IpAddress"`
	} `json:"PublicIpAddress"`
	EipAddress struct {
		IPAddress text `json:"IpAddress"`
	}
	SecurityGroupIDs struct {
		SecurityGroupID []text `json:"SecurityGroupId"`
	} `json:"SecurityGroupIds"`
	Tags            tagSet
	MetadataOptions struct {
		HTTPTokens text `json:"HttpTokens"`
	}
	OperationLocks struct {
		LockReason []struct{ LockReason text }
	}
}

func (r *instanceReply) instance() *Instance {
	i := &Instance{
		ID: string(r.InstanceID), Name: string(r.InstanceName), Description: string(r.Description), HostName: string(r.HostName),
		Status: string(r.Status), ImageID: string(r.ImageID), Type: string(r.InstanceType), ZoneID: string(r.ZoneID),
		VpcID: string(r.VpcAttributes.VpcID), VSwitchID: string(r.VpcAttributes.VSwitchID),
		PrivateIP: firstOf(r.VpcAttributes.PrivateIPAddress.IPAddress...), PublicIP: firstOf(r.PublicIPAddress.IPAddress...),
		EIP: string(r.EipAddress.IPAddress), BandwidthOut: int(r.InternetMaxBandwidthOut), InternetChargeType: string(r.InternetChargeType),
		KeyName: string(r.KeyPairName), DeletionProtection: r.DeletionProtection, ResourceGroupID: string(r.ResourceGroupID),
		SpotStrategy: string(r.SpotStrategy), SpotPriceLimit: float64(r.SpotPriceLimit), Created: string(r.CreationTime),
		Tags: r.Tags.tags(), HTTPTokens: string(r.MetadataOptions.HTTPTokens),
	}
	for _, g := range r.SecurityGroupIDs.SecurityGroupID {
		i.SecurityGroups = append(i.SecurityGroups, string(g))
	}
	for _, l := range r.OperationLocks.LockReason {
		i.Locks = append(i.Locks, string(l.LockReason))
	}
	return i
}

func (c *Client) describeInstance(ctx context.Context, params map[string]string) (*Instance, error) {
	params["AdditionalAttributes.1"] = "META_OPTIONS"
	var out struct {
		Instances struct{ Instance []instanceReply }
	}
	if err := c.call(ctx, describeInstances, params, &out); err != nil {
		return nil, err
	}
	switch found := out.Instances.Instance; len(found) {
	case 0:
		return nil, nil //nolint:nilnil // Absence is an answer here; the exported callers say what it means.
	case 1:
		return found[0].instance(), nil
	default:
		return nil, &Error{Action: describeInstances.name, Err: fmt.Errorf("%d instances match where one was asked for", len(found))}
	}
}

// UserData returns an instance's user data, decoded.
func (c *Client) UserData(ctx context.Context, id string) ([]byte, error) {
	var out struct{ UserData text }
	err := c.call(ctx, describeUserData, map[string]string{"InstanceId": id}, &out)
	if err := c.about(describeUserData, "instance", id, err); err != nil {
		return nil, err
	}
	data, err := base64.StdEncoding.DecodeString(string(out.UserData))
	if err != nil {
		return nil, &Error{Action: describeUserData.name, Err: errors.New("the answer is not base64")}
	}
	return data, nil
}

// WaitInstance waits until an instance is as ready wishes it, which returns the
// state for the error's text. An instance that is not listed is waited for,
// for as long as lists may lag: newInstanceLag.
func (c *Client) WaitInstance(ctx context.Context, id, what string, ready func(*Instance) (bool, string)) (*Instance, error) {
	var found *Instance
	absent := time.Time{}
	err := c.Wait(ctx, "instance "+id+" "+what, func(ctx context.Context) (bool, string, error) {
		i, err := c.describeInstance(ctx, map[string]string{"InstanceIds": jsonList(id)})
		if err != nil {
			return false, "", err
		}
		if i == nil {
			if absent.IsZero() {
				absent = time.Now()
			}
			if time.Since(absent) > newInstanceLag {
				return false, "", &NotFoundError{Kind: "instance", ID: id, Region: c.region}
			}
			return false, "not listed", nil
		}
		absent = time.Time{}
		found = i
		done, seen := ready(i)
		return done, seen, nil
	})
	return found, err
}

// newInstanceLag is how long an instance may be missing from the lists while it
// is waited for.
const newInstanceLag = 2 * time.Minute

// WaitStatus waits for a state.
func (c *Client) WaitStatus(ctx context.Context, id, status string) (*Instance, error) {
	return c.WaitInstance(ctx, id, "to be "+status, func(i *Instance) (bool, string) { return i.Status == status, i.Status })
}

// WaitInstanceGone waits until a deleted instance is not listed any more.
func (c *Client) WaitInstanceGone(ctx context.Context, id string) error {
	return c.Wait(ctx, "instance "+id+" to be gone", func(ctx context.Context) (bool, string, error) {
		i, err := c.describeInstance(ctx, map[string]string{"InstanceIds": jsonList(id)})
		if err != nil || i == nil {
			return err == nil, "", err
		}
		return false, i.Status, nil
	})
}

func (c *Client) instanceCall(ctx context.Context, a *action, id string, params map[string]string) error {
	params["InstanceId"] = id
	return c.about(a, "instance", id, c.call(ctx, a, params, nil))
}

// DeleteInstance deletes an instance, running or not; one that is gone is no
// error.
func (c *Client) DeleteInstance(ctx context.Context, id string) error {
	err := c.instanceCall(ctx, deleteInstance, id, map[string]string{"Force": "true"})
	if IsNotFound(err) {
		return nil
	}
	return err
}

// StopInstance asks the system of an instance to shut down, keeping its
// addresses and its charges.
func (c *Client) StopInstance(ctx context.Context, id string) error {
	return c.instanceCall(ctx, stopInstance, id, map[string]string{"ForceStop": "false", "StoppedMode": "KeepCharging"})
}

// StartInstance starts a stopped instance.
func (c *Client) StartInstance(ctx context.Context, id string) error {
	return c.instanceCall(ctx, startInstance, id, map[string]string{})
}

// ChangeInstanceType changes the type of a stopped instance.
func (c *Client) ChangeInstanceType(ctx context.Context, id, instanceType string) error {
	return c.instanceCall(ctx, modifyInstanceSpec, id, map[string]string{"InstanceType": instanceType})
}

// SetBandwidth changes the outbound bandwidth in Mbit/s and how it is charged;
// from 0 to more it also allocates a public IPv4 address.
func (c *Client) SetBandwidth(ctx context.Context, id string, mbit int, chargeType string, allocate bool) error {
	params := map[string]string{"InternetMaxBandwidthOut": strconv.Itoa(mbit)}
	set(params, "NetworkChargeType", chargeType)
	if allocate {
		params["AllocatePublicIp"] = "true"
	}
	return c.instanceCall(ctx, modifyInstanceNetwork, id, params)
}

// SetMetadataTokens sets whether the metadata service answers with tokens only:
// "required" or "optional".
func (c *Client) SetMetadataTokens(ctx context.Context, id, tokens string) error {
	return c.instanceCall(ctx, modifyInstanceMetadata, id, map[string]string{"HttpEndpoint": "enabled", "HttpTokens": tokens})
}

// InstanceChange is what ModifyInstanceAttribute changes; nil leaves a field.
type InstanceChange struct {
	Name, Description, HostName *string
	DeletionProtection          *bool
	Password                    *string // effective after a restart
}

// String keeps the password out of logs.
func (ch InstanceChange) String() string { return "ecs.InstanceChange(redacted)" }

// GoString is like String, for %#v.
func (ch InstanceChange) GoString() string { return ch.String() }

// ModifyInstance changes attributes of an instance; an empty text clears the
// old one.
func (c *Client) ModifyInstance(ctx context.Context, id string, ch InstanceChange) error {
	params := map[string]string{}
	for name, v := range map[string]*string{"InstanceName": ch.Name, "Description": ch.Description, "HostName": ch.HostName, "Password": ch.Password} {
		if v != nil {
			params[name] = *v
		}
	}
	if ch.DeletionProtection != nil {
		params["DeletionProtection"] = strconv.FormatBool(*ch.DeletionProtection)
	}
	if len(params) == 0 {
		return nil
	}
	return c.instanceCall(ctx, modifyInstanceAttribute, id, params)
}

// JoinSecurityGroup puts an instance into a group; being in it already is no
// error.
func (c *Client) JoinSecurityGroup(ctx context.Context, id, group string) error {
	return c.instanceCall(ctx, joinSecurityGroup, id, map[string]string{"SecurityGroupId": group})
}

// LeaveSecurityGroup takes an instance out of a group; being out already is no
// error. The service refuses the last group: join before leaving.
func (c *Client) LeaveSecurityGroup(ctx context.Context, id, group string) error {
	return c.instanceCall(ctx, leaveSecurityGroup, id, map[string]string{"SecurityGroupId": group})
}
