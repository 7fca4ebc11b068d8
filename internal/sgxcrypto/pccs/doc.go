// Package pccs gets the collateral that DCAP verification needs: TCB info, QE identity, the PCK CRL and the root CA
// CRL, each with the certificate chain that signed it.
//
// [Client] speaks version 4 of the HTTP API of Intel's Provisioning Certification Service (PCS), of Intel's caching
// service (PCCS) and of Alibaba Cloud's regional services, which share it:
//
//	GET tcb?fmspc=00606A000000           JSON, chain in TCB-Info-Issuer-Chain (older: SGX-TCB-Info-Issuer-Chain)
//	GET qe/identity                      JSON, chain in SGX-Enclave-Identity-Issuer-Chain
//	GET pckcrl?ca=platform&encoding=der  CRL, chain in SGX-PCK-CRL-Issuer-Chain
//	GET rootcacrl                        CRL; PCCS only, Intel serves it from its CRL distribution point
//
// The chains are percent-encoded PEM; a service may serve a CRL as DER, as PEM or as hex digits.
// Version 3, which Intel has retired, differs in the header of TCB info and in TCB info itself, which lists no advisories
// there; it is spoken only if asked for (ClientOptions.AllowAPIv3).
//
// [ParseQCNL] reads the configuration of Intel's own quote provider library, to ask the service that the platform's
// other software asks.
//
// [Cache] keeps a client's answers in memory and, if given a directory, on disk, where several processes may share
// them. [Bundle] is a file with collateral in it, for machines that reach no service. All three have the same method
// Collateral, which is what a verifier asks.
//
// Nothing is trusted for where it came from: every document is signed, and package dcap checks it at every use. A
// service or a cache file can withhold, delay, or repeat what is still valid, and no more. That is why this package
// looks only for what makes an answer useless at once (an HTML page, another platform's document) and leaves the
// signatures alone. See https://api.portal.trustedservices.intel.com/content/documentation.html.
package pccs
