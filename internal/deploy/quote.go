package deploy

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/pccs"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/ratls"
)

// ReadQuote reads a quote from a file, as an enclave finds it in
// /dev/attestation/quote. What is not a quote is a *quote.Error.
func ReadQuote(name string) (*quote.Quote, error) {
	raw, err := readBounded(name, quote.MaxSize)
	if err != nil {
		return nil, fmt.Errorf("read quote: %w", err)
	}
	return quote.Parse(raw)
}

// readBounded reads a file, but no more than a byte beyond limit: its parser
// then says that it is too long.
func readBounded(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit+1))
}

// maxRoots bounds a file of trusted roots, in bytes.
const maxRoots = 1 << 20

// ReadTrustedRoots reads the roots to trust instead of Intel's; an empty name
// stands for Intel's, which is nil.
func ReadTrustedRoots(name string) ([]*x509.Certificate, error) {
	if name == "" {
		return nil, nil
	}
	text, err := readBounded(name, maxRoots)
	if err != nil {
		return nil, fmt.Errorf("read trusted roots: %w", err)
	}
	roots, err := dcap.ParseRoots(text)
	if err != nil {
		return nil, fmt.Errorf("%w (%s)", err, name)
	}
	return roots, nil
}

// CollateralPlace says where collateral comes from. Exactly one of Region, URL
// and Bundle is set.
type CollateralPlace struct {
	Region  string // Alibaba Cloud's service of this region ...
	Network string // ... reached by "public" or "vpc"; "public" when empty
	URL     string // any other service
	// RootCACRLURL replaces the place of the root CA's CRL, with URL.
	RootCACRLURL string
	CA           string // PEM file of authorities for the service's TLS certificate; empty: the system's
	Update       string // "standard" or "early"; "standard" when empty
	// EvaluationNumber, if not 0, asks for TCB info and QE identity of that
	// tcbEvaluationDataNumber, instead of Update's.
	EvaluationNumber uint32
	// AllowAPIv3 accepts a URL of the retired version 3 of the API.
	AllowAPIv3 bool
	Bundle     string // collateral file
}

// Open returns the source and a function that releases it. It connects to
// nothing.
func (p CollateralPlace) Open() (ratls.CollateralSource, func(), error) {
	if p.Bundle != "" {
		bundle, err := ReadBundle(p.Bundle)
		if err != nil {
			return nil, nil, err
		}
		return bundle, func() {}, nil
	}
	client, err := p.Client()
	if err != nil {
		return nil, nil, err
	}
	return client, client.Close, nil
}

// Client returns a client of the service that Region or URL names.
func (p CollateralPlace) Client() (*pccs.Client, error) {
	opts := pccs.ClientOptions{
		URL: p.URL, RootCACRLURL: p.RootCACRLURL, Update: pccs.Update(p.Update), EvaluationNumber: p.EvaluationNumber, AllowAPIv3: p.AllowAPIv3,
	}
	if p.Region != "" {
		network := pccs.NetworkPublic
		if p.Network != "" {
			network = pccs.Network(p.Network)
		}
		var err error
		if opts.URL, err = pccs.AlibabaURL(p.Region, network); err != nil {
			return nil, err
		}
	}
	if p.CA != "" {
		text, err := readBounded(p.CA, maxRoots)
		if err != nil {
			return nil, fmt.Errorf("read TLS authorities: %w", err)
		}
		opts.Roots = x509.NewCertPool()
		if !opts.Roots.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("read TLS authorities: %s holds no PEM certificate", p.CA)
		}
	}
	return pccs.NewClient(opts)
}

// ReadQCNL reads a sgx_default_qcnl.conf, the configuration of Intel's quote
// provider library. Its contents are wrong unless the error is a *fs.PathError.
func ReadQCNL(name string) (*pccs.QCNL, error) {
	text, err := readBounded(name, pccs.MaxQCNL)
	if err != nil {
		return nil, fmt.Errorf("read QCNL configuration: %w", err)
	}
	q, err := pccs.ParseQCNL(text)
	if err != nil {
		return nil, fmt.Errorf("%w (%s)", err, name)
	}
	return q, nil
}

// NotBundleError is a file that is not a collateral file.
type NotBundleError struct{ Err error }

func (e *NotBundleError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *NotBundleError) Unwrap() error { return e.Err }

// ReadBundle reads a collateral file. Its contents are wrong if the error is a
// *NotBundleError.
func ReadBundle(name string) (*pccs.Bundle, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read collateral file: %w", err)
	}
	defer f.Close()
	bundle, err := pccs.ReadBundle(f)
	if err != nil {
		return nil, &NotBundleError{fmt.Errorf("%w (%s)", err, name)}
	}
	return bundle, nil
}

// VerifyQuote verifies a quote with collateral from a source. What can be
// refused without collateral is refused before any is asked for, so that a
// forgery costs no request.
func VerifyQuote(ctx context.Context, q *quote.Quote, source ratls.CollateralSource, opts dcap.VerifyOptions) (*dcap.Verdict, error) {
	evidence, err := dcap.CheckEvidence(q, opts)
	if err != nil {
		return nil, err
	}
	collateral, err := source.Collateral(ctx, evidence.Platform())
	if err != nil {
		return nil, err
	}
	return evidence.Verify(collateral, opts.At)
}

// RefuseRevoked refuses a genuine quote of a platform whose TCB level Intel has
// revoked: no policy can want that.
func RefuseRevoked(v *dcap.Verdict) error {
	if v.Status != dcap.StatusRevoked {
		return nil
	}
	return &Error{
		Summary: "Platform revoked",
		Err:     errors.New("accept quote: Intel has revoked the TCB level of its platform"),
		Remedy:  "Use another machine. What ran on this one may be known to others.",
	}
}
