package sgxsim

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"

	"github.com/ccctl/terraform-provider-cc/internal/atomicfile"
)

// Names of a platform's files. A certificate is in NAME.pem, its key in NAME-key.pem.
const (
	settingsFile       = "platform.json"
	rootFile           = "root-ca"
	platformCAFile     = "pck-platform-ca"
	processorCAFile    = "pck-processor-ca"
	tcbSignerFile      = "tcb-signing"
	pckFile            = "pck"
	attestationKeyFile = "attestation-key.pem"
)

// RootFile is the name of the root certificate in a platform's directory.
const RootFile = rootFile + ".pem"

// settings is the content of platform.json: everything that is no key.
type settings struct {
	Warning  string         `json:"warning"`
	Machine  Machine        `json:"machine"`
	QE       QuotingEnclave `json:"quoting_enclave"`
	Standard TCBSet         `json:"tcb"`
	Early    TCBSet         `json:"tcb_early"`
	// Serial numbers, decimal.
	RevokedByRoot []*big.Int `json:"revoked_by_root,omitempty"`
	RevokedPCK    []*big.Int `json:"revoked_pck,omitempty"`
}

const warning = "A simulated SGX platform. It proves nothing about any hardware."

// authorities lists what has a certificate and a key, with the name of its files.
func (p *Platform) authorities() map[string]**Authority {
	return map[string]**Authority{
		rootFile: &p.Root, platformCAFile: &p.PlatformCA, processorCAFile: &p.ProcessorCA,
		tcbSignerFile: &p.TCBSigner, pckFile: &p.PCK,
	}
}

// Create makes a platform in a directory that holds none; the directory is made when it is missing. The error of a
// directory with a platform wraps [fs.ErrExist].
func Create(dir string, opts Options) (*Platform, error) {
	p, err := New(opts)
	if err != nil {
		return nil, err
	}
	if err := p.create(dir); err != nil {
		return nil, fmt.Errorf("create simulated SGX platform in %s: %w", dir, err)
	}
	return p, nil
}

// create writes into a directory beside the final one and renames it, so that nobody opens half a platform and of two
// processes that create at once one wins.
func (p *Platform) create(dir string) error {
	dir = filepath.Clean(dir)
	switch entries, err := os.ReadDir(dir); {
	case err == nil && len(entries) > 0:
		return fmt.Errorf("directory is not empty: %w", fs.ErrExist)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil { //nolint:gosec // A parent is an ordinary directory; the platform's own is 0700.
		return err
	}
	temp, err := os.MkdirTemp(parent, atomicfile.TempPrefix)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(temp) }() // gone by then when all went well
	if err := p.Save(temp); err != nil {
		return err
	}
	// os.Rename replaces no directory, not even an empty one; os.Remove removes no other.
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(temp, dir); err != nil {
		return err
	}
	return atomicfile.SyncDir(parent)
}

// Save writes the platform's files into an existing directory, over those that are there.
func (p *Platform) Save(dir string) error {
	for name, a := range p.authorities() {
		if err := atomicfile.WriteFile(filepath.Join(dir, name+".pem"), (*a).PEM(), 0o644); err != nil {
			return err
		}
		if err := writeKey(filepath.Join(dir, name+"-key.pem"), (*a).Key); err != nil {
			return err
		}
	}
	if err := writeKey(filepath.Join(dir, attestationKeyFile), p.QE.Key); err != nil {
		return err
	}
	data, err := json.MarshalIndent(settings{
		Warning: warning, Machine: p.Machine, QE: p.QE, Standard: p.Standard, Early: p.Early,
		RevokedByRoot: p.RevokedByRoot, RevokedPCK: p.RevokedPCK,
	}, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(dir, settingsFile), append(data, '\n'), 0o600)
}

// Open reads a platform from its directory. The error of a directory without one wraps [fs.ErrNotExist].
func Open(dir string) (*Platform, error) {
	p, err := open(dir)
	if err != nil {
		return nil, fmt.Errorf("open simulated SGX platform in %s: %w", dir, err)
	}
	return p, nil
}

func open(dir string) (*Platform, error) {
	data, err := os.ReadFile(filepath.Join(dir, settingsFile))
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var s settings
	if err := dec.Decode(&s); err != nil {
		return nil, fmt.Errorf("read %s: %w", settingsFile, err)
	}
	if s.Machine.CA != CAPlatform && s.Machine.CA != CAProcessor {
		return nil, fmt.Errorf("read %s: machine.ca is %q, want %q or %q", settingsFile, s.Machine.CA, CAPlatform, CAProcessor)
	}
	p := &Platform{
		Machine: s.Machine, QE: s.QE, Standard: s.Standard, Early: s.Early,
		RevokedByRoot: s.RevokedByRoot, RevokedPCK: s.RevokedPCK,
	}
	for name, a := range p.authorities() {
		if *a, err = readAuthority(dir, name); err != nil {
			return nil, err
		}
	}
	p.QE.Key, err = readKey(filepath.Join(dir, attestationKeyFile))
	return p, err
}

// OpenOrCreate opens a platform, or creates it where there is none.
func OpenOrCreate(dir string, opts Options) (*Platform, error) {
	p, err := Open(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return p, err
	}
	p, err = Create(dir, opts)
	if errors.Is(err, fs.ErrExist) {
		// Either another process was faster, or the directory holds something else: then this error says so.
		if raced, openErr := Open(dir); openErr == nil {
			return raced, nil
		}
	}
	return p, err
}

func readAuthority(dir, name string) (*Authority, error) {
	path := filepath.Join(dir, name+".pem")
	der, err := readPEM(path, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	key, err := readKey(filepath.Join(dir, name+"-key.pem"))
	if err != nil {
		return nil, err
	}
	a, err := parseAuthority(der, key)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return a, nil
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return atomicfile.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

func readKey(path string) (*ecdsa.PrivateKey, error) {
	der, err := readPEM(path, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("read %s: found a key of type %T, want ECDSA", path, key)
	}
	return ec, nil
}

func readPEM(path, kind string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != kind || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("read %s: want one PEM block %q and nothing else", path, kind)
	}
	return block.Bytes, nil
}
