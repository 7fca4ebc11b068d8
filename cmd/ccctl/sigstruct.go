package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/sigstruct"
)

func newSigstructCommand(u *ui) *cobra.Command {
	return group("sigstruct", "Look into the .sig file of an enclave", newSigstructInspectCommand(u))
}

// classifySigstruct tells the exit codes of package sigstruct.
func classifySigstruct(err error) int {
	var found *sigstruct.Error
	switch {
	case !errors.As(err, &found):
		return exitOK
	case found.Kind.Format():
		return exitFormat
	default:
		return exitNotGenuine
	}
}

func newSigstructInspectCommand(u *ui) *cobra.Command {
	var asPolicy bool
	var secret string
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Show an enclave's measurements, and verify the signature over them",
		Long: `inspect reads the SIGSTRUCT that gramine-sgx-sign writes (the file ending in
.sig), verifies its signature and shows what a key server can tell the enclave
by: MRENCLAVE, MRSIGNER, product id and security version.

With --as-policy it prints a rule for the key server's configuration instead. The
rule takes this one enclave on a platform that is up to date; the signature shows
that the signer made it, not that the signer is yours: compare mr_signer.`,
		Example: `  ccctl sigstruct inspect tensorflow_model_server.sig
  ccctl sigstruct inspect tensorflow_model_server.sig --as-policy --secret resnet50`,
		Args: args("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			if asPolicy && u.json {
				return usagef("--as-policy prints YAML and excludes --json")
			}
			s, err := readSigstruct(args[0])
			if err != nil {
				return err
			}
			if asPolicy {
				return printRule(u, args[0], s, secret)
			}
			return inspectSigstruct(u, args[0], s)
		},
	}
	cmd.Flags().BoolVar(&asPolicy, "as-policy", false, "print a rule for the key server's configuration")
	cmd.Flags().StringVar(&secret, "secret", "wrap-key", "`NAME` of the secret that the rule releases")
	u.jsonFlag(cmd)
	return cmd
}

func readSigstruct(name string) (*sigstruct.Sigstruct, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return nil, err
	}
	s, err := sigstruct.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

// sigstructShown is a SIGSTRUCT in words. The names are those of the key server's configuration.
type sigstructShown struct {
	File         string   `json:"file"`
	Genuine      bool     `json:"genuine"`
	MRENCLAVE    string   `json:"mr_enclave"`
	MRSIGNER     string   `json:"mr_signer"`
	ISVProdID    uint16   `json:"isv_prod_id"`
	ISVSVN       uint16   `json:"isv_svn"`
	Debug        bool     `json:"debug"`
	Flags        []string `json:"flags"`
	XFRM         string   `json:"xfrm"`
	MiscSelect   string   `json:"misc_select"`
	Date         string   `json:"date,omitempty"`
	DateEncoding string   `json:"date_encoding,omitempty"`
	Warnings     []string `json:"warnings"`
}

func inspectSigstruct(u *ui, name string, s *sigstruct.Sigstruct) error {
	failure := s.Verify()
	signer := s.MRSIGNER()
	shown := &sigstructShown{
		File: name, Genuine: failure == nil, MRENCLAVE: hex.EncodeToString(s.MRENCLAVE[:]), MRSIGNER: hex.EncodeToString(signer[:]),
		ISVProdID: s.ISVProdID, ISVSVN: s.ISVSVN, Debug: s.Debug(), Flags: flagNames(s.Attributes.Flags),
		XFRM: fmt.Sprintf("%016x", s.Attributes.XFRM), MiscSelect: fmt.Sprintf("%08x", s.MiscSelect), Warnings: append([]string{}, s.Warnings()...),
	}
	if day, encoding := s.SignedOn(); encoding != 0 {
		shown.Date, shown.DateEncoding = day.Format(time.DateOnly), encoding.String()
	}
	if err := u.report(shown, shown.text); err != nil {
		return err
	}
	for _, w := range shown.Warnings {
		u.warn("%s", w)
	}
	if failure != nil {
		return fmt.Errorf("%s: %w", name, failure)
	}
	return nil
}

func (s *sigstructShown) text(w io.Writer) error {
	rows := rowWriter{w: w}
	rows.add("MRENCLAVE", "%s", s.MRENCLAVE)
	rows.add("MRSIGNER", "%s", s.MRSIGNER)
	rows.add("ISVPRODID, ISVSVN", "%d, %d", s.ISVProdID, s.ISVSVN)
	rows.add("Attributes", "%s, XFRM %s, MISCSELECT %s", strings.Join(s.Flags, " "), s.XFRM, s.MiscSelect)
	if s.Date != "" {
		rows.add("Signed on", "%s (%s)", s.Date, s.DateEncoding)
	}
	if s.Genuine {
		rows.add("Signature", "verifies")
	} else {
		rows.add("Signature", "DOES NOT VERIFY")
	}
	return rows.err
}

// printRule prints a rule that takes this enclave, in the words of the key server's own configuration. What nobody has
// signed makes no rule.
func printRule(u *ui, name string, s *sigstruct.Sigstruct, secret string) error {
	if err := s.Verify(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	signer := s.MRSIGNER()
	prodID, svn := s.ISVProdID, s.ISVSVN
	rules := struct {
		Rules []keyserver.RuleConfig `yaml:"rules"`
	}{[]keyserver.RuleConfig{{
		Name:      strings.TrimSuffix(filepath.Base(name), ".sig"),
		MREnclave: []string{hex.EncodeToString(s.MRENCLAVE[:])}, MRSigner: []string{hex.EncodeToString(signer[:])},
		ISVProdID: &prodID, MinISVSVN: &svn,
		TCB:    keyserver.TCBConfig{Accept: []string{"UpToDate"}},
		Secret: secret,
	}}}
	text, err := yaml.Marshal(rules)
	if err != nil {
		return fmt.Errorf("print rule: %w", err)
	}
	for _, w := range s.Warnings() {
		u.warn("%s", w)
	}
	if s.Debug() {
		u.note("the rule refuses this enclave: a debug enclave needs allow_debug: true, and keeps no secret from its host")
	}
	_, err = u.out.Write(text)
	return err
}
