package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

func newKeyserverCommand(u *ui) *cobra.Command {
	return group("keyserver", "Release wrap keys to attested enclaves",
		newKeyserverServeCommand(u),
		newKeyserverCheckConfigCommand(u),
		newKeyserverStatusCommand(u),
		newKeyserverProbeCommand(u),
		newKeyserverImportCommand(u),
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

const keyserverExample = `  listen: ":4433"
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
  admin: { listen: 127.0.0.1:9433 }`

func newKeyserverServeCommand(u *ui) *cobra.Command {
	var config, stateFile, logFormat string
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Serve enclaves until SIGTERM",
		Long: `serve listens for enclaves, verifies their attestation and releases wrap keys by
the rules of the configuration. It speaks Gramine's secret provisioning protocol,
for clients of Gramine 1.0 to 1.9.

The log goes to stderr, one line for every decision. SIGHUP reads the
configuration again; a bad one is reported and leaves the old one in force.
SIGTERM stops listening, lets connections finish, and ends with exit code 0.`,
		Example: keyserverExample,
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needFlag(cmd, "config"); err != nil {
				return err
			}
			log, err := newServerLog(u.err, logFormat)
			if err != nil {
				return err
			}
			if err := guardMemory(); err != nil {
				log.Warn("a crash of this process may leave keys in a core dump", "error", err)
			}
			reload, stop := reloadSignal()
			defer stop()
			err = keyserver.Run(cmd.Context(), config, keyserver.RunOptions{
				Options:   keyserver.Options{Log: log, Fingerprint: wrapKeyFingerprint},
				StateFile: stateFile, Version: version(), Reload: reload,
			})
			return keyserverError(err)
		},
	}
	cmd.Flags().StringVar(&config, "config", "", "configuration `FILE` (YAML)")
	cmd.Flags().StringVar(&stateFile, "state-file", "", "write PID, address and configuration digest to `FILE` while serving")
	cmd.Flags().StringVar(&logFormat, "log-format", "text", "`FORMAT` of the log: text or json")
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

// keyserverError gives a bad configuration the exit code of wrong usage: it is the operator's to mend.
func keyserverError(err error) error {
	var problems *keyserver.ConfigError
	if errors.As(err, &problems) {
		return withCode(exitUsage, err)
	}
	return err
}

func newKeyserverCheckConfigCommand(u *ui) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check-config FILE",
		Short: "Check a configuration and every file it names",
		Args:  args("FILE"),
		RunE: func(_ *cobra.Command, a []string) error {
			cfg, warnings, err := keyserver.CheckConfig(a[0], keyserver.Options{Fingerprint: wrapKeyFingerprint})
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
				Warnings []string `json:"warnings"`
			}{cfg.Path(), cfg.Digest(), cfg.Listen, len(cfg.Rules), len(cfg.Secrets), append([]string{}, warnings...)}
			return u.report(result, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%s is good: %d rules, %d secrets, listening on %s\nsha256 %s\n",
					result.File, result.Rules, result.Secrets, result.Listen, result.SHA256)
				return err
			})
		},
	}
	u.jsonFlag(cmd)
	return cmd
}

func newKeyserverStatusCommand(u *ui) *cobra.Command {
	var stateFile string
	cmd := &cobra.Command{
		Use:   "status --state-file FILE",
		Short: "Tell whether a server runs and is ready",
		Long: `status looks at the state file of a server on this machine, and asks the
server's health listener if its configuration has one. It exits with 6 when no
server runs, and with 1 when one runs and is not ready.`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needFlag(cmd, "state-file"); err != nil {
				return err
			}
			state, err := keyserver.ReadState(stateFile)
			if err != nil {
				return err
			}
			if state == nil {
				return withCode(exitUnreachable, fmt.Errorf("find key server: none holds the state file %s", stateFile))
			}
			result := struct {
				*keyserver.State
				Ready string `json:"ready"`
			}{State: state, Ready: readiness(cmd.Context(), state)}
			err = u.report(result, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "pid\t%d\nlisten\t%s\nadmin\t%s\nstarted\t%s\nversion\t%s\nconfiguration\tsha256 %s\nready\t%s\n",
					state.PID, state.Listen, state.Admin, state.Started.Format(time.RFC3339), state.Version, state.ConfigSHA256, result.Ready)
				return err
			})
			if err == nil && result.Ready != "yes" && result.Ready != "not known" {
				err = fmt.Errorf("ask key server: it is not ready: %s", result.Ready)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&stateFile, "state-file", "", "`FILE` that the server was given with --state-file")
	u.jsonFlag(cmd)
	return cmd
}

// readiness asks the health listener.
func readiness(ctx context.Context, state *keyserver.State) string {
	switch {
	case state.PID == 0:
		return "it is starting"
	case state.Admin == "":
		return "not known"
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+state.Admin+"/readyz", nil)
	if err != nil {
		return err.Error()
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy: it is on this machine
	resp, err := client.Do(req)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	switch {
	case err != nil:
		return err.Error()
	case resp.StatusCode == http.StatusOK:
		return "yes"
	default:
		return strings.TrimSpace(string(text))
	}
}
