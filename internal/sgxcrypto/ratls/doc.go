// Package ratls makes, reads and verifies RA-TLS certificates as Gramine uses them: a self-signed TLS certificate that
// carries an SGX quote, whose report data binds the certificate's key. Whoever proves possession of that key in a TLS
// handshake is the enclave that the quote is about.
//
// Two forms are in use, told apart by the OID of the extension:
//
//	legacy  0.6.9.42.840.113741.1337.6  the quote; report data = SHA-256(SubjectPublicKeyInfo), 32 zero bytes
//	DICE    2.23.133.5.4.9              CBOR: tag 60000 ([quote, claims]); report data = SHA-256(claims), 32 zero bytes;
//	                                    claims = {"pubkey-hash": [algorithm, hash of SubjectPublicKeyInfo]}
//
// Gramine 1.0 to 1.7 write the legacy form, 1.8 and later both, with two different quotes. The sources are
// tools/sgx/ra-tls/ra_tls.h, ra_tls_attest.c and ra_tls_verify_common.c of Gramine v1.0 to v1.9; the DICE form is
// that of the TCG DICE Attestation Architecture and the interoperable RA-TLS of the CCC attestation SIG.
//
// # What a certificate has to satisfy
//
//   - The key is RSA with 3072 bits, ECDSA P-256 or ECDSA P-384: what Gramine makes (RSA until 1.3.1, P-384 since) or
//     accepts. Every other key is refused.
//   - A DICE extension governs: a bad one is final, it never falls back to the legacy form. The legacy extension beside a
//     good one is not looked at, as in Gramine's own verifier: it is evidence of the same kind about the same key, and
//     can add nothing to what the DICE quote has proved.
//   - Evidence is 128 to 8192 bytes long, as in Gramine.
//   - Bytes after the CBOR item are ignored at all three levels (evidence, claims, hash entry): clients linked with
//     libcbor before 0.10 write the allocated size instead of the used one. The hash covers the whole claims string.
//   - Stricter than Gramine's verifier: the claims hold exactly one "pubkey-hash", and the upper half of the report data is
//     zero. Gramine 1.8 and 1.9 accept claims without it, which bind no key at all, and ignore the upper half.
//
// Subject, serial number, validity and self-signature prove nothing (every Gramine enclave writes the same ones, and
// they end in 2030) and are not looked at.
//
// # Order of checks, and who can make us work
//
// [ParseCertificate] needs no network and no time. [Verifier.Verify] first checks everything that the quote alone can
// show (chain to a trusted root, signatures, binding) and fetches collateral only then, so that only the owner of a genuine
// SGX platform can make us fetch. [Verifier.Handshake] runs it after the TLS handshake, so that the peer
// has proved possession of the key by then; see there.
//
// A [dcap.Verdict] says that the evidence is genuine. Whether this enclave is wanted is for a [dcap.Policy] to say.
package ratls
