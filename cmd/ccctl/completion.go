package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
	"github.com/ccctl/terraform-provider-cc/internal/serving/tlsmaterials"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/pccs"
)

// shells are the shells with a completion script, and how each is written.
var shells = map[string]func(root *cobra.Command) error{
	"bash":       func(root *cobra.Command) error { return root.GenBashCompletionV2(root.OutOrStdout(), true) },
	"zsh":        func(root *cobra.Command) error { return root.GenZshCompletion(root.OutOrStdout()) },
	"fish":       func(root *cobra.Command) error { return root.GenFishCompletion(root.OutOrStdout(), true) },
	"powershell": func(root *cobra.Command) error { return root.GenPowerShellCompletionWithDesc(root.OutOrStdout()) },
}

func shellNames() []string { return slices.Sorted(maps.Keys(shells)) }

func newCompletionCommand(*ui) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print the script that completes command lines in a shell",
		Long: `completion prints a script for a shell to load. It completes commands, flags and
the values of flags: formats, algorithms, regions, verdicts, the rules of a
configuration, and files by what they must be.

  bash        source <(ccctl completion bash)             in ~/.bashrc; needs the package bash-completion
  zsh         ccctl completion zsh >"${fpath[1]}/_ccctl"  once
  fish        ccctl completion fish | source              in ~/.config/fish/config.fish
  powershell  ccctl completion powershell | Out-String | Invoke-Expression   in $PROFILE

A release has the scripts in the folder completions.`,
		Example: `  ccctl completion bash
  ccctl completion zsh >_ccctl`,
		Args: args("SHELL"),
		RunE: func(cmd *cobra.Command, a []string) error {
			write, ok := shells[a[0]]
			if !ok {
				return usagef("%s: there is no script for %q: %s", cmd.CommandPath(), a[0], strings.Join(shellNames(), ", "))
			}
			if err := write(cmd.Root()); err != nil {
				return fmt.Errorf("print completion script: %w", err)
			}
			return nil
		},
	}
}

// completer says how a value is completed.
type completer struct {
	values func(cmd *cobra.Command, toComplete string) []cobra.Completion // "VALUE" or "VALUE\tDESCRIPTION"
	closed bool                                                           // no other value is accepted
	list   bool                                                           // several, separated by commas
	prefix bool                                                           // a value goes on after what is completed
	files  bool                                                           // files complete what values do not
	ext    []string                                                       // only files with these extensions
	dirs   bool
}

var (
	anything    = completer{} // numbers, names, times: nothing to offer
	anyFile     = completer{files: true}
	directory   = completer{dirs: true}
	pemFile     = completer{ext: []string{"pem", "crt", "cer"}}
	yamlFile    = completer{ext: []string{"yaml", "yml"}}
	jsonFile    = completer{ext: []string{"json"}}
	wrapKey     = completer{values: keyReferences, prefix: true, files: true}
	ruleOfAFile = completer{values: rulesOfConfig, list: true}
)

func oneOf(values ...cobra.Completion) completer {
	return completer{values: func(*cobra.Command, string) []cobra.Completion { return values }, closed: true}
}

func someOf(values ...cobra.Completion) completer {
	c := oneOf(values...)
	c.list = true
	return c
}

// flagCompleters has every flag that takes a value. A flag that means something
// else in one command is there under its command as well.
func flagCompleters() map[string]completer {
	return map[string]completer{
		"wrap-key": wrapKey, "new-wrap-key": wrapKey,
		"kms-key":     {values: func(*cobra.Command, string) []cobra.Completion { return []cobra.Completion{"alias/"} }, prefix: true},
		"transit-key": anything, "context": anything,
		"input": anyFile, "output": anyFile, "path": anything, "jobs": anything, "recovery": anyFile,
		"format": oneOf("1\tevery Gramine opens it", "2\tneeds Gramine 1.9"),

		"import-path": anyFile, "export-dir": directory, "model-version": anything, "inputs": anything, "outputs": anything,
		"report": jsonFile, "sha256": anything, "tries": anything,

		"out": directory, "server-name": anything, "client-name": anything, "validity": anything, "ca-validity": anything,
		"key-algorithm": oneOf(keyAlgorithms()...),
		"ca":            pemFile, "ca-key": pemFile, "cert": pemFile, "key": pemFile, "timeout": anything,

		"artifacts": directory, "server-certificate": pemFile, "sigstruct": {ext: []string{"sig"}}, "at": anything,

		"quote": anyFile, "certificate": {ext: []string{"pem", "crt", "cer", "der"}}, "policy": yamlFile, "trusted-root": pemFile,
		"collateral": jsonFile, "pccs": {values: oneOf("intel\tIntel's own service").values}, "region": oneOf(pccs.AlibabaRegions()...),
		"network": oneOf("public\tfrom everywhere", "vpc\tfrom an instance in the region"), "qcnl": {ext: []string{"conf"}}, "pccs-ca": pemFile,
		"update":            oneOf(string(pccs.UpdateStandard)+"\tin force now", string(pccs.UpdateEarly)+"\tin force after the next TCB recovery"),
		"evaluation-number": anything, "fmspc": anything,
		"collateral fetch --ca":       oneOf(dcap.CAPlatform+"\tservers from Ice Lake on", dcap.CAProcessor+"\tmachines of one processor before"),
		"collateral fetch -o":         jsonFile,
		"keyserver sign-config --key": anyFile, "audit verify --key": anyFile,

		"config": yamlFile, "state-file": jsonFile, "log-format": oneOf("text", "json"), "await-files": directory, "verify-key": anything,
		"secret": anything, "admin": anything, "decisions": anything, "audit-log": anyFile, "tail": anything, "since": anything,
		"verdict": someOf(verdicts...), "rule": ruleOfAFile,
		"host": anything, "identity": anyFile, "known-hosts": anyFile,
		"checkpoint": anyFile, "name": anything, "user": anything,
	}
}

// argumentCompleters has the positional arguments of each command that takes any.
func argumentCompleters() map[string]completer {
	return map[string]completer{
		"completion": oneOf(shellNames()...), "man": directory,
		"pf verify": anyFile, "pf inspect": anyFile, "pf rewrap": anyFile, "wrap-key fingerprint": wrapKey,
		"model fetch": anything, "model inspect": anyFile,
		"tls inspect": anyFile, "tls check": anything,
		"sigstruct inspect": {ext: []string{"sig"}}, "manifest check": {ext: []string{"sgx", "manifest"}},
		"quote inspect": anyFile, "quote verify": anyFile, "collateral inspect": jsonFile,
		"keyserver check-config": yamlFile, "keyserver sign-config": yamlFile, "keyserver import-ra-config": jsonFile,
		"keyserver probe": anything, "keyserver receive": directory, "audit verify": anyFile,
	}
}

// completeValues tells cobra how values are completed, for cmd and what is below it.
func completeValues(cmd *cobra.Command) {
	flags, arguments := flagCompleters(), argumentCompleters()
	var below func(cmd *cobra.Command)
	below = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			below(sub)
		}
		path := commandName(cmd)
		cmd.ValidArgsFunction = arguments[path].completeArgument // the zero completer offers nothing
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if c, ok := completerOf(flags, path, f); ok && f.NoOptDefVal == "" {
				_ = cmd.RegisterFlagCompletionFunc(f.Name, c.complete) // fails for a flag that is not there or done already
			}
		})
	}
	below(cmd)
}

// commandName is the path of a command without the program's name.
func commandName(cmd *cobra.Command) string {
	_, name, _ := strings.Cut(cmd.CommandPath(), " ")
	return name
}

func completerOf(all map[string]completer, path string, f *pflag.Flag) (completer, bool) {
	for _, name := range []string{path + " --" + f.Name, path + " -" + f.Shorthand, f.Name} {
		if c, ok := all[name]; ok {
			return c, true
		}
	}
	return completer{}, false
}

// completeArgument completes a positional argument, if the command takes one more.
func (c completer) completeArgument(cmd *cobra.Command, given []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(given) > 0 && !manyArguments(cmd) {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return c.complete(cmd, given, toComplete)
}

// complete completes the value of a flag.
func (c completer) complete(cmd *cobra.Command, _ []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	switch {
	case c.dirs:
		return nil, cobra.ShellCompDirectiveFilterDirs
	case len(c.ext) > 0:
		return c.ext, cobra.ShellCompDirectiveFilterFileExt
	}
	directive := cobra.ShellCompDirectiveNoFileComp
	if c.files {
		directive = cobra.ShellCompDirectiveDefault
	}
	if c.values == nil {
		return nil, directive
	}
	before := ""
	if i := strings.LastIndexByte(toComplete, ','); c.list && i >= 0 {
		before = toComplete[:i+1]
	}
	named := strings.Split(before, ",")
	var all []cobra.Completion
	for _, v := range c.values(cmd, toComplete) {
		name, _, _ := strings.Cut(v, "\t")
		if strings.HasPrefix(name, toComplete[len(before):]) && !slices.Contains(named, name) {
			all = append(all, before+v)
		}
	}
	if len(all) > 0 && c.prefix {
		directive |= cobra.ShellCompDirectiveNoSpace
	}
	return all, directive
}

// manyArguments tells whether a command goes on taking arguments.
func manyArguments(cmd *cobra.Command) bool { return strings.HasSuffix(cmd.Use, "...") }

func keyAlgorithms() []cobra.Completion {
	var all []cobra.Completion
	for _, a := range tlsmaterials.KeyAlgorithms() {
		all = append(all, string(a))
	}
	return all
}

// keySchemes are the beginnings of references to keys.
var keySchemes = []cobra.Completion{
	"env:\ta variable with 32 hex digits", "credential:\ta credential of systemd",
	"kms:\ta file that Alibaba Cloud's KMS decrypts",
	"vault:kv:\ta secret in Vault or OpenBao", "vault:transit:\ta file that Vault's Transit engine unwraps",
	"kms:\ta file that Alibaba Cloud's KMS decrypts",
}

// keyReferences offers the beginnings of references to keys, once one was begun: before that files are meant.
func keyReferences(_ *cobra.Command, toComplete string) []cobra.Completion {
	if toComplete == "" {
		return nil
	}
	return keySchemes
}

// rulesOfConfig offers the rules of the configuration that the same command line names.
func rulesOfConfig(cmd *cobra.Command, _ string) []cobra.Completion {
	f := cmd.Flags().Lookup("config")
	if f == nil || f.Value.String() == "" {
		return nil
	}
	cfg, err := keyserver.LoadConfig(f.Value.String())
	if err != nil {
		return nil
	}
	var all []cobra.Completion
	for i := range cfg.Rules {
		all = append(all, cfg.Rules[i].Name)
	}
	return all
}
