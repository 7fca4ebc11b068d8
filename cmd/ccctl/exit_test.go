package main

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExitCode(t *testing.T) {
	plain := errors.New("disk full")
	for _, tt := range []struct {
		name string
		err  error
		want int
	}{
		{"nil", nil, exitOK},
		{"plain", plain, exitFailed},
		{"usage", usagef("no such flag"), exitUsage},
		{"hint keeps the code", withHint(usagef("no such flag"), "try another"), exitUsage},
		{"hint on a plain error", withHint(plain, "make room"), exitFailed},
		{"wrapped", fmt.Errorf("convert: %w", withCode(exitFormat, plain)), exitFormat},
		{"outer code wins", withCode(exitNotGenuine, withCode(exitFormat, plain)), exitNotGenuine},
		{"interrupted", fmt.Errorf("encrypt: %w", context.Canceled), exitInterrupted},
	} {
		if got := exitCode(tt.err); got != tt.want {
			t.Errorf("%s: exit code %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestHintsAreOutermostFirst(t *testing.T) {
	err := withHint(fmt.Errorf("x: %w", withHint(errors.New("y"), "inner")), "outer")
	if diff := cmp.Diff([]string{"outer", "inner"}, hints(err)); diff != "" {
		t.Errorf("hints (-want +got):\n%s", diff)
	}
}

func TestGravest(t *testing.T) {
	for _, tt := range []struct {
		codes []int
		want  int
	}{
		{nil, exitOK},
		{[]int{exitOK, exitOK}, exitOK},
		{[]int{exitFailed, exitOK}, exitFailed},
		{[]int{exitFailed, exitFormat}, exitFormat},
		{[]int{exitFormat, exitNotGenuine, exitFailed}, exitNotGenuine},
	} {
		if got := gravest(tt.codes...); got != tt.want {
			t.Errorf("gravest(%v) = %d, want %d", tt.codes, got, tt.want)
		}
	}
}
