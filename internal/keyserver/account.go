package keyserver

import (
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver/audit"
)

// account writes the audit log: every release before it happens and how it ended, every refusal, and every load of a
// configuration, successful or not. A nil account keeps none.
type account struct {
	log    *audit.Log
	errors *slog.Logger

	// Anybody can be refused, but nobody shall fill the disk by it: refusals of evidence that nothing vouches for are
	// written up to a rate, and those beyond it are counted in the next entry.
	strangers *rate.Limiter
	mu        sync.Mutex
	left      int // refusals that were not written
}

// openAccount opens the configuration's audit log; it returns nil when there is none to be kept.
func openAccount(c *Config, s *Server) (*account, error) {
	if c.Audit == nil {
		s.log.Warn("no audit log is kept: give audit.file")
		return nil, nil //nolint:nilnil // A nil account is one that keeps nothing.
	}
	if c.Audit.CopyToStdout && s.opts.Stdout == nil {
		return nil, errors.New("copy audit log: this server has no standard output: leave out audit.copy_to_stdout")
	}
	opts := audit.Options{
		Interval: time.Duration(c.Audit.CheckpointInterval), Now: s.now,
		CheckpointFile: c.Audit.CheckpointFile, RotateSize: int64(c.Audit.RotateSize),
		// Wherever this line is sent, the checkpoint is beyond the reach of who controls this machine later.
		Signed: func(c *audit.Checkpoint, text []byte) {
			s.log.Info("audit checkpoint", "entries", c.Seq, "note", string(text))
		},
	}
	if c.Audit.CopyToStdout {
		opts.Copy = s.opts.Stdout
	}
	if c.Audit.CheckpointKey != "" {
		raw, err := readSmall(c.Audit.CheckpointKey)
		if err != nil {
			return nil, fmt.Errorf("read checkpoint key: %w", err)
		}
		opts.Signer, err = audit.ParseSigner(string(raw))
		clear(raw)
		if err != nil {
			return nil, fmt.Errorf("%w (%s)", err, c.Audit.CheckpointKey)
		}
	}
	log, err := audit.Open(c.Audit.File, opts)
	if err != nil {
		return nil, err
	}
	return &account{log: log, errors: s.log, strangers: rate.NewLimiter(20, 200)}, nil
}

func (a *account) close() {
	if a == nil {
		return
	}
	_, err := a.log.Append("stop", map[string]int{"pid": os.Getpid()})
	if cerr := a.log.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		a.errors.Error("the audit log did not end well", "error", err)
	}
}

// err is why nothing can be accounted for, and so nothing be released.
func (a *account) err() error {
	if a == nil {
		return nil
	}
	return a.log.Err()
}

// loaded writes that a configuration has come into force, or why one has not.
func (a *account) loaded(c *Config, failure error) error {
	if a == nil {
		return nil
	}
	data := struct {
		PID              int      `json:"pid"`
		File             string   `json:"file,omitempty"`
		SHA256           string   `json:"sha256,omitempty"`
		SignedBy         string   `json:"signed_by,omitempty"`
		SignedAt         string   `json:"signed_at,omitempty"`
		Warnings         []string `json:"warnings,omitempty"`
		AllowTrustedRoot string   `json:"allow_trusted_root,omitempty"`
		Refused          string   `json:"refused,omitempty"`
	}{PID: os.Getpid()}
	if c != nil {
		data.File, data.SHA256, data.Warnings, data.AllowTrustedRoot = c.path, c.digest, c.Warnings(), c.AllowTrustedRoot
		if c.signature != nil {
			data.SignedBy, data.SignedAt = c.signature.Signer, c.signature.Time.UTC().Format(time.RFC3339)
		}
	}
	event := "config"
	if failure != nil {
		event, data.Refused = "config_refused", failure.Error()
	}
	_, err := a.log.Append(event, data)
	return err
}

// refreshed writes that the source of a secret gave another key, which is about to come into force.
func (a *account) refreshed(c *Config, former, now *Secret) error {
	if a == nil {
		return nil
	}
	_, err := a.log.Append("secret_changed", struct {
		Config string `json:"config_sha256"`
		Secret string `json:"secret"`
		Former string `json:"former_key_fingerprint,omitempty"`
		Now    string `json:"key_fingerprint,omitempty"`
	}{c.digest, now.name, former.fingerprint, now.fingerprint})
	return err
}

// connection is what entries say of a connection.
type connection struct {
	Peer             string   `json:"peer"`
	ServerName       string   `json:"server_name,omitempty"`
	Config           string   `json:"config_sha256"`
	AllowTrustedRoot bool     `json:"allow_trusted_root,omitempty"`
	Rule             string   `json:"rule,omitempty"`
	Secret           string   `json:"secret,omitempty"`
	Fingerprint      string   `json:"key_fingerprint,omitempty"`
	Verified         bool     `json:"verified"`
	KeySHA256        string   `json:"public_key_sha256,omitempty"`
	MREnclave        string   `json:"mr_enclave,omitempty"`
	MRSigner         string   `json:"mr_signer,omitempty"`
	ISVProdID        uint16   `json:"isv_prod_id,omitempty"`
	ISVSVN           uint16   `json:"isv_svn,omitempty"`
	Debug            bool     `json:"debug,omitempty"`
	TCBStatus        string   `json:"tcb_status,omitempty"`
	Advisories       []string `json:"advisories,omitempty"`
	FMSPC            string   `json:"fmspc,omitempty"`
	Evaluation       uint32   `json:"tcb_evaluation_data_number,omitempty"`
	Simulated        bool     `json:"simulated,omitempty"`
	Reasons          Reasons  `json:"reasons,omitempty"`
	NotWritten       int      `json:"refusals_not_written,omitempty"` // before this one, of strangers
}

func describe(r *record) connection {
	c := connection{
		Peer: r.peer, ServerName: r.serverName, Config: r.config.digest, AllowTrustedRoot: r.config.AllowTrustedRoot != "",
		Rule: r.decision.Rule, Secret: r.decision.Secret,
	}
	if r.secret != nil {
		c.Fingerprint = r.secret.fingerprint
	}
	if e := r.evidence; e != nil {
		b := &e.Quote.Body
		c.KeySHA256 = hex.EncodeToString(e.SPKI[:])
		c.MREnclave, c.MRSigner = hex.EncodeToString(b.MRENCLAVE[:]), hex.EncodeToString(b.MRSIGNER[:])
		c.ISVProdID, c.ISVSVN, c.Debug = b.ISVProdID, b.ISVSVN, isDebug(b)
	}
	if v := r.verdict; v != nil {
		c.Verified, c.Simulated = true, v.Simulated
		c.TCBStatus, c.Advisories, c.FMSPC, c.Evaluation = string(v.Status), v.Advisories, v.PCK.FMSPC.String(), v.EvaluationNumber
	}
	return c
}

// release writes that a secret is about to be sent. Without that entry it must not be.
func (a *account) release(r *record) error {
	if a == nil {
		return nil
	}
	seq, err := a.log.Append("release", describe(r))
	if err != nil {
		return fmt.Errorf("no secret is released without its entry in the audit log: %w", err)
	}
	r.entry = seq
	return nil
}

// ended writes how a connection ended, if it was refused or was to be given a secret.
func (a *account) ended(r *record) {
	if a == nil {
		return
	}
	var err error
	switch {
	case r.entry != 0:
		end := struct {
			Of    uint64 `json:"of"`
			Error string `json:"error,omitempty"`
		}{Of: r.entry}
		event := "sent"
		if !r.sent {
			event, end.Error = "not_sent", fmt.Sprint(r.err)
		}
		_, err = a.log.Append(event, end)
	case r.refused:
		if r.verdict == nil && !a.strangers.Allow() {
			a.mu.Lock()
			a.left++
			a.mu.Unlock()
			return
		}
		c := describe(r)
		c.Reasons = r.reasons()
		a.mu.Lock()
		c.NotWritten, a.left = a.left, 0
		a.mu.Unlock()
		_, err = a.log.Append("refuse", c)
	}
	if err != nil {
		a.errors.Error("the audit log cannot be written; nothing is released until it can", "error", err)
	}
}
