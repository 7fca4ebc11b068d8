package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/atomicfile"
	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/pccs"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/ratls"
)

func newCollateralCommand(u *ui) *cobra.Command {
	return group("collateral", "Fetch what verifying quotes needs, and look into it", newCollateralFetch(u), newCollateralInspect(u))
}

// classifyCollateral tells the exit codes of the collateral service's errors: whatever its kind, nothing was learnt
// about a quote.
func classifyCollateral(err error) int {
	var e *pccs.Error
	if errors.As(err, &e) {
		return exitUnreachable
	}
	return exitOK
}

// serviceFlags say which collateral service to ask.
type serviceFlags struct {
	url     string
	region  string
	network string
	qcnl    string
	ca      string
	update  string
	number  uint32
	allowV3 bool
}

func (f *serviceFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.url, "pccs", "", "`URL` of a collateral service (PCCS), or 'intel'")
	cmd.Flags().StringVar(&f.region, "region", "", "Alibaba Cloud's collateral service in this `REGION`, such as cn-beijing")
	cmd.Flags().StringVar(&f.network, "network", "", "how to reach it: public (default), or vpc from an instance in the region")
	cmd.Flags().StringVar(&f.qcnl, "qcnl", "", "the service that a sgx_default_qcnl.conf `FILE` names")
	cmd.Flags().StringVar(&f.ca, "pccs-ca", "", "PEM `FILE` with the authority of the service's TLS certificate, instead of the system's")
	cmd.Flags().StringVar(&f.update, "update", "", "set of TCB levels: standard (default), or early")
	cmd.Flags().Uint32Var(&f.number, "evaluation-number", 0, "the set of TCB levels with this tcbEvaluationDataNumber `N`")
	cmd.Flags().BoolVar(&f.allowV3, "allow-api-v3", false, "accept a URL of the retired version 3, whose TCB info lists no advisories")
}

// given counts the services that the flags name.
func (f *serviceFlags) given() int {
	n := 0
	for _, s := range []string{f.url, f.region, f.qcnl} {
		if s != "" {
			n++
		}
	}
	return n
}

func (f *serviceFlags) place() (deploy.CollateralPlace, error) {
	if f.network != "" && f.region == "" {
		return deploy.CollateralPlace{}, usagef("--network goes with --region")
	}
	place := deploy.CollateralPlace{
		URL: f.url, Region: f.region, Network: f.network, CA: f.ca, Update: f.update, EvaluationNumber: f.number, AllowAPIv3: f.allowV3,
	}
	switch {
	case f.url == "intel":
		place.URL = pccs.IntelURL
	case f.qcnl != "":
		q, err := deploy.ReadQCNL(f.qcnl)
		if err != nil {
			return deploy.CollateralPlace{}, qcnlError(err)
		}
		place.URL = q.CollateralURL()
		if place.Update == "" && place.EvaluationNumber == 0 {
			place.Update = string(q.Update)
		}
	}
	return place, nil
}

// qcnlError tells a file with mistakes from one that cannot be read.
func qcnlError(err error) error {
	var file *fs.PathError
	if errors.As(err, &file) {
		return err
	}
	return withHint(withCode(exitFormat, err), "without that file: --pccs URL, with --pccs-ca FILE if the service has an authority of its own")
}

// client makes a client of the service.
func (f *serviceFlags) client() (*pccs.Client, error) {
	place, err := f.place()
	if err != nil {
		return nil, err
	}
	client, err := place.Client()
	if err != nil {
		return nil, placeError(err)
	}
	return client, nil
}

// collateralFlags say where collateral comes from: a file or a service.
type collateralFlags struct {
	file    string
	service serviceFlags
}

func (f *collateralFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.file, "collateral", "", "collateral `FILE`, as written by 'ccctl collateral fetch'")
	f.service.add(cmd)
}

// check wants exactly one source.
func (f *collateralFlags) check() error {
	n := f.service.given()
	if f.file != "" {
		n++
	}
	if n != 1 {
		return usagef("give one of --collateral FILE, --pccs URL, --region REGION and --qcnl FILE")
	}
	return nil
}

// open returns the source and a function that releases it.
func (f *collateralFlags) open() (ratls.CollateralSource, func(), error) {
	place, err := f.service.place()
	if err != nil {
		return nil, nil, err
	}
	place.Bundle = f.file
	source, release, err := place.Open()
	if err != nil {
		return nil, nil, placeError(err)
	}
	return source, release, nil
}

// placeError tells a file that is none from flags that name no place.
func placeError(err error) error {
	var format *deploy.NotBundleError
	var file *fs.PathError
	switch {
	case errors.As(err, &format):
		return withCode(exitFormat, err)
	case errors.As(err, &file):
		return err
	default:
		return withCode(exitUsage, err)
	}
}

func readBundle(name string) (*pccs.Bundle, error) {
	bundle, err := deploy.ReadBundle(name)
	if err != nil {
		return nil, placeError(err)
	}
	return bundle, nil
}

func newCollateralFetch(u *ui) *cobra.Command {
	var service serviceFlags
	var quoteFile, fmspc, ca, out string
	var add bool
	cmd := &cobra.Command{
		Use:   "fetch (--pccs URL | --region REGION | --qcnl FILE) (--quote FILE | --fmspc HEX --ca platform|processor) -o FILE",
		Short: "Fetch a platform's collateral into a file, for machines without network",
		Long: `Fetch TCB info, QE identity, PCK CRL and root CA CRL of a family of platforms
from a collateral service and write them into one file. With --add the file may
exist, and keeps what it holds of other platforms.

Nothing in the file is trusted: every use of it verifies all signatures. The
documents expire about 30 days after Intel issued them.`,
		Example: `  ccctl collateral fetch --region cn-beijing --quote quote.bin -o collateral.json
  ccctl collateral fetch --pccs intel --fmspc 00606A000000 --ca platform --add -o collateral.json`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if service.given() != 1 || out == "" {
				return usagef("collateral fetch: -o and one of --pccs, --region and --qcnl are required")
			}
			platform, err := platformOf(quoteFile, fmspc, ca)
			if err != nil {
				return err
			}
			bundle := &pccs.Bundle{}
			if add {
				bundle, err = readBundle(out)
				if errors.Is(err, fs.ErrNotExist) {
					bundle, err = &pccs.Bundle{}, nil
				}
				if err != nil {
					return err
				}
			}
			client, err := service.client()
			if err != nil {
				return err
			}
			defer client.Close()
			c, err := client.Collateral(cmd.Context(), platform)
			if err != nil {
				return err
			}
			bundle.Source, bundle.Fetched = client.URL(), time.Now().UTC().Truncate(time.Second)
			if err := bundle.Add(platform, c); err != nil {
				return err
			}
			data, err := bundle.Marshal()
			if err != nil {
				return err
			}
			if err := atomicfile.WriteFile(out, data, 0o644); err != nil {
				return err
			}
			u.note("%s: collateral of FMSPC %s from %s", out, platform.FMSPC, client.URL())
			return nil
		},
	}
	service.add(cmd)
	cmd.Flags().StringVar(&quoteFile, "quote", "", "quote `FILE` of the platform")
	cmd.Flags().StringVar(&fmspc, "fmspc", "", "the platform's family, 12 `HEX` digits")
	cmd.Flags().StringVar(&ca, "ca", "", "the platform's PCK `CA`: platform (servers from Ice Lake on) or processor")
	cmd.Flags().StringVarP(&out, "output", "o", "", "collateral `FILE` to write")
	cmd.Flags().BoolVar(&add, "add", false, "keep what the file holds already")
	return cmd
}

// platformOf names the platform to fetch for. A quote is not verified here: whatever it claims, the documents are
// public, and using them verifies all of them.
func platformOf(quoteFile, fmspc, ca string) (*dcap.Platform, error) {
	if (quoteFile == "") == (fmspc == "") || (fmspc == "") != (ca == "") {
		return nil, usagef("collateral fetch: give either --quote, or --fmspc with --ca")
	}
	if quoteFile != "" {
		q, err := readQuote(quoteFile)
		if err != nil {
			return nil, err
		}
		pck, _, err := dcap.ReadPCK(q)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", quoteFile, err)
		}
		return &dcap.Platform{FMSPC: pck.FMSPC, PCEID: pck.PCEID, CA: pck.CA}, nil
	}
	family, err := pccs.ParseFMSPC(fmspc)
	if err != nil {
		return nil, usagef("--fmspc: %w", err)
	}
	if ca != dcap.CAPlatform && ca != dcap.CAProcessor {
		return nil, usagef("--ca: found %q, want %s or %s", ca, dcap.CAPlatform, dcap.CAProcessor)
	}
	return &dcap.Platform{FMSPC: family, CA: ca}, nil
}

// collateralShown is a collateral file in words.
type collateralShown struct {
	Source    string          `json:"source,omitempty"`
	Fetched   time.Time       `json:"fetched,omitzero"`
	Documents []documentShown `json:"documents"`
}

type documentShown struct {
	Document string    `json:"document"`
	Kind     string    `json:"kind"`
	Issued   time.Time `json:"issued"`
	Expires  time.Time `json:"expires"`
	Current  bool      `json:"current"`
}

func newCollateralInspect(u *ui) *cobra.Command {
	var atFlag string
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Show which documents a collateral file holds and when they expire, without verifying them",
		Long: `inspect lists the documents in FILE, which 'ccctl collateral fetch' wrote, with the
time of issue and of expiry of each. It verifies no signature; 'ccctl doctor
--collateral' does, and 'ccctl quote verify' whenever it uses them.`,
		Example: `  ccctl collateral inspect collateral.json --at 2026-12-01T00:00:00Z`,
		Args:    args("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			at, err := parseAt(atFlag)
			if err != nil {
				return err
			}
			bundle, err := readBundle(args[0])
			if err != nil {
				return err
			}
			shown := collateralShown{Source: bundle.Source, Fetched: bundle.Fetched, Documents: []documentShown{}}
			for _, d := range bundle.Documents() {
				current := !at.Before(d.Issued) && !at.After(d.Expires)
				shown.Documents = append(shown.Documents, documentShown{d.Document, d.Kind, d.Issued.UTC(), d.Expires.UTC(), current})
			}
			u.note("no signature here is verified; that happens whenever a quote is")
			return u.report(shown, shown.text)
		},
	}
	cmd.Flags().StringVar(&atFlag, "at", "", "tell what is current at this time (RFC 3339) instead of now")
	u.jsonFlag(cmd)
	return cmd
}

func (s collateralShown) text(w io.Writer) error {
	var lines bytes.Buffer
	if s.Source != "" {
		fmt.Fprintf(&lines, "Source\t%s\n", s.Source)
	}
	if !s.Fetched.IsZero() {
		fmt.Fprintf(&lines, "Fetched\t%s\n", s.Fetched.Format(time.RFC3339))
	}
	for _, d := range s.Documents {
		state := ""
		if !d.Current {
			state = ", NOT CURRENT"
		}
		fmt.Fprintf(&lines, "%s\t%s to %s%s\n", d.Document, d.Issued.Format(time.RFC3339), d.Expires.Format(time.RFC3339), state)
	}
	_, err := w.Write(lines.Bytes())
	return err
}
