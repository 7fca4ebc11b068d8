package dcap_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/testshared"
)

// row is one line of the matrix of negative and edge cases, with every way of it that the line names.
type row struct {
	id       int
	attempts []attempt
	run      func(t *testing.T) // for what is not a verification
}

// attempt changes good evidence and names the outcome (see code).
type attempt struct {
	name  string
	make  func(*lab)
	want  string
	check func(*testing.T, *dcap.Verdict) // of what is accepted; may be nil
}

// one is a row of one attempt.
func one(id int, want string, change func(*lab)) row {
	return row{id: id, attempts: []attempt{{make: change, want: want}}}
}

// matrix is all rows.
func matrix() []row {
	return slices.Concat(
		quoteRows(), chainRows(), crlRows(), extensionRows(), tcbInfoRows(), qeIdentityRows(), reportRows(), levelRows(), otherRows(), serviceRows(),
	)
}

func TestMatrix(t *testing.T) {
	for _, r := range matrix() {
		t.Run(strconv.Itoa(r.id), func(t *testing.T) {
			if r.run != nil {
				r.run(t)
			}
			for i, a := range r.attempts {
				name := a.name
				if name == "" {
					name = strconv.Itoa(i + 1)
				}
				t.Run(name, func(t *testing.T) { runAttempt(t, a) })
			}
			if r.run == nil && len(r.attempts) == 0 {
				t.Error("the row tests nothing")
			}
		})
	}
	dcap.LogRoutes(t)
}

func runAttempt(t *testing.T, a attempt) {
	l := newLab(t, "")
	if a.make != nil {
		a.make(l)
	}
	verdict, err := l.verify(nil)
	if got := code(err); got != a.want {
		t.Fatalf("outcome %s, want %s (%v)", got, a.want, err)
	}
	var refusal *dcap.Error
	if errors.As(err, &refusal) && (refusal.What == "" || refusal.Remedy == "" || refusal.Got+refusal.Want == "" && refusal.Err == nil) {
		t.Errorf("%q lacks what was examined, what was found, or what to do", err)
	}
	if a.check != nil {
		a.check(t, verdict)
	}
	if err != nil && l.policy == nil && verdict != nil {
		t.Error("a verdict beside a refusal")
	}
	// A verifier that remembers what it has verified must say the same, the first time and the second.
	v, err := dcap.NewVerifier(l.roots)
	if err != nil {
		if a.want != "config" {
			t.Fatal(err)
		}
		return
	}
	for range 2 {
		if _, err := l.verify(v); code(err) != a.want {
			t.Fatalf("outcome %s with a warm verifier, want %s (%v)", code(err), a.want, err)
		}
	}
}

// TestMatrixIsComplete compares the rows here with the list of cases that was drawn up from the tests of Intel's library
// and of other verifiers: number by number, and the stage where the list names one.
func TestMatrixIsComplete(t *testing.T) {
	list, err := os.ReadFile(filepath.Join(testshared.Dir(t, "research"), "dcap-negative-cases.md"))
	if err != nil {
		t.Fatal(err)
	}
	stage := regexp.MustCompile(`quote_format|pck_chain|root_crl|pck_crl|pck_extensions|tcb_info|qe_identity|qe_report|binding|quote_signature|tcb_level|policy|collateral_missing`)
	expected := map[int][]string{}
	for _, line := range regexp.MustCompile(`(?m)^\| (\d+) \|([^|]*)\|([^|]*)\|`).FindAllStringSubmatch(string(list), -1) {
		id, err := strconv.Atoi(line[1])
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := expected[id]; twice {
			t.Errorf("row %d is listed twice", id)
		}
		expected[id] = stage.FindAllString(line[3], -1)
		if strings.Contains(line[3], "accepted") {
			expected[id] = append(expected[id], "ok")
		}
	}
	if len(expected) != 208 {
		t.Fatalf("the list has %d rows", len(expected))
	}
	seen := map[int]bool{}
	for _, r := range matrix() {
		stages, listed := expected[r.id]
		if !listed || seen[r.id] {
			t.Errorf("row %d is here and not in the list, or here twice", r.id)
		}
		seen[r.id] = true
		// A row also has attempts that must end otherwise, to show where the line is drawn.
		named := slices.ContainsFunc(r.attempts, func(a attempt) bool {
			got, _, _ := strings.Cut(a.want, "/")
			return slices.Contains(stages, got) || got == "config"
		})
		if len(stages) > 0 && !named && len(r.attempts) > 0 {
			t.Errorf("row %d expects nothing of what the list says: %v", r.id, stages)
		}
	}
	for id := range expected {
		if !seen[id] {
			t.Errorf("row %d has no test", id)
		}
	}
}

// TestLabIsGood makes sure that it is the changes that are refused.
func TestLabIsGood(t *testing.T) {
	for _, ca := range []string{dcap.CAPlatform, dcap.CAProcessor} {
		v, err := newLab(t, ca).verify(nil)
		if err != nil {
			t.Fatal(err)
		}
		if v.Status != dcap.StatusSWHardeningNeeded || !v.Simulated || v.PCK.CA != ca {
			t.Errorf("verdict %+v", v)
		}
	}
}

func each(values []int, f func(*lab, int), want string) []attempt {
	var all []attempt
	for _, v := range values {
		all = append(all, attempt{name: fmt.Sprint(v), want: want, make: func(l *lab) { f(l, v) }})
	}
	return all
}
