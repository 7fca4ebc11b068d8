package deploy

import (
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
	Lifetime          time.Duration         // of leaves; zero: tlsmaterials.DefaultLifetime
	AuthorityLifetime time.Duration         // zero: tlsmaterials.DefaultAuthorityLifetime
	RenewBefore       time.Duration         // a leaf is due for renewal this long before it ends
	Rotation          tlsmaterials.Rotation // how far to go from one authority to the next
	Issuer            *tlsmaterials.KeyPair // an authority that exists; its key is needed for issuing only, and is not kept
	IssuerKeyPending  bool                  // the issuer's key will be there when it is needed
	IssuerVersion     int64                 // another one than before has the issuer issue all leaves again
	SSLConfig         bool                  // write ssl.cfg
	Seal              *SSLConfigSeal        // keep ssl.cfg encrypted only, and the server's private key in no other file
	IgnoreMissing     bool                  // files that are not here are kept elsewhere
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

// ValidateNew is Validate for a set that is yet to be created.
func (s TLSSpec) ValidateNew() error {
	if s.rotating() {
		return errors.Join(s.Validate(), errors.New("there is no authority yet to rotate from: begin without a rotation"))
	}
	return s.Validate()
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
	if s.Issuer != nil {
		errs = append(errs, s.validateIssuer())
	}
	if s.Seal != nil {
		errs = append(errs, s.validateSeal())
	}
	return errors.Join(errs...)
}

// validateIssuer checks what is given in place of an authority of the set's own.
func (s TLSSpec) validateIssuer() error {
	c := s.Issuer.Certificate
	switch {
	case s.rotating():
		return errors.New("the rotation of a given authority is not this set's: give the next authority when every peer trusts it")
	case !c.IsCA:
		return fmt.Errorf("the given certificate, %s, is not an authority's", c.Subject)
	case c.CheckSignatureFrom(c) != nil:
		return fmt.Errorf("the given authority, %s, is not self-signed: gRPC takes nothing else for a root of trust", c.Subject)
	case !s.Issuer.Key.IsZero() && !s.Issuer.Key.Matches(c):
		return fmt.Errorf("the given private key does not belong to the given authority, %s", c.Subject)
	}
	return nil
}

func (s TLSSpec) rotating() bool { return s.Rotation != "" && s.Rotation != tlsmaterials.RotationNone }

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
// private keys, but for the server's where ssl.cfg is sealed.
func CreateTLSMaterials(spec TLSSpec, at time.Time, replace bool) (*tlsmaterials.Materials, error) {
	m, err := createTLSMaterials(spec, at, replace)
	if err != nil {
		return nil, fmt.Errorf("create TLS materials in %s: %w", spec.Directory, err)
	}
	return m, nil
}

func createTLSMaterials(spec TLSSpec, at time.Time, replace bool) (*tlsmaterials.Materials, error) {
	if err := spec.ValidateNew(); err != nil {
		return nil, err
	}
	if err := recoverTLSFiles(spec.Directory); err != nil {
		return nil, err
	}
	if !replace { // here as well as on writing, to name every file before a key is made
		paths := tlsmaterials.Paths(spec.places(), spec.SSLConfig)
		if spec.Seal != nil {
			paths = append(paths, tlsmaterials.SealedSSLConfigFile)
		}
		if found := existing(spec.Directory, paths); len(found) > 0 {
			return nil, fmt.Errorf("%w: %s", fs.ErrExist, strings.Join(found, ", "))
		}
	}
	authority := spec.Issuer
	if authority == nil {
		var err error
		if authority, err = newAuthority(spec, at); err != nil {
			return nil, err
		}
	}
	m := &tlsmaterials.Materials{Authority: *authority, SSLConfig: spec.SSLConfig}
	if err := issueLeaves(spec, m, spec.places(), at); err != nil {
		return nil, err
	}
	sealed, err := spec.seal(m)
	if err != nil {
		return nil, err
	}
	files, err := m.Files()
	if err != nil {
		return nil, err
	}
	files = append(files, sealed...)
	if replace {
		if err := replaceTLSFiles(spec.Directory, files); err != nil {
			return nil, err
		}
		return m, removeOtherForm(spec)
	}
	return m, writeNewTLSFiles(spec.Directory, files)
}

func newAuthority(spec TLSSpec, at time.Time) (*tlsmaterials.KeyPair, error) {
	return tlsmaterials.NewAuthority(tlsmaterials.AuthorityRequest{KeyAlgorithm: spec.KeyAlgorithm, At: at, Lifetime: spec.AuthorityLifetime})
}

// issueLeaves issues the leaves at the given places. The key of a given authority does not stay in the set.
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
	if spec.Issuer != nil {
		m.Authority.Key = tlsmaterials.PrivateKey{}
	}
	return nil
}
