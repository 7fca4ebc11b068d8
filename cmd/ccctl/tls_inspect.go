package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/serving/tlsmaterials"
)

func newTLSInspectCommand(u *ui) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect DIR|FILE",
		Short: "Show certificates, and what is wrong with a set of TLS materials",
		Long: `inspect reads a directory of TLS materials, or a single file with certificates,
with a private key, or an ssl.cfg. Of private keys it shows the fingerprint of
their public half. For a directory it also tells which parts do not fit together,
are out of their time, or would be refused by a peer.

Exit code 3 means that a file cannot be parsed, 4 that parts do not belong
together, 5 that peers would refuse a certificate (its time, its names, its
usage), 1 that something is missing.`,
		Example: `  ccctl tls inspect ssl_configure
  ccctl tls inspect ssl_configure/server/cert.pem --json`,
		Args: args("DIR|FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			info, err := os.Stat(args[0])
			if err != nil {
				return err
			}
			if info.IsDir() {
				return inspectTLSDirectory(u, args[0])
			}
			return inspectTLSFile(u, args[0])
		},
	}
	u.jsonFlag(cmd)
	return cmd
}

func inspectTLSDirectory(u *ui, dir string) error {
	m, findings, err := deploy.ReadTLSMaterials(dir)
	if err != nil {
		return err
	}
	findings = append(findings, m.Check(time.Now())...)
	return reportTLSSet(u, describeTLSSet(dir, m, findings))
}

// reportTLSSet prints a set and ends with the gravest of its findings.
func reportTLSSet(u *ui, set *tlsSet) error {
	if err := u.report(set, set.text); err != nil {
		return err
	}
	var codes []int
	for _, f := range set.Findings {
		if code := tlsFindingCode(f.Problem); code != exitOK {
			codes = append(codes, code)
			u.fail(fmt.Errorf("%s", f))
		} else {
			u.warn("%s", f)
		}
	}
	if len(codes) == 0 {
		return nil
	}
	return withCode(gravest(codes...), fmt.Errorf("%s: %s found", set.where(), plural(len(codes), "problem")))
}

func (s *tlsSet) where() string {
	if s.Directory != "" {
		return s.Directory
	}
	return s.Certificates[0].File
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func tlsFindingCode(p tlsmaterials.Problem) int {
	switch p {
	case tlsmaterials.Unparseable:
		return exitFormat
	case tlsmaterials.Mismatch:
		return exitNotGenuine
	case tlsmaterials.Expired, tlsmaterials.NotYetValid, tlsmaterials.Unusable:
		return exitRefused
	case tlsmaterials.Doubtful:
		return exitOK
	default:
		return exitFailed
	}
}

// maxTLSFile is the size in bytes above which a file is not taken for TLS materials.
const maxTLSFile = 1 << 20

func inspectTLSFile(u *ui, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxTLSFile))
	if err != nil {
		return err
	}
	text := bytes.TrimLeft(data, " \t\r\n")
	switch {
	case !bytes.HasPrefix(text, []byte("-----BEGIN ")):
		return inspectSSLConfig(u, name, data)
	case bytes.HasPrefix(text, []byte("-----BEGIN CERTIFICATE-----")):
		return inspectCertificates(u, name, data)
	default:
		return inspectPrivateKey(u, name, data)
	}
}

func inspectCertificates(u *ui, name string, data []byte) error {
	certs, err := tlsmaterials.ParseCertificates(data)
	if err != nil {
		return withCode(exitFormat, fmt.Errorf("%s: %w", name, err))
	}
	set := &tlsSet{Certificates: []tlsCertificate{}, Keys: []string{}, Findings: []tlsmaterials.Finding{}}
	now := time.Now()
	for _, c := range certs {
		set.Certificates = append(set.Certificates, tlsCertificate{name, tlsmaterials.Describe(c)})
		set.Findings = append(set.Findings, tlsmaterials.CheckPeriod(name, c, now)...)
	}
	return reportTLSSet(u, set)
}

// tlsKey is what may be shown of a private key.
type tlsKey struct {
	File         string `json:"file"`
	KeyAlgorithm string `json:"key_algorithm"`
	KeySHA256    string `json:"key_sha256"`
}

func inspectPrivateKey(u *ui, name string, data []byte) error {
	key, err := tlsmaterials.ParsePrivateKey(data)
	if err != nil {
		return withCode(exitFormat, fmt.Errorf("%s: %w", name, err))
	}
	shown := tlsKey{name, key.Algorithm(), key.Fingerprint()}
	return u.report(shown, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s\tprivate key\t%s\tpublic half sha256 %s\n", name, shown.KeyAlgorithm, shown.KeySHA256)
		return err
	})
}

// tlsConfig is an ssl.cfg in words.
type tlsConfig struct {
	File         string           `json:"file"`
	Certificates []tlsCertificate `json:"certificates"`
	ClientVerify bool             `json:"client_verify"`
	KeySHA256    string           `json:"key_sha256"`
}

func inspectSSLConfig(u *ui, name string, data []byte) error {
	c, err := tlsmaterials.ParseSSLConfig(data)
	if err != nil {
		return withCode(exitFormat, fmt.Errorf("%s: %w", name, err))
	}
	if _, err := c.Marshal(); err != nil { // checks that the parts belong together
		return withCode(exitNotGenuine, fmt.Errorf("%s: %w", name, err))
	}
	shown := tlsConfig{File: name, ClientVerify: c.ClientVerify, Certificates: []tlsCertificate{}}
	for _, field := range []struct{ name, value string }{{"server_cert", c.ServerCert}, {"custom_ca", c.CustomCA}} {
		if field.value == "" {
			continue
		}
		certs, err := tlsmaterials.ParseCertificates([]byte(field.value))
		if err != nil {
			return withCode(exitFormat, fmt.Errorf("%s: %s: %w", name, field.name, err))
		}
		for _, cert := range certs {
			shown.Certificates = append(shown.Certificates, tlsCertificate{field.name, tlsmaterials.Describe(cert)})
		}
	}
	if key, err := tlsmaterials.ParsePrivateKey([]byte(c.ServerKey)); err == nil {
		shown.KeySHA256 = key.Fingerprint()
	}
	return u.report(shown, func(w io.Writer) error {
		if err := (&tlsSet{Certificates: shown.Certificates}).text(w); err != nil {
			return err
		}
		_, err := fmt.Fprintf(w, "server_key\tprivate key\tpublic half sha256 %s\nclient_verify\t%t\n", shown.KeySHA256, shown.ClientVerify)
		return err
	})
}
