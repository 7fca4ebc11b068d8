package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/serving/tlsmaterials"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

func newTLSCommand(u *ui) *cobra.Command {
	return group("tls", "Make and look into TLS materials", newTLSGenerateCommand(u), newTLSInspectCommand(u), newTLSCheckCommand(u))
}

// tlsGeneration holds the flags of tls generate.
type tlsGeneration struct {
	out                   string
	servers, clients      []string
	algorithm             string
	ca, caKey             string
	wrapKey, path         string
	format                int
	validity, caValidity  time.Duration
	oneWay, noConf, force bool
}

func newTLSGenerateCommand(u *ui) *cobra.Command {
	var g tlsGeneration
	cmd := &cobra.Command{
		Use:   "generate --server-name NAME... (--client-name NAME... | --one-way) --out DIR",
		Short: "Make a certificate authority, certificates and ssl.cfg",
		Long: `generate makes a private certificate authority, certificates for a server and
its clients, and the ssl.cfg that TensorFlow Serving takes with
--ssl_config_file, in the layout of the tutorial's ssl_configure:

  DIR/ca_cert.pem ca_key.pem ssl.cfg
  DIR/server/cert.pem server/key.pem
  DIR/client/cert.pem client/key.pem            the first --client-name
  DIR/clients/NAME/cert.pem key.pem             each further one

Nothing that exists is overwritten. With --force the whole set is replaced, its
authority included: every peer then has to trust the new ca_cert.pem.

With --ca and --ca-key an authority that exists already issues the certificates;
its key is not copied.

With -w and --path ssl.cfg is kept encrypted only, in DIR/ssl.cfg.pf, a protected
file that Gramine opens under ENCLAVE_PATH: the server's private key is made in
memory and goes into that file, and neither ssl.cfg nor server/key.pem is
written. ca_key.pem and the clients' keys are written as ever.

TensorFlow Serving reads ssl.cfg once, when it starts: for a renewed certificate,
bring the new file to it and start it again. A key server loads one by itself.

A key server's certificate is made with --one-way --no-ssl-config. Give its
address, too, if enclaves connect to an address: clients before Gramine 1.8
compare it with DNS names, and it is written as one for them.`,
		Example: `  ccctl tls generate --server-name grpc.tf-serving.service.com --client-name client.example.com --out ssl_configure
  ccctl tls generate --server-name grpc.example.com --client-name client.example.com --out ssl_configure -w wrap.key --path ssl.cfg
  ccctl tls generate --server-name attestation.service.com --one-way --no-ssl-config --out key-server-tls`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error { return g.run(cmd.Context(), u) },
	}
	flags := cmd.Flags()
	flags.StringVar(&g.out, "out", "", "`DIR` for the files")
	flags.StringSliceVar(&g.servers, "server-name", nil, "DNS `NAME` or address of the server; may be repeated")
	flags.StringSliceVar(&g.clients, "client-name", nil, "DNS `NAME` of a client; may be repeated")
	flags.BoolVar(&g.oneWay, "one-way", false, "no client certificates: the server asks for none")
	flags.StringVar(&g.algorithm, "key-algorithm", string(tlsmaterials.ECDSAP256), "`ALGORITHM` of all keys: "+algorithmList())
	flags.DurationVar(&g.validity, "validity", tlsmaterials.DefaultLifetime, "how long certificates are valid, such as 8760h")
	flags.DurationVar(&g.caValidity, "ca-validity", tlsmaterials.DefaultAuthorityLifetime, "how long the authority is valid")
	flags.StringVar(&g.ca, "ca", "", "PEM `FILE` with the self-signed certificate of an authority that exists")
	flags.StringVar(&g.caKey, "ca-key", "", "PEM `FILE` with its private key")
	flags.BoolVar(&g.noConf, "no-ssl-config", false, "do not write ssl.cfg")
	flags.StringVarP(&g.wrapKey, "wrap-key", "w", "", `keep ssl.cfg encrypted only, under the wrap key in this file; "-" for standard input`)
	flags.StringVar(&g.path, "path", "", "with -w: `ENCLAVE_PATH` under which Gramine opens the encrypted ssl.cfg")
	flags.IntVar(&g.format, "format", 1, "with -w: version of the file: 1, which every Gramine opens, or 2, which needs Gramine 1.9")
	flags.BoolVar(&g.force, "force", false, "replace a set that exists, with a new authority")
	require(cmd, "out")
	u.jsonFlag(cmd)
	return cmd
}

func algorithmList() string {
	var names []string
	for _, a := range tlsmaterials.KeyAlgorithms() {
		names = append(names, string(a))
	}
	return strings.Join(names, ", ")
}

// spec turns the flags into the use-case's terms, or tells what is wrong with them.
func (g *tlsGeneration) spec() (deploy.TLSSpec, error) {
	algorithm, err := tlsmaterials.ParseKeyAlgorithm(g.algorithm)
	if err != nil {
		return deploy.TLSSpec{}, usagef("--key-algorithm: %w", err)
	}
	switch {
	case g.oneWay && len(g.clients) > 0:
		return deploy.TLSSpec{}, usagef("--one-way and --client-name exclude each other")
	case !g.oneWay && len(g.clients) == 0:
		return deploy.TLSSpec{}, withHint(usagef("no client is named"), "give --client-name NAME, or --one-way for a server that asks for no client certificate")
	case (g.wrapKey == "") != (g.path == ""):
		return deploy.TLSSpec{}, usagef("--wrap-key and --path go together")
	case g.wrapKey != "" && g.noConf:
		return deploy.TLSSpec{}, usagef("--wrap-key and --no-ssl-config exclude each other")
	case g.format != 1 && g.format != 2:
		return deploy.TLSSpec{}, usagef("--format %d does not exist: 1 or 2", g.format)
	}
	spec := deploy.TLSSpec{
		Directory: g.out, ServerNames: g.servers, KeyAlgorithm: algorithm,
		Lifetime: g.validity, AuthorityLifetime: g.caValidity, SSLConfig: !g.noConf,
	}
	if len(g.clients) > 0 {
		spec.ClientName, spec.FurtherClients = g.clients[0], g.clients[1:]
	}
	if spec.Issuer, err = g.issuer(); err != nil {
		return deploy.TLSSpec{}, err
	}
	if g.wrapKey != "" {
		spec.Seal = &deploy.SSLConfigSeal{EnclavePath: g.path, Format: protectedfile.Format(g.format)}
	}
	if err := spec.Validate(); err != nil {
		return deploy.TLSSpec{}, withCode(exitUsage, err)
	}
	return spec, nil
}

// issuer reads the authority that --ca and --ca-key give; without them there is none.
func (g *tlsGeneration) issuer() (*tlsmaterials.KeyPair, error) {
	if (g.ca == "") != (g.caKey == "") {
		return nil, usagef("--ca and --ca-key go together")
	}
	if g.ca == "" {
		return nil, nil
	}
	data, err := os.ReadFile(g.ca)
	if err != nil {
		return nil, fmt.Errorf("read authority: %w", err)
	}
	certs, err := tlsmaterials.ParseCertificates(data)
	if err == nil && len(certs) != 1 {
		err = fmt.Errorf("found %d certificates, want one", len(certs))
	}
	if err != nil {
		return nil, withCode(exitFormat, fmt.Errorf("read authority %s: %w", g.ca, err))
	}
	key, err := deploy.ReadPrivateKey(g.caKey)
	if err != nil {
		return nil, err
	}
	return &tlsmaterials.KeyPair{Certificate: certs[0], Key: key}, nil
}

func (g *tlsGeneration) run(ctx context.Context, u *ui) error {
	spec, err := g.spec()
	if err != nil {
		return err
	}
	if spec.Seal != nil {
		if spec.Seal.Key, err = u.openKey(ctx, g.wrapKey); err != nil {
			return err
		}
	}
	m, err := deploy.CreateTLSMaterials(spec, time.Now(), g.force)
	if errors.Is(err, fs.ErrExist) {
		return withHint(err, "choose another directory, or add --force to replace the set, after which every peer has to trust a new authority")
	}
	if err != nil {
		return err
	}
	switch {
	case spec.Seal != nil:
		u.note("the server's private key is in the encrypted ssl.cfg.pf alone, and nobody has another copy")
	case !g.noConf:
		u.note("ssl.cfg and the key.pem files contain private keys: encrypt ssl.cfg before it leaves this machine (ccctl pf encrypt)")
	}
	set := describeTLSSet(g.out, m, nil)
	return u.report(set, set.text)
}

// tlsSet is a directory of TLS materials in words.
type tlsSet struct {
	Directory    string                 `json:"directory"`
	Certificates []tlsCertificate       `json:"certificates"`
	Keys         []string               `json:"private_keys"` // files
	SSLConfig    string                 `json:"ssl_config,omitempty"`
	Findings     []tlsmaterials.Finding `json:"findings"`
}

// tlsCertificate is a certificate and the file it is in.
type tlsCertificate struct {
	File string `json:"file"`
	tlsmaterials.Description
}

func describeTLSSet(dir string, m *tlsmaterials.Materials, findings []tlsmaterials.Finding) *tlsSet {
	set := &tlsSet{Directory: dir, Certificates: []tlsCertificate{}, Keys: []string{}, Findings: append([]tlsmaterials.Finding{}, findings...)}
	add := func(certificate, key string, pair tlsmaterials.KeyPair) {
		if pair.Certificate != nil {
			set.Certificates = append(set.Certificates, tlsCertificate{certificate, tlsmaterials.Describe(pair.Certificate)})
		}
		if !pair.Key.IsZero() {
			set.Keys = append(set.Keys, key)
		}
	}
	add(tlsmaterials.AuthorityCertificateFile, tlsmaterials.AuthorityKeyFile, m.Authority)
	for _, trusted := range m.Trusted {
		add(tlsmaterials.AuthorityCertificateFile, "", tlsmaterials.KeyPair{Certificate: trusted})
	}
	for _, l := range m.Leaves {
		add(l.CertificateFile, l.KeyFile, l.KeyPair)
	}
	switch {
	case m.Sealed != nil:
		set.SSLConfig = tlsmaterials.SealedSSLConfigFile
	case m.SSLConfig:
		set.SSLConfig = tlsmaterials.SSLConfigFile
	}
	return set
}

func (s *tlsSet) text(w io.Writer) error {
	if s.Directory != "" {
		if _, err := fmt.Fprintf(w, "directory\t%s\n", filepath.ToSlash(s.Directory)); err != nil {
			return err
		}
	}
	for _, c := range s.Certificates {
		names := strings.Join(c.Names, ", ")
		if names == "" {
			names = c.Subject
		}
		if _, err := fmt.Fprintf(w, "%s\t%s\t%s\t%s\tuntil %s\n%s\n", c.File, strings.Join(c.Usage, ", "), names, c.KeyAlgorithm,
			c.NotAfter.Format(time.RFC3339), "\tsha256 "+c.SHA256); err != nil {
			return err
		}
	}
	for _, k := range s.Keys {
		if _, err := fmt.Fprintf(w, "%s\tprivate key\n", k); err != nil {
			return err
		}
	}
	if s.SSLConfig != "" {
		how := ""
		if s.SSLConfig == tlsmaterials.SealedSSLConfigFile {
			how = ", encrypted"
		}
		if _, err := fmt.Fprintf(w, "%s\tTensorFlow Serving configuration, with the server's private key%s\n", s.SSLConfig, how); err != nil {
			return err
		}
	}
	return nil
}
