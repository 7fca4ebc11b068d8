package main

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

func newKeyserverCommand(u *ui) *cobra.Command {
	return group("keyserver", "Release wrap keys to attested enclaves",
		newKeyserverServeCommand(u),
		newKeyserverCheckConfigCommand(u),
		newKeyserverSignCommand(u),
		newKeyserverGenKeyCommand(u),
		newKeyserverStatusCommand(u),
		newKeyserverLogsCommand(u),
		newKeyserverProbeCommand(u),
		newKeyserverImportCommand(u),
		newKeyserverReceiveCommand(u),
	)
}

// needFlag refuses a command without one of its flags as wrong usage; cobra's own check would exit with 1.
func needFlag(cmd *cobra.Command, name string) error {
	if cmd.Flags().Lookup(name).Value.String() != "" {
		return nil
	}
	return withHint(usagef("%s: --%s is missing", cmd.CommandPath(), name), "usage: %s", cmd.UseLine())
}

// wrapKeyFingerprint names a key as 'ccctl wrap-key fingerprint' does.
func wrapKeyFingerprint(key [16]byte) string { return protectedfile.Key(key).Fingerprint() }

// keyserverConfigExample is a configuration to begin with.
const keyserverConfigExample = `  listen: ":4433"
  tls: { certificate: server.pem, private_key: server-key.pem }
  collateral: { region: cn-beijing, network: public, cache_dir: /var/lib/cc-keyserver/collateral }
  secrets:
    - { name: resnet50, file: /run/secrets/wrap-key, encoding: raw }
  rules:
    - name: tf-serving on gramine
      mr_enclave: [7de5...]
      mr_signer: [b11a...]
      isv_prod_id: 0
      min_isv_svn: 0
      tcb: { accept: [UpToDate, SWHardeningNeeded], accept_advisories: [INTEL-SA-00615] }
      secret: resnet50
  audit: { file: /var/lib/cc-keyserver/audit.log }
  # Beyond the loopback with tls: { certificate: ..., private_key: ..., client_ca: ... } only.
  admin: { listen: 127.0.0.1:9433 }`

func newKeyserverServeCommand(u *ui) *cobra.Command {
	var config, stateFile, logFormat, await string
	var verify configKeys
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Serve enclaves until SIGTERM",
		Long: `serve listens for enclaves, verifies their attestation and releases wrap keys by
the rules of the configuration. It speaks Gramine's secret provisioning protocol,
for clients of Gramine 1.0 to 1.9.

The log goes to stderr, one line for every decision. SIGHUP reads the
configuration again; a bad one is reported and leaves the old one in force.
SIGTERM stops listening, lets connections finish, and ends with exit code 0.

A configuration:

` + keyserverConfigExample,
		Example: `  ccctl keyserver serve --config server.yaml
  ccctl keyserver serve --config /etc/cc-key-server/config.yaml --state-file /run/cc-key-server/state.json --log-format json`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needFlag(cmd, "config"); err != nil {
				return err
			}
			log, err := newServerLog(u.err, logFormat)
			if err != nil {
				return err
			}
			keys, err := verify.verifier()
			if err != nil {
				return err
			}
			if err := guardMemory(); err != nil {
				log.Warn("a crash of this process may leave keys in a core dump", "error", err)
			}
			reload, stop := reloadSignal()
			defer stop()
			if !awaitFiles(cmd.Context(), log, await) {
				return nil
			}
			err = keyserver.Run(cmd.Context(), config, keyserver.RunOptions{
				Options:   keyserver.Options{Log: log, Stdout: u.out, Fingerprint: wrapKeyFingerprint, ConfigKeys: keys},
				StateFile: stateFile, Version: version(), Reload: reload,
			})
			return keyserverError(err)
		},
	}
	cmd.Flags().StringVar(&config, "config", "", "configuration `FILE` (YAML)")
	verify.flag(cmd)
	cmd.Flags().StringVar(&stateFile, "state-file", "", "write PID, address and configuration digest to `FILE` while serving")
	cmd.Flags().StringVar(&logFormat, "log-format", "text", "`FORMAT` of the log: text or json")
	cmd.Flags().StringVar(&await, "await-files", "", "start when 'ccctl keyserver receive' has made the directory `DIR`")
	return cmd
}

func newServerLog(w io.Writer, format string) (*slog.Logger, error) {
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, nil)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, nil)), nil
	default:
		return nil, usagef("ccctl keyserver serve: --log-format is %q, want text or json", format)
	}
}

func newKeyserverCheckConfigCommand(u *ui) *cobra.Command {
	var verify configKeys
	cmd := &cobra.Command{
		Use:   "check-config FILE",
		Short: "Check a configuration and every file it names",
		Long: `check-config reads FILE as 'ccctl keyserver serve' does, and every file that it
names, and says what is wrong: unknown keys, rules that can release to nobody or
to too many, a certificate that is about to expire, a wrap key that cannot be read.
It asks no collateral service; 'ccctl doctor --config' does.

Exit codes: 2 the configuration is no good, 4 it lacks the signature demanded.`,
		Example: `  ccctl keyserver check-config server.yaml
  ccctl keyserver check-config server.yaml --json`,
		Args: args("FILE"),
		RunE: func(_ *cobra.Command, a []string) error {
			keys, err := verify.verifier()
			if err != nil {
				return err
			}
			cfg, warnings, err := keyserver.CheckConfig(a[0], keyserver.Options{Fingerprint: wrapKeyFingerprint, ConfigKeys: keys})
			if err != nil {
				return keyserverError(err)
			}
			for _, w := range warnings {
				u.warn("%s", w)
			}
			result := struct {
				File     string   `json:"file"`
				SHA256   string   `json:"sha256"`
				Listen   string   `json:"listen"`
				Rules    int      `json:"rules"`
				Secrets  int      `json:"secrets"`
				SignedBy string   `json:"signed_by,omitempty"`
				Warnings []string `json:"warnings"`
			}{File: cfg.Path(), SHA256: cfg.Digest(), Listen: cfg.Listen, Rules: len(cfg.Rules), Secrets: len(cfg.Secrets), Warnings: append([]string{}, warnings...)}
			if by := cfg.Signature(); by != nil {
				result.SignedBy = by.Signer
			}
			return u.report(result, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%s is good: %d rules, %d secrets, listening on %s\nsha256 %s\n",
					result.File, result.Rules, result.Secrets, result.Listen, result.SHA256)
				return err
			})
		},
	}
	verify.flag(cmd)
	u.jsonFlag(cmd)
	return cmd
}
