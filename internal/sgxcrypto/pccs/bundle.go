package pccs

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
)

// BundleType marks a collateral file.
const BundleType = "sgx-collateral"

const (
	bundleVersion = 1
	maxBundle     = 64 << 20
)

// Bundle is collateral in a file, for any number of platforms. The file is JSON:
//
//	{
//	  "type": "sgx-collateral",
//	  "version": 1,
//	  "source": "https://pccs.example.com/sgx/certification/v4/",
//	  "fetched": "2026-11-02T10:00:00Z",
//	  "root_ca_crl": "MIIB...",
//	  "qe_identity": { "body": "{\"enclaveIdentity\":...}", "issuer_chain": "-----BEGIN CERTIFICATE-----\n..." },
//	  "pck_crls":  { "platform":     { "crl": "MIIC...", "issuer_chain": "-----BEGIN CERTIFICATE-----\n..." } },
//	  "tcb_infos": { "00606A000000": { "body": "{\"tcbInfo\":...}", "issuer_chain": "-----BEGIN CERTIFICATE-----\n..." } }
//	}
//
// A body is the document as served, byte for byte, in a JSON string: its signature covers the bytes. A CRL is base64
// of DER. Source and fetched are notes for people. Nothing in the file is trusted; a bundle works until its documents
// expire, CRLs and TCB info after 30 days.
//
// A bundle that is not changed any more may be used by several goroutines at once.
type Bundle struct {
	Source  string
	Fetched time.Time

	rootCRL    *document
	qeIdentity *document
	pckCRLs    map[string]*document
	tcbInfos   map[string]*document
}

type bundleFile struct {
	Type       string                `json:"type"`
	Version    int                   `json:"version"`
	Source     string                `json:"source,omitempty"`
	Fetched    time.Time             `json:"fetched,omitzero"`
	RootCACRL  string                `json:"root_ca_crl"`
	QEIdentity bundleJSON            `json:"qe_identity"`
	PCKCRLs    map[string]bundleCRL  `json:"pck_crls"`
	TCBInfos   map[string]bundleJSON `json:"tcb_infos"`
}

type bundleJSON struct {
	Body        string `json:"body"`
	IssuerChain string `json:"issuer_chain"`
}

type bundleCRL struct {
	CRL         string `json:"crl"`
	IssuerChain string `json:"issuer_chain"`
}

// Add puts a platform's collateral into the bundle. Documents that are already there are replaced.
func (b *Bundle) Add(p *dcap.Platform, c *dcap.Collateral) error {
	ids, err := platformDocs(p)
	if err != nil {
		return err
	}
	docs := make([]*document, len(ids))
	parts := [][2][]byte{
		{c.TCBInfo, c.TCBInfoIssuerChain},
		{c.QEIdentity, c.QEIdentityIssuerChain},
		{c.PCKCRL, c.PCKCRLIssuerChain},
		{c.RootCACRL, nil},
	}
	for i, id := range ids {
		if docs[i], err = newDocument(id, bytes.Clone(parts[i][0]), bytes.Clone(parts[i][1])); err != nil {
			return fmt.Errorf("add %s to the bundle: %w", id, err)
		}
	}
	b.init()
	b.tcbInfos[ids[0].key], b.qeIdentity, b.pckCRLs[ids[2].key], b.rootCRL = docs[0], docs[1], docs[2], docs[3]
	return nil
}

func (b *Bundle) init() {
	if b.pckCRLs == nil {
		b.pckCRLs, b.tcbInfos = map[string]*document{}, map[string]*document{}
	}
}

// Collateral returns the documents for a platform. The error is of type *Error with kind NotFound when the bundle has
// none. It does not look at dates: whoever verifies knows the time.
func (b *Bundle) Collateral(_ context.Context, p *dcap.Platform) (*dcap.Collateral, error) {
	ids, err := platformDocs(p)
	if err != nil {
		return nil, err
	}
	docs := []*document{b.tcbInfos[ids[0].key], b.qeIdentity, b.pckCRLs[ids[2].key], b.rootCRL}
	for i, doc := range docs {
		if doc == nil {
			return nil, &Error{
				Kind: NotFound, Document: ids[i].String(), Err: errors.New("the collateral file does not hold it"),
				Remedy: "fetch collateral for this platform and add it to the file",
			}
		}
	}
	return assemble(docs), nil
}

// Documents lists what the bundle holds, with dates.
func (b *Bundle) Documents() []DocumentStatus {
	var all []DocumentStatus
	add := func(id docID, doc *document) {
		if doc != nil {
			all = append(all, DocumentStatus{
				Document: id.String(), Kind: string(id.kind), Issued: doc.Issued, Expires: doc.Expires, Fetched: b.Fetched,
			})
		}
	}
	add(docID{docRootCACRL, ""}, b.rootCRL)
	add(docID{docQEIdentity, ""}, b.qeIdentity)
	for _, ca := range sortedKeys(b.pckCRLs) {
		add(docID{docPCKCRL, ca}, b.pckCRLs[ca])
	}
	for _, fmspc := range sortedKeys(b.tcbInfos) {
		add(docID{docTCBInfo, fmspc}, b.tcbInfos[fmspc])
	}
	return all
}

// Platforms lists the FMSPCs that the bundle has TCB info for.
func (b *Bundle) Platforms() []string { return sortedKeys(b.tcbInfos) }

func sortedKeys(m map[string]*document) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Marshal returns the bytes of a collateral file.
func (b *Bundle) Marshal() ([]byte, error) {
	if b.rootCRL == nil || b.qeIdentity == nil {
		return nil, errors.New("write collateral file: the bundle is empty")
	}
	file := bundleFile{
		Type: BundleType, Version: bundleVersion, Source: b.Source, Fetched: b.Fetched.UTC(),
		RootCACRL:  base64.StdEncoding.EncodeToString(b.rootCRL.Body),
		QEIdentity: bundleJSON{string(b.qeIdentity.Body), string(b.qeIdentity.Chain)},
		PCKCRLs:    map[string]bundleCRL{}, TCBInfos: map[string]bundleJSON{},
	}
	for ca, doc := range b.pckCRLs {
		file.PCKCRLs[ca] = bundleCRL{base64.StdEncoding.EncodeToString(doc.Body), string(doc.Chain)}
	}
	for fmspc, doc := range b.tcbInfos {
		file.TCBInfos[fmspc] = bundleJSON{string(doc.Body), string(doc.Chain)}
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(file); err != nil {
		return nil, fmt.Errorf("write collateral file: %w", err)
	}
	return out.Bytes(), nil
}

// ReadBundle reads a collateral file. Members it does not know are refused.
func ReadBundle(r io.Reader) (*Bundle, error) {
	fail := func(err error) (*Bundle, error) { return nil, fmt.Errorf("read collateral file: %w", err) }
	raw, err := io.ReadAll(io.LimitReader(r, maxBundle+1))
	switch {
	case err != nil:
		return fail(err)
	case len(raw) > maxBundle:
		return fail(fmt.Errorf("it is longer than %d bytes", maxBundle))
	}
	var head struct {
		Type    string `json:"type"`
		Version int    `json:"version"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return fail(err)
	}
	if head.Type != BundleType || head.Version != bundleVersion {
		return fail(fmt.Errorf("its type and version are %q and %d, want %q and %d", head.Type, head.Version, BundleType, bundleVersion))
	}
	var file bundleFile
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&file); err != nil {
		return fail(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fail(errors.New("something follows the JSON object"))
	}
	b := &Bundle{Source: file.Source, Fetched: file.Fetched}
	if err := b.load(&file); err != nil {
		return fail(err)
	}
	return b, nil
}

func (b *Bundle) load(file *bundleFile) error {
	b.init()
	var err error
	if b.rootCRL, err = bundledCRL(docID{docRootCACRL, ""}, bundleCRL{CRL: file.RootCACRL}); err != nil {
		return err
	}
	if b.qeIdentity, err = bundledJSON(docID{docQEIdentity, ""}, file.QEIdentity); err != nil {
		return err
	}
	for ca, part := range file.PCKCRLs {
		if ca != dcap.CAPlatform && ca != dcap.CAProcessor {
			return fmt.Errorf("pck_crls has the member %q, want %q or %q", ca, dcap.CAPlatform, dcap.CAProcessor)
		}
		if b.pckCRLs[ca], err = bundledCRL(docID{docPCKCRL, ca}, part); err != nil {
			return err
		}
	}
	for name, part := range file.TCBInfos {
		fmspc, err := ParseFMSPC(name)
		if err != nil {
			return fmt.Errorf("tcb_infos: %w", err)
		}
		key := fmspc.String()
		if _, twice := b.tcbInfos[key]; twice {
			return fmt.Errorf("tcb_infos holds FMSPC %s twice", key)
		}
		if b.tcbInfos[key], err = bundledJSON(docID{docTCBInfo, key}, part); err != nil {
			return err
		}
	}
	return nil
}

func bundledJSON(id docID, part bundleJSON) (*document, error) {
	doc, err := newDocument(id, []byte(part.Body), []byte(part.IssuerChain))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", id, err)
	}
	return doc, nil
}

// bundledCRL also takes PEM, which is what a person at a text editor has.
func bundledCRL(id docID, part bundleCRL) (*document, error) {
	body := []byte(part.CRL)
	if block, _ := pem.Decode(body); block == nil {
		var err error
		if body, err = base64.StdEncoding.DecodeString(part.CRL); err != nil {
			return nil, fmt.Errorf("%s: it is neither base64 nor PEM: %w", id, err)
		}
	}
	doc, err := newDocument(id, body, []byte(part.IssuerChain))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", id, err)
	}
	return doc, nil
}
