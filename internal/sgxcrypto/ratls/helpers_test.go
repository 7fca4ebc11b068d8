package ratls

import (
	"errors"
	"strings"
	"testing"
)

// checkError checks kind and beginning of an *Error.
func checkError(t *testing.T, err error, kind Kind, prefix string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v, want an *Error of kind %v", err, kind)
	}
	if e.Kind != kind {
		t.Errorf("kind %v, want %v", e.Kind, kind)
	}
	if !strings.HasPrefix(err.Error(), prefix) {
		t.Errorf("error %q, want it to begin with %q", err, prefix)
	}
}
