package ratls

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/asn1"
	"fmt"
	"maps"
	"slices"

	"github.com/fxamacker/cbor/v2"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
)

// oidDICE is tcg-dice-TaggedEvidence of the TCG's DICE Attestation Architecture.
var oidDICE = asn1.ObjectIdentifier{2, 23, 133, 5, 4, 9}

// diceTag is the CBOR tag of an SGX quote with claims.
const diceTag = 60000

// pubkeyHash is the claim that binds the key.
const pubkeyHash = "pubkey-hash"

// Algorithm ids of the IANA Named Information Hash Algorithm Registry. Gramine writes SHA-256 and reads all three.
const (
	algSHA256 = 1
	algSHA384 = 7
	algSHA512 = 8
)

// CBOR major types, the upper three bits of an item's first byte (RFC 8949, section 3.1).
const (
	majorUint  = 0
	majorBytes = 2
	majorArray = 4
	majorMap   = 5
	majorTag   = 6
)

var (
	diceDecoder = must(cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		MaxNestedLevels:  8,
		MaxArrayElements: 16,
		MaxMapPairs:      16,
	}.DecMode())
	diceEncoder = must(cbor.CoreDetEncOptions().EncMode())
)

// must is for options that are constant: they are right or every test fails.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// diceReportData is what a quote for the DICE form has to contain.
func diceReportData(claims []byte) (data [64]byte) {
	sum := sha256.Sum256(claims)
	copy(data[:], sum[:])
	return data
}

// parseDICE reads the extension's value and checks that it binds the key. It returns the names of the claims beside the
// public key's hash, sorted; they are under the quote, but nothing here knows what they mean.
func parseDICE(value, spki []byte) (*quote.Quote, []string, error) {
	rawQuote, claims, err := splitEvidence(value)
	if err != nil {
		return nil, nil, fail(BadEvidence, DICE, "read evidence: %w", err)
	}
	q, err := quote.Parse(rawQuote)
	if err != nil {
		return nil, nil, &Error{Kind: BadQuote, Form: DICE, Err: err}
	}
	if err := checkReportData(DICE, q, diceReportData(claims), "the SHA-256 of the claims"); err != nil {
		return nil, nil, err
	}
	entry, others, err := readClaims(claims)
	if err != nil {
		return nil, nil, fail(BadEvidence, DICE, "read claims: %w", err)
	}
	if err := checkHashEntry(entry, spki); err != nil {
		return nil, nil, err
	}
	return q, others, nil
}

// splitEvidence takes the outermost level apart: tag 60000 ([quote, claims]). What it returns are parts of value: every
// connection comes through here, and a quote is worth not being copied at each level.
func splitEvidence(value []byte) (rawQuote, claims []byte, err error) {
	item, err := firstItem(value, majorTag, "a tag")
	if err != nil {
		return nil, nil, err
	}
	tag, content := head(item)
	if tag != diceTag {
		return nil, nil, fmt.Errorf("found CBOR tag %d, want %d", tag, diceTag)
	}
	if m := major(content); m != majorArray {
		return nil, nil, fmt.Errorf("found CBOR major type %d, want an array of 2", m)
	}
	n, content := head(content)
	if n != 2 {
		return nil, nil, fmt.Errorf("found an array of %d, want 2", n)
	}
	if rawQuote, content, err = cutByteString(content); err != nil {
		return nil, nil, fmt.Errorf("quote: %w", err)
	}
	if claims, _, err = cutByteString(content); err != nil {
		return nil, nil, fmt.Errorf("claims: %w", err)
	}
	return rawQuote, claims, nil
}

// cutByteString returns the content of a byte string at the beginning of well-formed items, and what follows it.
func cutByteString(items []byte) (content, rest []byte, err error) {
	if m := major(items); m != majorBytes {
		return nil, nil, fmt.Errorf("found CBOR major type %d, want a byte string", m)
	}
	n, items := head(items)
	return items[:n:n], items[n:], nil
}

// head returns the argument of the first item and what follows its head (RFC 8949, section 3). The decoder has found the
// item well formed and of definite length.
func head(item []byte) (argument uint64, rest []byte) {
	info, rest := item[0]&0x1f, item[1:]
	if info < 24 {
		return uint64(info), rest
	}
	n := 1 << (info - 24) // bytes: 1, 2, 4 or 8
	for _, b := range rest[:n] {
		argument = argument<<8 | uint64(b)
	}
	return argument, rest[n:]
}

// readClaims returns the hash entry and the names of all other claims. A duplicate claim is an error of the decoder, so
// that "pubkey-hash" is there exactly once or not at all, and not at all is refused: such claims bind no key.
func readClaims(claims []byte) (entry []byte, others []string, err error) {
	item, err := firstItem(claims, majorMap, "a map")
	if err != nil {
		return nil, nil, err
	}
	var all map[string]cbor.RawMessage
	if err := diceDecoder.Unmarshal(item, &all); err != nil {
		return nil, nil, err
	}
	raw, ok := all[pubkeyHash]
	delete(all, pubkeyHash)
	others = slices.Sorted(maps.Keys(all))
	if !ok {
		return nil, nil, fmt.Errorf("found claims %q, want %q: without it the quote binds no key", others, pubkeyHash)
	}
	if entry, err = byteString(raw); err != nil {
		return nil, nil, fmt.Errorf("claim %s: %w", pubkeyHash, err)
	}
	return entry, others, nil
}

// checkHashEntry compares [algorithm, digest] with the key.
func checkHashEntry(entry, spki []byte) error {
	alg, digest, err := readHashEntry(entry)
	if err != nil {
		return fail(BadEvidence, DICE, "read claim %s: %w", pubkeyHash, err)
	}
	want, err := hashSPKI(alg, spki)
	if err != nil {
		return fail(BadEvidence, DICE, "read claim %s: %w", pubkeyHash, err)
	}
	if len(digest) != len(want) {
		return fail(BadEvidence, DICE, "read claim %s: found a digest of %d bytes, want %d", pubkeyHash, len(digest), len(want))
	}
	if !bytes.Equal(digest, want) {
		return fail(NotBound, DICE, "claim %s is %x, want %x, the hash of the certificate's public key: the quote is about another key", pubkeyHash, digest, want)
	}
	return nil
}

func readHashEntry(entry []byte) (alg uint64, digest []byte, err error) {
	item, err := firstItem(entry, majorArray, "an array")
	if err != nil {
		return 0, nil, err
	}
	pair, err := array(item, 2)
	if err != nil {
		return 0, nil, err
	}
	if major(pair[0]) != majorUint {
		return 0, nil, fmt.Errorf("algorithm: found CBOR major type %d, want an unsigned integer", major(pair[0]))
	}
	if err := diceDecoder.Unmarshal(pair[0], &alg); err != nil {
		return 0, nil, fmt.Errorf("algorithm: %w", err)
	}
	if digest, err = byteString(pair[1]); err != nil {
		return 0, nil, fmt.Errorf("digest: %w", err)
	}
	return alg, digest, nil
}

func hashSPKI(alg uint64, spki []byte) ([]byte, error) {
	switch alg {
	case algSHA256:
		sum := sha256.Sum256(spki)
		return sum[:], nil
	case algSHA384:
		sum := sha512.Sum384(spki)
		return sum[:], nil
	case algSHA512:
		sum := sha512.Sum512(spki)
		return sum[:], nil
	default:
		return nil, fmt.Errorf("found hash algorithm %d, want %d (SHA-256), %d (SHA-384) or %d (SHA-512)", alg, algSHA256, algSHA384, algSHA512)
	}
}

// firstItem returns the bytes of the first CBOR item, without what follows it.
func firstItem(b []byte, wantMajor byte, want string) ([]byte, error) {
	var first cbor.RawMessage
	rest, err := diceDecoder.UnmarshalFirst(b, &first)
	if err != nil {
		return nil, err
	}
	item := b[:len(b)-len(rest)]
	if major(item) != wantMajor {
		return nil, fmt.Errorf("found CBOR major type %d, want %s", major(item), want)
	}
	return item, nil
}

// array and byteString look at the major type first, because the decoder would convert between some types.
func array(item []byte, n int) ([]cbor.RawMessage, error) {
	if major(item) != majorArray {
		return nil, fmt.Errorf("found CBOR major type %d, want an array of %d", major(item), n)
	}
	var items []cbor.RawMessage
	if err := diceDecoder.Unmarshal(item, &items); err != nil {
		return nil, err
	}
	if len(items) != n {
		return nil, fmt.Errorf("found an array of %d, want %d", len(items), n)
	}
	return items, nil
}

func byteString(item []byte) ([]byte, error) {
	if major(item) != majorBytes {
		return nil, fmt.Errorf("found CBOR major type %d, want a byte string", major(item))
	}
	var b []byte
	if err := diceDecoder.Unmarshal(item, &b); err != nil {
		return nil, err
	}
	return b, nil
}

func major(item []byte) byte {
	if len(item) == 0 {
		return 0xff // no such type
	}
	return item[0] >> 5
}

// encodeClaims makes the claims for a key, and encodeEvidence the extension's value.
func encodeClaims(spki []byte, padded bool) ([]byte, error) {
	sum := sha256.Sum256(spki)
	entry, err := diceEncoder.Marshal([]any{uint64(algSHA256), sum[:]})
	if err != nil {
		return nil, fmt.Errorf("encode claim %s: %w", pubkeyHash, err)
	}
	if padded {
		entry = pad(entry, 64)
	}
	claims, err := diceEncoder.Marshal(map[string][]byte{pubkeyHash: entry})
	if err != nil {
		return nil, fmt.Errorf("encode claims: %w", err)
	}
	if padded {
		claims = pad(claims, 128)
	}
	return claims, nil
}

func encodeEvidence(rawQuote, claims []byte, padded bool) ([]byte, error) {
	value, err := diceEncoder.Marshal(cbor.Tag{Number: diceTag, Content: [][]byte{rawQuote, claims}})
	if err != nil {
		return nil, fmt.Errorf("encode evidence: %w", err)
	}
	if padded {
		value = pad(value, MaxEvidence)
	}
	return value, nil
}

// pad fills b up to size, the allocation that libcbor before 0.10 reports as its length, with what an earlier
// allocation could have left there: not zeros.
func pad(b []byte, size int) []byte {
	for len(b) < size {
		b = append(b, byte(0xa5^len(b)))
	}
	return b
}
