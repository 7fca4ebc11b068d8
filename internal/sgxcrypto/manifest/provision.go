package manifest

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"strings"
)

// The variables of secret provisioning (tools/sgx/ra-tls/secret_prov.h of Gramine).
const (
	envConstructor = "SECRET_PROVISION_CONSTRUCTOR"
	envServers     = "SECRET_PROVISION_SERVERS"
	envCA          = "SECRET_PROVISION_CA_CHAIN_PATH"
	envKey         = "SECRET_PROVISION_SET_KEY"
	envPFKey       = "SECRET_PROVISION_SET_PF_KEY" // up to 1.8
	envPreload     = "LD_PRELOAD"

	provisionLibrary = "libsecret_prov_attest.so"
	defaultServers   = "localhost:4433"
	maxKeyName       = 233 // bytes: the path is built in a buffer of 256
)

func truthy(s string) bool { return s == "1" || s == "true" || s == "TRUE" }

// environment looks at whether the host can choose the key server.
func (c *checker) environment() {
	c.check = "environment"
	if c.m.UseHostEnv {
		c.add(Failed, "loader.insecure__use_host_env", "remove it and list the variables that the enclave needs in loader.env",
			"the host sets any variable, and with LD_PRELOAD or %s takes the enclave over", envServers)
	}
	for _, name := range []string{envConstructor, envServers, envCA, envKey, envPFKey, envPreload, "LD_LIBRARY_PATH"} {
		if c.m.Env[name].Passthrough {
			c.add(Failed, name, fmt.Sprintf("set loader.env.%s to its value in the manifest", name), "it is passed through from the host, which can thereby put its own key server in place of yours")
		}
	}
	if c.m.EnvFile != "" {
		c.add(Warning, "loader.env_src_file", "set the variables of secret provisioning in loader.env, which comes first", "%s is not looked into", c.m.EnvFile)
	}
	if _, set := c.m.Env[envServers]; !set {
		c.add(Warning, envServers, fmt.Sprintf("set loader.env.%s", envServers), "it is not set: the enclave asks %s", defaultServers)
	}
	if _, set := c.m.Env[envCA]; !set {
		c.add(Failed, envCA, fmt.Sprintf("set loader.env.%s to the path of the authority's certificate in the enclave", envCA), "it is not set: secret provisioning needs to know whom to believe")
	}
	switch constructor := c.m.Env[envConstructor]; {
	case !truthy(constructor.Value) && !constructor.Passthrough:
		c.add(Warning, envConstructor, `set it to "1"`, "it is not set, so that the key arrives only if the application itself asks for it")
	case !strings.Contains(c.m.Env[envPreload].Value, provisionLibrary):
		c.add(Warning, envPreload, fmt.Sprintf("set loader.env.%s = %q", envPreload, provisionLibrary), "%s is not loaded before the application, which has to be linked with it", provisionLibrary)
	}
	if truthy(c.m.Env[envPFKey].Value) {
		c.add(Warning, envPFKey, fmt.Sprintf("set loader.env.%s = %q instead, from Gramine 1.2 on", envKey, defaultKey), "Gramine 1.9 ignores it")
	}
	if len(c.findings) == 0 || c.findings[len(c.findings)-1].Check != c.check {
		c.add(OK, "SECRET_PROVISION_*", "", "fixed by the manifest")
	}
}

// keyName is the name under which secret provisioning installs the key, if it does.
func (c *checker) keyName() (string, bool) {
	if name := c.m.Env[envKey].Value; name != "" {
		return name, true
	}
	if truthy(c.m.Env[envPFKey].Value) {
		return defaultKey, true
	}
	return "", false
}

// authority looks at the file with the certificate that the enclave believes.
func (c *checker) authority() {
	c.check = "authority"
	inside := c.m.Env[envCA].Value
	if inside == "" {
		return // said above
	}
	mount, host, err := c.resolve(inside)
	if err != nil {
		c.add(Failed, inside, "correct "+envCA, "%v", err)
		return
	}
	trust := fmt.Sprintf("list %q in sgx.trusted_files and sign again", fileScheme+host)
	switch mount.Type {
	case typeEncrypted:
		c.add(Failed, inside, "mount it as a plain file and "+trust, "it lies in the encrypted mount at %s, and is needed before there is a key", mount.Path)
		return
	case typeTmpfs:
		c.add(Failed, inside, "mount it as a plain file and "+trust, "it lies in the tmpfs at %s, which is empty at the start", mount.Path)
		return
	}
	if uri, ok := c.allowedBy(host); ok {
		c.add(Failed, inside, fmt.Sprintf("remove %q from sgx.allowed_files, %s", uri, trust), "%s is an allowed file: the host replaces it, and with it your key server", host)
		return
	}
	t, ok := c.trustedBy(host)
	switch {
	case !ok:
		c.add(Failed, inside, trust, "%s is no trusted file, so the enclave cannot open it", host)
	case t.SHA256 == "":
		c.add(Warning, inside, "check the .manifest.sgx that gramine-sgx-sign writes", "%s is trusted, but this manifest does not have its hash yet", host)
	default:
		c.hash(inside, host, t)
	}
}

// hash compares a trusted file with its hash. It says nothing of a match but for the authority.
func (c *checker) hash(subject, host string, t TrustedFile) {
	sum, err := c.sum(host)
	switch {
	case errors.Is(err, errNoArtifacts):
		c.add(Skipped, subject, "give --artifacts", "%s is a trusted file with the hash %.16s...; the file itself was not given", host, t.SHA256)
	case err != nil:
		c.add(Failed, subject, "put the file that was signed where the manifest has it", "read %s: %v", host, err)
	case sum != t.SHA256:
		c.add(Failed, subject, "put the file that was signed in its place, or sign again", "%s has the hash %.16s..., the manifest wants %.16s...: the enclave refuses to open it", host, sum, t.SHA256)
	default:
		c.add(OK, subject, "", "%s is a trusted file with the right hash", host)
	}
}

var errNoArtifacts = errors.New("no artifacts")

func (c *checker) open(host string) (fs.File, error) {
	if c.opts.Artifacts == nil {
		return nil, errNoArtifacts
	}
	name, err := artifact(host)
	if err != nil {
		return nil, err
	}
	return c.opts.Artifacts.Open(name)
}

func (c *checker) sum(host string) (string, error) {
	f, err := c.open(host)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// server looks at whether the enclave will take the server's certificate.
func (c *checker) server() {
	c.check = "server"
	hosts := c.hosts()
	chain := c.opts.ServerCertificate
	if len(chain) == 0 {
		c.add(Skipped, "certificate", "give --server-certificate", "the key server's certificate was not given: whether the enclave takes it is open")
		return
	}
	leaf := chain[0]
	for _, host := range hosts {
		c.name(leaf, host)
	}
	if at := c.opts.At; at.Before(leaf.NotBefore) || at.After(leaf.NotAfter) {
		c.add(Failed, "certificate", "renew it", "it is valid from %s to %s", leaf.NotBefore.UTC().Format("2006-01-02 15:04"), leaf.NotAfter.UTC().Format("2006-01-02 15:04"))
	}
	switch key := leaf.PublicKey.(type) {
	case *ecdsa.PublicKey:
	case *rsa.PublicKey:
		if key.N.BitLen() < 2048 {
			c.add(Failed, "certificate", "use ECDSA, or RSA with 3072 bits", "it has an RSA key of %d bits, which the enclave's mbedTLS refuses", key.N.BitLen())
		}
	default:
		c.add(Failed, "certificate", "use ECDSA or RSA", "it has a key of %v, which the enclave's mbedTLS refuses", leaf.PublicKeyAlgorithm)
	}
	c.chain(chain)
}

// hosts are the names of the servers that the enclave will ask. The list's form is that of secret_prov_attest.c.
func (c *checker) hosts() []string {
	list := c.m.Env[envServers].Value
	if list == "" {
		list = defaultServers
	}
	var hosts []string
	for _, token := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ';' || r == ' ' }) {
		host, port, found := strings.Cut(token, ":")
		switch {
		case !found || host == "" || port == "":
			c.add(Failed, envServers, "write host:port", "%q has no port: Gramine passes over it", token)
		case strings.Contains(port, ":"):
			c.add(Failed, envServers, "give the server a name", "%q looks like an IPv6 address, which Gramine cannot express here", token)
		default:
			hosts = append(hosts, host)
		}
	}
	return hosts
}

func (c *checker) name(leaf *x509.Certificate, host string) {
	addr, err := netip.ParseAddr(host)
	isIP := err == nil
	for _, name := range leaf.DNSNames {
		if strings.EqualFold(name, host) || !isIP && wildcard(name, host) {
			c.add(OK, host, "", "the certificate is for it")
			return
		}
	}
	for _, ip := range leaf.IPAddresses {
		if got, ok := netip.AddrFromSlice(ip); isIP && ok && got.Unmap() == addr.Unmap() {
			c.add(Warning, host, fmt.Sprintf("add %q as a dNSName too", host), "the certificate has the address as iPAddress alone, which enclaves before Gramine 1.8 do not take")
			return
		}
	}
	if len(leaf.DNSNames)+len(leaf.IPAddresses)+len(leaf.URIs)+len(leaf.EmailAddresses) == 0 && strings.EqualFold(leaf.Subject.CommonName, host) {
		c.add(Warning, host, "issue one with a subject alternative name", "the certificate has it as common name alone, which modern clients refuse")
		return
	}
	c.add(Failed, host, fmt.Sprintf("issue a certificate for %s, or change %s", host, envServers), "the certificate is for %s", listed(leaf))
}

func listed(leaf *x509.Certificate) string {
	names := append([]string{}, leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return fmt.Sprintf("%q, by its common name", leaf.Subject.CommonName)
	}
	return strings.Join(names, ", ")
}

// wildcard takes *.example.com for one label, as mbedTLS does.
func wildcard(pattern, host string) bool {
	rest, ok := strings.CutPrefix(pattern, "*.")
	_, parent, found := strings.Cut(host, ".")
	return ok && found && strings.EqualFold(rest, parent)
}

// chain verifies the server's certificate with the authority's file.
func (c *checker) chain(chain []*x509.Certificate) {
	_, host, err := c.resolve(c.m.Env[envCA].Value)
	if err != nil || c.m.Env[envCA].Value == "" {
		return // said above
	}
	roots, err := c.roots(host)
	if errors.Is(err, errNoArtifacts) {
		c.add(Skipped, "certificate", "give --artifacts", "the authority's file was not given: whether it issued the certificate is open")
		return
	}
	if err != nil {
		c.add(Failed, host, "put the authority's certificate there, in PEM or DER", "read authority: %v", err)
		return
	}
	intermediates := x509.NewCertPool()
	for _, cert := range chain[1:] {
		intermediates.AddCert(cert)
	}
	_, err = chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: c.opts.At, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageAny},
	})
	if err != nil {
		c.add(Failed, "certificate", fmt.Sprintf("let the authority of %s issue it, or put the right authority there and sign again", host), "%s does not lead to it: %v", host, err)
		return
	}
	c.add(OK, "certificate", "", "issued by the authority of %s", host)
}

// maxAuthority is the size in bytes up to which an authority's file is read.
const maxAuthority = 1 << 20

func (c *checker) roots(host string) (*x509.CertPool, error) {
	f, err := c.open(host)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxAuthority))
	if err != nil {
		return nil, err
	}
	pool, found := x509.NewCertPool(), false
	der := [][]byte{}
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type == "CERTIFICATE" {
			der = append(der, block.Bytes)
		}
	}
	if len(der) == 0 {
		der = append(der, text)
	}
	for _, d := range der {
		cert, err := x509.ParseCertificate(d)
		if err != nil {
			return nil, fmt.Errorf("it holds no certificate in PEM or DER: %w", err)
		}
		pool.AddCert(cert)
		found = true
	}
	if !found {
		return nil, errors.New("it holds no certificate")
	}
	return pool, nil
}
