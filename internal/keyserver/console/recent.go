package console

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Verdicts of a [Decision].
const (
	VerdictSent    = "sent"     // the secret was sent; the protocol has no acknowledgement
	VerdictNotSent = "not_sent" // it was to be sent, and the connection or the audit log failed
	VerdictRefused = "refused"
	VerdictFailed  = "failed" // the connection ended before there was a verdict
)

// Decision is how one connection ended. Its fields are named as in the audit log.
type Decision struct {
	Seq            uint64    `json:"seq,omitempty"` // counts from 1 since the start of the server
	Time           time.Time `json:"time"`          // of the end
	Verdict        string    `json:"verdict"`
	Peer           string    `json:"peer"`
	ServerName     string    `json:"server_name,omitempty"`
	Rule           string    `json:"rule,omitempty"`
	Secret         string    `json:"secret,omitempty"`
	KeyFingerprint string    `json:"key_fingerprint,omitempty"`
	// Verified: the quote is genuine. If not, nothing vouches for what follows.
	Verified         bool     `json:"verified"`
	MREnclave        string   `json:"mr_enclave,omitempty"`
	MRSigner         string   `json:"mr_signer,omitempty"`
	ISVProdID        uint16   `json:"isv_prod_id,omitempty"`
	ISVSVN           uint16   `json:"isv_svn,omitempty"`
	Debug            bool     `json:"debug,omitempty"`
	TCBStatus        string   `json:"tcb_status,omitempty"`
	Advisories       []string `json:"advisories,omitempty"`
	FMSPC            string   `json:"fmspc,omitempty"`
	EvaluationNumber uint32   `json:"tcb_evaluation_data_number,omitempty"`
	Client           string   `json:"client,omitempty"` // a guess at its release of Gramine
	Reasons          []Reason `json:"reasons,omitempty"`
	Error            string   `json:"error,omitempty"`
	DurationMS       int64    `json:"duration_ms,omitempty"`
	AuditEntry       uint64   `json:"audit_entry,omitempty"`   // of the release
	Config           string   `json:"config_sha256,omitempty"` // in force when it was made
}

// Reason is one thing that spoke against releasing.
type Reason struct {
	Rule     string `json:"rule,omitempty"`
	Check    string `json:"check"`
	Wanted   string `json:"wanted,omitempty"`
	Got      string `json:"got,omitempty"`
	NextStep string `json:"next_step,omitempty"`
}

// Bounds of what is remembered: at most keep decisions of each kind, of some 12 KiB each at the very worst.
const (
	keep       = 200
	maxReasons = 8
	maxText    = 300 // bytes of one string
)

// Recent remembers the last decisions. Those about genuine quotes and those about strangers are remembered apart, so that
// a flood of strangers hides nothing. The zero Recent is ready for use, by several goroutines at once.
type Recent struct {
	mu       sync.Mutex
	last     uint64
	genuine  []Decision // ascending by Seq
	stranger []Decision
	changed  chan struct{} // closed at the next decision; nil: nobody waits
}

// Add remembers a decision and gives it its number.
func (r *Recent) Add(d Decision) {
	d.clip()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	d.Seq = r.last
	to := &r.stranger
	if d.Verified {
		to = &r.genuine
	}
	if len(*to) == keep {
		*to = append((*to)[:0], (*to)[1:]...)
	}
	*to = append(*to, d)
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// After returns what is remembered of the decisions after number seq, oldest first, and the number of the last one.
func (r *Recent) After(seq uint64) (decisions []Decision, last uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := []Decision{}
	for _, d := range slices.Concat(r.genuine, r.stranger) {
		if d.Seq > seq {
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b Decision) int {
		if a.Seq < b.Seq {
			return -1
		}
		return 1
	})
	return all, r.last
}

// Wait returns when there is a decision after number seq, or ctx ends.
func (r *Recent) Wait(ctx context.Context, seq uint64) {
	r.mu.Lock()
	if r.last > seq {
		r.mu.Unlock()
		return
	}
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	changed := r.changed
	r.mu.Unlock()
	select {
	case <-changed:
	case <-ctx.Done():
	}
}

// clip bounds what a decision takes: most of its text comes from whoever connected.
func (d *Decision) clip() {
	for _, s := range []*string{
		&d.Verdict, &d.Peer, &d.ServerName, &d.Rule, &d.Secret, &d.KeyFingerprint, &d.MREnclave, &d.MRSigner, &d.TCBStatus, &d.FMSPC,
		&d.Client, &d.Error,
	} {
		*s = clip(*s)
	}
	d.Advisories = clipAll(d.Advisories)
	d.Reasons = ClipReasons(d.Reasons)
}

// ClipReasons returns a copy of the first few reasons with bounded text, and says when there were more.
func ClipReasons(reasons []Reason) []Reason {
	more := len(reasons) > maxReasons
	if more {
		reasons = reasons[:maxReasons]
	}
	var all []Reason
	for _, reason := range reasons {
		all = append(all, Reason{
			Rule: clip(reason.Rule), Check: clip(reason.Check), Wanted: clip(reason.Wanted), Got: clip(reason.Got), NextStep: clip(reason.NextStep),
		})
	}
	if more {
		all = append(all, Reason{Check: "more", NextStep: "the log and 'ccctl policy explain' list every check of every rule"})
	}
	return all
}

func clipAll(texts []string) []string {
	var all []string
	for i, s := range texts {
		if i == 3*maxReasons {
			return append(all, "...")
		}
		all = append(all, clip(s))
	}
	return all
}

// clip bounds a text and makes it UTF-8. It copies, so that a short text does not keep a long one in memory.
func clip(s string) string {
	if len(s) > maxText {
		end := maxText
		for end > maxText-utf8.UTFMax && !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end] + "..."
	}
	return strings.Clone(strings.ToValidUTF8(s, "\uFFFD"))
}
