package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver/console"
)

// Verdicts that only an audit log has.
const (
	verdictReleased      = "released" // how it ended is not in the log
	verdictConfig        = "config"
	verdictConfigRefused = "config_refused"
)

var verdicts = []string{
	console.VerdictSent, console.VerdictNotSent, console.VerdictRefused, console.VerdictFailed, verdictReleased, verdictConfig, verdictConfigRefused,
}

func newKeyserverLogsCommand(u *ui) *cobra.Command {
	var admin adminFlags
	var l logReader
	var auditLog, config, since string
	cmd := &cobra.Command{
		Use:   "logs (--audit-log FILE | --config FILE | --state-file FILE | --admin HOST:PORT)",
		Short: "Show a server's decisions, and follow them",
		Long: `logs prints one line for each decision, oldest first.

From the audit log (--audit-log, or --config to find it) it prints all there have
ever been, the loads of configurations too; the files that the log has been
rotated into are read first. It does not check the chain of hashes: 'ccctl audit
verify' does. From the admin listener (--state-file, --admin) it prints what the
server remembers, which is the last 200 decisions about genuine quotes and the last
200 others, among them failed connections, which no audit log has.

Verdicts: sent (the protocol has no acknowledgement), not_sent, refused, failed
(the connection ended before there was a verdict); in an audit log also released
(how it ended is not known), config and config_refused. With --json each line is a
JSON object.`,
		Example: `  ccctl keyserver logs --config server.yaml --since 24h --verdict refused
  ccctl keyserver logs --state-file /run/cc-key-server/state.json --follow`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			sources := 0
			for _, f := range []string{auditLog, config, admin.stateFile, admin.address} {
				if f != "" {
					sources++
				}
			}
			if sources != 1 {
				return withHint(usagef("%s: give one of --audit-log, --config, --state-file and --admin", cmd.CommandPath()), "usage: %s", cmd.UseLine())
			}
			if err := admin.check(cmd); err != nil {
				return err
			}
			l.u = u
			if err := l.check(cmd, since, time.Now()); err != nil {
				return err
			}
			if config != "" {
				cfg, err := keyserver.LoadConfig(config)
				if err != nil {
					return keyserverError(err)
				}
				if cfg.Audit == nil {
					return withHint(fmt.Errorf("find audit log: %s keeps none", config), "ask the running server with --state-file or --admin")
				}
				auditLog = cfg.Audit.File
			}
			if auditLog != "" {
				return l.followed(cmd.Context(), l.readAudit(cmd.Context(), auditLog))
			}
			return l.followed(cmd.Context(), l.readAdmin(cmd.Context(), &admin))
		},
	}
	admin.add(cmd)
	cmd.Flags().StringVar(&auditLog, "audit-log", "", "the server's audit log `FILE`")
	cmd.Flags().StringVar(&config, "config", "", "the server's configuration `FILE`, which names its audit log")
	cmd.Flags().BoolVarP(&l.follow, "follow", "f", false, "wait for more until interrupted")
	cmd.Flags().UintVarP(&l.tail, "tail", "n", 50, "begin with the last `N` that pass; 0: all")
	cmd.Flags().StringVar(&since, "since", "", "only what is younger than a `TIME`, such as 90m or 2026-11-02T10:00:00Z")
	cmd.Flags().StringSliceVar(&l.verdicts, "verdict", nil, "only these `VERDICTS`, separated by commas")
	cmd.Flags().StringSliceVar(&l.rules, "rule", nil, "only what these `RULES` released, or were among the reasons for refusing")
	u.jsonFlag(cmd)
	return cmd
}

// logReader filters decisions and prints them.
type logReader struct {
	u        *ui
	follow   bool
	tail     uint
	since    time.Time
	verdicts []string
	rules    []string

	caught bool               // up with the present
	held   []console.Decision // until it is
}

func (l *logReader) check(cmd *cobra.Command, since string, now time.Time) error {
	for _, v := range l.verdicts {
		if !slices.Contains(verdicts, v) {
			return usagef("%s: --verdict %q is not among %s", cmd.CommandPath(), v, strings.Join(verdicts, ", "))
		}
	}
	if since == "" {
		return nil
	}
	at, notATime := time.Parse(time.RFC3339, since)
	d, notADuration := time.ParseDuration(since)
	switch {
	case notATime == nil:
		l.since = at
	case notADuration == nil && d > 0:
		l.since = now.Add(-d)
	default:
		return usagef("%s: --since %q is neither a duration such as 90m nor a time such as 2026-11-02T10:00:00Z", cmd.CommandPath(), since)
	}
	return nil
}

// followed: whoever follows ends by interrupting, which is no failure.
func (l *logReader) followed(ctx context.Context, err error) error {
	if l.follow && ctx.Err() != nil {
		return nil //nolint:nilerr // see above
	}
	return err
}

func (l *logReader) passes(d *console.Decision) bool {
	switch {
	case d.Time.Before(l.since), len(l.verdicts) > 0 && !slices.Contains(l.verdicts, d.Verdict):
		return false
	case len(l.rules) == 0 || slices.Contains(l.rules, d.Rule):
		return true
	}
	return slices.ContainsFunc(d.Reasons, func(r console.Reason) bool { return slices.Contains(l.rules, r.Rule) })
}

// add takes the next decision, in order.
func (l *logReader) add(d console.Decision) error {
	if !l.passes(&d) {
		return nil
	}
	if l.caught {
		return l.print(&d)
	}
	if l.tail > 0 && uint(len(l.held)) == l.tail {
		l.held = append(l.held[:0], l.held[1:]...)
	}
	l.held = append(l.held, d)
	return nil
}

// catchUp prints what was held back: there is no more at present.
func (l *logReader) catchUp() error {
	for i := range l.held {
		if err := l.print(&l.held[i]); err != nil {
			return err
		}
	}
	l.caught, l.held = true, nil
	return nil
}

func (l *logReader) print(d *console.Decision) error {
	var err error
	if l.u.json {
		enc := json.NewEncoder(l.u.out)
		enc.SetEscapeHTML(false)
		err = enc.Encode(d) //nolint:gosec // Secret is the name of one.
	} else {
		_, err = fmt.Fprintf(l.u.out, "%s %-8s %s %s\n", d.Time.UTC().Format(time.RFC3339), d.Verdict, printable(d.Peer), decisionLine(d))
	}
	if err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	return nil
}

// askDecisions asks once. It looks for the server each time: one that was restarted may be somewhere else.
func askDecisions(ctx context.Context, admin *adminFlags, query url.Values) (*console.Page, error) {
	address := admin.address
	if admin.stateFile != "" {
		state, err := findState(admin.stateFile)
		switch {
		case err != nil:
			return nil, err
		case state.PID == 0:
			return nil, withCode(exitUnreachable, errors.New("ask key server: it is starting"))
		case state.Admin == "":
			return nil, withHint(errors.New("ask key server: it has no admin listener"), "read its audit log with --audit-log")
		case state.AdminTLS && !admin.secure():
			return nil, usagef("ask key server: its admin listener at %s speaks mutual TLS: give --ca, --cert and --key", state.Admin)
		}
		address = state.Admin
	}
	client, err := admin.client(address)
	if err != nil {
		return nil, err
	}
	var page console.Page
	err = client.get(ctx, "/decisions?"+query.Encode(), 30*time.Second, &page)
	return &page, err
}

// readAdmin asks a server for what it remembers, again and again if it is followed.
func (l *logReader) readAdmin(ctx context.Context, admin *adminFlags) error {
	query, lost := url.Values{}, false
	for {
		page, err := askDecisions(ctx, admin, query)
		switch {
		case err == nil:
		case !l.follow || !l.caught || ctx.Err() != nil || exitCode(err) != exitUnreachable:
			return err
		default:
			if !lost {
				l.u.note("note: %v; trying again", err)
			}
			lost = true
			select {
			case <-time.After(time.Second):
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if lost {
			l.u.note("note: the server answers again")
			lost = false
		}
		if page.Missed > 0 && l.caught {
			l.u.note("note: the server does not remember %d decisions in between", page.Missed)
		}
		for _, d := range page.Decisions {
			if err := l.add(d); err != nil {
				return err
			}
		}
		if err := l.catchUp(); err != nil || !l.follow {
			return err
		}
		query.Set("after", strconv.FormatUint(page.Last, 10))
		query.Set("started", page.Started.Format(time.RFC3339Nano))
		query.Set("wait", "20")
	}
}

// decisionLine is a decision in words, without time, verdict and peer.
func decisionLine(d *console.Decision) string {
	var parts []string
	add := func(label, value string) {
		if value != "" {
			parts = append(parts, label+printable(value))
		}
	}
	if d.Rule != "" {
		add("rule ", strconv.Quote(d.Rule))
	}
	add("secret ", d.Secret)
	add("key ", d.KeyFingerprint)
	add("asked for ", d.ServerName)
	if d.MREnclave != "" && !d.Verified {
		parts = append(parts, "not verified:")
	}
	add("MRENCLAVE ", d.MREnclave[:min(len(d.MREnclave), 16)])
	add("FMSPC ", d.FMSPC)
	add("", d.TCBStatus)
	add("", strings.Join(d.Advisories, ","))
	add("because ", reasonsLine(d.Reasons))
	if d.Verdict == verdictConfig {
		add("sha256 ", d.Config)
	}
	add("error: ", d.Error)
	return strings.Join(parts, " ")
}

func reasonsLine(reasons []console.Reason) string {
	parts := make([]string, len(reasons))
	for i, r := range reasons {
		if r.Rule != "" {
			parts[i] = strconv.Quote(r.Rule) + ": "
		}
		parts[i] += r.Check
		if r.Got != "" {
			parts[i] += ", got " + r.Got
		}
		if r.Wanted != "" {
			parts[i] += ", wanted " + r.Wanted
		}
	}
	return printable(strings.Join(parts, "; "))
}

// printable keeps text that strangers chose from moving the cursor or hiding what is before it.
func printable(s string) string {
	ok := utf8.ValidString(s)
	for _, r := range s {
		ok = ok && strconv.IsGraphic(r)
	}
	if ok {
		return s
	}
	quoted := strconv.QuoteToGraphic(s)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}
