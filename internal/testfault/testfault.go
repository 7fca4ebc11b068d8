// Package testfault holds tests to the guide about faults, so that it says what
// the programs say: a test reads the message of a row from the guide and looks
// for it in what a program has printed. The package's own test makes sure that
// every row of the guide is looked for somewhere, and that every test which the
// guide names is there.
//
// It is for tests only; internal/archtest keeps it out of every binary.
package testfault

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/testshared"
)

// Components of the product that a row is about.
const (
	Provider  = "provider"
	KeyServer = "key server"
	Ccctl     = "ccctl"
)

// Row is a line of one of the guide's tables.
type Row struct {
	Fault     string // unique with the component
	Component string
	Happens   string
	Says      []string // the messages, each with "…" for what differs from time to time
	Kept      string
	After     string   // how to go on when the fault is gone
	Tests     []string // which show it
}

// columns is how many cells a row has.
const columns = 7

// Guide returns the path of the guide's source.
func Guide(tb testing.TB) string {
	tb.Helper()
	return filepath.Join(testshared.Root(tb), "templates", "guides", "fault-day.md")
}

// Read returns all rows.
func Read(tb testing.TB) []Row {
	tb.Helper()
	text, err := os.ReadFile(Guide(tb))
	if err != nil {
		tb.Fatal(err)
	}
	rows, err := parse(string(text))
	if err != nil {
		tb.Fatalf("%s: %v", Guide(tb), err)
	}
	return rows
}

var (
	code = regexp.MustCompile("`([^`]+)`")
	test = regexp.MustCompile("^Test[A-Z][A-Za-z0-9]*$")
)

// parse reads the rows of the tables whose header has the columns of a Row. A
// fault that goes on for several components is named in the first row.
func parse(text string) ([]Row, error) {
	var rows []Row
	seen := map[string]bool{}
	fault := ""
	for i, line := range strings.Split(text, "\n") {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if !strings.HasPrefix(line, "|") || len(cells) < 2 {
			continue
		}
		for n := range cells {
			cells[n] = strings.TrimSpace(cells[n])
		}
		if cells[0] == "Fault" || strings.HasPrefix(cells[0], "---") {
			fault = ""
			continue
		}
		if len(cells) != columns {
			return nil, fmt.Errorf("line %d: %d cells instead of %d", i+1, len(cells), columns)
		}
		if cells[0] != "" {
			fault = cells[0]
		}
		r := Row{Fault: fault, Component: strings.Trim(cells[1], "`"), Happens: cells[2], Kept: cells[4], After: cells[5]}
		for _, found := range code.FindAllStringSubmatch(cells[3], -1) {
			r.Says = append(r.Says, found[1])
		}
		for _, found := range code.FindAllStringSubmatch(cells[6], -1) {
			if test.MatchString(found[1]) {
				r.Tests = append(r.Tests, found[1])
			}
		}
		if err := r.check(); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		key := r.Fault + "/" + r.Component
		if seen[key] {
			return nil, fmt.Errorf("line %d: %s is there twice", i+1, key)
		}
		seen[key] = true
		rows = append(rows, r)
	}
	return rows, nil
}

func (r Row) check() error {
	switch {
	case r.Fault == "":
		return fmt.Errorf("no fault is named")
	case r.Component != Provider && r.Component != KeyServer && r.Component != Ccctl:
		return fmt.Errorf("%q is no component", r.Component)
	case r.Happens == "", r.Kept == "", r.After == "":
		return fmt.Errorf("%s: a cell is empty", r.Fault)
	case len(r.Says) == 0:
		return fmt.Errorf("%s: no message", r.Fault)
	case len(r.Tests) == 0:
		return fmt.Errorf("%s: no test", r.Fault)
	}
	return nil
}

// Expect fails the test unless got, which a component has printed, has each
// message that the guide gives for a fault.
func Expect(tb testing.TB, fault, component, got string) {
	tb.Helper()
	for _, r := range Read(tb) {
		if r.Fault != fault || r.Component != component {
			continue
		}
		for _, want := range r.Says {
			if !pattern(want).MatchString(plain(got)) {
				tb.Errorf("%s: the guide has %s say %q, and it says:\n%s", fault, component, want, got)
			}
		}
		return
	}
	tb.Fatalf("the guide has no row for %q of the %s", fault, component)
}

// pattern matches a message as the guide has it.
func pattern(message string) *regexp.Regexp {
	parts := strings.Split(plain(message), "…")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(strings.TrimSpace(parts[i]))
	}
	return regexp.MustCompile(strings.Join(parts, ".*?"))
}

// plain undoes what a terminal, a log's quoting and Terraform's frame make of a
// sentence: lines are broken anywhere.
func plain(text string) string {
	text = strings.NewReplacer("│", " ", "╷", " ", "╵", " ", `\"`, `"`, "\x1b[31m", "", "\x1b[36m", "", "\x1b[0m", "").Replace(text)
	return strings.Join(strings.Fields(text), " ")
}
