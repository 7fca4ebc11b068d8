package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ccctl/terraform-provider-cc/internal/keysource/keyref"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
	"github.com/ccctl/terraform-provider-cc/internal/testshared"
)

// completed asks for completions as a shell does: of the last word. Descriptions are left out.
func completed(t *testing.T, words ...string) ([]string, cobra.ShellCompDirective) {
	t.Helper()
	code, out, errOut := ccctl(t, "", append([]string{cobra.ShellCompNoDescRequestCmd}, words...)...)
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	directive, err := strconv.Atoi(strings.TrimPrefix(lines[len(lines)-1], ":"))
	if code != exitOK || err != nil {
		t.Fatalf("%q: exit code %d, %q, %s", words, code, out, errOut)
	}
	return lines[:len(lines)-1], cobra.ShellCompDirective(directive)
}

// TestEveryFlagCompletes: each flag with a value and each argument is in the tables, and a closed set of values is what the
// shell is told.
func TestEveryFlagCompletes(t *testing.T) {
	flags, arguments := flagCompleters(), argumentCompleters()
	used := map[string]bool{}
	closed := 0
	for _, cmd := range commands(testRoot(t)) {
		path := commandName(cmd)
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.NoOptDefVal != "" { // it takes no value
				return
			}
			c, ok := completerOf(flags, path, f)
			if !ok {
				t.Errorf("ccctl %s --%s: decide in flagCompleters how its value is completed", path, f.Name)
				return
			}
			used[path+" --"+f.Name], used[path+" -"+f.Shorthand], used[f.Name] = true, true, true
			got, directive := completed(t, append(strings.Fields(path), "--"+f.Name, "")...)
			want, wantDirective := c.complete(cmd, nil, "")
			for i := range want {
				want[i], _, _ = strings.Cut(want[i], "\t")
			}
			if !slices.Equal(got, want) || directive != wantDirective {
				t.Errorf("ccctl %s --%s completes to %q (%d), want %q (%d)", path, f.Name, got, directive, want, wantDirective)
			}
			if c.closed {
				closed++
				if len(got) < 2 || directive != cobra.ShellCompDirectiveNoFileComp {
					t.Errorf("ccctl %s --%s: %q, %d", path, f.Name, got, directive)
				}
			}
		})
		if cmd.HasSubCommands() {
			continue
		}
		_, takes := arguments[path]
		if err := cmd.ValidateArgs(nil); takes == (err == nil) {
			t.Errorf("ccctl %s: argumentCompleters has it: %t; without arguments: %v", path, takes, err)
		}
		used["arguments "+path] = true
	}
	if closed < 10 {
		t.Errorf("only %d flags with a closed set of values found", closed)
	}
	for name := range flags {
		if !used[name] {
			t.Errorf("flagCompleters has %s, which is no flag", name)
		}
	}
	for path := range arguments {
		if !used["arguments "+path] {
			t.Errorf("argumentCompleters has %s, which is no command", path)
		}
	}
}

// TestClosedSets gives each flag with a closed set a value outside of it: it must be refused as wrong usage, or the set is
// not closed.
func TestClosedSets(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, line := range []string{
		"pf encrypt -w k -i i -o o --format nonsense",
		"pf encrypt -w k -i i -o o --format 3",
		"tls generate --server-name a --one-way --out o --key-algorithm nonsense",
		"quote verify q --region cn-beijing --network nonsense",
		"quote verify q --region nonsense",
		"quote verify q --region cn-beijing --update nonsense",
		"collateral fetch --region cn-beijing --fmspc 00606A000000 -o o --ca nonsense",
		"keyserver serve --config c --log-format nonsense",
		"keyserver logs --audit-log a --verdict nonsense",
		"completion nonsense",
	} {
		if strings.HasPrefix(line, "quote verify") {
			writeSimulatedQuote(t, "q")
		}
		if code, _, errOut := ccctl(t, "", strings.Fields(line)...); code != exitUsage || !strings.Contains(errOut, "nonsense") && !strings.Contains(errOut, "3") {
			t.Errorf("%s: exit code %d: %s", line, code, errOut)
		}
	}
}

// writeSimulatedQuote writes the quote of a simulated platform to a file.
func writeSimulatedQuote(t *testing.T, name string) {
	t.Helper()
	p, err := sgxsim.New(sgxsim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	q, err := p.NewQuote(sgxsim.Identity{}, [64]byte{})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := q.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCompletions(t *testing.T) {
	t.Chdir(t.TempDir())
	config := `listen: 127.0.0.1:0
tls: { certificate: c.pem, private_key: k.pem }
collateral: { region: cn-beijing }
secrets: [{ name: s, file: f }]
rules:
  - { name: resnet, mr_enclave: [` + strings.Repeat("ab", 32) + `], tcb: { accept: [UpToDate] }, secret: s }
  - { name: bert, mr_enclave: [` + strings.Repeat("cd", 32) + `], tcb: { accept: [UpToDate] }, secret: s }
`
	if err := os.WriteFile("server.yaml", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	const (
		files   = cobra.ShellCompDirectiveDefault
		nothing = cobra.ShellCompDirectiveNoFileComp
	)
	for _, tt := range []struct {
		line      string // a blank at its end begins another word
		want      []string
		directive cobra.ShellCompDirective
	}{
		{"mod", []string{"model"}, nothing},
		{"pf g", []string{"gen-key"}, nothing},
		{"pf encrypt --repro", []string{"--reproducible"}, nothing},
		{"pf encrypt --format ", []string{"1", "2"}, nothing},
		{"pf encrypt --format=", []string{"1", "2"}, nothing},
		{"pf encrypt -w ", nil, files},
		{"pf encrypt -w va", []string{"vault:kv:", "vault:transit:"}, cobra.ShellCompDirectiveNoSpace},
		{"pf encrypt -w keys/", nil, files},
		{"pf verify -w k a ", nil, files}, // one more FILE
		{"pf inspect a ", nil, nothing},   // no more
		{"pf gen-key ", nil, nothing},
		{"tls generate --key-algorithm e", []string{"ecdsa-p256"}, nothing},
		{"tls generate --out ", nil, cobra.ShellCompDirectiveFilterDirs},
		{"tls check ", nil, nothing},
		{"sigstruct inspect ", []string{"sig"}, cobra.ShellCompDirectiveFilterFileExt},
		{"manifest check ", []string{"sgx", "manifest"}, cobra.ShellCompDirectiveFilterFileExt},
		{"quote verify q --region cn-b", []string{"cn-beijing"}, nothing},
		{"quote verify q --pccs ", []string{"intel"}, nothing},
		{"quote verify q --pccs https://pccs.example.com", nil, nothing},
		{"collateral fetch --ca ", []string{"platform", "processor"}, nothing},
		{"tls check h:1 --ca ", []string{"pem", "crt", "cer"}, cobra.ShellCompDirectiveFilterFileExt},
		{"keyserver logs --verdict ref", []string{"refused"}, nothing},
		{"keyserver logs --verdict sent,ref", []string{"sent,refused"}, nothing},
		{"keyserver logs --verdict refused,ref", nil, nothing},
		{"keyserver logs --rule ", nil, nothing},
		{"keyserver logs --config server.yaml --rule ", []string{"resnet", "bert"}, nothing},
		{"keyserver logs --config missing.yaml --rule ", nil, nothing},
		{"completion ", []string{"bash", "fish", "powershell", "zsh"}, nothing},
	} {
		words := strings.Fields(tt.line)
		if strings.HasSuffix(tt.line, " ") {
			words = append(words, "")
		}
		got, directive := completed(t, words...)
		if diff := cmp.Diff(append([]string{}, tt.want...), append([]string{}, got...)); diff != "" || directive != tt.directive {
			t.Errorf("%q: directive %d, want %d (-want +got):\n%s", tt.line, directive, tt.directive, diff)
		}
	}
}

// TestKeySchemes: what is offered as a reference is one.
func TestKeySchemes(t *testing.T) {
	for _, s := range keySchemes {
		if name, _, _ := strings.Cut(s, "\t"); keyref.IsFile(name) {
			t.Errorf("%s is a file", name)
		}
	}
}

// TestCompletionScripts has a shell read the script, and complete with it.
func TestCompletionScripts(t *testing.T) {
	dir := t.TempDir()
	for _, shell := range shellNames() {
		code, out, errOut := ccctl(t, "", "completion", shell)
		if code != exitOK || errOut != "" || !strings.Contains(out, "ccctl") {
			t.Errorf("%s: exit code %d, %d bytes, %s", shell, code, len(out), errOut)
		}
		if err := os.WriteFile(filepath.Join(dir, shell), []byte(out), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	bash, err := exec.LookPath("bash")
	if err != nil {
		testshared.Missing(t, "bash is not installed")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	// testscript.Main runs the program under this name.
	if err := os.Symlink(self, filepath.Join(bin, "ccctl")); err != nil {
		testshared.Missing(t, fmt.Sprintf("no symbolic link can be made here: %v", err))
	}
	// What the script needs of the package bash-completion.
	const script = `
_get_comp_words_by_ref() { cur=${COMP_WORDS[COMP_CWORD]}; prev=${COMP_WORDS[COMP_CWORD-1]}; words=("${COMP_WORDS[@]}"); cword=$COMP_CWORD; }
source "$1"
COMP_WORDS=(ccctl pf encrypt --format ""); COMP_CWORD=4; COMP_LINE="ccctl pf encrypt --format "; COMP_POINT=${#COMP_LINE}; COMP_TYPE=9
__start_ccctl
printf '%s\n' "${COMPREPLY[@]}"
`
	cmd := exec.Command(bash, "--norc", "-c", script, "bash", filepath.Join(dir, "bash"))
	cmd.Env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	out, err := cmd.Output() // compopt complains that nobody has pressed a key
	if err != nil || !strings.HasPrefix(string(out), "1") || !strings.Contains(string(out), "\n2") {
		t.Errorf("%v, %q", err, out)
	}
}
