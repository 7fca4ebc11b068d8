package deploy

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/serving/tlsmaterials"
)

// TLSAuthorityStep is what happens to the authority of a set.
type TLSAuthorityStep uint8

// The steps.
const (
	TLSAuthorityKept     TLSAuthorityStep = iota
	TLSAuthorityAdded                     // the next one is made and trusted beside the present one
	TLSAuthoritySwitched                  // the other trusted one issues all leaves from now on
	TLSAuthorityDropped                   // the one that does not issue is trusted no longer
	TLSAuthorityReplaced                  // by one that was given, or a given one by one of the set's own
)

// Reissues tells whether the step takes new leaves.
func (s TLSAuthorityStep) Reissues() bool {
	return s == TLSAuthoritySwitched || s == TLSAuthorityReplaced
}

// TLSChange is what an update does to a set of TLS materials.
type TLSChange struct {
	Authority TLSAuthorityStep
	Issue     []tlsmaterials.Place          // leaves to be issued, which takes the authority's private key
	Reasons   []string                      // why, a sentence without full stop for each of Issue
	Repair    []string                      // files to be written again from what is known
	Remove    []tlsmaterials.Place          // leaves to be forgotten, and their files removed
	Write     []string                      // files that get another content by all that
	Sealed    *tlsmaterials.SealedSSLConfig // the encrypted ssl.cfg as it is before the change
}

// Empty tells that there is nothing to do.
func (c *TLSChange) Empty() bool {
	return c.Authority == TLSAuthorityKept && len(c.Issue)+len(c.Repair)+len(c.Remove) == 0
}

// Issues tells whether the leaf at a place is to be issued.
func (c *TLSChange) Issues(p tlsmaterials.Place) bool { return slices.Contains(c.Issue, p) }

// PlanTLSMaterials decides what to do so that a set in the observed condition becomes what spec says, and touches
// nothing. It was made to the specification was, of which the lifetime, the issuer and its version count: what does
// not show in the files.
//
// The error is an [*Error] where a certificate has to be issued and the authority cannot, where the rotation of the
// authority would skip a stage, and where a file would have to be replaced that cannot be read: nobody knows what that
// would destroy.
func PlanTLSMaterials(spec, was TLSSpec, o *TLSObservation, at time.Time) (*TLSChange, error) {
	if err := spec.Validate(); err != nil {
		return nil, fmt.Errorf("plan TLS materials in %s: %w", spec.Directory, err)
	}
	step, err := authorityStep(spec, was, o.Set)
	if err != nil {
		return nil, err
	}
	c := &TLSChange{Authority: step, Sealed: adoptSealed(spec, o.Set)}
	for _, p := range o.Repairable(spec.IgnoreMissing) {
		c.Repair = append(c.Repair, p.File)
	}
	for _, w := range spec.leaves() {
		reason := reissueReason(spec, was, o, c, w, at)
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

// authorityStep compares the stage that a set is in with the one that is wanted.
func authorityStep(spec, was TLSSpec, set *tlsmaterials.Materials) (TLSAuthorityStep, error) {
	switch {
	case spec.Issuer != nil && !spec.Issuer.Certificate.Equal(set.Authority.Certificate), spec.Issuer == nil && was.Issuer != nil:
		return TLSAuthorityReplaced, nil
	case spec.Issuer != nil && len(set.Trusted) > 0:
		return TLSAuthorityDropped, nil
	}
	stage := func(r tlsmaterials.Rotation) tlsmaterials.Rotation {
		if r == "" {
			return tlsmaterials.RotationNone
		}
		return r
	}
	from, to := stage(set.Rotation), stage(spec.Rotation)
	switch {
	case from == to:
		return TLSAuthorityKept, nil
	case to == tlsmaterials.RotationNone:
		return TLSAuthorityDropped, nil
	case from != tlsmaterials.RotationNone:
		return TLSAuthoritySwitched, nil // forth, or back again
	case to == tlsmaterials.RotationTrustNext:
		return TLSAuthorityAdded, nil
	default:
		return 0, &Error{Summary: "Rotation skips a stage",
			Err: fmt.Errorf("use the next authority in %s: there is none yet that peers trust", spec.Directory),
			Remedy: "Apply with ca_rotation = \"trust_next\" first, bring ca_cert.pem and ssl.cfg to every peer, and start TensorFlow Serving again. " +
				"Then apply with ca_rotation = \"use_next\"."}
	}
}

// issuing is the authority that issues the leaves of a change; it is nil if that one is yet to be made.
func (c *TLSChange) issuing(spec TLSSpec, o *TLSObservation) *tlsmaterials.KeyPair {
	switch {
	case spec.Issuer != nil:
		return spec.Issuer
	case c.Authority == TLSAuthorityReplaced:
		return nil
	case c.Authority == TLSAuthoritySwitched:
		return &tlsmaterials.KeyPair{Certificate: o.Set.Trusted[0], Key: o.Set.TrustedKey}
	default:
		return &o.Set.Authority
	}
}

func (c *TLSChange) writes(spec TLSSpec, o *TLSObservation) []string {
	files := slices.Clone(c.Repair)
	for _, p := range c.Issue {
		files = append(files, p.KeyFile, p.CertificateFile)
	}
	if spec.SSLConfig && (c.Issues(tlsmaterials.ServerPlace) || sslConfigChanges(spec, o, c)) {
		files = append(files, tlsmaterials.SSLConfigFile)
	}
	if spec.Seal != nil {
		files = tlsmaterials.SealedPaths(files)
	}
	switch c.Authority {
	case TLSAuthorityKept:
	case TLSAuthorityDropped:
		files = append(files, tlsmaterials.AuthorityCertificateFile)
	default:
		files = append(append(files, tlsmaterials.AuthorityKeyFiles()...), tlsmaterials.AuthorityCertificateFile)
	}
	slices.Sort(files)
	return slices.Compact(files)
}

// possible finds out what would stop a change halfway.
func (c *TLSChange) possible(spec TLSSpec, o *TLSObservation, at time.Time) error {
	needed := c.Write
	if len(c.Issue) > 0 && spec.Issuer == nil {
		needed = append(slices.Clone(needed), tlsmaterials.AuthorityKeyFile)
	}
	for _, p := range o.Problems {
		if p.Kind == TLSUnreadable && slices.Contains(needed, p.File) {
			return &Error{Summary: "TLS materials unreadable",
				Err:    fmt.Errorf("read %s in %s: %s", p.File, spec.Directory, p.Detail),
				Remedy: "Nothing is written while it is unknown what that would destroy. Make the file readable, or move it away."}
		}
	}
	if spec.Seal != nil && c.Issues(tlsmaterials.ServerPlace) && !spec.Seal.hasKey() && !spec.Seal.KeyPending {
		return wrapKeyNotAtHand(spec)
	}
	if authority := c.issuing(spec, o); authority != nil && len(c.Issue) > 0 && !spec.IssuerKeyPending {
		if err := authority.CanIssue(at); err != nil {
			return authorityCannotIssue(spec, authority, c, err)
		}
	}
	return nil
}

// reissueReason says why a leaf has to be issued, or nothing.
func reissueReason(spec, was TLSSpec, o *TLSObservation, c *TLSChange, w wantedLeaf, at time.Time) string {
	leaf := o.Set.Leaf(w.Place)
	switch {
	case leaf == nil:
		return "it is new"
	case c.Authority.Reissues():
		return "the authority changes"
	case spec.Issuer != nil && was.Issuer != nil && spec.IssuerVersion != was.IssuerVersion:
		return "the version of the authority's key changes"
	case !sameSet(tlsmaterials.CertifiedNames(leaf.Certificate), w.names):
		return "its names change"
	case spec.KeyAlgorithm != "" && tlsmaterials.KeyAlgorithmOf(leaf.Certificate) != string(spec.KeyAlgorithm):
		return "its key algorithm changes"
	case was.Lifetime != 0 && was.Lifetime != orDefault(spec.Lifetime, tlsmaterials.DefaultLifetime):
		return "its lifetime changes"
	case w.Place == tlsmaterials.ServerPlace && sealReason(spec, c.Sealed) != "":
		return sealReason(spec, c.Sealed)
	case slices.Contains(c.Repair, w.KeyFile):
		return w.KeyFile + " is " + o.problem(w.KeyFile).Kind.String()
	case w.Place == tlsmaterials.ServerPlace && leaf.Key.IsZero() && sslConfigChanges(spec, o, c):
		if spec.Seal != nil {
			return tlsmaterials.SealedSSLConfigFile + " has to be written, and the private key in the present one serves no other"
		}
		return tlsmaterials.SSLConfigFile + " has to be written, and " + w.KeyFile + " is not here"
	case spec.IgnoreMissing && c.issuing(spec, o).Key.IsZero() && at.Before(leaf.Certificate.NotAfter):
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
	return spec.SSLConfig && (!o.Set.SSLConfig || hadClients != hasClients || hasClients && c.Authority != TLSAuthorityKept ||
		slices.Contains(c.Repair, spec.configFile()))
}

func authorityCannotIssue(spec TLSSpec, authority *tlsmaterials.KeyPair, c *TLSChange, cause error) error {
	err := fmt.Errorf("issue certificates in %s: %w (%s)", spec.Directory, cause, strings.Join(c.Reasons, "; "))
	switch {
	case spec.Issuer != nil:
		return &Error{Summary: "Given authority not usable", Err: err,
			Remedy: "Give the authority's private key with private_key_file or private_key_wo, or another authority."}
	case !authority.Key.IsZero():
		return &Error{Summary: "Certificate authority not usable", Err: err,
			Remedy: "Every peer has to learn to trust a new authority, so one is made only when asked for. If the present one has ended, move the directory " +
				"away, replace the resource (terraform apply -replace=ADDRESS), and hand out the new " + tlsmaterials.AuthorityCertificateFile + "."}
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
	m.SSLConfig, m.Sealed = spec.SSLConfig, c.Sealed
	if spec.Seal == nil {
		m.Sealed = nil
	}
	if err := c.stepAuthority(spec, o, &m, at); err != nil {
		return nil, err
	}
	if err := issueLeaves(spec, &m, c.Issue, at); err != nil {
		return nil, err
	}
	var sealed []tlsmaterials.File
	if c.Issues(tlsmaterials.ServerPlace) {
		if sealed, err = spec.seal(&m); err != nil {
			return nil, err
		}
	}
	files, err := m.Files()
	if err != nil {
		return nil, err
	}
	// Only what changes is written: what is as it should be may be on a read-only disk, and what is not here may be kept
	// elsewhere.
	changed := slices.DeleteFunc(slices.Clone(files), func(f tlsmaterials.File) bool {
		same := slices.ContainsFunc(before, func(b tlsmaterials.File) bool { return b.Path == f.Path && string(b.Data) == string(f.Data) })
		return same && !slices.Contains(c.Repair, f.Path)
	})
	if err := replaceTLSFiles(spec.Directory, append(changed, sealed...)); err != nil {
		return nil, err
	}
	stale := tlsmaterials.LeafPaths(c.Remove, o.Set.SSLConfig && !spec.SSLConfig)
	if (spec.Seal != nil) != (o.Set.Sealed != nil) {
		stale = append(stale, otherForm(spec.Seal != nil)...)
	}
	if c.Authority != TLSAuthorityKept { // else an authority's key is never removed
		stale = append(stale, slices.DeleteFunc(tlsmaterials.AuthorityKeyFiles(), func(path string) bool {
			return slices.ContainsFunc(files, func(f tlsmaterials.File) bool { return f.Path == path })
		})...)
	}
	_, err = removeTLSFiles(spec.Directory, o, stale)
	return &m, err
}

// stepAuthority changes the authorities of m.
func (c *TLSChange) stepAuthority(spec TLSSpec, o *TLSObservation, m *tlsmaterials.Materials, at time.Time) error {
	switch c.Authority {
	case TLSAuthorityKept:
	case TLSAuthorityAdded:
		next, err := newAuthority(spec, at)
		if err != nil {
			return err
		}
		m.Trusted, m.TrustedKey, m.Rotation = []*x509.Certificate{next.Certificate}, next.Key, spec.Rotation
	case TLSAuthoritySwitched:
		m.Authority = *c.issuing(spec, o)
		m.Trusted, m.TrustedKey, m.Rotation = []*x509.Certificate{o.Set.Authority.Certificate}, o.Set.Authority.Key, spec.Rotation
	case TLSAuthorityDropped, TLSAuthorityReplaced:
		m.Trusted, m.TrustedKey, m.Rotation = nil, tlsmaterials.PrivateKey{}, ""
	}
	if c.Authority == TLSAuthorityReplaced && spec.Issuer == nil {
		own, err := newAuthority(spec, at)
		if err != nil {
			return err
		}
		m.Authority = *own
	}
	if spec.Issuer != nil {
		m.Authority = *spec.Issuer
	}
	return nil
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
