// Package sigstruct reads and verifies SIGSTRUCT, the enclave signature structure of SGX: the file with the suffix .sig
// that gramine-sgx-sign writes beside the manifest. It states which enclave may start, by its measurement, and who says
// so; a key server's rules are made from it.
//
// [Parse] and [Sigstruct.Verify] are the functions to start with. A parsed SIGSTRUCT is a claim until it is verified;
// a verified one is genuine in that its signer made it. Whether the signer is one to trust, the measurement and
// [Sigstruct.MRSIGNER] have to tell.
//
// The structure has 1808 bytes (Intel SDM volume 3D, "Enclave Signature Structure (SIGSTRUCT)"; sgx_arch.h of Gramine).
// Integers are little-endian, and so are the four big numbers of 384 bytes:
//
//	offset  size  field
//	     0    16  header, a constant                                signed
//	    16     4  vendor, 0 or 0x8086 for Intel                     signed
//	    20     4  date                                              signed
//	    24    16  header 2, a constant                              signed
//	    40     4  software defined                                  signed
//	    44    84  reserved                                          signed
//	   128   384  modulus of the signer's RSA key
//	   512     4  exponent, 3
//	   516   384  signature
//	   900     4  MISCSELECT                                        signed
//	   904     4  mask of MISCSELECT                                signed
//	   908     1  CET attributes                                    signed
//	   909     1  mask of CET attributes                            signed
//	   910     2  reserved                                          signed
//	   912    16  ISV family id                                     signed
//	   928    16  attributes: flags, XFRM                           signed
//	   944    16  mask of attributes: flags, XFRM                   signed
//	   960    32  MRENCLAVE                                         signed
//	   992    16  reserved                                          signed
//	  1008    16  ISV extended product id                           signed
//	  1024     2  ISV product id                                    signed
//	  1026     2  ISV SVN                                           signed
//	  1028    12  reserved
//	  1040   384  q1
//	  1424   384  q2
//
// The signature is RSASSA-PKCS1-v1_5 with SHA-256 over the 256 signed bytes. q1 and q2 are quotients that spare the
// processor two divisions: q1 = s*s / n and q2 = (s*s mod n)*s / n, rounded down. What is not signed is checked by value:
// the exponent, q1 and q2 have one right value each, and MRSIGNER, the hash of the modulus, is what a verifier compares.
//
// Two encodings of the date are in the field. Gramine 1.5 and later write it as the SDM says, in binary-coded decimal (day,
// month, year); before that it was a 16-bit year, month and day in plain binary. No date reads as both.
package sigstruct
