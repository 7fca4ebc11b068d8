package sigstruct

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"math/big"
	"slices"
)

// Verify checks what the processor checks when an enclave is started with this SIGSTRUCT: the signature by the key that
// is in it, and the two quotients. The error is an *Error. It does not say whether the signer is one to trust: compare
// [Sigstruct.MRSIGNER].
func (s *Sigstruct) Verify() error {
	if err := s.verify(); err != nil {
		return fmt.Errorf("verify SIGSTRUCT: %w", err)
	}
	return nil
}

func (s *Sigstruct) verify() error {
	n, sig := number(s.Modulus), number(s.Signature)
	if bits := n.BitLen(); bits != 8*NumberSize || n.Bit(0) == 0 {
		return &Error{BadModulus, "modulus", offsetModulus, "an odd number of 3072 bits", describeNumber(n)}
	}
	if sig.Cmp(n) >= 0 {
		return &Error{BadSignature, "signature", offsetSignature, "a number below the modulus", describeNumber(sig)}
	}
	digest := sha256.Sum256(s.SignedBytes())
	key := &rsa.PublicKey{N: n, E: Exponent}
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], bigEndian(s.Signature)); err != nil {
		return &Error{BadSignature, "signature", offsetSignature, "RSASSA-PKCS1-v1_5 of the signed bytes by the key in the file", "one that does not verify"}
	}
	// s*s = q1*n + r and r*s = q2*n + (s^3 mod n).
	q1, r := new(big.Int).DivMod(new(big.Int).Mul(sig, sig), n, new(big.Int))
	q2 := new(big.Int).Div(r.Mul(r, sig), n)
	if number(s.Q1).Cmp(q1) != 0 {
		return &Error{BadQuotient, "q1", offsetQ1, "signature squared, divided by the modulus", "another value"}
	}
	if number(s.Q2).Cmp(q2) != 0 {
		return &Error{BadQuotient, "q2", offsetQ2, "the rest of that times the signature, divided by the modulus", "another value"}
	}
	return nil
}

// Warnings are oddities that neither the signature nor a measurement shows: a sentence each, without full stop.
func (s *Sigstruct) Warnings() []string {
	var list []string
	if s.Vendor != 0 && s.Vendor != VendorIntel {
		list = append(list, fmt.Sprintf("the vendor is %#x, which is neither 0 nor Intel's", s.Vendor))
	}
	for _, r := range []struct {
		bytes  []byte
		offset int
	}{{s.Reserved1[:], offsetReserved1}, {s.Reserved2[:], 910}, {s.Reserved3[:], 992}, {s.Reserved4[:], offsetEnd}} {
		if slices.ContainsFunc(r.bytes, func(b byte) bool { return b != 0 }) {
			list = append(list, fmt.Sprintf("reserved bytes at offset %d are not zero: the processor refuses the enclave, or knows more than this program", r.offset))
		}
	}
	if _, encoding := s.SignedOn(); encoding == 0 {
		list = append(list, fmt.Sprintf("the date %x is none", s.Date))
	}
	if s.Debug() {
		list = append(list, "the enclave is signed to run with a debugger, which can read everything it is given")
	} else if s.AllowsDebug() {
		list = append(list, "the signature also lets the enclave run with a debugger: its attribute mask leaves the debug flag open")
	}
	return list
}

func number(le [NumberSize]byte) *big.Int { return new(big.Int).SetBytes(bigEndian(le)) }

func bigEndian(le [NumberSize]byte) []byte {
	slices.Reverse(le[:])
	return le[:]
}

func describeNumber(n *big.Int) string {
	parity := "odd"
	if n.Bit(0) == 0 {
		parity = "even"
	}
	return fmt.Sprintf("an %s number of %d bits", parity, n.BitLen())
}
