package scalar

import (
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"
)

func TestDuration(t *testing.T) {
	for text, want := range map[string]any{
		"10s": 10 * time.Second, "168h": 168 * time.Hour, "1h30m": 90 * time.Minute,
		"0s": `duration "0s" is not positive`, "-1h": `duration "-1h" is not positive`, "7d": `"7d" is not a duration such as 10s`,
		"10": `"10" is not a duration`, "[10s]": "is not a duration",
	} {
		var d Duration
		err := yaml.Unmarshal([]byte(text), &d)
		check(t, text, time.Duration(d), want, err)
		if err == nil {
			roundTrip(t, d, &d)
		}
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]any{
		"1KiB": Size(1024), "64MiB": Size(64 << 20), "1GiB": Size(1 << 30), "1536MiB": Size(1536 << 20), "999999GiB": Size(999999 << 30),
		"0KiB": `"0KiB" is not a size such as 512KiB, 64MiB or 1GiB`, "64": "is not a size", "64MB": "is not a size", "-1MiB": "is not a size",
		"1.5GiB": "is not a size", "1000000GiB": "is not a size", "064MiB": "is not a size", "64 MiB": "is not a size", "[64MiB]": "is not a size",
	} {
		var s Size
		err := yaml.Unmarshal([]byte(text), &s)
		check(t, text, s, want, err)
		if err == nil {
			roundTrip(t, s, &s)
		}
	}
}

// check compares a value, or an error's text.
func check(t *testing.T, text string, got, want any, err error) {
	t.Helper()
	switch want := want.(type) {
	case string:
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	default:
		if err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", text, got, err, want)
		}
	}
}

func roundTrip[T comparable](t *testing.T, value T, into *T) {
	t.Helper()
	raw, err := yaml.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	var zero T
	*into = zero
	if err := yaml.Unmarshal(raw, into); err != nil || *into != value {
		t.Errorf("%v is written as %s and read as %v: %v", value, raw, *into, err)
	}
}
