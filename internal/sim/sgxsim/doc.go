// Package sgxsim impersonates, for tests and demonstrations, everything that SGX attestation needs and an ordinary machine
// has not: the processor with its quoting enclave, Intel as the issuer of certificates, TCB info and revocation lists, a
// caching service (PCCS) that hands them out, and Gramine's side of the secret provisioning protocol.
//
// It proves nothing about any hardware, and says so: its root is named "CC SIMULATED SGX Root CA - NOT INTEL". A verifier
// accepts its quotes only after being told to trust that root.
//
// # A platform
//
// [New] makes a [Platform] in memory, [Create] one that lives in a directory, [Open] reads it again. Keys are files
// with mode 0600; platform.json may be edited. The default is modelled on what an Alibaba Cloud vSGX instance (Ice
// Lake, FMSPC 00606A000000) gets: status SWHardeningNeeded with INTEL-SA-00615 at evaluation number 17, and OutOfDate
// in the early set.
//
// The clock is read only where no time was given: by [New], [Platform.Handler] and an [Enclave]. TCB info and revocation
// lists are issued for the time that is asked for, dated from the beginning of that day (UTC), so that repeated requests
// give the same bytes.
//
// # Breaking things
//
// Everything is made in two steps: a struct with exported fields, then a signature over it. To see whether a verifier
// refuses something, change a field in between:
//
//	p.PCK.Certificate.NotAfter = yesterday      // then p.PCK.Sign(p.CA())
//	info := p.TCBInfo(at, p.Standard); info.Levels[0].Status = "Revoked"
//	crl, err := p.PCKCRL(at, "platform"); crl.Revoked = append(crl.Revoked, p.PCK.Certificate.Serial)
//	q, err := p.NewQuote(id, data); q.QEReport.MRSIGNER[0] ^= 1      // then p.SignQEReport(q)
//
// What a struct cannot express (a JSON member of the wrong type, a signature that is off by one bit) is done on the bytes:
// [Authority.SignJSON] signs any text, [Certificate.DER] and [CRL.DER] return plain bytes to be edited.
//
// The package shares no code with the verifier: it never calls package dcap, which would then agree with itself.
package sgxsim
