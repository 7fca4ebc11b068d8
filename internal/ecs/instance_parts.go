package ecs

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Disk is a disk of an instance.
type Disk struct {
	ID, Category, PerformanceLevel string
	SizeGiB                        int
	Device                         string // "/dev/xvdb"
	// WithInstance tells that the disk is deleted with the instance.
	WithInstance bool
}

// Disks are the disks of an instance.
type Disks struct {
	System *Disk  // the boot disk, nil while none is listed
	Data   []Disk // the others, by device
}

// InstanceDisks returns the disks of an instance, in one call: an instance has
// 17 at most.
func (c *Client) InstanceDisks(ctx context.Context, instanceID string) (Disks, error) {
	var out struct {
		Disks struct {
			Disk []struct {
				DiskID             text `json:"DiskId"`
				Type               text
				Device             text
				Category           text
				PerformanceLevel   text
				Size               number
				DeleteWithInstance bool
			}
		}
	}
	var disks Disks
	if err := c.call(ctx, describeDisks, map[string]string{"InstanceId": instanceID, "PageSize": strconv.Itoa(pageSize)}, &out); err != nil {
		return disks, err
	}
	for _, d := range out.Disks.Disk {
		one := Disk{
			ID: string(d.DiskID), Category: string(d.Category), PerformanceLevel: string(d.PerformanceLevel), SizeGiB: int(d.Size),
			Device: string(d.Device), WithInstance: d.DeleteWithInstance,
		}
		if d.Type == "system" {
			disks.System = &one
		} else {
			disks.Data = append(disks.Data, one)
		}
	}
	slices.SortStableFunc(disks.Data, func(a, b Disk) int { return cmp.Or(len(a.Device)-len(b.Device), strings.Compare(a.Device, b.Device)) })
	return disks, nil
}

// InstanceRole returns the RAM role of an instance, or nothing when it has
// none. DescribeInstances does not tell.
func (c *Client) InstanceRole(ctx context.Context, id string) (string, error) {
	var out struct {
		InstanceRAMRoleSets struct {
			InstanceRAMRoleSet []struct {
				InstanceID  text `json:"InstanceId"`
				RAMRoleName text `json:"RamRoleName"`
			} `json:"InstanceRamRoleSet"`
		} `json:"InstanceRamRoleSets"`
	}
	if err := c.call(ctx, describeInstanceRole, map[string]string{"InstanceIds": jsonList(id)}, &out); err != nil {
		return "", c.about(describeInstanceRole, "instance", id, err)
	}
	for _, r := range out.InstanceRAMRoleSets.InstanceRAMRoleSet {
		if string(r.InstanceID) == id {
			return string(r.RAMRoleName), nil
		}
	}
	return "", nil
}

// SetInstanceRole gives an instance another RAM role, or with an empty one
// none. The old one has to be named: an instance has one role at most, and
// refuses a second.
func (c *Client) SetInstanceRole(ctx context.Context, id, old, role string) error {
	if old != "" {
		if err := c.changeRole(ctx, detachInstanceRole, id, old, ""); err != nil {
			return err
		}
	}
	if role == "" {
		return nil
	}
	return c.changeRole(ctx, attachInstanceRole, id, role, role)
}

func (c *Client) changeRole(ctx context.Context, a *action, id, role, then string) error {
	var out roleReply
	err := c.call(ctx, a, map[string]string{"InstanceIds": jsonList(id), "RamRoleName": role}, &out)
	if err = c.about(a, "instance", id, err); err == nil {
		err = out.failure(a)
	}
	if err == nil || IsNotFound(err) || ctx.Err() != nil {
		return err
	}
	// A call that was made twice may find its work done, and says so in codes
	// that are documented nowhere. What counts is what is there.
	if now, lookErr := c.InstanceRole(ctx, id); lookErr == nil && now == then {
		return nil
	}
	return err
}

// roleReply is the answer of the calls that change roles. It is a success even
// if the one instance it is about was refused.
type roleReply struct {
	Attached struct {
		Results []roleResult `json:"AttachInstanceRamRoleResult"`
	} `json:"AttachInstanceRamRoleResults"`
	Detached struct {
		Results []roleResult `json:"DetachInstanceRamRoleResult"`
	} `json:"DetachInstanceRamRoleResults"`
}

type roleResult struct{ Code, Message, Success text }

func (r *roleReply) failure(a *action) error {
	for _, one := range append(r.Attached.Results, r.Detached.Results...) {
		if one.Success == "false" || (one.Success == "" && one.Code != "" && one.Code != "200") {
			return &Error{Action: a.name, Code: string(one.Code), Message: string(one.Message), Class: a.classify(string(one.Code), http.StatusOK), Remedy: a.adviceFor(string(one.Code))}
		}
	}
	return nil
}

// JoinResourceGroup moves a resource, of one of the types that tags are set on,
// into another resource group.
func (c *Client) JoinResourceGroup(ctx context.Context, kind, id, group string) error {
	params := map[string]string{"ResourceType": kind, "ResourceId": id, "ResourceGroupId": group}
	return c.about(joinResourceGroup, kind, id, c.call(ctx, joinResourceGroup, params, nil))
}

// A creation token tells which process made something. Its first half is the
// client's own: what bears it was made by this very client, which is alive to
// know of it. Anything else was made by another process, which may be dead.
const creationTokenHalf = 16

// NewCreationToken is [NewToken] for what is marked with its token: two tokens
// of one client start alike.
func (c *Client) NewCreationToken() string {
	return c.creations + NewToken()[:creationTokenHalf]
}

// OwnCreationToken tells whether a token is one of [Client.NewCreationToken]'s.
func (c *Client) OwnCreationToken(token string) bool {
	return len(token) == 2*creationTokenHalf && strings.HasPrefix(token, c.creations)
}
