package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver/console"
)

// statusPatience is how long a listener may take to answer.
const statusPatience = 5 * time.Second

func newKeyserverStatusCommand(u *ui) *cobra.Command {
	var admin adminFlags
	var decisions uint
	cmd := &cobra.Command{
		Use:   "status (--state-file FILE | --admin HOST:PORT)",
		Short: "Tell whether a server runs and is ready, and what it does",
		Long: `status asks a server's admin listener for what its status page shows: whether
enclaves are served, what is in force, what will be a problem, and the last
decisions. It finds the listener by the state file of a server on this machine, or
by --admin. Without an admin listener it knows only what the state file says.

Exit codes: 6 when no server runs or it does not answer; 1 when it is not healthy,
with the reasons: enclaves are not served, or every client refuses its
certificate. Warnings alone leave the exit code at 0.`,
		Example: `  ccctl keyserver status --state-file /run/cc-key-server/state.json
  ccctl keyserver status --admin keys.example.com:9433 --ca ca.pem --cert me.pem --key me-key.pem --json`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (admin.stateFile == "") == (admin.address == "") {
				return withHint(usagef("%s: give one of --state-file and --admin", cmd.CommandPath()), "usage: %s", cmd.UseLine())
			}
			if err := admin.check(cmd); err != nil {
				return err
			}
			result, err := askStatus(cmd, u, &admin, decisions)
			if result == nil {
				return err
			}
			return errors.Join(u.report(result, func(w io.Writer) error { return printStatus(w, result) }), err)
		},
	}
	admin.add(cmd)
	cmd.Flags().UintVar(&decisions, "decisions", 10, "show the last `N` decisions")
	u.jsonFlag(cmd)
	return cmd
}

// statusReport is what the command prints.
type statusReport struct {
	*keyserver.State

	Ready string `json:"ready"` // "yes", "not known", or why not
	// Status is what the admin listener says; nil without one.
	Status *console.Status `json:"status,omitempty"`
}

// askStatus returns what is known and, beside it, why that is not good.
func askStatus(cmd *cobra.Command, u *ui, admin *adminFlags, decisions uint) (*statusReport, error) {
	report := &statusReport{State: &keyserver.State{Admin: admin.address, AdminTLS: admin.secure()}, Ready: "not known"}
	if admin.stateFile != "" {
		var err error
		if report.State, err = findState(admin.stateFile); err != nil {
			return nil, err
		}
		switch {
		case report.PID == 0:
			report.Ready = "it is starting"
			return report, errors.New("ask key server: it is not ready: it is starting")
		case report.Admin == "":
			return report, nil
		case report.AdminTLS && !admin.secure():
			u.note("note: the admin listener at %s speaks mutual TLS: give --ca, --cert and --key to see more", report.Admin)
			return report, nil
		case admin.secure() && !report.AdminTLS:
			return nil, usagef("%s: the admin listener at %s does not speak TLS: leave out --ca, --cert and --key", cmd.CommandPath(), report.Admin)
		}
	}
	client, err := admin.client(report.Admin)
	if err != nil {
		return nil, err
	}
	var status console.Status
	if err := client.get(cmd.Context(), fmt.Sprintf("/status?decisions=%d", decisions), statusPatience, &status); err != nil {
		return nil, err
	}
	report.Status = &status
	if admin.stateFile == "" {
		report.PID, report.Started, report.Version, report.Listen = status.PID, status.Started, status.Version, status.Listen
		report.ConfigSHA256 = status.Configuration.SHA256
	}
	report.Ready = "yes"
	if !status.Ready {
		report.Ready = strings.Join(status.Problems, "; ")
		return report, fmt.Errorf("ask key server: it is not ready: %s", report.Ready)
	}
	if len(status.Problems) > 0 {
		return report, fmt.Errorf("ask key server: it is not healthy: %s", strings.Join(status.Problems, "; "))
	}
	return report, nil
}

func printStatus(w io.Writer, r *statusReport) error {
	p := &rows{w: w}
	p.row("pid", r.PID)
	p.row("listen", r.Listen)
	p.row("admin", r.Admin)
	p.row("started", r.Started.Format(time.RFC3339))
	p.row("version", r.Version)
	p.row("configuration", "sha256 "+r.ConfigSHA256)
	p.row("ready", printable(r.Ready))
	if r.Status != nil {
		p.status(r.Status)
	}
	return p.err
}

// rows prints columns and remembers the first error.
type rows struct {
	w   io.Writer
	err error
}

func (p *rows) row(cells ...any) {
	texts := make([]string, len(cells))
	for i, c := range cells {
		texts[i] = fmt.Sprint(c)
	}
	if p.err == nil {
		_, p.err = fmt.Fprintln(p.w, strings.Join(texts, "\t"))
	}
}

// table writes an empty line, which ends the columns before it, and a head.
func (p *rows) table(head ...any) {
	p.row()
	p.row(head...)
}

func (p *rows) status(s *console.Status) {
	now := s.Now
	p.row("uptime", console.Span(time.Duration(s.UptimeSeconds)*time.Second))
	p.row("loaded", ago(s.Configuration.Loaded, now)+" from "+printable(s.Configuration.File))
	p.row("certificate", printable(s.Certificate.Subject)+" for "+printable(strings.Join(s.Certificate.Names, ", "))+", expires "+ago(s.Certificate.NotAfter, now))
	p.row("released", s.Releases)
	p.row("refused", s.Refusals)
	p.row("connections", s.ConnectionsOpen)
	audit := "none is kept"
	if s.Audit != nil {
		audit = printable(s.Audit.File)
		if s.Audit.Error != "" {
			audit += ", cannot be written: " + printable(s.Audit.Error)
		}
	}
	p.row("audit log", audit)
	p.row("collateral", "from "+printable(s.Collateral.Source))
	early := printable(s.EarlyTCB.State)
	if s.EarlyTCB.Error != "" {
		early += ": " + printable(s.EarlyTCB.Error)
	}
	p.row("early TCB", early)
	if refused := s.Configuration.Refused; refused != nil {
		p.row("not loaded", "a newer configuration, "+ago(refused.Time, now)+": "+printable(refused.Error))
	}
	for _, problem := range s.Problems {
		p.row("PROBLEM", printable(problem))
	}
	for _, warning := range s.Warnings {
		p.row("WARNING", printable(warning))
	}

	p.table("RULE", "SECRET", "RELEASES", "TCB", "ENCLAVE")
	for _, r := range s.Rules {
		p.row(r.Name, r.Secret, r.Releases, strings.Join(r.TCBAccept, ","), ruleEnclave(&r))
	}
	p.table("SECRET", "FINGERPRINT", "ENCODING", "RELEASED BY")
	for _, secret := range s.Secrets {
		p.row(secret.Name, secret.Fingerprint, secret.Encoding, strings.Join(secret.Rules, ", "))
	}
	p.table("COLLATERAL", "STATE", "EXPIRES", "FETCHED", "LAST FAILURE")
	for _, d := range s.Collateral.Documents {
		p.row(d.Name, d.State, ago(d.Expires, now), ago(d.Fetched, now), printable(d.Error))
	}
	if len(s.EarlyTCB.Platforms) > 0 {
		p.table("PLATFORM", "UNDER THE EARLY SET", "RULE", "SEEN", "REASONS")
		for _, e := range s.EarlyTCB.Platforms {
			p.row("FMSPC "+e.FMSPC+", "+e.TCB, earlyVerdict(&e), e.Rule, ago(e.Seen, now), reasonsLine(e.Reasons))
		}
	}
	p.table("TIME", "VERDICT", "PEER", "DETAILS")
	for _, d := range s.Decisions {
		p.row(d.Time.Format(time.RFC3339), d.Verdict, d.Peer, decisionLine(&d))
	}
}

func ruleEnclave(r *console.Rule) string {
	var parts []string
	for _, m := range r.MREnclave {
		parts = append(parts, "MRENCLAVE "+m[:min(len(m), 16)])
	}
	for _, m := range r.MRSigner {
		parts = append(parts, "MRSIGNER "+m[:min(len(m), 16)])
	}
	if len(r.ServerName) > 0 {
		parts = append(parts, "asking for "+strings.Join(r.ServerName, " or "))
	}
	if r.AllowDebug {
		parts = append(parts, "debug too")
	}
	return printable(strings.Join(parts, ", "))
}

func earlyVerdict(e *console.EarlyPlatform) string {
	switch {
	case e.Checked.IsZero():
		return "not compared yet"
	case e.Refused:
		return fmt.Sprintf("REFUSED: %s, evaluation number %d", e.TCBStatus, e.EvaluationNumber)
	default:
		return fmt.Sprintf("accepted: %s, evaluation number %d", e.TCBStatus, e.EvaluationNumber)
	}
}

// ago is a time with how long ago it was, or until it is.
func ago(at, now time.Time) string {
	switch d := at.Sub(now); {
	case at.IsZero():
		return "-"
	case d > 0:
		return at.Format(time.RFC3339) + " (in " + console.Span(d) + ")"
	default:
		return at.Format(time.RFC3339) + " (" + console.Span(-d) + " ago)"
	}
}
