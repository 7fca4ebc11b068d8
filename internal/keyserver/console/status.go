package console

import "time"

// Status is the account that a server gives of itself at one moment. Secrets are in it by name and fingerprint only.
type Status struct {
	Version       string    `json:"version"`
	PID           int       `json:"pid"`
	Listen        string    `json:"listen"` // host:port that enclaves connect to
	Now           time.Time `json:"now"`    // by the server's clock
	Started       time.Time `json:"started"`
	UptimeSeconds int64     `json:"uptime_seconds"`

	// Ready: enclaves are served. If not, Problems say why.
	Ready    bool     `json:"ready"`
	Problems []string `json:"problems"`
	// Warnings are what will be a problem, or makes the server less strict than it could be.
	Warnings []string `json:"warnings"`

	Releases uint64 `json:"releases"` // secrets sent since the start
	Refusals uint64 `json:"refusals"` // enclaves refused since the start

	ConnectionsOpen int           `json:"connections_open"`
	Configuration   Configuration `json:"configuration"`
	Certificate     Certificate   `json:"certificate"`
	Rules           []Rule        `json:"rules"`
	Secrets         []Secret      `json:"secrets"`
	Collateral      Collateral    `json:"collateral"`
	EarlyTCB        EarlyTCB      `json:"tcb_early"`
	Audit           *Audit        `json:"audit,omitempty"` // nil: none is kept
	Decisions       []Decision    `json:"decisions"`       // newest first
}

// Configuration says what is in force, and whether a newer one is not.
type Configuration struct {
	File   string    `json:"file"`
	SHA256 string    `json:"sha256"`
	Loaded time.Time `json:"loaded"`
	// Refused is the last attempt to load another one, if it failed and none has succeeded since.
	Refused *Refused `json:"refused,omitempty"`
}

// Refused is a configuration that was not good.
type Refused struct {
	Time  time.Time `json:"time"`
	Error string    `json:"error"`
}

// Certificate is what the server shows to enclaves.
type Certificate struct {
	Subject   string    `json:"subject"`
	Names     []string  `json:"names"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	SHA256    string    `json:"sha256"` // of its DER form, in hex
}

// Rule is a rule in force, in the configuration's words.
type Rule struct {
	Name                string   `json:"name"`
	MREnclave           []string `json:"mr_enclave,omitempty"`
	MRSigner            []string `json:"mr_signer,omitempty"`
	ISVProdID           *uint16  `json:"isv_prod_id,omitempty"`
	MinISVSVN           *uint16  `json:"min_isv_svn,omitempty"`
	ServerName          []string `json:"server_name,omitempty"`
	TCBAccept           []string `json:"tcb_accept"`
	AcceptAdvisories    []string `json:"accept_advisories,omitempty"`
	MinEvaluationNumber uint32   `json:"min_evaluation_number,omitempty"`
	AllowDebug          bool     `json:"allow_debug,omitempty"`
	Secret              string   `json:"secret"`
	Releases            uint64   `json:"releases"` // since the start
}

// Secret is a secret by what may be known of it.
type Secret struct {
	Name        string   `json:"name"`
	Fingerprint string   `json:"key_fingerprint"`
	Encoding    string   `json:"encoding"`
	Rules       []string `json:"rules"` // that release it
}

// Collateral is what quotes are judged with.
type Collateral struct {
	Source        string     `json:"source"` // URL or file
	MaxAgeSeconds int64      `json:"max_age_seconds"`
	Documents     []Document `json:"documents"`
}

// Document is one piece of collateral: of one platform family, or of all.
type Document struct {
	Name    string    `json:"name"` // such as "TCB info of FMSPC 00606A000000"
	Kind    string    `json:"kind"`
	Issued  time.Time `json:"issued"`  // zero: there is none
	Expires time.Time `json:"expires"` // zero: there is none
	Fetched time.Time `json:"fetched"` // zero: from a file, or there is none
	State   string    `json:"state"`   // "good", "too old" (by max_age), "expired" or "missing"
	Error   string    `json:"error,omitempty"`
}

// EarlyTCB is the comparison of accepted platforms with the TCB levels of the next recovery, which Intel calls the early
// set: what is refused under it is going to be refused.
type EarlyTCB struct {
	State     string          `json:"state"` // "watching", or why not
	Error     string          `json:"error,omitempty"`
	Platforms []EarlyPlatform `json:"platforms"`
}

// EarlyPlatform is a kind of platform, in one patch state, that was accepted.
type EarlyPlatform struct {
	FMSPC            string    `json:"fmspc"`
	TCB              string    `json:"tcb"` // its SVNs
	Rule             string    `json:"rule"`
	ServerName       string    `json:"server_name,omitempty"`
	Seen             time.Time `json:"seen"`                                 // last
	Checked          time.Time `json:"checked"`                              // zero: not yet
	EvaluationNumber uint32    `json:"tcb_evaluation_data_number,omitempty"` // of the early set
	TCBStatus        string    `json:"tcb_status,omitempty"`                 // under the early set
	Refused          bool      `json:"refused"`                              // under the early set
	Reasons          []Reason  `json:"reasons,omitempty"`
}

// Audit is the state of the audit log.
type Audit struct {
	File  string `json:"file"`
	Error string `json:"error,omitempty"` // why it cannot be written
}
