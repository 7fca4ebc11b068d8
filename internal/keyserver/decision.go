package keyserver

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver/console"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver/earlytcb"
	"github.com/ccctl/terraform-provider-cc/internal/keysource"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/ratls"
)

// record is the account of one connection.
type record struct {
	start      time.Time
	peer       string
	serverName string
	tlsVersion string
	evidence   *ratls.Evidence // nil: none was read
	verdict    *dcap.Verdict   // nil: the quote is not genuine, or nobody could tell
	decision   Decision
	secret     *Secret // what was to be sent
	refused    bool
	refusal    error // why; nil when the rules refused
	sent       bool
	err        error         // of the connection, when it was not refused
	judged     time.Duration // until there was a verdict, or no hope of one
	duration   time.Duration
	evicted    bool
	config     *Config // in force when it began
	entry      uint64  // of the audit log, about the release; 0: none
}

// Reason is one thing that speaks against releasing.
type Reason struct {
	Rule     string `json:"rule,omitempty"`
	Check    string `json:"check"`
	Wanted   string `json:"wanted,omitempty"`
	Got      string `json:"got,omitempty"`
	NextStep string `json:"next_step,omitempty"`
}

// Reasons are all of them. They print as one line of text and marshal as a list.
type Reasons []Reason

// String joins the reasons into one line.
func (rs Reasons) String() string {
	parts := make([]string, len(rs))
	for i, r := range rs {
		var b strings.Builder
		if r.Rule != "" {
			fmt.Fprintf(&b, "rule %q: ", r.Rule)
		}
		b.WriteString(r.Check)
		if r.Got != "" {
			b.WriteString(": got " + r.Got)
		}
		if r.Wanted != "" {
			b.WriteString(", wanted " + r.Wanted)
		}
		if r.NextStep != "" {
			b.WriteString(" (" + r.NextStep + ")")
		}
		parts[i] = b.String()
	}
	return strings.Join(parts, "; ")
}

// MarshalText implements encoding.TextMarshaler for text logs.
func (rs Reasons) MarshalText() ([]byte, error) { return []byte(rs.String()), nil }

// MarshalJSON implements json.Marshaler for JSON logs, against MarshalText.
func (rs Reasons) MarshalJSON() ([]byte, error) { return json.Marshal([]Reason(rs)) }

// maxReasons bounds a log line; the rule that came closest is always told in full first.
const maxReasons = 40

// reasons lists why the connection was refused, those of the rule that came closest first.
func (r *record) reasons() Reasons {
	if r.refusal != nil {
		return Reasons{evidenceReason(r.refusal)}
	}
	closest := r.decision.Closest()
	if closest == nil {
		return Reasons{{Check: "rules", Got: "no rule", Wanted: "a rule whose every condition holds"}}
	}
	all := ruleReasons(nil, closest)
	for i := range r.decision.Results {
		if other := &r.decision.Results[i]; other != closest && len(all) < maxReasons {
			all = ruleReasons(all, other)
		}
	}
	if len(all) > maxReasons {
		all = append(all[:maxReasons], Reason{Check: "more", NextStep: "'ccctl policy explain' lists every check of every rule"})
	}
	return all
}

func ruleReasons(to Reasons, result *RuleResult) Reasons {
	for _, f := range result.Failed() {
		to = append(to, Reason{Rule: result.Rule, Check: f.Check, Wanted: f.Want, Got: f.Got, NextStep: f.Remedy})
	}
	return to
}

// evidenceReason is why there is no verdict at all.
func evidenceReason(err error) Reason {
	var failure *dcap.Error
	if errors.As(err, &failure) {
		got := failure.What
		if failure.Got != "" {
			got += " " + failure.Got
		}
		if failure.Err != nil {
			got += ": " + failure.Err.Error()
		}
		return Reason{Check: string(failure.Stage) + "/" + string(failure.Reason), Got: got, Wanted: failure.Want, NextStep: failure.Remedy}
	}
	var collateral *ratls.CollateralError
	if errors.As(err, &collateral) {
		return Reason{
			Check: string(dcap.StageCollateralMissing), Got: collateral.Err.Error(),
			Wanted:   fmt.Sprintf("collateral for FMSPC %s, PCK %s CA", collateral.Platform.FMSPC, collateral.Platform.CA),
			NextStep: "nothing is known against the enclave: see to the collateral service and let the enclave try again",
		}
	}
	var cert *ratls.Error
	if errors.As(err, &cert) {
		return Reason{Check: "certificate/" + cert.Kind.String(), Got: err.Error()}
	}
	return Reason{Check: "certificate", Got: err.Error()}
}

// log writes the one line of a connection.
func (r *record) log(log *slog.Logger) {
	attrs := append([]slog.Attr{slog.String("peer", r.peer)}, r.attrs()...)
	level, msg := slog.LevelInfo, ""
	switch {
	case r.sent:
		msg = "secret sent"
	case r.refused:
		level, msg = slog.LevelWarn, "refused"
		attrs = append(attrs, slog.Any("reasons", r.reasons()))
	case r.evicted:
		level, msg = slog.LevelWarn, "connection closed to make room for newer ones"
	case r.err == nil:
		return
	default:
		text, quiet := r.explainFailure()
		level, msg = slog.LevelWarn, "no secret sent"
		if quiet {
			level = slog.LevelDebug
		}
		attrs = append(attrs, slog.String("error", text))
	}
	attrs = append(attrs, slog.Int64("duration_ms", r.duration.Milliseconds()))
	log.LogAttrs(context.Background(), level, msg, attrs...)
}

// attrs says who the peer is, as far as it is known.
func (r *record) attrs() []slog.Attr {
	var all []slog.Attr
	if r.sent {
		all = append(all, slog.String("rule", r.decision.Rule), slog.String("secret", r.secret.name),
			slog.String("key_fingerprint", r.secret.fingerprint), slog.String("encoding", r.secret.encoding))
	}
	if r.tlsVersion != "" {
		all = append(all, slog.String("server_name", r.serverName), slog.String("tls", r.tlsVersion))
	}
	if r.evidence == nil {
		return all
	}
	all = append(all, slog.String("client", r.evidence.Client()), slog.String("evidence", r.evidence.Form.String()))
	report := &r.evidence.Quote.Body
	all = append(all,
		slog.String("mr_enclave", hex.EncodeToString(report.MRENCLAVE[:])),
		slog.String("mr_signer", hex.EncodeToString(report.MRSIGNER[:])),
		slog.Int("isv_prod_id", int(report.ISVProdID)), slog.Int("isv_svn", int(report.ISVSVN)),
		slog.Bool("debug", isDebug(report)))
	if v := r.verdict; v != nil {
		all = append(all, slog.String("tcb_status", string(v.Status)), slog.Any("advisories", v.Advisories),
			slog.String("fmspc", v.PCK.FMSPC.String()), slog.Uint64("tcb_evaluation_data_number", uint64(v.EvaluationNumber)))
		if v.Simulated {
			all = append(all, slog.Bool("simulated", true))
		}
	} else {
		// Nothing vouches for the measurements above.
		all = append(all, slog.Bool("verified", false))
	}
	return all
}

// remember keeps the record for the status page, unless it is everyday noise, and the platform for the early warning.
func (s *Server) remember(r *record) {
	d := console.Decision{
		Time: s.now().UTC(), Peer: r.peer, ServerName: r.serverName, Rule: r.decision.Rule, Secret: r.decision.Secret,
		DurationMS: r.duration.Milliseconds(), AuditEntry: r.entry, Config: r.config.digest,
	}
	switch {
	case r.sent:
		d.Verdict = console.VerdictSent
		s.early.Accepted(earlytcb.Acceptance{Quote: r.evidence.Quote, Verdict: r.verdict, ServerName: r.serverName, Rule: r.decision.Rule})
	case r.refused:
		d.Verdict = console.VerdictRefused
		d.Reasons = consoleReasons(r.reasons())
	case r.evicted:
		d.Verdict, d.Error = console.VerdictFailed, "closed to make room for newer connections"
	case r.err == nil:
		return
	default:
		var quiet bool
		if d.Error, quiet = r.explainFailure(); quiet {
			return
		}
		d.Verdict = console.VerdictFailed
	}
	if r.decision.Released && !r.sent {
		d.Verdict = console.VerdictNotSent
	}
	if r.secret != nil {
		d.KeyFingerprint = r.secret.fingerprint
	}
	if e := r.evidence; e != nil {
		b := &e.Quote.Body
		d.Client = e.Client()
		d.MREnclave, d.MRSigner = hex.EncodeToString(b.MRENCLAVE[:]), hex.EncodeToString(b.MRSIGNER[:])
		d.ISVProdID, d.ISVSVN, d.Debug = b.ISVProdID, b.ISVSVN, isDebug(b)
	}
	if v := r.verdict; v != nil {
		d.Verified, d.TCBStatus, d.Advisories = true, string(v.Status), v.Advisories
		d.FMSPC, d.EvaluationNumber = v.PCK.FMSPC.String(), v.EvaluationNumber
	}
	s.recent.Add(d)
}

func consoleReasons(rs Reasons) []console.Reason {
	all := make([]console.Reason, len(rs))
	for i, r := range rs {
		all[i] = console.Reason(r)
	}
	return all
}

// attributeDebug is ATTRIBUTES.DEBUG (Intel SDM volume 3D, ATTRIBUTES structure).
const attributeDebug = 0x02

func isDebug(r *quote.ReportBody) bool { return r.Attributes.Flags&attributeDebug != 0 }

// explainFailure says in words what ended a connection that nobody refused, and whether it is everyday noise.
func (r *record) explainFailure() (text string, quiet bool) {
	var alert *net.OpError
	text = r.err.Error()
	switch {
	case r.verdict == nil && (errors.Is(r.err, io.EOF) || errors.Is(r.err, net.ErrClosed) || isReset(r.err)):
		return "the client closed the connection before it showed a certificate: " + text, true
	case errors.Is(r.err, os.ErrDeadlineExceeded):
		return "the client did not go on in time: " + text, r.verdict == nil
	case strings.Contains(text, "bad record MAC"),
		errors.As(r.err, &alert) && alert.Op == "remote error":
		// Under TLS 1.3 mbedTLS sends the alert under keys that crypto/tls has left behind.
		return "the client refused this server's certificate, or aborted: compare its CA file and host name with the certificate's: " + text, false
	case strings.Contains(text, "invalid signature by the client certificate"):
		return "the client does not hold the key of the certificate it showed: " + text, false
	default:
		return text, false
	}
}

func isReset(err error) bool { return strings.Contains(err.Error(), "connection reset") }

// names are what a certificate is good for.
func names(c *x509.Certificate) []string {
	all := append([]string(nil), c.DNSNames...)
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	return all
}

// ExplainOptions change what an explanation is made with.
type ExplainOptions struct {
	// At is the time to judge for; zero is now.
	At time.Time
	// ServerName is what the enclave would ask for.
	ServerName string
	// Collateral replaces the configuration's source; nil does not.
	Collateral ratls.CollateralSource
}

// Explanation is what a server with some configuration would say of an enclave.
type Explanation struct {
	// Refusal is why there is no verdict: a *dcap.Error when the quote is not genuine, a *ratls.CollateralError when
	// there was nothing to judge it with. Nil when there is a verdict.
	Refusal error
	Verdict *dcap.Verdict
	// Decision holds every check of every rule.
	Decision Decision
}

// Reasons lists why nothing is released; empty when something is.
func (e *Explanation) Reasons() Reasons {
	if e.Refusal == nil && e.Decision.Released {
		return nil
	}
	r := record{refusal: e.Refusal, decision: e.Decision}
	return r.reasons()
}

// Explain judges a quote as a server with that configuration would. It reads no secret and no private key.
func Explain(ctx context.Context, cfg *Config, q *quote.Quote, opts ExplainOptions) (*Explanation, error) {
	now := time.Now
	if !opts.At.IsZero() {
		now = func() time.Time { return opts.At }
	}
	var m material
	var err error
	if cfg.AllowTrustedRoot != "" {
		if m.roots, err = loadRoots(cfg.AllowTrustedRoot); err != nil {
			return nil, err
		}
	}
	if opts.Collateral != nil {
		m.source = opts.Collateral
	} else if err := m.openSource(&cfg.Collateral, &Options{Now: now}); err != nil {
		return nil, err
	}
	defer m.destroy()
	rules, err := NewRules(cfg)
	if err != nil {
		return nil, err
	}
	verifier, err := ratls.NewVerifier(ratls.VerifierOptions{
		Collateral: patience{m.source, time.Duration(cfg.Limits.CollateralTimeout)}, Roots: m.roots, Now: now,
	})
	if err != nil {
		return nil, err
	}
	verdict, err := verifier.Verify(ctx, &ratls.Evidence{Quote: q})
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return nil, fmt.Errorf("verify quote: %w", context.Cause(ctx))
	case refusal(err):
		return &Explanation{Refusal: err}, nil
	default:
		return nil, err
	}
	return &Explanation{Verdict: verdict, Decision: rules.Explain(verdict, opts.ServerName)}, nil
}

// CheckConfig reads a configuration file and everything it names, as a server would before it listens, and returns what
// the server would warn of. The error is a *ConfigError with every problem, unless the file cannot be read.
func CheckConfig(path string, opts Options) (*Config, []string, error) {
	cfg, err := LoadSignedConfig(path, opts.ConfigKeys)
	if err != nil {
		return nil, nil, err
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	environ := keysource.NewEnviron()
	defer environ.Close()
	m, err := loadMaterial(context.Background(), cfg, &opts, &secretLoader{environ: environ, fingerprint: opts.Fingerprint, now: opts.Now}, nil)
	if err != nil {
		return nil, nil, err
	}
	warnings := m.warnings
	m.destroy()
	return cfg, warnings, nil
}

// CheckFiles opens every file that a configuration names, as a server would before it listens. It neither asks services that
// keep secrets nor runs programs: those may be at hand on the server's machine alone.
func CheckFiles(cfg *Config) error {
	environ := keysource.NewEnviron()
	defer environ.Close()
	m, err := loadMaterial(context.Background(), cfg, &Options{Now: time.Now}, &secretLoader{environ: environ, now: time.Now, filesOnly: true}, nil)
	if err != nil {
		return err
	}
	m.destroy()
	return nil
}

// IsUnreachable reports whether an explanation failed for want of collateral, and not because of the enclave.
func (e *Explanation) IsUnreachable() bool {
	var collateral *ratls.CollateralError
	return errors.As(e.Refusal, &collateral)
}
