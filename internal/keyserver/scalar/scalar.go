// Package scalar has the values of a configuration that are more than a string or a number: times and sizes with their
// unit. Each is written in one way.
package scalar

import (
	"fmt"
	"regexp"
	"strconv"
	"time"

	"go.yaml.in/yaml/v4"
)

// Duration is a time.Duration written as "10s" or "168h".
type Duration time.Duration

// UnmarshalYAML implements yaml.Unmarshaler.
func (d *Duration) UnmarshalYAML(node *yaml.Node) error {
	parsed, err := time.ParseDuration(node.Value)
	if err != nil || node.Kind != yaml.ScalarNode {
		return fmt.Errorf("%q is not a duration such as 10s, 5m or 168h", node.Value)
	}
	if parsed <= 0 {
		return fmt.Errorf("duration %q is not positive; leave the field out for the default", node.Value)
	}
	*d = Duration(parsed)
	return nil
}

// Size is a number of bytes written as "64MiB".
type Size int64

var sizePattern = regexp.MustCompile(`^([1-9][0-9]{0,5})(KiB|MiB|GiB)$`)

// UnmarshalYAML implements yaml.Unmarshaler.
func (s *Size) UnmarshalYAML(node *yaml.Node) error {
	parts := sizePattern.FindStringSubmatch(node.Value)
	if parts == nil || node.Kind != yaml.ScalarNode {
		return fmt.Errorf("%q is not a size such as 512KiB, 64MiB or 1GiB", node.Value)
	}
	n, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil {
		return fmt.Errorf("%q is not a size: %w", node.Value, err)
	}
	*s = Size(n << map[string]int{"KiB": 10, "MiB": 20, "GiB": 30}[parts[2]])
	return nil
}

// MarshalYAML implements yaml.Marshaler.
func (s Size) MarshalYAML() (any, error) {
	for _, unit := range []struct {
		name  string
		shift int
	}{{"GiB", 30}, {"MiB", 20}} {
		if s != 0 && s%(1<<unit.shift) == 0 {
			return strconv.FormatInt(int64(s)>>unit.shift, 10) + unit.name, nil
		}
	}
	return strconv.FormatInt(int64(s)>>10, 10) + "KiB", nil
}

// MarshalYAML implements yaml.Marshaler.
func (d Duration) MarshalYAML() (any, error) { return time.Duration(d).String(), nil }
