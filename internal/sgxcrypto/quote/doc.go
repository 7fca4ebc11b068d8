// Package quote reads and writes Intel SGX ECDSA quotes of version 3.
//
// A quote is what an enclave shows to prove what it is. It holds the enclave's report body, signed by an attestation
// key; the report of the quoting enclave (QE) that vouches for that key, signed by the platform's PCK key; and the
// certification data, normally the PCK certificate chain. All integers are little-endian, all lengths are bytes:
//
//	offset  size  field
//	     0    48  header
//	    48   384  report body of the attested enclave
//	   432     4  length S of the signature section
//	   436    64  quote signature, r and s, over the bytes 0..431
//	   500    64  attestation public key, x and y
//	   564   384  report body of the QE
//	   948    64  QE report signature, r and s, over the bytes 564..947
//	  1012     2  length A of the QE authentication data
//	  1014     A  QE authentication data
//	1014+A     2  certification data type
//	1016+A     4  length C of the certification data
//	1020+A     C  certification data
//
// The layout is that of sgx_quote3_t and sgx_ql_ecdsa_sig_data_t in sgx_quote_3.h of Intel's SGX DCAP library, the
// report body that of sgx_report_body_t in sgx_report.h of the SGX SDK.
//
// [Parse] accepts exactly one encoding: S must equal 584+A+C and nothing may follow, so that parsing and marshalling
// give back the same bytes. It proves nothing: a parsed quote is a claim until package dcap has verified it.
//
// Quotes of version 4 and 5 (TDX, and SGX on newer stacks) and of version 1 and 2 (EPID) are refused by name.
package quote
