package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/serving/graphtext"
	"github.com/ccctl/terraform-provider-cc/internal/serving/savedmodel"
)

// cmdCopyModel is the script command "copy-model FILE": it copies the
// quickstart's frozen graph, which a script cannot hold.
func cmdCopyModel(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: copy-model FILE")
	}
	data, err := os.ReadFile("../../examples/quickstart/model/digits.pb")
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o600))
}

func TestModelExitCodes(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{fmt.Errorf("convert x: %w", &savedmodel.FormatError{Offset: -1, Reason: "bad"}), exitFormat},
		{fmt.Errorf("convert x: %w", deploy.ErrSourceDigest), exitNotGenuine},
		{fmt.Errorf("convert x: %w", &graphtext.Error{Line: 1, Column: 1}), exitFormat},
		{fmt.Errorf("fetch x: %w", deploy.ErrUnreachable), exitUnreachable},
		{&savedmodel.SizeError{Size: 1 << 31}, exitFailed},
		{&savedmodel.NotServableError{}, exitFailed},
		{&savedmodel.TensorError{Role: savedmodel.Input}, exitFailed},
		{deploy.ErrModelExists, exitFailed},
	} {
		if got := exitCode(tt.err); got != tt.want {
			t.Errorf("%v: exit code %d, want %d", tt.err, got, tt.want)
		}
	}
}

// TestPrintModel prints what the scripts' graphs do not have.
func TestPrintModel(t *testing.T) {
	info := &savedmodel.GraphInfo{
		Kind: savedmodel.FrozenGraph, Size: 5, Nodes: 30, Functions: []string{"f"}, Warnings: []string{"careful"},
		Problems: []savedmodel.Problem{{Node: "w", Reason: "it is a variable", Remedy: "freeze the graph"}},
	}
	for i := range 15 {
		info.Variables = append(info.Variables, fmt.Sprintf("v%d", i))
	}
	var b strings.Builder
	if err := printModel(&b, info); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"graph\t30 nodes\n", "functions\tf\n", "inputs\tnone\n", "outputs\tnone\n", "variables\tv0\n\tv1\n", "\tv11\n\tand 3 more; --json lists them\n",
		"warning\tcareful\n", "servable\tno: node \"w\": it is a variable; freeze the graph\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
	broken := errors.New("pipe closed")
	if err := printModel(brokenWriter{broken}, info); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

func TestFetchName(t *testing.T) {
	for url, want := range map[string]string{
		"https://h/a/b.pb":         "b.pb",
		"https://h/a/b.pb?token=x": "b.pb",
		"https://h/b.pb#part":      "b.pb",
		"file:///tmp/b.pb":         "b.pb",
		"https://h/a/":             "",
		"https://h":                "",
		"https://h/..":             "",
		"https://h/.profile":       "",
		"https://h/a%2fb":          "",
		"b.pb":                     "",
	} {
		if got := fetchName(url); got != want {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
}
