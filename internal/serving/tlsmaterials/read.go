package tlsmaterials

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ParseFiles reads a set from its files, by relative path; files that are not part of the layout are ignored. What is
// missing or cannot be read stays empty in the result, and a finding says so. Findings about how the parts fit together
// are those of [Materials.Check].
func ParseFiles(files map[string][]byte) (*Materials, []Finding) {
	r := &reader{files: files}
	m := &Materials{}
	if authorities := r.certificates(AuthorityCertificateFile); len(authorities) > 0 {
		m.Authority.Certificate, m.Trusted = authorities[0], authorities[1:]
	}
	r.authorityKeys(m)
	if r.has(SealedSSLConfigFile) && !r.has(SSLConfigFile) && !r.has(ServerKeyFile) {
		m.SSLConfig, m.Sealed = true, &SealedSSLConfig{}
	}
	m.Set(ServerPlace, r.pair(ServerPlace, m.Sealed != nil))
	if r.has(ClientCertificateFile) || r.has(ClientKeyFile) {
		m.Set(ClientPlace, r.pair(ClientPlace, false))
	}
	for _, name := range r.furtherClients() {
		m.Set(FurtherClientPlace(name), r.pair(FurtherClientPlace(name), false))
	}
	if data, ok := files[SSLConfigFile]; ok {
		m.SSLConfig = true
		r.findings = append(r.findings, checkSSLConfigFile(m, data)...)
	}
	return m, r.findings
}

// authorityKeys reads the keys of the authorities, which may rightly be kept elsewhere. Which is whose, the keys tell
// themselves; their files tell how far a rotation is, and without files, the authorities' ages.
func (r *reader) authorityKeys(m *Materials) {
	if len(m.Trusted) > 0 {
		m.Rotation = RotationUseNext
		if r.has(NextAuthorityKeyFile) || !r.has(PreviousAuthorityKeyFile) && m.Trusted[0].NotBefore.After(m.Authority.Certificate.NotBefore) {
			m.Rotation = RotationTrustNext
		}
	}
	for _, file := range AuthorityKeyFiles() {
		if !r.has(file) {
			continue
		}
		key := r.key(file)
		switch {
		case key.IsZero():
		case len(m.Trusted) > 0 && key.Matches(m.Trusted[0]):
			m.TrustedKey = key
		case file == AuthorityKeyFile || m.Authority.Certificate != nil && key.Matches(m.Authority.Certificate):
			m.Authority.Key = key // if it does not match, Check tells
		default:
			r.findings = append(r.findings, Finding{file, Mismatch, "the key belongs to none of the authorities in " + AuthorityCertificateFile})
		}
	}
}

type reader struct {
	files    map[string][]byte
	findings []Finding
}

func (r *reader) has(path string) bool {
	_, ok := r.files[path]
	return ok
}

func (r *reader) certificates(path string) []*x509.Certificate {
	data, ok := r.files[path]
	if !ok {
		r.findings = append(r.findings, Finding{path, Missing, "the file is missing"})
		return nil
	}
	certs, err := ParseCertificates(data)
	if err != nil {
		r.findings = append(r.findings, Finding{path, Unparseable, err.Error()})
	}
	return certs
}

func (r *reader) key(path string) PrivateKey {
	data, ok := r.files[path]
	if !ok {
		r.findings = append(r.findings, Finding{path, Missing, "the file is missing"})
		return PrivateKey{}
	}
	key, err := ParsePrivateKey(data)
	if err != nil {
		r.findings = append(r.findings, Finding{path, Unparseable, err.Error()})
	}
	return key
}

// pair reads a leaf, the first certificate of its file, and its key, which may be sealed.
func (r *reader) pair(p Place, sealed bool) KeyPair {
	var pair KeyPair
	if certs := r.certificates(p.CertificateFile); len(certs) > 0 {
		pair.Certificate = certs[0]
	}
	if !sealed {
		pair.Key = r.key(p.KeyFile)
	}
	return pair
}

// furtherClients finds the names under clients/, sorted.
func (r *reader) furtherClients() []string {
	var names []string
	for path := range r.files {
		rest, ok := strings.CutPrefix(path, clientsFolder)
		if !ok {
			continue
		}
		name, ok := strings.CutSuffix(rest, certificateName)
		if !ok {
			if name, ok = strings.CutSuffix(rest, keyName); !ok {
				continue
			}
		}
		if !strings.Contains(name, "/") && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// CertifiedNames lists the names a certificate is valid for, in order: DNS names, then addresses that are not among them.
func CertifiedNames(c *x509.Certificate) []string {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		if name := ip.String(); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// checkSSLConfigFile holds an ssl.cfg against the set it lies beside.
func checkSSLConfigFile(m *Materials, data []byte) []Finding {
	c, err := ParseSSLConfig(data)
	if err != nil {
		return []Finding{{SSLConfigFile, Unparseable, err.Error()}}
	}
	if err := c.check(); err != nil {
		return []Finding{{SSLConfigFile, Mismatch, err.Error()}}
	}
	if server := m.Leaf(ServerPlace); server == nil || server.Certificate == nil || m.Authority.Certificate == nil {
		return nil // there is nothing to hold it against, which is a finding of its own
	}
	if err := c.CheckAgainst(m); err != nil {
		return []Finding{{SSLConfigFile, Mismatch, err.Error()}}
	}
	return nil
}

// CheckAgainst tells how the configuration differs in meaning from the one that belongs to a set; how it is written may
// differ, because another tool may have written it. The set needs no keys.
func (c SSLConfig) CheckAgainst(m *Materials) error {
	if err := c.check(); err != nil {
		return err
	}
	chain, err := ParseCertificates([]byte(c.ServerCert))
	if err != nil {
		return err
	}
	if server := m.Leaf(ServerPlace); server == nil || !chain[0].Equal(server.Certificate) {
		return fmt.Errorf("the server certificate in it is not that of %s", ServerCertificateFile)
	}
	if !m.hasClients() {
		if c.ClientVerify {
			return errors.New("client_verify is true, but no client has a certificate")
		}
		return nil
	}
	if !c.ClientVerify {
		return errors.New("client_verify is false, although clients have certificates")
	}
	authorities, err := ParseCertificates([]byte(c.CustomCA))
	if err != nil {
		return err
	}
	for _, trusted := range append([]*x509.Certificate{m.Authority.Certificate}, m.Trusted...) {
		if !slices.ContainsFunc(authorities, trusted.Equal) {
			return fmt.Errorf("custom_ca lacks an authority that %s has", AuthorityCertificateFile)
		}
	}
	if len(authorities) > 1+len(m.Trusted) {
		return fmt.Errorf("custom_ca has authorities that %s does not have", AuthorityCertificateFile)
	}
	return nil
}

func anySigned(authorities []*x509.Certificate, c *x509.Certificate) bool {
	return slices.ContainsFunc(authorities, func(a *x509.Certificate) bool { return signedBy(c, a) })
}

// signedBy verifies the signature alone. Unlike Certificate.CheckSignatureFrom it accepts the version 1 certificates
// that the tutorial's script makes; what is wrong with those is a finding of its own.
func signedBy(c, authority *x509.Certificate) bool {
	return authority.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}
