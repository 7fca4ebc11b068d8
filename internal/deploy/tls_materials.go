package deploy

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/serving/tlsmaterials"
)

// TLSSpec is what a set of TLS materials should be.
type TLSSpec struct {
	Directory         string
	ServerNames       []string
	ClientName        string   // of the client in client/; empty: none
	FurtherClients    []string // names of the clients in clients/
	KeyAlgorithm      tlsmaterials.KeyAlgorithm
	Lifetime          time.Duration // of leaves; zero: tlsmaterials.DefaultLifetime
	AuthorityLifetime time.Duration // zero: tlsmaterials.DefaultAuthorityLifetime
	RenewBefore       time.Duration // a leaf is due for renewal this long before it ends
	SSLConfig         bool          // write ssl.cfg
	IgnoreMissing     bool          // files that are not here are kept elsewhere
}

// wantedLeaf is a leaf that a spec asks for.
type wantedLeaf struct {
	tlsmaterials.Place
	names []string
}

func (s TLSSpec) leaves() []wantedLeaf {
	leaves := []wantedLeaf{{tlsmaterials.ServerPlace, s.ServerNames}}
	if s.ClientName != "" {
		leaves = append(leaves, wantedLeaf{tlsmaterials.ClientPlace, []string{s.ClientName}})
	}
	for _, name := range slices.Sorted(slices.Values(s.FurtherClients)) {
		leaves = append(leaves, wantedLeaf{tlsmaterials.FurtherClientPlace(name), []string{name}})
	}
	return leaves
}

func (s TLSSpec) places() []tlsmaterials.Place {
	var places []tlsmaterials.Place
	for _, w := range s.leaves() {
		places = append(places, w.Place)
	}
	return places
}

// Validate checks each name, and that all of it fits together.
func (s TLSSpec) Validate() error {
	errs := []error{tlsmaterials.ValidateServerNames(s.ServerNames)}
	if s.Directory == "" {
		errs = append(errs, errors.New("no directory is given"))
	}
	for _, name := range s.clients() {
		errs = append(errs, tlsmaterials.ValidateClientName(name))
	}
	return errors.Join(append(errs, s.ValidateTogether())...)
}

// ValidateTogether checks what no argument shows alone: that no client is named twice, and the periods.
func (s TLSSpec) ValidateTogether() error {
	var errs []error
	clients := s.clients()
	for i, name := range clients {
		if slices.Contains(clients[:i], name) {
			errs = append(errs, fmt.Errorf("client name %q is given twice", name))
		}
	}
	lifetime := orDefault(s.Lifetime, tlsmaterials.DefaultLifetime)
	if authority := orDefault(s.AuthorityLifetime, tlsmaterials.DefaultAuthorityLifetime); lifetime > authority {
		errs = append(errs, fmt.Errorf("certificates valid for %s would outlive their authority, which is valid for %s", hours(lifetime), hours(authority)))
	}
	if s.RenewBefore >= lifetime {
		errs = append(errs, fmt.Errorf("certificates valid for %s cannot be renewed %s before they end", hours(lifetime), hours(s.RenewBefore)))
	}
	return errors.Join(errs...)
}

func (s TLSSpec) clients() []string {
	if s.ClientName == "" {
		return s.FurtherClients
	}
	return append([]string{s.ClientName}, s.FurtherClients...)
}

func orDefault(d, preset time.Duration) time.Duration {
	if d == 0 {
		return preset
	}
	return d
}

// hours prints a period as "8760h", without the zero minutes and seconds of [time.Duration].
func hours(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// CreateTLSMaterials makes an authority and everything below it and writes the files. If one of them exists already,
// nothing is changed and the error wraps [fs.ErrExist]; with replace, all of them are replaced. The result holds the
// private keys.
func CreateTLSMaterials(spec TLSSpec, at time.Time, replace bool) (*tlsmaterials.Materials, error) {
	m, err := createTLSMaterials(spec, at, replace)
	if err != nil {
		return nil, fmt.Errorf("create TLS materials in %s: %w", spec.Directory, err)
	}
	return m, nil
}

func createTLSMaterials(spec TLSSpec, at time.Time, replace bool) (*tlsmaterials.Materials, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	if !replace { // here as well as on writing, to name every file before a key is made
		if found := existing(spec.Directory, tlsmaterials.Paths(spec.places(), spec.SSLConfig)); len(found) > 0 {
			return nil, fmt.Errorf("%w: %s", fs.ErrExist, strings.Join(found, ", "))
		}
	}
	authority, err := tlsmaterials.NewAuthority(tlsmaterials.AuthorityRequest{
		KeyAlgorithm: spec.KeyAlgorithm, At: at, Lifetime: spec.AuthorityLifetime,
	})
	if err != nil {
		return nil, err
	}
	m := &tlsmaterials.Materials{Authority: *authority, SSLConfig: spec.SSLConfig}
	if err := issueLeaves(spec, m, spec.places(), at); err != nil {
		return nil, err
	}
	files, err := m.Files()
	if err != nil {
		return nil, err
	}
	if replace {
		return m, replaceTLSFiles(spec.Directory, files)
	}
	return m, writeNewTLSFiles(spec.Directory, files)
}

func issueLeaves(spec TLSSpec, m *tlsmaterials.Materials, places []tlsmaterials.Place, at time.Time) error {
	for _, w := range spec.leaves() {
		if !slices.Contains(places, w.Place) {
			continue
		}
		pair, err := m.Authority.Issue(tlsmaterials.LeafRequest{
			Usage: w.Usage, Names: w.names, KeyAlgorithm: spec.KeyAlgorithm, At: at, Lifetime: spec.Lifetime,
		})
		if err != nil {
			return err
		}
		m.Set(w.Place, *pair)
	}
	return nil
}

// TLSChange is what an update does to a set of TLS materials.
type TLSChange struct {
	Issue   []tlsmaterials.Place // leaves to be issued, which takes the authority's private key
	Reasons []string             // why, a sentence without full stop for each of Issue
	Repair  []string             // files to be written again from what is known
	Remove  []tlsmaterials.Place // leaves to be forgotten, and their files removed
	Write   []string             // files that get another content by all that
}

// Empty tells that there is nothing to do.
func (c *TLSChange) Empty() bool { return len(c.Issue)+len(c.Repair)+len(c.Remove) == 0 }

// Issues tells whether the leaf at a place is to be issued.
func (c *TLSChange) Issues(p tlsmaterials.Place) bool { return slices.Contains(c.Issue, p) }

// PlanTLSMaterials decides what to do so that a set in the observed condition becomes what spec says, and touches
// nothing. A lifetime that was another one before, if it is known, makes for new certificates.
//
// The error is an [*Error] where a certificate has to be issued and the authority cannot, and where a file would have to
// be replaced that cannot be read: nobody knows what that would destroy.
func PlanTLSMaterials(spec TLSSpec, lifetimeBefore time.Duration, o *TLSObservation, at time.Time) (*TLSChange, error) {
	if err := spec.Validate(); err != nil {
		return nil, fmt.Errorf("plan TLS materials in %s: %w", spec.Directory, err)
	}
	c := &TLSChange{}
	for _, p := range o.Repairable(spec.IgnoreMissing) {
		c.Repair = append(c.Repair, p.File)
	}
	newLifetime := lifetimeBefore != 0 && lifetimeBefore != orDefault(spec.Lifetime, tlsmaterials.DefaultLifetime)
	for _, w := range spec.leaves() {
		reason := reissueReason(spec, o, c, w, newLifetime, at)
		if reason == "" {
			continue
		}
		c.Issue = append(c.Issue, w.Place)
		c.Reasons = append(c.Reasons, fmt.Sprintf("%s needs a certificate: %s", w.Place, reason))
	}
	for _, l := range o.Set.Leaves {
		if !slices.Contains(spec.places(), l.Place) {
			c.Remove = append(c.Remove, l.Place)
		}
	}
	c.Write = c.writes(spec, o)
	if err := c.possible(spec, o, at); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *TLSChange) writes(spec TLSSpec, o *TLSObservation) []string {
	files := slices.Clone(c.Repair)
	for _, p := range c.Issue {
		files = append(files, p.KeyFile, p.CertificateFile)
	}
	if spec.SSLConfig && (c.Issues(tlsmaterials.ServerPlace) || sslConfigChanges(spec, o, c)) {
		files = append(files, tlsmaterials.SSLConfigFile)
	}
	slices.Sort(files)
	return slices.Compact(files)
}

// possible finds out what would stop a change halfway.
func (c *TLSChange) possible(spec TLSSpec, o *TLSObservation, at time.Time) error {
	needed := c.Write
	if len(c.Issue) > 0 {
		needed = append(slices.Clone(needed), tlsmaterials.AuthorityKeyFile)
	}
	for _, p := range o.Problems {
		if p.Kind == TLSUnreadable && slices.Contains(needed, p.File) {
			return &Error{Summary: "TLS materials unreadable",
				Err:    fmt.Errorf("read %s in %s: %s", p.File, spec.Directory, p.Detail),
				Remedy: "Nothing is written while it is unknown what that would destroy. Make the file readable, or move it away."}
		}
	}
	if len(c.Issue) > 0 {
		if err := o.Set.Authority.CanIssue(at); err != nil {
			return authorityCannotIssue(spec, o, c, err)
		}
	}
	return nil
}

// reissueReason says why a leaf has to be issued, or nothing.
func reissueReason(spec TLSSpec, o *TLSObservation, c *TLSChange, w wantedLeaf, newLifetime bool, at time.Time) string {
	leaf := o.Set.Leaf(w.Place)
	switch {
	case leaf == nil:
		return "it is new"
	case !sameSet(tlsmaterials.CertifiedNames(leaf.Certificate), w.names):
		return "its names change"
	case spec.KeyAlgorithm != "" && tlsmaterials.KeyAlgorithmOf(leaf.Certificate) != string(spec.KeyAlgorithm):
		return "its key algorithm changes"
	case newLifetime:
		return "its lifetime changes"
	case slices.Contains(c.Repair, w.KeyFile):
		return w.KeyFile + " is " + o.problem(w.KeyFile).Kind.String()
	case w.Place == tlsmaterials.ServerPlace && leaf.Key.IsZero() && sslConfigChanges(spec, o, c):
		return tlsmaterials.SSLConfigFile + " has to be written, and " + w.KeyFile + " is not here"
	case spec.IgnoreMissing && o.Set.Authority.Key.IsZero() && at.Before(leaf.Certificate.NotAfter):
		return "" // it is renewed where the authority's key is, and there is time until then
	case leafDue(leaf.Certificate, o.Set.Authority.Certificate, spec.RenewBefore, at):
		return "the present one ends on " + leaf.Certificate.NotAfter.UTC().Format(time.RFC3339)
	default:
		return ""
	}
}

// sslConfigChanges tells whether ssl.cfg has to be written for another reason than a new server certificate.
func sslConfigChanges(spec TLSSpec, o *TLSObservation, c *TLSChange) bool {
	hadClients := slices.ContainsFunc(o.Set.Leaves, func(l tlsmaterials.Leaf) bool { return l.Usage == tlsmaterials.Client })
	hasClients := spec.ClientName != "" || len(spec.FurtherClients) > 0
	return spec.SSLConfig && (!o.Set.SSLConfig || hadClients != hasClients || slices.Contains(c.Repair, tlsmaterials.SSLConfigFile))
}

func authorityCannotIssue(spec TLSSpec, o *TLSObservation, c *TLSChange, cause error) error {
	err := fmt.Errorf("issue certificates in %s: %w (%s)", spec.Directory, cause, strings.Join(c.Reasons, "; "))
	if !o.Set.Authority.Key.IsZero() {
		return &Error{Summary: "Certificate authority not usable", Err: err,
			Remedy: "Every peer has to learn to trust a new authority, so one is made only when asked for: move the directory away, replace the " +
				"resource (terraform apply -replace=ADDRESS), and hand out the new " + tlsmaterials.AuthorityCertificateFile + "."}
	}
	return &Error{Summary: "Authority's private key missing", Err: err,
		Remedy: "Restore " + tlsmaterials.AuthorityKeyFile + " from where it is kept, or apply on the machine that has it; where all files are kept on " +
			"another machine, on_missing = \"ignore\" lets plans pass that issue nothing. To start over with a new authority, which every peer " +
			"then has to trust, move the directory away and replace the resource (terraform apply -replace=ADDRESS)."}
}

// UpdateTLSMaterials carries out a change. The new files are complete on the disk before the first one takes its place.
// The result holds the private keys that are here.
func UpdateTLSMaterials(spec TLSSpec, c *TLSChange, o *TLSObservation, at time.Time) (*tlsmaterials.Materials, error) {
	m, err := updateTLSMaterials(spec, c, o, at)
	if err != nil {
		return nil, fmt.Errorf("update TLS materials in %s: %w", spec.Directory, err)
	}
	return m, nil
}

func updateTLSMaterials(spec TLSSpec, c *TLSChange, o *TLSObservation, at time.Time) (*tlsmaterials.Materials, error) {
	before, err := o.Set.Files()
	if err != nil {
		return nil, err
	}
	m := *o.Set
	m.Leaves = slices.DeleteFunc(slices.Clone(o.Set.Leaves), func(l tlsmaterials.Leaf) bool { return slices.Contains(c.Remove, l.Place) })
	m.SSLConfig = spec.SSLConfig
	if err := issueLeaves(spec, &m, c.Issue, at); err != nil {
		return nil, err
	}
	files, err := m.Files()
	if err != nil {
		return nil, err
	}
	// Only what changes is written: what is as it should be may be on a read-only disk, and what is not here may be kept
	// elsewhere.
	changed := slices.DeleteFunc(files, func(f tlsmaterials.File) bool {
		same := slices.ContainsFunc(before, func(b tlsmaterials.File) bool { return b.Path == f.Path && string(b.Data) == string(f.Data) })
		return same && !slices.Contains(c.Repair, f.Path)
	})
	if err := replaceTLSFiles(spec.Directory, changed); err != nil {
		return nil, err
	}
	stale := tlsmaterials.Paths(c.Remove, o.Set.SSLConfig && !spec.SSLConfig)[2:] // never the authority's
	_, err = removeTLSFiles(spec.Directory, o, stale)
	return &m, err
}

// TLSRenewalDue tells whether a leaf is in the last part of its life, and could be renewed for longer than it has.
func TLSRenewalDue(m *tlsmaterials.Materials, before time.Duration, at time.Time) bool {
	return slices.ContainsFunc(m.Leaves, func(l tlsmaterials.Leaf) bool {
		return leafDue(l.Certificate, m.Authority.Certificate, before, at)
	})
}

func leafDue(c, authority *x509.Certificate, before time.Duration, at time.Time) bool {
	return !at.Before(c.NotAfter.Add(-before)) && c.NotAfter.Before(authority.NotAfter)
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
