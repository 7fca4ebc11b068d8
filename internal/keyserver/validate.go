package keyserver

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/ccctl/terraform-provider-cc/internal/keysource"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/pccs"
)

// checker collects problems.
type checker struct{ problems []Problem }

func (k *checker) add(field, remedy, format string, a ...any) {
	k.problems = append(k.problems, Problem{Field: field, Message: fmt.Sprintf(format, a...), Remedy: remedy})
}

// check finds everything that is wrong with the configuration as far as it can be told without opening files.
func (c *Config) check() []Problem {
	var k checker
	k.address("listen", c.Listen, `write it as ":4433" or "192.0.2.7:4433"`)
	if c.TLS.Certificate == "" {
		k.add("tls.certificate", "name the PEM file of the server's certificate chain", "is missing")
	}
	if c.TLS.PrivateKey == "" {
		k.add("tls.private_key", "name the PEM file of the server's private key", "is missing")
	}
	k.collateral(&c.Collateral)
	k.secrets(c.Secrets)
	k.custody(c)
	k.rules(c.Rules, c.Secrets)
	if c.Audit != nil {
		k.audit(c.Audit)
	}
	if c.Admin != nil {
		k.admin(c.Admin)
	}
	if c.Health != nil {
		k.address("health.listen", c.Health.Listen, `write it as ":9434"`)
	}
	k.limits(&c.Limits)
	return k.problems
}

// address checks "host:port" and returns the host.
func (k *checker) address(field, value, remedy string) (host string, ok bool) {
	if value == "" {
		k.add(field, remedy, "is missing")
		return "", false
	}
	host, port, err := net.SplitHostPort(value)
	if err != nil {
		k.add(field, remedy, "%q is not host:port", value)
		return "", false
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		k.add(field, remedy, "%q is not a port number", port)
		return "", false
	}
	return host, true
}

func (k *checker) collateral(c *CollateralConfig) {
	given := 0
	for _, s := range []string{c.Region, c.URL, c.Bundle} {
		if s != "" {
			given++
		}
	}
	const one = "give exactly one of region (Alibaba Cloud), url (any PCS or PCCS), bundle (a file)"
	switch given {
	case 0:
		k.add("collateral", one, "has no source")
	case 1:
	default:
		k.add("collateral", one, "has %d sources", given)
	}
	if c.Region != "" {
		if _, err := pccs.AlibabaURL(c.Region, pccs.NetworkPublic); err != nil {
			k.add("collateral.region", "for a newer region give url instead", "%q is not among %s", c.Region, strings.Join(pccs.AlibabaRegions(), ", "))
		}
	}
	switch {
	case c.Network != "" && c.Region == "":
		k.add("collateral.network", "leave it out", "goes with region only")
	case c.Network != "" && c.Network != string(pccs.NetworkPublic) && c.Network != string(pccs.NetworkVPC):
		k.add("collateral.network", `write "public" or "vpc"`, "%q is not a network", c.Network)
	}
	if c.URL != "" {
		if _, err := pccs.NormalizeURL(c.URL); err != nil {
			k.add("collateral.url", "", "%v", err)
		}
	}
	for _, f := range []struct{ name, value string }{{"ca", c.CA}, {"root_ca_crl_url", c.RootCACRLURL}} {
		if f.value != "" && c.URL == "" {
			k.add("collateral."+f.name, "leave it out", "goes with url only")
		}
	}
	if c.Update != "" && c.Update != string(pccs.UpdateStandard) && c.Update != string(pccs.UpdateEarly) {
		k.add("collateral.update", `write "standard" or "early"`, "%q is not an update", c.Update)
	}
	for _, f := range []struct{ name, value string }{{"cache_dir", c.CacheDir}, {"update", c.Update}} {
		if f.value != "" && c.Bundle != "" {
			k.add("collateral."+f.name, "leave it out", "does not go with bundle, from which nothing is fetched")
		}
	}
}

// names of secrets and rules appear in logs, file names and metrics.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._ -]{0,99}$`)

func (k *checker) name(field, name string, seen map[string]string) {
	switch first, twice := seen[name]; {
	case name == "":
		k.add(field, "give it a name; the log will use it", "is missing")
	case !namePattern.MatchString(name):
		k.add(field, "use up to 100 letters, digits, dots, hyphens, underscores and spaces", "%q is not a name", name)
	case twice:
		k.add(field, "give each its own name", "%q is the name of %s too", name, first)
	default:
		seen[name] = strings.TrimSuffix(field, ".name")
	}
}

func (k *checker) secrets(secrets []SecretConfig) {
	if len(secrets) == 0 {
		k.add("secrets", "name a secret and where its wrap key is", "is empty")
	}
	seen := map[string]string{}
	for i, s := range secrets {
		field := fmt.Sprintf("secrets[%d]", i)
		k.name(field+".name", s.Name, seen)
		k.source(field, &s)
		if s.Encoding != EncodingRaw && s.Encoding != EncodingHex {
			k.add(field+".encoding", `write "raw" for clients of Gramine 1.3 and later, "hex" for 1.0 to 1.2`, "%q is not an encoding", s.Encoding)
		}
	}
}

// source checks where a secret comes from.
func (k *checker) source(field string, s *SecretConfig) {
	const one = "give exactly one of file, credential (systemd), environment, command, vault_kv, vault_transit, alibaba_kms"
	switch given := s.sources(); len(given) {
	case 0:
		k.add(field, one, "has no source")
	case 1:
	default:
		k.add(field, one, "has %d sources: %s", len(given), strings.Join(given, ", "))
	}
	if s.Form != "" && !slices.Contains(keysource.Forms(), keysource.Form(s.Form)) {
		k.add(field+".form", `write "raw" for 16 bytes, "hex" for 32 digits, "base64" for 24 characters`, "%q is not a form of a key", s.Form)
	}
	if s.Credential != "" {
		if err := keysource.CheckCredentialName(s.Credential); err != nil {
			k.add(field+".credential", "write the name that LoadCredential= has before its colon", "%v", err)
		}
	}
	if s.Environment != "" {
		if err := keysource.CheckVariableName(s.Environment); err != nil {
			k.add(field+".environment", "write the name of the variable and not its value", "is not a name of a variable")
		}
		if s.Form == string(keysource.Raw) {
			k.add(field+".form", `write "hex" or "base64"`, "cannot be raw in a variable, which holds no NUL bytes")
		}
	}
	if len(s.Command) > 0 {
		if err := (keysource.Command{Argv: s.Command, PassEnvironment: s.PassEnvironment}).Check(); err != nil {
			k.add(field+".command", "write [/usr/bin/program, argument, ...]; no key belongs there", "%v", err)
		}
	}
	for name, service := range s.services() {
		for _, missing := range service.Missing() {
			k.add(field+"."+name+"."+missing, "", "is missing")
		}
	}
	if d := time.Duration(s.Refresh); d != 0 && d < minRefresh {
		k.add(field+".refresh", "write "+minRefresh.String()+" or more", "%v is too often", d)
	}
	asked := len(s.services()) > 0
	for _, f := range []struct {
		name         string
		given, fits  bool
		goesWithWhat string
	}{
		{"refresh", s.Refresh != 0, asked || len(s.Command) > 0, "command, vault_kv, vault_transit and alibaba_kms"},
		{"form", s.Form != "" && len(s.sources()) == 1, !asked, "file, credential, environment and command"},
		{"command_timeout", s.CommandTimeout != 0, len(s.Command) > 0, "command"},
		{"pass_environment", len(s.PassEnvironment) > 0, len(s.Command) > 0, "command"},
		{"allow_readable_by_others", s.AllowReadableByOthers, s.File != "", "file"},
	} {
		if f.given && !f.fits {
			k.add(field+"."+f.name, "leave it out", "goes with %s only", f.goesWithWhat)
		}
	}
}

// custody checks the services that keep secrets.
func (k *checker) custody(c *Config) {
	uses := func(kinds ...string) bool {
		return slices.ContainsFunc(c.Secrets, func(s SecretConfig) bool {
			return slices.ContainsFunc(s.sources(), func(kind string) bool { return slices.Contains(kinds, kind) })
		})
	}
	if c.Vault != nil {
		if !uses("vault_kv", "vault_transit") {
			k.add("vault", "leave it out", "goes with vault_kv and vault_transit only")
		} else if err := c.Vault.Server().Check(); err != nil {
			k.add("vault.address", "", "%v", err)
		}
	}
	if c.AlibabaCloud != nil {
		if !uses("alibaba_kms") {
			k.add("alibaba_cloud", "leave it out", "goes with alibaba_kms only")
		} else if err := c.AlibabaCloud.Account().Check(); err != nil {
			k.add("alibaba_cloud", "", "%v", err)
		}
	}
}

func (k *checker) rules(rules []RuleConfig, secrets []SecretConfig) {
	if len(rules) == 0 {
		k.add("rules", "add a rule; without one no enclave is ever given a key", "is empty")
	}
	seen := map[string]string{}
	for i := range rules {
		r := &rules[i]
		field := fmt.Sprintf("rules[%d]", i)
		k.name(field+".name", r.Name, seen)
		r.read(k, field)
		for j, name := range r.ServerName {
			if name == "" || strings.ContainsAny(name, " */:") && net.ParseIP(name) == nil {
				k.add(fmt.Sprintf("%s.server_name[%d]", field, j), "write one host name as the enclave's SECRET_PROVISION_SERVERS has it, without port", "%q is not a host name", name)
			}
		}
		switch {
		case r.Secret == "":
			k.add(field+".secret", "name one of secrets", "is missing")
		case len(secrets) == 0: // said already
		case !slices.ContainsFunc(secrets, func(s SecretConfig) bool { return s.Name == r.Secret }):
			k.add(field+".secret", "name one of secrets", "%q is not among secrets", r.Secret)
		}
	}
}

func (k *checker) audit(a *AuditConfig) {
	if a.File == "" {
		k.add("audit.file", "name the file of the audit log", "is missing")
	}
	for _, f := range []struct {
		name  string
		given bool
	}{{"checkpoint_interval", a.CheckpointInterval != 0}, {"checkpoint_file", a.CheckpointFile != ""}} {
		if f.given && a.CheckpointKey == "" {
			k.add("audit."+f.name, "give the signing key that 'ccctl audit gen-key' makes", "does nothing without checkpoint_key")
		}
	}
	if a.RotateSize < 64<<10 {
		k.add("audit.rotate_size", "write 64KiB or more", "would make too many files")
	}
}

func (k *checker) admin(a *AdminConfig) {
	const remedy = `write it as "127.0.0.1:9433"`
	host, ok := k.address("admin.listen", a.Listen, remedy)
	if addr, err := netip.ParseAddr(host); ok && a.TLS == nil && (err != nil || !addr.Unmap().IsLoopback()) {
		k.add("admin.listen", remedy+", or give admin.tls: beyond the loopback the listener shows who asks for which key, to clients with a certificate only",
			"%q is not a loopback address", host)
	}
	for i, name := range a.ServerNames {
		if name == "" || strings.ContainsAny(name, " */:") {
			k.add(fmt.Sprintf("admin.server_names[%d]", i), "write one host name, without port", "%q is not a host name", name)
		}
	}
	if a.TLS == nil {
		return
	}
	for _, f := range []struct{ name, value, remedy string }{
		{"certificate", a.TLS.Certificate, "name the PEM file of the admin listener's certificate chain"},
		{"private_key", a.TLS.PrivateKey, "name the PEM file of its private key"},
		{"client_ca", a.TLS.ClientCA, "name the PEM file of the CA whose clients may look"},
	} {
		if f.value == "" {
			k.add("admin.tls."+f.name, f.remedy, "is missing")
		}
	}
}

// HealthConfig is the listener for health checks: /healthz and /readyz, in plain HTTP, with answers that tell nothing but
// their status. It is for who cannot be let in by the administrative listener, such as Kubernetes' kubelet, which has no
// client certificate and does not come from the loopback.
type HealthConfig struct {
	// Listen is "host:port"; an empty host is every address of the machine.
	Listen string `yaml:"listen"`
}

func (k *checker) limits(l *LimitsConfig) {
	if l.UnfinishedHandshakes < 0 || l.UnfinishedHandshakes > 1<<20 {
		k.add("limits.unfinished_handshakes", "", "%d is not between 1 and %d", l.UnfinishedHandshakes, 1<<20)
	}
	if l.UnfinishedHandshakes > 0 && (l.UnfinishedPerAddress < 0 || l.UnfinishedPerAddress > l.UnfinishedHandshakes) {
		k.add("limits.unfinished_per_address", "", "%d is not between 1 and unfinished_handshakes, which is %d", l.UnfinishedPerAddress, l.UnfinishedHandshakes)
	}
}

// Warnings lists what the configuration permits beyond the strict: for the log, at each start.
func (c *Config) Warnings() []string {
	var all []string
	warn := func(format string, a ...any) { all = append(all, fmt.Sprintf(format, a...)) }
	if c.AllowTrustedRoot != "" {
		warn("allow_trusted_root replaces Intel's root by %s: quotes prove nothing about real hardware", c.AllowTrustedRoot)
	}
	for _, r := range c.Rules {
		if r.AllowDebug {
			warn("rule %q has allow_debug: the host of a debug enclave reads the key out of its memory", r.Name)
		}
		for _, status := range r.TCB.Accept {
			if status == string(dcap.StatusOutOfDate) || status == string(dcap.StatusOutOfDateConfigurationNeeded) {
				warn("rule %q accepts TCB status %s: platforms with known vulnerabilities that an update would close", r.Name, status)
			}
		}
	}
	for _, s := range c.Secrets {
		if s.AllowReadableByOthers {
			warn("secret %q has allow_readable_by_others: every user of this machine may read %s", s.Name, s.File)
		}
		if !slices.ContainsFunc(c.Rules, func(r RuleConfig) bool { return r.Secret == s.Name }) {
			warn("secret %q is released by no rule", s.Name)
		}
	}
	return all
}

// Problem is one thing wrong with a configuration.
type Problem struct {
	Field   string // such as "rules[0].tcb.accept"; empty for the file as a whole
	Line    int    // 1 for the first; 0: not known
	Message string // what was found
	Remedy  string // what to write instead; may be empty
	Err     error  // of which the message was made; may be nil
}

// String is the problem in one line.
func (p Problem) String() string {
	var b strings.Builder
	if p.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", p.Line)
	}
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Message)
	if p.Remedy != "" {
		b.WriteString("; " + p.Remedy)
	}
	return b.String()
}

// ConfigError holds every problem of a configuration.
type ConfigError struct {
	Path     string // of the file; may be empty
	Problems []Problem
}

// Error implements error, a line for each problem.
func (e *ConfigError) Error() string {
	what := "configuration"
	if e.Path != "" {
		what += " " + e.Path
	}
	if len(e.Problems) == 1 {
		return fmt.Sprintf("check %s: %s", what, e.Problems[0])
	}
	var b strings.Builder
	fmt.Fprintf(&b, "check %s: %d problems", what, len(e.Problems))
	for _, p := range e.Problems {
		b.WriteString("\n  " + p.String())
	}
	return b.String()
}

// Unwrap returns the errors of which problems were made.
func (e *ConfigError) Unwrap() []error {
	var all []error
	for _, p := range e.Problems {
		if p.Err != nil {
			all = append(all, p.Err)
		}
	}
	return all
}

// IsUnreachable tells that nothing is wrong but that services which keep secrets did not answer.
func (e *ConfigError) IsUnreachable() bool {
	for _, p := range e.Problems {
		var unreachable *keysource.UnreachableError
		if !errors.As(p.Err, &unreachable) {
			return false
		}
	}
	return len(e.Problems) > 0
}

// yamlProblems takes apart what the parser says, which is more than one thing at a time too.
func yamlProblems(err error) []Problem {
	var many *yaml.LoadErrors
	if errors.As(err, &many) {
		problems := make([]Problem, 0, len(many.Errors))
		for _, e := range many.Errors {
			problems = append(problems, Problem{Line: e.Mark.Line, Message: e.Message})
		}
		return problems
	}
	var one *yaml.LoadError
	if errors.As(err, &one) {
		return []Problem{{Line: one.Mark.Line, Message: one.Message}}
	}
	return []Problem{{Message: err.Error()}}
}
