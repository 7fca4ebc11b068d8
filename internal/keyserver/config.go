package keyserver

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver/configsign"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver/custody"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver/scalar"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/pccs"
)

// maxConfig bounds a configuration file, in bytes.
const maxConfig = 4 << 20

// Config is the key server's configuration as written. [LoadConfig] and [ParseConfig] return it checked, with paths
// made absolute and defaults filled in.
type Config struct {
	// Listen is the TCP address for enclaves, "host:port"; an empty host is every address of the machine.
	Listen string `yaml:"listen"`
	// TLS is the server's own certificate, which enclaves check against their CA file.
	TLS TLSConfig `yaml:"tls"`
	// Collateral says where TCB info, QE identity and CRLs come from.
	Collateral CollateralConfig `yaml:"collateral"`
	// Secrets are what may be released, by name.
	Secrets []SecretConfig `yaml:"secrets"`
	// Vault and AlibabaCloud are the services that keep secrets, where some do; absent: as the environment says.
	Vault        *custody.Vault        `yaml:"vault,omitempty"`
	AlibabaCloud *custody.AlibabaCloud `yaml:"alibaba_cloud,omitempty"`
	// Rules say to whom. The first whose every condition holds releases; without one nothing is released.
	Rules []RuleConfig `yaml:"rules"`
	// Audit is the account of every decision; absent: none is kept beside the log.
	Audit *AuditConfig `yaml:"audit,omitempty"`
	// Admin is the listener for status, health checks and metrics; absent: none.
	Admin *AdminConfig `yaml:"admin,omitempty"`
	// Health is a listener for health checks alone, which may be on any address; absent: none.
	Health *HealthConfig `yaml:"health,omitempty"`
	// Limits bound what clients can take.
	Limits LimitsConfig `yaml:"limits,omitempty"`
	// AllowTrustedRoot is a PEM file of root certificates trusted instead of Intel's: a simulated platform's. A quote
	// under such a root proves nothing about hardware.
	AllowTrustedRoot string `yaml:"allow_trusted_root,omitempty"`

	path      string
	digest    string
	signature *configsign.Signature // nil: none was demanded
}

// TLSConfig names the server's certificate chain and private key, both PEM.
type TLSConfig struct {
	Certificate string `yaml:"certificate"`
	PrivateKey  string `yaml:"private_key"`
}

// CollateralConfig has exactly one of Region, URL and Bundle.
type CollateralConfig struct {
	// Region picks Alibaba Cloud's service of that region.
	Region string `yaml:"region,omitempty"`
	// Network is "public" (default) or "vpc", with Region.
	Network string `yaml:"network,omitempty"`
	// URL is any other PCS or PCCS of API version 4.
	URL string `yaml:"url,omitempty"`
	// CA is a PEM file of certification authorities that may have issued the service's TLS certificate, instead of the
	// system's, with URL.
	CA string `yaml:"ca,omitempty"`
	// RootCACRLURL replaces the place of the root CA's CRL, with URL.
	RootCACRLURL string `yaml:"root_ca_crl_url,omitempty"`
	// Update is "standard" (default) or "early".
	Update string `yaml:"update,omitempty"`
	// Bundle is a collateral file, for a machine that reaches no service.
	Bundle string `yaml:"bundle,omitempty"`
	// CacheDir keeps collateral over a restart; absent: memory only.
	CacheDir string `yaml:"cache_dir,omitempty"`
	// MaxAge bounds the age of TCB info and QE identity since their issue date; 168h unless given.
	MaxAge Duration `yaml:"max_age,omitempty"`
}

// SecretConfig is a secret that rules refer to. It has exactly one of File, Credential, Environment, Command, VaultKV,
// VaultTransit and AlibabaKMS, which are read again at every reload.
type SecretConfig struct {
	Name string `yaml:"name"`
	// File holds the wrap key.
	File string `yaml:"file,omitempty"`
	// Credential is the name of a systemd credential (LoadCredential=) that holds it.
	Credential string `yaml:"credential,omitempty"`
	// Environment is the name of a variable that holds it. It is taken out of the environment when it is first read; another
	// key takes another process.
	Environment string `yaml:"environment,omitempty"`
	// Command is a program that prints it, by absolute path, and its arguments. There is no shell.
	Command []string `yaml:"command,omitempty"`
	// CommandTimeout is how long the program may take; 30s unless given.
	CommandTimeout Duration `yaml:"command_timeout,omitempty"`
	// PassEnvironment names the variables that the program is given beside PATH, HOME and LANG.
	PassEnvironment []string `yaml:"pass_environment,omitempty"`
	// VaultKV, VaultTransit and AlibabaKMS are services that keep it.
	VaultKV      *custody.VaultKV      `yaml:"vault_kv,omitempty"`
	VaultTransit *custody.VaultTransit `yaml:"vault_transit,omitempty"`
	AlibabaKMS   *custody.AlibabaKMS   `yaml:"alibaba_kms,omitempty"`
	// Refresh is how often a service is asked again, 5m unless given, or a command is run again, never unless given.
	Refresh Duration `yaml:"refresh,omitempty"`
	// Form is how the key is written there: "raw" (default), 16 bytes; "hex" (default in the environment), 32 digits;
	// "base64", 24 characters. It has nothing to do with Encoding.
	Form string `yaml:"form,omitempty"`
	// Encoding is how it is sent: "raw" (default), 16 bytes, for Gramine 1.3 and later; "hex", 32 digits and a NUL, for
	// 1.0 to 1.2.
	Encoding string `yaml:"encoding,omitempty"`
	// AllowReadableByOthers accepts a file that every user of the machine can read.
	AllowReadableByOthers bool `yaml:"allow_readable_by_others,omitempty"`
}

// RuleConfig releases one secret. Every condition that is given must hold.
type RuleConfig struct {
	Name string `yaml:"name"`
	// MREnclave and MRSigner are lists of 64 hex digits; at least one of the two is required.
	MREnclave []string `yaml:"mr_enclave,omitempty"`
	MRSigner  []string `yaml:"mr_signer,omitempty"`
	// ISVProdID and MinISVSVN are required unless MREnclave is given: a signer alone vouches for all it ever signed.
	ISVProdID *uint16 `yaml:"isv_prod_id,omitempty"`
	MinISVSVN *uint16 `yaml:"min_isv_svn,omitempty"`
	// ServerName lists names the enclave may have asked for (SNI); absent: any, or none.
	ServerName []string  `yaml:"server_name,omitempty"`
	TCB        TCBConfig `yaml:"tcb"`
	// ConfigID (128 hex digits), MinConfigSVN, ISVExtProdID and ISVFamilyID (32 hex digits) are what enclaves with key
	// separation and sharing (KSS) say of themselves beside.
	ConfigID     string  `yaml:"config_id,omitempty"`
	MinConfigSVN *uint16 `yaml:"min_config_svn,omitempty"`
	ISVExtProdID string  `yaml:"isv_ext_prod_id,omitempty"`
	ISVFamilyID  string  `yaml:"isv_family_id,omitempty"`
	// Attributes and MiscSelect are compared under their masks.
	Attributes AttributesConfig `yaml:"attributes,omitempty"`
	MiscSelect MiscSelectConfig `yaml:"misc_select,omitempty"`
	// AllowDebug accepts debug enclaves, whose memory the host can read.
	AllowDebug bool   `yaml:"allow_debug,omitempty"`
	Secret     string `yaml:"secret"`
}

// TCBConfig says which state of the platform is good enough.
type TCBConfig struct {
	// Accept lists TCB statuses in Intel's words. Required.
	Accept []string `yaml:"accept"`
	// AcceptAdvisories lists security advisories that may be open on the platform.
	AcceptAdvisories []string `yaml:"accept_advisories,omitempty"`
	// StatusAdvisories lists, by status, advisories that may be open under that status alone.
	StatusAdvisories map[string][]string `yaml:"status_advisories,omitempty"`
	// MinEvaluationNumber is the smallest tcbEvaluationDataNumber: which TCB recoveries the verdict must know of.
	MinEvaluationNumber uint32 `yaml:"min_evaluation_number,omitempty"`
	// FMSPC, if any, are the only families of platforms, 12 hex digits each; DenyFMSPC are refused in any case.
	FMSPC     []string `yaml:"fmspc,omitempty"`
	DenyFMSPC []string `yaml:"deny_fmspc,omitempty"`
}

// AttributesConfig are bits of an enclave's ATTRIBUTES, and which of them count.
type AttributesConfig struct {
	Flags     uint64 `yaml:"flags,omitempty"`
	FlagsMask uint64 `yaml:"flags_mask,omitempty"`
	XFRM      uint64 `yaml:"xfrm,omitempty"`
	XFRMMask  uint64 `yaml:"xfrm_mask,omitempty"`
}

// MiscSelectConfig are bits of an enclave's MISCSELECT, and which of them count.
type MiscSelectConfig struct {
	Value uint32 `yaml:"value,omitempty"`
	Mask  uint32 `yaml:"mask,omitempty"`
}

// AuditConfig is the audit log. With one, nothing is released without its entry on the device.
type AuditConfig struct {
	// File is the log; it is made if it does not exist.
	File string `yaml:"file"`
	// CheckpointKey is a file with a signing key, as 'ccctl audit gen-key' makes it; absent: no checkpoints.
	CheckpointKey string `yaml:"checkpoint_key,omitempty"`
	// CheckpointInterval is the time after which an entry is followed by a checkpoint; 1h unless given.
	CheckpointInterval Duration `yaml:"checkpoint_interval,omitempty"`
	// CheckpointFile receives the latest checkpoint, perhaps on another machine's disk; FILE.checkpoint unless given. Each is
	// in the server's log too.
	CheckpointFile string `yaml:"checkpoint_file,omitempty"`
	// RotateSize is the size after which the log goes on in a new file; 256MiB unless given.
	RotateSize Size `yaml:"rotate_size,omitempty"`
	// CopyToStdout writes every entry to standard output too, for a collector of logs, before it is acted upon.
	CopyToStdout bool `yaml:"copy_to_stdout,omitempty"`
}

// DefaultRotateSize is the size of an audit log's files where the configuration gives none: some 200,000 decisions.
const DefaultRotateSize = 256 << 20

// AdminConfig is the administrative listener.
type AdminConfig struct {
	// Listen is a loopback address with a port; with TLS it may be any address.
	Listen string `yaml:"listen"`
	// ServerNames are host names by which clients may call the listener, beside localhost and the addresses it is at.
	ServerNames []string `yaml:"server_names,omitempty"`
	// TLS is mutual: only clients with a certificate are answered.
	TLS *AdminTLSConfig `yaml:"tls,omitempty"`
}

// AdminTLSConfig names PEM files. All are required.
type AdminTLSConfig struct {
	Certificate string `yaml:"certificate"`
	PrivateKey  string `yaml:"private_key"`
	// ClientCA holds the certificates of those who issue clients' certificates.
	ClientCA string `yaml:"client_ca"`
}

// LimitsConfig bounds connections. Zero fields take the defaults of [DefaultLimits].
type LimitsConfig struct {
	// UnfinishedHandshakes is how many connections there may be that have not received their secret yet. At the limit
	// the oldest of the address with the most is closed.
	UnfinishedHandshakes int `yaml:"unfinished_handshakes,omitempty"`
	// UnfinishedPerAddress is how many of them may come from one address. Many enclaves share one NAT address.
	UnfinishedPerAddress int `yaml:"unfinished_per_address,omitempty"`
	// HandshakeTimeout is how long a client may keep the server waiting in the TLS handshake.
	HandshakeTimeout Duration `yaml:"handshake_timeout,omitempty"`
	// RequestTimeout is how long it may take for its request, for taking the secret, and for closing.
	RequestTimeout Duration `yaml:"request_timeout,omitempty"`
	// CollateralTimeout is how long a connection waits for collateral.
	CollateralTimeout Duration `yaml:"collateral_timeout,omitempty"`
	// DrainTimeout is how long a stopping server lets connections finish.
	DrainTimeout Duration `yaml:"drain_timeout,omitempty"`
}

// DefaultLimits are the limits of a configuration that sets none.
func DefaultLimits() LimitsConfig {
	return LimitsConfig{
		UnfinishedHandshakes: 4096,
		UnfinishedPerAddress: 1024,
		HandshakeTimeout:     Duration(10 * time.Second),
		RequestTimeout:       Duration(10 * time.Second),
		CollateralTimeout:    Duration(30 * time.Second),
		DrainTimeout:         Duration(15 * time.Second),
	}
}

// DefaultMaxAge bounds the age of TCB info and QE identity where the configuration does not.
const DefaultMaxAge = 7 * 24 * time.Hour

// Duration is how the configuration writes times.
type Duration = scalar.Duration

// Size is how it writes numbers of bytes.
type Size = scalar.Size

// LoadConfig reads and checks a configuration file. Relative paths in it are relative to its directory. The error is a
// *ConfigError when the file could be read. It does not open the files that the configuration names; [New] does.
func LoadConfig(path string) (*Config, error) { return LoadSignedConfig(path, nil) }

// LoadSignedConfig is LoadConfig for a file that must be signed, in FILE.sig, by a key of the verifier; nil demands nothing.
// Nothing of a file that is not is believed, nor repeated in the error, which wraps [configsign.ErrNotSigned] then.
func LoadSignedConfig(path string, verifier *configsign.Verifier) (*Config, error) {
	cfg, _, err := readConfig(path, verifier)
	return cfg, err
}

// ReadConfig is LoadConfig that returns the text, too, of which the configuration was made.
func ReadConfig(path string) (*Config, []byte, error) { return readConfig(path, nil) }

func readConfig(path string, verifier *configsign.Verifier) (*Config, []byte, error) {
	raw, err := readUpTo(path, maxConfig)
	if err != nil {
		return nil, nil, fmt.Errorf("read configuration: %w", err)
	}
	var signature *configsign.Signature
	if verifier != nil {
		signed, err := readUpTo(path+configsign.Extension, configsign.MaxSize)
		if err != nil {
			return nil, nil, fmt.Errorf("check signature of configuration: %w: %w", configsign.ErrNotSigned, err)
		}
		if signature, err = verifier.Verify(raw, signed); err != nil {
			return nil, nil, fmt.Errorf("check signature of configuration %s: %w", path, err)
		}
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, nil, fmt.Errorf("read configuration %s: %w", path, err)
	}
	cfg, err := ParseConfig(raw, dir)
	var problems *ConfigError
	if errors.As(err, &problems) {
		problems.Path = path
	}
	if err != nil {
		return nil, nil, err
	}
	cfg.path, cfg.signature = path, signature
	return cfg, raw, nil
}

// ParseConfig checks the text of a configuration; dir is what relative paths are relative to. The error is a
// *ConfigError with every problem there is.
func ParseConfig(raw []byte, dir string) (*Config, error) {
	var cfg Config
	if len(bytes.TrimSpace(raw)) == 0 {
		return nil, &ConfigError{Problems: []Problem{{Message: "the file is empty", Remedy: "see 'ccctl keyserver serve --help' for an example"}}}
	}
	err := yaml.Load(raw, &cfg, yaml.WithV4Defaults(), yaml.WithKnownFields(), yaml.WithUniqueKeys())
	if err != nil {
		return nil, &ConfigError{Problems: yamlProblems(err)}
	}
	cfg.setDefaults()
	if problems := cfg.check(); len(problems) > 0 {
		return nil, &ConfigError{Problems: problems}
	}
	cfg.resolve(dir)
	sum := sha256.Sum256(raw)
	cfg.digest = hex.EncodeToString(sum[:])
	return &cfg, nil
}

// Digest is the SHA-256 of the configuration's text in lower-case hex.
func (c *Config) Digest() string { return c.digest }

// Signature says who signed the configuration; nil when nobody asked.
func (c *Config) Signature() *configsign.Signature { return c.signature }

// Path is the file the configuration was read from; empty when it was not.
func (c *Config) Path() string { return c.path }

func (c *Config) setDefaults() {
	if c.Collateral.MaxAge == 0 {
		c.Collateral.MaxAge = Duration(DefaultMaxAge)
	}
	if c.Collateral.Region != "" && c.Collateral.Network == "" {
		c.Collateral.Network = string(pccs.NetworkPublic)
	}
	for i := range c.Secrets {
		if c.Secrets[i].Encoding == "" {
			c.Secrets[i].Encoding = EncodingRaw
		}
	}
	if c.Audit != nil && c.Audit.RotateSize == 0 {
		c.Audit.RotateSize = DefaultRotateSize
	}
	def := DefaultLimits()
	l := &c.Limits
	if l.UnfinishedHandshakes == 0 {
		l.UnfinishedHandshakes = def.UnfinishedHandshakes
	}
	if l.UnfinishedPerAddress == 0 {
		l.UnfinishedPerAddress = min(def.UnfinishedPerAddress, l.UnfinishedHandshakes)
	}
	for _, d := range []struct{ field, def *Duration }{
		{&l.HandshakeTimeout, &def.HandshakeTimeout},
		{&l.RequestTimeout, &def.RequestTimeout},
		{&l.CollateralTimeout, &def.CollateralTimeout},
		{&l.DrainTimeout, &def.DrainTimeout},
	} {
		if *d.field == 0 {
			*d.field = *d.def
		}
	}
}

// resolve makes every path absolute.
func (c *Config) resolve(dir string) {
	paths := []*string{
		&c.TLS.Certificate, &c.TLS.PrivateKey, &c.Collateral.CA, &c.Collateral.Bundle, &c.Collateral.CacheDir, &c.AllowTrustedRoot,
	}
	for i := range c.Secrets {
		paths = append(paths, c.Secrets[i].Paths()...)
	}
	if c.Vault != nil {
		paths = append(paths, &c.Vault.CA, &c.Vault.TokenFile)
	}
	if c.AlibabaCloud != nil {
		paths = append(paths, &c.AlibabaCloud.SharedCredentialsFile)
	}
	if c.Audit != nil {
		paths = append(paths, &c.Audit.File, &c.Audit.CheckpointKey, &c.Audit.CheckpointFile)
	}
	if c.Admin != nil && c.Admin.TLS != nil {
		paths = append(paths, &c.Admin.TLS.Certificate, &c.Admin.TLS.PrivateKey, &c.Admin.TLS.ClientCA)
	}
	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
}
