// Package dcap verifies Intel SGX quotes, as Intel's quote verification library does and more strictly.
//
// Two questions have two answers. [Verify] answers "is it genuine?": did this report come from an enclave on real SGX
// hardware, what is known of that hardware's patches, and when does the evidence expire? [Policy.Check] answers "is it
// wanted?": is it this enclave, on a platform that is good enough? A quote must pass both.
//
// Beside the quote, verification needs [Collateral]: documents that Intel signs and that anyone may relay. They are
//
//   - TCB info: for a family of platforms (FMSPC), which versions of microcode and firmware have which TCB status
//   - QE identity: what Intel's quoting enclave, which signs attestation keys, looks like
//   - two certificate revocation lists: of the root CA, and of the CA that issued the platform's PCK certificate
//   - the certificate chains of all three
//
// The steps, in Intel's order; the first that fails is the *[Error]:
//
//  1. the quote is of version 3 and carries its PCK certificate chain; no piece of collateral is missing
//  2. PCK chain: three certificates, each in its role, linked, up to the trusted root, valid at the given time
//  3. root CA CRL and PCK CRL: issued by the chain's CAs, signed, current; neither CA nor PCK certificate is on them
//  4. SGX extension of the PCK certificate: FMSPC, PCE-ID, 16 component SVNs, PCESVN
//  5. TCB info, then QE identity: signing chain, signature over the bytes as served, form, dates
//  6. TCB info is for this FMSPC and PCE-ID
//  7. QE report: signed by the PCK key; its report data binds the attestation key; it is Intel's quoting enclave
//  8. the quote's signature by the attestation key
//  9. TCB levels of platform and QE, merged into one status
//
// Dates are compared with [VerifyOptions].At, inclusively on both sides; this package does not look at the clock.
//
// Beyond Intel's library, these are refused too: certificates and documents before their time, bytes hidden behind the
// certification data or behind a CRL, repeated JSON members and SGX extension fields, numbers out of range (there they
// wrap around), a report data of the QE that is not zero in its second half, certificates whose constraints or key usage
// do not fit their role, CRLs without nextUpdate, delta and indirect CRLs.
//
// Sources: Intel SGX PCK Certificate and CRL Profile Specification; Intel SGX and TDX Provisioning Certification Service
// API, versions 3 and 4; the sources of Intel's SGX-TDX-DCAP-QuoteVerificationLibrary, whose file names comments cite.
package dcap
