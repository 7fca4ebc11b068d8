package dcap

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"strconv"
	"time"
)

// maxDocumentSize bounds a JSON body, in bytes. Real ones have under 32 KiB.
const maxDocumentSize = 1 << 20

// documentSpec says what kind of signed document is expected.
type documentSpec struct {
	stage  Stage
	what   string // "TCB info"
	member string // of the envelope, holding the signed object
}

// document is a signed JSON document whose signature and signing chain have been verified. Its dates have not.
type document struct {
	spec       documentSpec
	chain      *chain
	issued     time.Time
	nextUpdate time.Time
	evaluation uint32
}

// verifyDocument verifies the signature over a document and returns the reader of its signed object. The order is
// envelope, signing chain, signature; only then is the object read, so that nothing unsigned is interpreted.
func (r *run) verifyDocument(body, chainText []byte, spec documentSpec) (*document, object, error) {
	signed, signature, err := parseEnvelope(body, spec)
	if err != nil {
		return nil, object{}, err
	}
	signer, err := r.verifyChain(chainText, chainSpec{spec.stage, spec.what + " signing chain", []role{roleTCBSigner, roleRoot}})
	if err != nil {
		return nil, object{}, asSigningChain(err)
	}
	if !verifySignature(signer.leaf(), signed, signature) {
		return nil, object{}, &Error{
			Stage: spec.stage, Reason: ReasonSignature, What: spec.what,
			Got:    fmt.Sprintf("a signature that %q did not make over these bytes", signer.leaf().Subject.CommonName),
			Remedy: "fetch it again and keep its bytes as served: formatting it anew breaks the signature",
		}
	}
	fields := &documentReader{spec: spec}
	root, err := fields.parse(signed)
	if err != nil {
		return nil, object{}, err
	}
	d := &document{spec: spec, chain: signer}
	return d, root, nil
}

// readDates reads what all documents share.
func (d *document) readDates(o object) {
	d.issued = o.date("issueDate")
	d.nextUpdate = o.date("nextUpdate")
	if o.r.err == nil && d.nextUpdate.Before(d.issued) {
		o.fail(ReasonDate, "nextUpdate", stamp(d.nextUpdate), "at or after issueDate "+stamp(d.issued))
	}
	d.evaluation = uint32(o.number("tcbEvaluationDataNumber", math.MaxUint32, ReasonFormat))
}

// checkDates holds the signing chain and the document against the time.
func (d *document) checkDates(at time.Time) error {
	if err := d.chain.checkDates(at); err != nil {
		return asSigningChain(err)
	}
	if e := checkWindow(at, d.issued, d.nextUpdate); e != nil {
		e.Stage, e.What = d.spec.stage, d.spec.what
		return e
	}
	return nil
}

// asSigningChain folds the reasons a chain can fail for into those a document has; the text keeps the detail.
func asSigningChain(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	folded := *e
	switch e.Reason {
	case ReasonUntrustedRoot, ReasonNotYetValid:
	case ReasonExpired:
		folded.Reason = ReasonSigningChainExpired
	default:
		folded.Reason = ReasonSigningChain
	}
	return &folded
}

// verifySignature verifies a raw P-256 signature, r and s of 32 bytes each, over SHA-256. The high-s twin of a
// signature is accepted, as everywhere in DCAP.
func verifySignature(signer *x509.Certificate, data []byte, signature [64]byte) bool {
	key, ok := signer.PublicKey.(*ecdsa.PublicKey)
	return ok && verifyRaw(key, data, signature)
}

func verifyRaw(key *ecdsa.PublicKey, data []byte, signature [64]byte) bool {
	sum := sha256.Sum256(data)
	r := new(big.Int).SetBytes(signature[:32])
	s := new(big.Int).SetBytes(signature[32:])
	return ecdsa.Verify(key, sum[:], r, s) // refuses 0 and values not below the order
}

// parseEnvelope takes the two members of a signed document apart: the signed object, byte for byte as served, and the
// signature. encoding/json alone would take the last of two equal keys and match keys without regard to case.
func parseEnvelope(body []byte, spec documentSpec) (signed []byte, signature [64]byte, err error) {
	fail := func(reason Reason, got, want string) error {
		return &Error{Stage: spec.stage, Reason: reason, What: spec.what, Got: got, Want: want}
	}
	shape := fmt.Sprintf("an object with %q and \"signature\" and nothing else", spec.member)
	if len(body) > maxDocumentSize {
		return nil, signature, fail(ReasonFormat, fmt.Sprintf("%d bytes", len(body)), fmt.Sprintf("at most %d", maxDocumentSize))
	}
	if !json.Valid(body) { // also refuses bytes after the value
		return nil, signature, fail(ReasonFormat, fmt.Sprintf("text beginning with %q that is not JSON", head(body)), shape)
	}
	members, err := rawMembers(body)
	if err != nil {
		return nil, signature, fail(ReasonFormat, err.Error(), shape)
	}
	signed, ok := members[spec.member]
	if !ok {
		return nil, signature, fail(ReasonFormat, fmt.Sprintf("no member %q", spec.member), shape)
	}
	if signed[0] != '{' {
		return nil, signature, fail(ReasonFormat, fmt.Sprintf("%q that is not an object", spec.member), shape)
	}
	var digits string
	if err := json.Unmarshal(members["signature"], &digits); err != nil {
		return nil, signature, fail(ReasonSignature, "no \"signature\" or one that is not a string", "128 hex digits")
	}
	raw, err := hex.DecodeString(digits)
	if err != nil || len(raw) != len(signature) {
		return nil, signature, fail(ReasonSignature, fmt.Sprintf("a signature of %d characters", len(digits)), "128 hex digits")
	}
	if len(members) != 2 {
		return nil, signature, fail(ReasonFormat, fmt.Sprintf("%d members", len(members)), shape)
	}
	return signed, [64]byte(raw), nil
}

// rawMembers splits a valid JSON text into the members of its object, each value as it stands in the text.
func rawMembers(body []byte) (map[string]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	if start, err := dec.Token(); err != nil || start != json.Delim('{') {
		return nil, errors.New("JSON that is not an object")
	}
	members := map[string]json.RawMessage{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, _ := key.(string)
		if _, twice := members[name]; twice {
			return nil, fmt.Errorf("two members %q", name)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, err
		}
		members[name] = value
	}
	return members, nil
}

// documentReader reads a signed object strictly and keeps the first error.
type documentReader struct {
	spec documentSpec
	err  error
}

// object is one JSON object, with the path to it for error texts.
type object struct {
	r      *documentReader
	path   string
	fields map[string]any
}

func (r *documentReader) parse(signed []byte) (object, error) {
	dec := json.NewDecoder(bytes.NewReader(signed))
	dec.UseNumber()
	value, err := readValue(dec)
	if err != nil {
		return object{}, &Error{Stage: r.spec.stage, Reason: ReasonFormat, What: r.spec.what, Err: err}
	}
	fields, _ := value.(map[string]any)
	return object{r, "", fields}, nil
}

// readValue reads one value like json.Unmarshal into an any, but refuses an object with two equal keys.
func readValue(dec *json.Decoder) (any, error) {
	token, err := dec.Token()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		return readObject(dec)
	case json.Delim('['):
		list := []any{}
		for dec.More() {
			element, err := readValue(dec)
			if err != nil {
				return nil, err
			}
			list = append(list, element)
		}
		_, err := dec.Token()
		return list, err
	}
	return token, nil
}

func readObject(dec *json.Decoder) (map[string]any, error) {
	members := map[string]any{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, _ := key.(string)
		if _, twice := members[name]; twice {
			return nil, fmt.Errorf("two members %q in one object", name)
		}
		if members[name], err = readValue(dec); err != nil {
			return nil, err
		}
	}
	_, err := dec.Token()
	return members, err
}

func (o object) fail(reason Reason, name, got, want string) {
	if o.r.err == nil {
		o.r.err = &Error{Stage: o.r.spec.stage, Reason: reason, What: o.r.spec.what + ": " + o.path + name, Got: got, Want: want}
	}
}

func (o object) wrong(reason Reason, name, want string) {
	got := "nothing"
	if v, ok := o.fields[name]; ok {
		text, _ := json.Marshal(v) //nolint:errchkjson // a value that came out of the decoder
		got = string(head(text))
	}
	o.fail(reason, name, got, want)
}

func (o object) has(name string) bool { _, ok := o.fields[name]; return ok }

func (o object) text(name string, reason Reason) string {
	s, ok := o.fields[name].(string)
	if !ok {
		o.wrong(reason, name, "a string")
	}
	return s
}

// number reads an integer from 0 to limit. Anything but plain digits is refused with reason, a number above the limit
// with ReasonRange: cutting it to size would turn 256 into 0.
func (o object) number(name string, limit uint64, reason Reason) uint64 {
	n, ok := o.fields[name].(json.Number)
	if !ok {
		o.wrong(reason, name, fmt.Sprintf("a number from 0 to %d", limit))
		return 0
	}
	v, err := strconv.ParseUint(n.String(), 10, 64)
	if errors.Is(err, strconv.ErrRange) || err == nil && v > limit {
		o.wrong(ReasonRange, name, fmt.Sprintf("a number from 0 to %d", limit))
		return 0
	}
	if err != nil {
		o.wrong(reason, name, fmt.Sprintf("a number from 0 to %d", limit))
	}
	return v
}

// hexBytes fills into from hex digits of exactly its length, in either case.
func (o object) hexBytes(name string, into []byte) {
	s, _ := o.fields[name].(string)
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != len(into) {
		o.wrong(ReasonFormat, name, fmt.Sprintf("a string of %d hex digits", 2*len(into)))
		return
	}
	copy(into, raw)
}

// dateLayout is the only form of dates in collateral. time.Parse would take a fraction of a second too; the length
// tells.
const dateLayout = "2006-01-02T15:04:05Z"

func (o object) date(name string) time.Time {
	s, _ := o.fields[name].(string)
	t, err := time.Parse(dateLayout, s)
	if err != nil || len(s) != len(dateLayout) {
		o.wrong(ReasonDate, name, "a date like "+dateLayout)
		return time.Time{}
	}
	return t
}

// list reads a non-empty array of objects.
func (o object) list(name string, reason Reason) []object {
	elements, ok := o.fields[name].([]any)
	if !ok || len(elements) == 0 {
		o.wrong(reason, name, "a non-empty array")
		return nil
	}
	objects := make([]object, len(elements))
	for i, element := range elements {
		path := fmt.Sprintf("%s%s[%d].", o.path, name, i)
		fields, ok := element.(map[string]any)
		if !ok {
			o.fail(reason, fmt.Sprintf("%s[%d]", name, i), "something else", "an object")
			return nil
		}
		objects[i] = object{o.r, path, fields}
	}
	return objects
}

func (o object) object(name string, reason Reason) object {
	fields, ok := o.fields[name].(map[string]any)
	if !ok {
		o.wrong(reason, name, "an object")
	}
	return object{o.r, o.path + name + ".", fields}
}

// status reads a TCB status word.
func (o object) status(name string, allowed func(Status) bool) Status {
	s, _ := o.fields[name].(string)
	status, err := ParseStatus(s)
	if err != nil || !allowed(status) {
		o.wrong(ReasonStatus, name, "a TCB status")
		return StatusRevoked
	}
	return status
}

// advisories reads the optional list of advisory identifiers.
func (o object) advisories() []string {
	if !o.has("advisoryIDs") {
		return nil
	}
	list, ok := o.fields["advisoryIDs"].([]any)
	ids := make([]string, len(list))
	for i, element := range list {
		id, isText := element.(string)
		ok = ok && isText
		ids[i] = id
	}
	if !ok {
		o.wrong(ReasonFormat, "advisoryIDs", "an array of strings")
	}
	return ids
}
