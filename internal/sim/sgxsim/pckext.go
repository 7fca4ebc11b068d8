package sgxsim

import (
	"encoding/asn1"
	"fmt"
)

// SGXExtension is the SGX extension of a PCK certificate (Intel SGX PCK Certificate and Certificate Revocation List
// Profile Specification). Numbers are wider and strings looser than they may be, so that wrong ones can be written.
type SGXExtension struct {
	PPID       []byte    // 16 bytes
	Components [16]int64 // 0..255 each
	PCESVN     int64     // 0..65535
	CPUSVN     []byte    // 16 bytes
	PCEID      []byte    // 2 bytes
	FMSPC      []byte    // 6 bytes
	SGXType    int       // 0 standard, 1 scalable, 2 scalable with integrity

	// Platform is only in certificates of the Platform CA.
	Platform *SGXPlatform
}

// SGXPlatform is the part of the extension that multi-package platforms have.
type SGXPlatform struct {
	InstanceID                              []byte // 16 bytes
	DynamicPlatform, CachedKeys, SMTEnabled bool
}

// SGXEntry is one pair of the extension: an OID below [OIDSGX] and a value.
type SGXEntry struct {
	ID    asn1.ObjectIdentifier
	Value asn1.RawValue // FullBytes is set
}

// Entries returns the extension's pairs in Intel's order, to be changed before [MarshalSGXEntries].
func (x *SGXExtension) Entries() ([]SGXEntry, error) {
	var b entryBuilder
	b.add(x.PPID, 1)
	tcb := x.tcbEntries()
	b.addEntries(tcb, 2)
	b.add(x.PCEID, 3)
	b.add(x.FMSPC, 4)
	b.add(asn1.Enumerated(x.SGXType), 5)
	if p := x.Platform; p != nil {
		b.add(p.InstanceID, 6)
		var config entryBuilder
		config.add(p.DynamicPlatform, 7, 1)
		config.add(p.CachedKeys, 7, 2)
		config.add(p.SMTEnabled, 7, 3)
		b.addEntries(config, 7)
	}
	if b.err != nil {
		return nil, fmt.Errorf("encode SGX extension: %w", b.err)
	}
	return b.all, nil
}

func (x *SGXExtension) tcbEntries() (b entryBuilder) {
	for i, svn := range x.Components {
		b.add(svn, 2, i+1)
	}
	b.add(x.PCESVN, 2, 17)
	b.add(x.CPUSVN, 2, 18)
	return b
}

// Marshal encodes the extension's value.
func (x *SGXExtension) Marshal() ([]byte, error) {
	entries, err := x.Entries()
	if err != nil {
		return nil, err
	}
	return MarshalSGXEntries(entries)
}

// MarshalSGXEntries encodes pairs as the extension's value.
func MarshalSGXEntries(entries []SGXEntry) ([]byte, error) {
	der, err := asn1.Marshal(entries)
	if err != nil {
		return nil, fmt.Errorf("encode SGX extension: %w", err)
	}
	return der, nil
}

// Inner returns the pairs that an entry holds: those of the TCB and of the configuration.
func (e *SGXEntry) Inner() ([]SGXEntry, error) {
	var inner []SGXEntry
	if _, err := asn1.Unmarshal(e.Value.FullBytes, &inner); err != nil {
		return nil, fmt.Errorf("take SGX extension apart: %v holds no pairs: %w", e.ID, err)
	}
	return inner, nil
}

// SetInner replaces the pairs that an entry holds.
func (e *SGXEntry) SetInner(inner []SGXEntry) error {
	der, err := MarshalSGXEntries(inner)
	e.Value = asn1.RawValue{FullBytes: der}
	return err
}

// entryBuilder collects entries and the first error.
type entryBuilder struct {
	all []SGXEntry
	err error
}

func (b *entryBuilder) add(value any, arcs ...int) {
	der, err := asn1.Marshal(value)
	if err != nil && b.err == nil {
		b.err = err
	}
	id := append(asn1.ObjectIdentifier{}, OIDSGX...)
	b.all = append(b.all, SGXEntry{append(id, arcs...), asn1.RawValue{FullBytes: der}})
}

func (b *entryBuilder) addEntries(inner entryBuilder, arcs ...int) {
	if inner.err != nil && b.err == nil {
		b.err = inner.err
	}
	b.add(inner.all, arcs...)
}
