package sgxsim

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
)

// Identity is what the simulated hardware reports of an enclave.
type Identity struct {
	MRENCLAVE, MRSIGNER [32]byte
	ISVProdID, ISVSVN   uint16
	Debug               bool
}

// QuotingEnclave is the simulated platform's quoting enclave.
type QuotingEnclave struct {
	ID         HexBytes `json:"id"`        // 16 bytes, in the user data of every quote
	MRENCLAVE  HexBytes `json:"mrenclave"` // 32 bytes
	MRSIGNER   HexBytes `json:"mrsigner"`  // 32 bytes
	ISVProdID  uint16   `json:"isv_prod_id"`
	ISVSVN     uint16   `json:"isv_svn"`
	Flags      uint64   `json:"attribute_flags"`
	XFRM       uint64   `json:"attribute_xfrm"`
	MiscSelect uint32   `json:"misc_select"`
	AuthData   HexBytes `json:"auth_data"`

	Key *ecdsa.PrivateKey `json:"-"` // the attestation key
}

func newQuotingEnclave() (QuotingEnclave, error) {
	e := QuotingEnclave{
		MRENCLAVE: digest("CC simulated quoting enclave"), MRSIGNER: digest("CC simulated signer of Intel's enclaves"),
		ISVProdID: 1, ISVSVN: 8,
		Flags:    quote.FlagInit | quote.FlagMode64Bit | quote.FlagProvisionKey,
		XFRM:     0xe7,
		AuthData: make([]byte, 32),
	}
	for i := range e.AuthData {
		e.AuthData[i] = byte(i)
	}
	var err error
	if e.ID, err = randomBytes(16); err != nil {
		return e, err
	}
	e.Key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return e, err
}

func digest(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}

// Quoter makes quotes of one enclave on the platform. It is a ratls.Quoter.
type Quoter struct {
	Platform *Platform
	Identity Identity
	// Change, when not nil, may alter a signed quote before it is handed out.
	Change func(*quote.Quote) error
}

// Quoter returns the attestation device that an enclave with this identity sees.
func (p *Platform) Quoter(id Identity) *Quoter { return &Quoter{Platform: p, Identity: id} }

// Quote returns a quote with the given report data.
func (q *Quoter) Quote(ctx context.Context, reportData [64]byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	signed, err := q.Platform.NewQuote(q.Identity, reportData)
	if err != nil {
		return nil, err
	}
	if q.Change != nil {
		if err := q.Change(signed); err != nil {
			return nil, fmt.Errorf("change quote: %w", err)
		}
	}
	return signed.Marshal()
}

// NewQuote makes a signed quote. After changing its body, header or QE report, sign it again with [Platform.SignQuote] or
// [Platform.SignQEReport], or leave the signature wrong.
func (p *Platform) NewQuote(id Identity, reportData [64]byte) (*quote.Quote, error) {
	q := &quote.Quote{
		Header: quote.Header{
			Version: quote.Version3, AttestationKeyType: quote.KeyTypeECDSAP256, TEEType: quote.TEETypeSGX,
			QESVN: p.QE.ISVSVN, PCESVN: p.Machine.PCESVN, QEVendorID: quote.IntelQEVendorID,
		},
		Body: quote.ReportBody{
			Attributes: quote.Attributes{Flags: quote.FlagInit | quote.FlagMode64Bit, XFRM: 0xe7},
			MRENCLAVE:  id.MRENCLAVE, MRSIGNER: id.MRSIGNER,
			ISVProdID: id.ISVProdID, ISVSVN: id.ISVSVN,
			ReportData: reportData,
		},
		QEReport: quote.ReportBody{
			MiscSelect: p.QE.MiscSelect,
			Attributes: quote.Attributes{Flags: p.QE.Flags, XFRM: p.QE.XFRM},
			ISVProdID:  p.QE.ISVProdID, ISVSVN: p.QE.ISVSVN,
		},
		QEAuthData:        p.QE.AuthData,
		CertificationType: quote.CertPCKChain,
		CertificationData: append(p.PCKChain(), 0), // Intel's library counts the C string's end
	}
	copy(q.Header.UserData[:], p.QE.ID)
	copy(q.Body.CPUSVN[:], p.Machine.CPUSVN)
	copy(q.QEReport.CPUSVN[:], p.Machine.CPUSVN)
	copy(q.QEReport.MRENCLAVE[:], p.QE.MRENCLAVE)
	copy(q.QEReport.MRSIGNER[:], p.QE.MRSIGNER)
	if id.Debug {
		q.Body.Attributes.Flags |= quote.FlagDebug
	}
	point, err := p.QE.Key.PublicKey.Bytes()
	if err != nil {
		return nil, fmt.Errorf("make quote: encode attestation key: %w", err)
	}
	copy(q.AttestationKey[:], point[1:]) // without the 0x04 of an uncompressed point
	p.BindAttestationKey(q)
	if err := p.SignQEReport(q); err != nil {
		return nil, err
	}
	if err := p.SignQuote(q); err != nil {
		return nil, err
	}
	return q, nil
}

// BindAttestationKey writes the hash of attestation key and authentication data into the QE's report data.
func (p *Platform) BindAttestationKey(q *quote.Quote) {
	sum := sha256.Sum256(append(q.AttestationKey[:], q.QEAuthData...))
	q.QEReport.ReportData = [64]byte{}
	copy(q.QEReport.ReportData[:], sum[:])
}

// SignQuote signs header and body with the attestation key.
func (p *Platform) SignQuote(q *quote.Quote) error {
	var err error
	if q.Signature, err = signRaw(p.QE.Key, q.SignedBytes()); err != nil {
		return fmt.Errorf("sign quote: %w", err)
	}
	return nil
}

// SignQEReport signs the QE's report with the PCK key.
func (p *Platform) SignQEReport(q *quote.Quote) error {
	var err error
	if q.QEReportSignature, err = signRaw(p.PCK.Key, q.QEReport.Marshal()); err != nil {
		return fmt.Errorf("sign QE report: %w", err)
	}
	return nil
}
