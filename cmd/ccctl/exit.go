package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
)

// Exit codes. Scripts rely on them; they are part of the product's contract.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitFormat      = 3 // not this format: bad magic, unsupported version, unparseable
	exitNotGenuine  = 4 // bad MAC or signature, tampered, truncated, wrong path
	exitRefused     = 5 // genuine but refused by policy
	exitUnreachable = 6 // network, collateral service
	exitInterrupted = 130
)

// codedError carries the exit code and the hints of an error.
type codedError struct {
	code  int
	hints []string
	err   error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

// withCode gives err an exit code that its type alone does not tell.
func withCode(code int, err error) error {
	if err == nil {
		return nil
	}
	return &codedError{code: code, err: err}
}

// withHint adds a line that guesses at the mistake; it keeps the exit code.
func withHint(err error, format string, a ...any) error {
	if err == nil {
		return nil
	}
	return &codedError{code: -1, hints: []string{fmt.Sprintf(format, a...)}, err: err}
}

// usagef makes an error of wrong usage.
func usagef(format string, a ...any) error {
	return withCode(exitUsage, fmt.Errorf(format, a...))
}

// exitCode maps an error to the code the process ends with.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	for e := err; ; {
		var coded *codedError
		if !errors.As(e, &coded) {
			break
		}
		if coded.code >= 0 {
			return coded.code
		}
		e = coded.err
	}
	if errors.Is(err, context.Canceled) {
		return exitInterrupted
	}
	for _, classify := range classifiers {
		if code := classify(err); code != exitOK {
			return code
		}
	}
	return exitFailed
}

// classifiers tell the exit code of each package's typed errors; each answers
// exitOK for an error that is not its own.
var classifiers = []func(error) int{
	protectedFileCode,
	modelCode,
	classifyCollateral,
	classifyQuote,
	classifySigstruct,
	classifyManifest,
	classifyFinding,
}

// hints collects the hints along an error's chain, outermost first.
func hints(err error) []string {
	var all []string
	for {
		var coded *codedError
		if !errors.As(err, &coded) {
			return all
		}
		all = append(all, coded.hints...)
		err = coded.err
	}
}

// remedy guesses what is to be done about an error from the error alone. Where
// the command has given a hint of its own, only what the system says is added.
func remedy(err error, hinted bool) string {
	if h := deploy.SystemRemedy(err, "run the command again"); h != "" {
		return h
	}
	var known *deploy.Error
	if !hinted && errors.As(err, &known) {
		return known.Remedy
	}
	return ""
}

// gravest picks the exit code of a command that worked on several files.
func gravest(codes ...int) int {
	for _, code := range []int{exitInterrupted, exitNotGenuine, exitFormat, exitRefused, exitUnreachable, exitUsage, exitFailed} {
		if slices.Contains(codes, code) {
			return code
		}
	}
	return exitOK
}
