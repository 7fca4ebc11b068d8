package deploy

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
)

// CreationTag marks an instance while it is being made, with the token of the
// request that made it. It goes when the making has ended in whatever way is
// known to the caller, so an instance that keeps it is one whose maker was
// killed before it could tell anybody the id. It is not shown among the tags.
const CreationTag = "cc-creation-token"

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
	spec.Tags = maps.Clone(spec.Tags)
	if spec.Tags == nil {
		spec.Tags = map[string]string{}
	}
	spec.Tags[CreationTag] = spec.Token
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
		return "", &Error{
			Summary: "Instance perhaps created",
			Err:     verb("create instance "+spec.Name, err),
			Remedy: fmt.Sprintf("The answer got lost, and no instance is listed yet. Apply again: if there is one with the tag %s = %s by then, it is named, and not made twice.",
				CreationTag, spec.Token),
		}
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
	if len(orphans) == 0 {
		return nil
	}
	return &Error{
		Summary: "Instance of an interrupted run found",
		Err: fmt.Errorf("create instance %s: in vSwitch %s there is already %s of that name, whose making another run has begun and not ended",
			spec.Name, spec.VSwitchID, strings.Join(orphans, ", ")),
		Remedy: "If that run is still at work, wait for it. If it was killed, take the instance over (terraform import ADDRESS ID) or delete it, in the console for instance. " +
			"To make another one beside it, give this one another name, or remove the tag " + CreationTag + " from the one that is there.",
	}
}

// EndCreation takes the [CreationTag] off an instance whose id its caller has
// stored. It goes on for a while after the caller gave up. That it failed costs
// no more than a name that is refused until the tag is gone; the next update
// tries again.
func EndCreation(ctx context.Context, c *ecs.Client, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterwards)
	defer cancel()
	err := c.Retag(ctx, ecs.TagInstance, id, map[string]string{CreationTag: ""}, nil)
	if ecs.IsNotFound(err) {
		return nil
	}
	return explainCloud("Instance still marked as being made", verb("take the tag "+CreationTag+" off instance "+id, err))
}
