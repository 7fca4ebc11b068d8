package tlsmaterials

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Paths of the files, relative to the materials' directory, with slashes on every system.
const (
	AuthorityCertificateFile = "ca_cert.pem"
	AuthorityKeyFile         = "ca_key.pem"
	NextAuthorityKeyFile     = "ca_next_key.pem"     // while the next authority is introduced
	PreviousAuthorityKeyFile = "ca_previous_key.pem" // until the previous one is retired
	ServerCertificateFile    = "server/cert.pem"
	ServerKeyFile            = "server/key.pem"
	ClientCertificateFile    = "client/cert.pem"
	ClientKeyFile            = "client/key.pem"
	SSLConfigFile            = "ssl.cfg"
	SealedSSLConfigFile      = "ssl.cfg.pf" // instead of it and of the server's key; see SealedSSLConfig

	clientsFolder   = "clients/"
	certificateName = "/cert.pem"
	keyName         = "/key.pem"
)

// Place is where a leaf and its key belong, and what the leaf is for.
type Place struct {
	CertificateFile string
	KeyFile         string
	Usage           Usage
}

// The places of the server and of the tutorial's one client.
var (
	ServerPlace = Place{ServerCertificateFile, ServerKeyFile, Server}
	ClientPlace = Place{ClientCertificateFile, ClientKeyFile, Client}
)

// FurtherClientPlace is the place of a client beside the first: a folder of its own, with its name.
func FurtherClientPlace(name string) Place {
	return Place{clientsFolder + name + certificateName, clientsFolder + name + keyName, Client}
}

// String says whose place it is, for a sentence.
func (p Place) String() string {
	switch p {
	case ServerPlace:
		return "the server"
	case ClientPlace:
		return "the client"
	default:
		return "client " + p.FurtherClient()
	}
}

// FurtherClient is the name of the further client that the place belongs to, and empty for the other places.
func (p Place) FurtherClient() string {
	rest, ok := strings.CutPrefix(p.CertificateFile, clientsFolder)
	if !ok {
		return ""
	}
	return strings.TrimSuffix(rest, certificateName)
}

// Leaf is a certificate at its place.
type Leaf struct {
	Place
	KeyPair
}

// Rotation is how far a set is on its way from one authority to the next. While there are two, peers trust both, so that
// at no moment a certificate is in use that somebody does not trust yet, or no longer.
type Rotation string

// The stages of a rotation, in order; after the last comes the first again.
const (
	RotationNone      Rotation = "none"       // one authority
	RotationTrustNext Rotation = "trust_next" // the next authority is trusted beside the one that issues
	RotationUseNext   Rotation = "use_next"   // the next one issues; the previous one is still trusted
)

// Materials is a set of TLS materials: what the files of one directory say.
type Materials struct {
	Authority  KeyPair             // issues the leaves; its key may be kept elsewhere
	Trusted    []*x509.Certificate // further authorities that peers are to trust; the first is the next or previous one
	TrustedKey PrivateKey          // of the first of Trusted; may be kept elsewhere
	Rotation   Rotation            // empty for RotationNone
	Leaves     []Leaf              // the server's, then the client's, then further clients' by name; no place twice
	SSLConfig  bool                // whether an ssl.cfg belongs to the set
	Sealed     *SealedSSLConfig    // set: the ssl.cfg is encrypted, and the server's private key is nowhere else
}

// SealedSSLConfig identifies an ssl.cfg that exists as a protected file of Gramine only. The server's private key is in
// it and in no other file, so that whoever has the disk but not the wrap key does not have the key. Nothing here is
// secret. Who has not opened the file does not know the first three.
type SealedSSLConfig struct {
	EnclavePath  string // embedded in the file: the path under which Gramine opens it
	Format       int    // version of the file
	KeyID        string // fingerprint of the wrap key
	HeaderSHA256 string // of the first node, which vouches for all others; 64 hexadecimal digits
	Size         int64  // of the file, in bytes
}

// Leaf returns the leaf at a place, or nil.
func (m *Materials) Leaf(p Place) *Leaf {
	for i := range m.Leaves {
		if m.Leaves[i].Place == p {
			return &m.Leaves[i]
		}
	}
	return nil
}

// Set puts a pair at a place, in the order of [Materials.Leaves].
func (m *Materials) Set(p Place, pair KeyPair) {
	if old := m.Leaf(p); old != nil {
		old.KeyPair = pair
		return
	}
	i := slices.IndexFunc(m.Leaves, func(l Leaf) bool {
		return l.rank() > p.rank() || l.rank() == p.rank() && l.CertificateFile > p.CertificateFile
	})
	if i < 0 {
		i = len(m.Leaves)
	}
	m.Leaves = slices.Insert(m.Leaves, i, Leaf{p, pair})
}

func (p Place) rank() int {
	switch p {
	case ServerPlace:
		return 0
	case ClientPlace:
		return 1
	default:
		return 2
	}
}

// hasClients tells whether the server has to know clients apart from others.
func (m *Materials) hasClients() bool {
	return slices.ContainsFunc(m.Leaves, func(l Leaf) bool { return l.Usage == Client })
}

// File is one file of a set.
type File struct {
	Path   string // relative, with slashes
	Data   []byte
	Secret bool // contains a private key: for the owner's eyes only
}

// String names the file and hides its contents.
func (f File) String() string { return fmt.Sprintf("%s (%d bytes)", f.Path, len(f.Data)) }

// GoString hides the contents from %#v.
func (f File) GoString() string { return f.String() }

// Format hides the contents from every verb.
func (f File) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, f.String()) }

// AuthorityKeyFiles lists where keys of authorities may be, in the order in which they are to be replaced: the key of an
// authority is at its new place before it is overwritten at the old one.
func AuthorityKeyFiles() []string {
	return []string{NextAuthorityKeyFile, PreviousAuthorityKeyFile, AuthorityKeyFile}
}

// trustedKeyFile is the place of TrustedKey.
func (m *Materials) trustedKeyFile() string {
	if m.Rotation == RotationTrustNext {
		return NextAuthorityKeyFile
	}
	return PreviousAuthorityKeyFile
}

// Paths lists the files of a set with leaves at the given places, in the order in which they are to be replaced: a
// certificate after its key, and ssl.cfg, which contains what the others say, last. Whoever reads in between finds an
// old certificate beside a new key, which every TLS library refuses to load, never one that it would load by mistake.
func Paths(leaves []Place, sslConfig bool) []string {
	return append(append(AuthorityKeyFiles(), AuthorityCertificateFile), LeafPaths(leaves, sslConfig)...)
}

// LeafPaths is [Paths] without the files of the authority.
func LeafPaths(leaves []Place, sslConfig bool) []string {
	var paths []string
	for _, p := range leaves {
		paths = append(paths, p.KeyFile, p.CertificateFile)
	}
	if sslConfig {
		paths = append(paths, SSLConfigFile)
	}
	return paths
}

// SealedPaths turns paths of a set into those of one whose ssl.cfg is sealed.
func SealedPaths(paths []string) []string {
	paths = slices.DeleteFunc(slices.Clone(paths), func(path string) bool { return path == ServerKeyFile })
	if i := slices.Index(paths, SSLConfigFile); i >= 0 {
		paths[i] = SealedSSLConfigFile
	}
	return paths
}

// Places lists where the leaves of the set are.
func (m *Materials) Places() []Place {
	var places []Place
	for _, l := range m.Leaves {
		places = append(places, l.Place)
	}
	return places
}

// IsSecret reports whether the file of a set contains a private key.
func IsSecret(path string) bool {
	return slices.Contains(AuthorityKeyFiles(), path) || path == SSLConfigFile || strings.HasSuffix(path, keyName)
}

// Files encodes the set in the order of [Paths]. Keys that are not at hand give no file, and without the server's key
// there is no ssl.cfg. Of a set with a sealed ssl.cfg neither is among the files.
func (m *Materials) Files() ([]File, error) {
	if m.Authority.Certificate == nil {
		return nil, errors.New("encode TLS materials: the authority's certificate is missing")
	}
	var files []File
	add := func(path string, data []byte) {
		if data != nil {
			files = append(files, File{Path: path, Data: data, Secret: IsSecret(path)})
		}
	}
	add(m.trustedKeyFile(), m.TrustedKey.PEM())
	add(AuthorityKeyFile, m.Authority.Key.PEM())
	add(AuthorityCertificateFile, m.AuthoritiesPEM())
	for _, l := range m.Leaves {
		if l.Certificate == nil {
			return nil, fmt.Errorf("encode TLS materials: the certificate of %s is missing", l.Place)
		}
		if m.Sealed == nil || l.Place != ServerPlace {
			add(l.KeyFile, l.Key.PEM())
		}
		add(l.CertificateFile, l.CertificatePEM())
	}
	if server := m.Leaf(ServerPlace); m.SSLConfig && m.Sealed == nil && server != nil && !server.Key.IsZero() {
		data, err := m.MarshalSSLConfig()
		if err != nil {
			return nil, err
		}
		add(SSLConfigFile, data)
	}
	return files, nil
}

// AuthoritiesPEM is what peers trust: the authority, then the further ones.
func (m *Materials) AuthoritiesPEM() []byte {
	return EncodeCertificates(append([]*x509.Certificate{m.Authority.Certificate}, m.Trusted...)...)
}

// MarshalSSLConfig writes the ssl.cfg of the set: it asks for client certificates if the set has any.
func (m *Materials) MarshalSSLConfig() ([]byte, error) {
	server := m.Leaf(ServerPlace)
	if server == nil || server.Key.IsZero() {
		return nil, errors.New("write ssl.cfg: the server's private key is not at hand")
	}
	c := SSLConfig{ServerKey: string(server.Key.PEM()), ServerCert: string(server.CertificatePEM())}
	if m.hasClients() {
		c.CustomCA = string(m.AuthoritiesPEM())
		c.ClientVerify = true
	}
	return c.Marshal()
}
