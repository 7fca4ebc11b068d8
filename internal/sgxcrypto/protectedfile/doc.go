// Package protectedfile reads and writes the protected files of Gramine, the
// encrypted files that an SGX enclave opens transparently once it holds the
// wrap key. Both formats are covered: version 1 (Gramine 1.0 to 1.8) and
// version 2 (Gramine 1.9, which still reads version 1).
//
// [Encrypt] and [EncryptReproducible] make a file, [Decrypt] and [Verify] go
// through a whole one on all cores, [NewReader] gives random access to a part,
// [Inspect] looks at what is readable without a key, and [Rewrap] exchanges the
// wrap key.
//
// # The format
//
// A file is an array of 4096-byte nodes; integers are little-endian. Node 0
// holds the metadata. A plaintext of up to 3072 bytes lives inside it and the
// file ends there. A longer one continues in data nodes of 4096 bytes, and a
// hash node (a table of keys and authentication tags) precedes each run of 96
// data nodes:
//
//	node   0     1      2 ... 97   98     99 ... 194   195    ...
//	      meta  hash 0  data 0-95  hash 1  data 96-191  hash 2
//
// Every data and hash node is encrypted with AES-128-GCM under a key of its
// own, with a nonce of twelve zero bytes and no associated data. A key must
// therefore never meet two plaintexts: each time a node is written it gets
// another key. A hash node has 128 slots of 32 bytes (key, tag): 96 for its
// data nodes, then 32 for further hash nodes; hash node m hangs off hash node
// (m-1)/32. The slot of hash node 0 is in the metadata. All slots are inside
// authenticated ciphertext, so the tag of the metadata vouches for every byte
// of plaintext and for its place.
//
// Node 0:
//
//	field           size  version 1  version 2
//	"GRAFS_PF"         8     0          0
//	major version      1     8          8
//	minor version      1     9          9       0, never checked by Gramine
//	nonce             32    10         10       input of the key derivation
//	metadata tag      16    42         42
//	feature flags      1     -         58       bit 0: a write is pending
//	metadata        3884    58         59       encrypted
//	padding      154/153  3942       3943       zero
//
// Metadata, decrypted: path (772, NUL-terminated), plaintext size (8), key (16)
// and tag (16) of hash node 0, the first 3072 bytes of plaintext. Its key is
// AES-CMAC under the wrap key of a one-block NIST SP 800-108 counter message:
// counter 1, the 64-byte label "SGX-PROTECTED-FS-METADATA-KEY", the nonce, the
// output length 128.
//
// Sources: common/src/protected_files/protected_files.c and
// protected_files_format.h of Gramine v1.8 and v1.9.
//
// # Paths
//
// The path in the metadata is not a comment: Gramine opens a file only under
// the path it was encrypted for, which is the URI of the manifest's mount
// without "file:" and the rest of the path below the mount point. From 1.3 on
// that string is normalised lexically first, see [NormalizePath]; since an
// encrypted file proves nothing about its name otherwise, a host could swap
// two files of one key. [NewReader] insists on the path for the same reason.
//
// # What the format does not authenticate
//
// The minor version, the padding, the flags of version 2 and whole nodes after
// the last one in use. They change nothing about the plaintext; they are
// reported as [Reader.Warnings], and refused with [ReaderOptions.Strict]. Nor
// does the format stop a host from putting back an older file of the same key
// and path in one piece.
//
// A wrong wrap key and damage to node 0 look the same: either way the tag of
// the metadata does not match. Once the metadata has opened, the key is right
// and every later mismatch is damage.
//
// # Reproducible files
//
// With [EncryptReproducible] the same plaintext, wrap key, path and format give
// the same bytes on every machine. Two passes: the first computes a digest of
// the plaintext, the second encrypts. From there:
//
//	digest   = SHA-256("cc protected file plaintext v1" 0x00, size,
//	                   SHA-256(first 3072 bytes), SHA-256(each run of 96 nodes)...)
//	secret   = HKDF-SHA256(ikm = wrap key,
//	                       info = "cc reproducible protected file v1" 0x00,
//	                              digest, size, format, path)         64 bytes
//	file key = secret[:32], metadata nonce = secret[32:]
//	key of physical node p = AES-256(file key, p as 128-bit big-endian integer)
//
// Why no key meets two plaintexts. Within a file the node keys are images of
// distinct blocks under one permutation, hence distinct. Across files, two
// node keys coincide only if (wrap key, digest, size, format, path) do, or with
// the 2^-128 chance that random keys have. Equal digests of equal sizes mean
// equal plaintexts (SHA-256 is collision-resistant), hence equal data nodes,
// hence equal tags, hence equal hash nodes and metadata: the key meets the same
// plaintext again and yields the same ciphertext. The metadata key follows in
// the same way from its nonce. One gap remains between the passes: the source
// could change while it is read. So both passes authenticate each run with a
// GMAC under a random key that the process forgets, and a run that is not what
// the first pass saw is never encrypted; the encryption fails.
//
// The derivation does not meet Gramine's: HKDF computes HMAC-SHA256 with the
// wrap key, Gramine AES-CMAC, and the two share no inputs.
//
// What equality reveals. Whoever sees two reproducible files of one wrap key,
// path and format learns whether their plaintexts are equal, and nothing else:
// a change of one byte changes every node. Without the wrap key nobody can test
// a guess of the plaintext. Files drawn at random reveal no such equality.
//
// The digest that [SourceDigest] returns is keyed by the wrap key too, so that
// it can be stored where a plain digest would confirm guesses.
package protectedfile
