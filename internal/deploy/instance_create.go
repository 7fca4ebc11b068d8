package deploy

import (
	"context"
	"fmt"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
)

// CreateInstance makes an instance of a complete specification and returns its
// id, which the caller stores before it waits for anything, and hands to
// [EndCreation] at last. However the call ends, there is one instance at most,
// and if the service says that there is one, its id is returned.
//
// An instance of the same name in the same vSwitch that still has the
// [CreationTag] of another run is what a killed run left behind. It is neither
// taken over nor doubled: the error names it.
func CreateInstance(ctx context.Context, c *ecs.Client, spec ecs.InstanceSpec) (string, error) {
	if err := refuseOrphans(ctx, c, spec); err != nil {
		return "", err
	}
	spec.Token = c.NewCreationToken()
	spec.Tags = marked(spec.Tags, spec.Token)
	id, err := c.RunInstance(ctx, spec)
	if err == nil {
		return id, nil
	}
	if ecs.ClassOf(err) == ecs.ClassTransient {
		// Nobody knows whether the last attempt happened.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterwards)
		defer cancel()
		if found, findErr := c.FindInstanceByTag(ctx, CreationTag, spec.Token); findErr == nil && found != nil {
			return found.ID, nil
		}
		return "", perhapsError("Instance", spec.Name, spec.Token, err)
	}
	return "", explainCloud("Instance not created", verb("create instance "+spec.Name, err))
}

// refuseOrphans fails if a killed run left an instance behind in the place of
// the one that is to be made.
func refuseOrphans(ctx context.Context, c *ecs.Client, spec ecs.InstanceSpec) error {
	marked, err := c.InstancesWithTag(ctx, CreationTag, spec.Name, spec.VSwitchID)
	if err != nil {
		return explainCloud("Instance not created", verb("look for what an interrupted run left of instance "+spec.Name, err))
	}
	var orphans []string
	for _, i := range marked {
		if !c.OwnCreationToken(i.Tags[CreationTag]) { // those are being made beside this one
			orphans = append(orphans, fmt.Sprintf("%s (made %s, %s)", i.ID, i.Created, i.Status))
		}
	}
	return orphanError("Instance", spec.Name, "vSwitch "+spec.VSwitchID, orphans)
}
