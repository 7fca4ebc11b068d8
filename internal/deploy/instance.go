package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
)

// InstanceChoice is what was left to this package to choose.
type InstanceChoice struct{ ImageID, Type, ZoneID, VpcID string }

// ResolveInstance chooses what the specification leaves open: the image from
// its family, and the type from what the zone of the vSwitch has in stock.
func ResolveInstance(ctx context.Context, c *ecs.Client, spec ecs.InstanceSpec, family string) (InstanceChoice, error) {
	var choice InstanceChoice
	vswitch, err := c.FindVSwitch(ctx, spec.VSwitchID)
	if ecs.IsNotFound(err) {
		return choice, &Error{Summary: "vSwitch not found", Err: verb("create instance "+spec.Name, err),
			Remedy: "Check vswitch_id and the provider's region."}
	}
	if err != nil {
		return choice, explainCloud("Instance not created", verb("create instance "+spec.Name, err))
	}
	choice = InstanceChoice{ImageID: spec.ImageID, Type: spec.Type, ZoneID: vswitch.ZoneID, VpcID: vswitch.VpcID}
	image := &ecs.Image{ID: spec.ImageID, Architecture: "x86_64"}
	if choice.ImageID == "" {
		if image, err = LatestImage(ctx, c, family); err != nil {
			return choice, err
		}
		choice.ImageID = image.ID
	}
	if choice.Type == "" {
		choice.Type, err = ChooseInstanceType(ctx, c, vswitch.ZoneID, image)
	}
	return choice, err
}

// WaitInstanceReady waits until an instance runs, and has its address if it is
// to have one.
func WaitInstanceReady(ctx context.Context, c *ecs.Client, id string, wantAddress bool) (*ecs.Instance, error) {
	i, err := c.WaitInstance(ctx, id, "to run", func(i *ecs.Instance) (bool, string) {
		switch {
		case i.Status != ecs.StatusRunning:
			return false, i.Status
		case wantAddress && i.Address() == "":
			return false, "Running, without a public address"
		default:
			return true, i.Status
		}
	})
	if err != nil {
		if ecs.IsNotFound(err) {
			return nil, &Error{Summary: "Instance vanished", Err: verb("wait for instance "+id, err),
				Remedy: "It was made and then disappeared: look into the console's operation log (ActionTrail), and for the release of a spot instance."}
		}
		return nil, explainCloud("Instance not ready", verb("wait for instance "+id, err))
	}
	return i, nil
}

// InstanceView is an instance as it was seen.
type InstanceView struct {
	*ecs.Instance
	Disks   ecs.Disks
	RAMRole string // empty as well when it was not asked for
}

// ObserveInstance returns an instance and its disks, in two calls, and with a
// third its RAM role, which the first does not tell.
func ObserveInstance(ctx context.Context, c *ecs.Client, id string, role bool) (*InstanceView, error) {
	fail := func(what string, err error) (*InstanceView, error) {
		return nil, explainCloud("Instance not read", verb("read "+what+"instance "+id, err))
	}
	i, err := c.FindInstance(ctx, id)
	if err != nil {
		return fail("", err)
	}
	v := &InstanceView{Instance: i}
	if v.Disks, err = c.InstanceDisks(ctx, id); err != nil {
		return fail("the disks of ", err)
	}
	if role {
		if v.RAMRole, err = c.InstanceRole(ctx, id); err != nil {
			return fail("the RAM role of ", err)
		}
	}
	return v, nil
}

// WaitDataDisks waits until the data disks that an instance was made with are
// listed, and returns all that are.
func WaitDataDisks(ctx context.Context, c *ecs.Client, id string, n int) (ecs.Disks, error) {
	var disks ecs.Disks
	if n == 0 {
		return disks, nil
	}
	err := c.Wait(ctx, plural(n, "data disk")+" of instance "+id+" to be listed", func(ctx context.Context) (bool, string, error) {
		var err error
		disks, err = c.InstanceDisks(ctx, id)
		return len(disks.Data) >= n, fmt.Sprintf("%d listed", len(disks.Data)), err
	})
	return disks, explainCloud("Instance not ready", verb("wait for the disks of instance "+id, err))
}

// InstanceWish is what can be changed on an instance in place.
type InstanceWish struct {
	Name, Description        string
	HostName                 string // empty leaves it
	Tags                     map[string]string
	Groups                   []string
	BandwidthOut             int
	InternetChargeType       string
	Type                     string
	HTTPTokens               string
	RAMRole, ResourceGroupID string
	DeletionProtection       bool
	Password                 string // new one, or empty
}

// String keeps the password out of logs.
func (w InstanceWish) String() string { return "deploy.InstanceWish(" + w.Name + ")" }

// GoString is like String, for %#v.
func (w InstanceWish) GoString() string { return w.String() }

// NeedsRestart says what of a change stops and starts the machine, or nothing.
func (w InstanceWish) NeedsRestart(to InstanceWish) string {
	var why []string
	if w.Type != to.Type {
		why = append(why, fmt.Sprintf("its type changes from %s to %s", w.Type, to.Type))
	}
	if to.HostName != "" && w.HostName != to.HostName {
		why = append(why, fmt.Sprintf("its host name changes from %s to %s", w.HostName, to.HostName))
	}
	if to.Password != "" {
		why = append(why, "a new password takes effect at the next start")
	}
	return strings.Join(why, ", and ")
}

// UpdateInstance changes an instance in place. It starts with what is harmless
// and ends with what stops the machine; a run that was interrupted can be
// repeated.
func UpdateInstance(ctx context.Context, c *ecs.Client, id string, from, to InstanceWish) error {
	steps := []struct {
		what string
		do   func() error
	}{
		{"attributes", func() error { return changeAttributes(ctx, c, id, from, to) }},
		{"tags", func() error { return c.Retag(ctx, ecs.TagInstance, id, from.Tags, to.Tags) }},
		{"security groups", func() error { return changeGroups(ctx, c, id, from.Groups, to.Groups) }},
		{"metadata options", func() error {
			if from.HTTPTokens == to.HTTPTokens {
				return nil
			}
			return c.SetMetadataTokens(ctx, id, to.HTTPTokens)
		}},
		{"RAM role", func() error {
			if from.RAMRole == to.RAMRole {
				return nil
			}
			return c.SetInstanceRole(ctx, id, from.RAMRole, to.RAMRole)
		}},
		{"resource group", func() error {
			if from.ResourceGroupID == to.ResourceGroupID || to.ResourceGroupID == "" {
				return nil
			}
			return c.JoinResourceGroup(ctx, ecs.TagInstance, id, to.ResourceGroupID)
		}},
		{"bandwidth", func() error { return changeBandwidth(ctx, c, id, from, to) }},
		{"type", func() error { return restart(ctx, c, id, from, to) }},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			return explainCloud("Instance not changed", verb("change the "+s.what+" of instance "+id, err))
		}
	}
	return nil
}

func changeAttributes(ctx context.Context, c *ecs.Client, id string, from, to InstanceWish) error {
	var ch ecs.InstanceChange
	if from.Name != to.Name {
		ch.Name = &to.Name
	}
	if from.Description != to.Description {
		ch.Description = &to.Description
	}
	if from.DeletionProtection != to.DeletionProtection {
		ch.DeletionProtection = &to.DeletionProtection
	}
	if to.HostName != "" && from.HostName != to.HostName {
		ch.HostName = &to.HostName
	}
	if to.Password != "" {
		ch.Password = &to.Password
	}
	return c.ModifyInstance(ctx, id, ch)
}

// changeGroups joins before it leaves: an instance cannot be without a group.
// Where the limit of groups is in the way of that, it leaves one first.
func changeGroups(ctx context.Context, c *ecs.Client, id string, from, to []string) error {
	has := slices.Clone(from)
	leaving := slices.DeleteFunc(slices.Clone(from), func(g string) bool { return slices.Contains(to, g) })
	leave := func() error {
		if err := c.LeaveSecurityGroup(ctx, id, leaving[0]); err != nil {
			return err
		}
		has = slices.DeleteFunc(has, func(g string) bool { return g == leaving[0] })
		leaving = leaving[1:]
		return nil
	}
	for _, g := range to {
		if slices.Contains(from, g) {
			continue
		}
		err := c.JoinSecurityGroup(ctx, id, g)
		if ecs.HasCode(err, "InstanceSecurityGroupLimitExceeded", "SecurityGroupLimitExceeded", "SecurityGroupInstanceLimitExceed") && len(leaving) > 0 && len(has) > 1 {
			if err := leave(); err != nil {
				return err
			}
			err = c.JoinSecurityGroup(ctx, id, g)
		}
		if err != nil {
			return err
		}
		has = append(has, g)
	}
	for len(leaving) > 0 {
		if err := leave(); err != nil {
			return err
		}
	}
	return nil
}

func changeBandwidth(ctx context.Context, c *ecs.Client, id string, from, to InstanceWish) error {
	if from.BandwidthOut == to.BandwidthOut && from.InternetChargeType == to.InternetChargeType {
		return nil
	}
	charge := ""
	if from.InternetChargeType != to.InternetChargeType {
		charge = to.InternetChargeType
	}
	if err := c.SetBandwidth(ctx, id, to.BandwidthOut, charge, from.BandwidthOut == 0 && to.BandwidthOut > 0); err != nil {
		return err
	}
	_, err := c.WaitInstance(ctx, id, "to have the new bandwidth", func(i *ecs.Instance) (bool, string) {
		return i.BandwidthOut == to.BandwidthOut && (to.BandwidthOut == 0 || i.Status != ecs.StatusRunning || i.Address() != ""),
			fmt.Sprintf("%d Mbit/s, address %q", i.BandwidthOut, i.Address())
	})
	return err
}

// restart stops, changes and starts. An instance that was stopped before stays
// so.
func restart(ctx context.Context, c *ecs.Client, id string, from, to InstanceWish) error {
	if from.NeedsRestart(to) == "" {
		return nil
	}
	before, err := c.WaitInstance(ctx, id, "to be at rest", func(i *ecs.Instance) (bool, string) {
		return i.Status == ecs.StatusRunning || i.Status == ecs.StatusStopped, i.Status
	})
	if err != nil {
		return err
	}
	if err := c.StopInstance(ctx, id); err != nil {
		return err
	}
	_, changeErr := c.WaitStatus(ctx, id, ecs.StatusStopped)
	if changeErr == nil && from.Type != to.Type {
		changeErr = c.ChangeInstanceType(ctx, id, to.Type)
	}
	if before.Status == ecs.StatusStopped {
		return changeErr
	}
	// It was running, so it is started again even if it could not be changed,
	// and for a caller who gave up.
	start, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterwards)
	defer cancel()
	if err := errors.Join(changeErr, c.StartInstance(start, id)); err != nil {
		return err
	}
	_, err = c.WaitInstance(ctx, id, "to run", func(i *ecs.Instance) (bool, string) {
		return i.Status == ecs.StatusRunning && (before.Address() == "" || i.Address() != ""), i.Status
	})
	return err
}

// DeleteInstance deletes an instance and waits until it is gone.
func DeleteInstance(ctx context.Context, c *ecs.Client, id string) error {
	err := c.DeleteInstance(ctx, id)
	if err == nil {
		err = c.WaitInstanceGone(ctx, id)
	}
	summary := "Instance not deleted"
	if ecs.HasCode(err, "InvalidOperation.DeletionProtection") {
		summary = "Instance protected against deletion"
	}
	return explainCloud(summary, verb("delete instance "+id, err))
}

// OfAnotherAccount tells whether the credentials belong to an account other
// than the one that a resource was made in: then its absence means nothing.
func OfAnotherAccount(ctx context.Context, c *ecs.Client, account string) error {
	if account == "" {
		return nil
	}
	now, err := c.AccountID(ctx)
	if err != nil {
		return explainCloud("Absence not confirmed", verb("confirm the account", err))
	}
	if now != account {
		return &Error{
			Summary: "Credentials of another account",
			Err:     fmt.Errorf("read the resource: it was made in account %s, and the credentials (%s) belong to account %s", account, c.CredentialSource(), now),
			Remedy:  "Use credentials of the account that the resource is in. It is not taken for deleted.",
		}
	}
	return nil
}
