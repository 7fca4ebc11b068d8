package tlsmaterials

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Paths of the files, relative to the materials' directory, with slashes on every system.
const (
	AuthorityCertificateFile = "ca_cert.pem"
	AuthorityKeyFile         = "ca_key.pem"
	ServerCertificateFile    = "server/cert.pem"
	ServerKeyFile            = "server/key.pem"
	ClientCertificateFile    = "client/cert.pem"
	ClientKeyFile            = "client/key.pem"
	SSLConfigFile            = "ssl.cfg"

	clientsFolder   = "clients/"
	certificateName = "/cert.pem"
	keyName         = "/key.pem"
)

// Materials is a set of TLS materials: what the files of one directory say.
type Materials struct {
	Authority KeyPair             // issues the others; its key may be kept elsewhere
	Trusted   []*x509.Certificate // further authorities that peers are to trust, such as the next or the previous one
	Server    KeyPair
	Clients   []ClientPair // the first is the one in client/
	SSLConfig bool         // whether an ssl.cfg belongs to the set
}

// ClientPair is the certificate and key of one client.
type ClientPair struct {
	Name string
	KeyPair
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

// ClientFiles returns the paths of a client's certificate and key. The first client has the tutorial's place.
func ClientFiles(name string, first bool) (certificate, key string) {
	if first {
		return ClientCertificateFile, ClientKeyFile
	}
	return clientsFolder + name + certificateName, clientsFolder + name + keyName
}

// Paths lists the files of a set with the given further clients, in the order in which they are to be replaced: a
// certificate after its key, and ssl.cfg, which contains what the others say, last. Whoever reads in between finds an
// old certificate beside a new key, which every TLS library refuses to load, never one that it would load by mistake.
func Paths(hasClient bool, further []string, sslConfig bool) []string {
	paths := []string{AuthorityKeyFile, AuthorityCertificateFile, ServerKeyFile, ServerCertificateFile}
	if hasClient {
		paths = append(paths, ClientKeyFile, ClientCertificateFile)
	}
	for _, name := range further {
		certificate, key := ClientFiles(name, false)
		paths = append(paths, key, certificate)
	}
	if sslConfig {
		paths = append(paths, SSLConfigFile)
	}
	return paths
}

// IsSecret reports whether the file of a set contains a private key.
func IsSecret(path string) bool {
	return path == AuthorityKeyFile || path == SSLConfigFile || strings.HasSuffix(path, keyName)
}

// Files encodes the set in the order of [Paths]. Keys that are not at hand give no file.
func (m *Materials) Files() ([]File, error) {
	if m.Authority.Certificate == nil || m.Server.Certificate == nil {
		return nil, errors.New("encode TLS materials: the authority's or the server's certificate is missing")
	}
	var files []File
	add := func(path string, data []byte) {
		if data != nil {
			files = append(files, File{Path: path, Data: data, Secret: IsSecret(path)})
		}
	}
	add(AuthorityKeyFile, m.Authority.Key.PEM())
	add(AuthorityCertificateFile, m.AuthoritiesPEM())
	add(ServerKeyFile, m.Server.Key.PEM())
	add(ServerCertificateFile, m.Server.CertificatePEM())
	for i, c := range m.Clients {
		certificate, key := ClientFiles(c.Name, i == 0)
		add(key, c.Key.PEM())
		add(certificate, c.CertificatePEM())
	}
	if m.SSLConfig && !m.Server.Key.IsZero() {
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
	c := SSLConfig{
		ServerKey:  string(m.Server.Key.PEM()),
		ServerCert: string(m.Server.CertificatePEM()),
	}
	if len(m.Clients) > 0 {
		c.CustomCA = string(m.AuthoritiesPEM())
		c.ClientVerify = true
	}
	return c.Marshal()
}
