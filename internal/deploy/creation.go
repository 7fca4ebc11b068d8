package deploy

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
)

// CreationTag marks an instance or a security group while it is being made,
// with the token of the request that made it. It goes when the making has ended
// in whatever way is known to the caller. So what keeps it is something whose
// maker was killed before it could tell anybody the id. It is not shown among
// the tags.
const CreationTag = "cc-creation-token"

// marked returns tags with the mark of a creation.
func marked(tags map[string]string, token string) map[string]string {
	with := map[string]string{CreationTag: token}
	maps.Copy(with, tags)
	with[CreationTag] = token
	return with
}

// EndCreation takes the [CreationTag] off something of a kind that tags are set
// on, whose id its caller has stored or is about to return. It goes on for a
// while after the caller gave up. Its failure costs no more than a name that is
// refused until the tag is gone; the next update tries again.
func EndCreation(ctx context.Context, c *ecs.Client, kind, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterwards)
	defer cancel()
	err := c.Retag(ctx, kind, id, map[string]string{CreationTag: ""}, nil)
	if ecs.IsNotFound(err) {
		return nil
	}
	return explainCloud("Creation not ended", verb("take the tag "+CreationTag+" off "+id, err))
}

// orphanError names what killed runs left behind, if anything.
func orphanError(kind, name, place string, orphans []string) error {
	if len(orphans) == 0 {
		return nil
	}
	return &Error{
		Summary: kind + " of an interrupted run found",
		Err: fmt.Errorf("create %s %s: in %s there is already %s of that name, whose making another run has begun and not ended",
			strings.ToLower(kind), name, place, strings.Join(orphans, ", ")),
		Remedy: "If that run is still at work, wait for it. If it was killed, take over what it made (terraform import ADDRESS ID) or delete it, in the console for instance. " +
			"To make another one beside it, give this one another name, or remove the tag " + CreationTag + " from the one that is there.",
	}
}

// perhapsError says that nobody knows whether something was made.
func perhapsError(kind, name, token string, err error) error {
	return &Error{
		Summary: kind + " perhaps created",
		Err:     verb("create "+strings.ToLower(kind)+" "+name, err),
		Remedy: fmt.Sprintf("The answer got lost, and no %s is listed yet. Apply again: if there is one with the tag %s = %s by then, it is named, and not made twice.",
			strings.ToLower(kind), CreationTag, token),
	}
}
