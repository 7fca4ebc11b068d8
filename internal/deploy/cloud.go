package deploy

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
)

// explainCloud gives a failure of Alibaba Cloud the shape that Terraform and
// ccctl show. A failure without a remedy of its own keeps its text alone.
func explainCloud(summary string, err error) error {
	if err == nil {
		return nil
	}
	var known *Error
	if errors.As(err, &known) || ecs.IsNotFound(err) {
		return err
	}
	remedy := ecs.RemedyOf(err)
	switch {
	case ecs.ClassOf(err) == ecs.ClassAuth:
		summary = "Alibaba Cloud refuses the credentials"
	case remedy == "" && ecs.ClassOf(err) == ecs.ClassTransient:
		remedy = "The service or the network to it failed. Apply again; nothing is made twice."
	}
	return &Error{Summary: summary, Err: err, Remedy: remedy}
}

// verb words an error as this package does: "verb noun: cause".
func verb(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	if strings.HasSuffix(one, "y") {
		return fmt.Sprintf("%d %sies", n, strings.TrimSuffix(one, "y"))
	}
	return fmt.Sprintf("%d %ss", n, one)
}
