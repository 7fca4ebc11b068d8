package protectedfile

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

const metadataLabel = "SGX-PROTECTED-FS-METADATA-KEY"

// metadataKey derives the key of the metadata from the wrap key: one block of
// the counter-mode KDF of NIST SP 800-108 with AES-CMAC as its PRF.
func metadataKey(wrap Key, nonce []byte) (key [keySize]byte) {
	var msg [4 + 64 + nonceSize + 4]byte
	binary.LittleEndian.PutUint32(msg[0:], 1)
	copy(msg[4:68], metadataLabel)
	copy(msg[68:100], nonce)
	binary.LittleEndian.PutUint32(msg[100:], 8*keySize)
	return aesCMAC(wrap, msg[:])
}

// aesCMAC computes the AES-CMAC of RFC 4493, which the standard library lacks.
func aesCMAC(key Key, msg []byte) (mac [aes.BlockSize]byte) {
	block := newAES(key[:])
	// Subkeys: the encrypted zero block, doubled once or twice in GF(2^128).
	var sub [aes.BlockSize]byte
	block.Encrypt(sub[:], sub[:])
	double(&sub)

	for len(msg) > aes.BlockSize {
		xor(&mac, msg[:aes.BlockSize])
		block.Encrypt(mac[:], mac[:])
		msg = msg[aes.BlockSize:]
	}
	xor(&mac, msg)
	if len(msg) < aes.BlockSize {
		mac[len(msg)] ^= 0x80
		double(&sub)
	}
	xor(&mac, sub[:])
	block.Encrypt(mac[:], mac[:])
	return mac
}

// double multiplies by x in GF(2^128) with the polynomial of RFC 4493 2.3,
// without a branch on the secret.
func double(b *[aes.BlockSize]byte) {
	hi, lo := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	carry := hi >> 63
	binary.BigEndian.PutUint64(b[:8], hi<<1|lo>>63)
	binary.BigEndian.PutUint64(b[8:], lo<<1^carry*0x87)
}

func xor(dst *[aes.BlockSize]byte, src []byte) {
	for i, c := range src {
		dst[i] ^= c
	}
}

// newAES is [aes.NewCipher] for keys whose length is a constant.
func newAES(key []byte) cipher.Block {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("protectedfile: internal error: " + err.Error())
	}
	return block
}

// zeroNonce is the GCM nonce of every node. It would be fatal if a key were
// used twice; see the package comment for why none is.
var zeroNonce [12]byte

// newGCM prepares a node's cipher. Together with newAES it makes the only two
// allocations that a node costs.
func newGCM(key []byte) cipher.AEAD {
	aead, err := cipher.NewGCM(newAES(key))
	if err != nil {
		panic("protectedfile: internal error: " + err.Error())
	}
	return aead
}

// sealNode encrypts a node from src to dst, which are the same or do not
// overlap, under the slot's key and puts the tag into the slot. GCM appends the
// tag behind the ciphertext: dst must have room for it, and what is there, the
// start of the next node, is put back.
func sealNode(dst, src []byte, s slot) {
	next := [tagSize]byte(dst[NodeSize:])
	newGCM(s.key()).Seal(dst[:0], zeroNonce[:], src[:NodeSize], nil) //nolint:gosec // The key is used once, see zeroNonce.
	copy(s.tag(), dst[NodeSize:])
	copy(dst[NodeSize:], next[:])
}

// openNode decrypts a node from src to dst, which are the same or do not
// overlap, and tells whether the slot's tag matches; if not, dst is zeros. GCM
// wants the tag behind the ciphertext: src must have the same room for it as
// the dst of sealNode.
func openNode(dst, src []byte, s slot) bool {
	next := [tagSize]byte(src[NodeSize:])
	copy(src[NodeSize:], s.tag())
	_, err := newGCM(s.key()).Open(dst[:0], zeroNonce[:], src[:NodeSize+tagSize], nil)
	copy(src[NodeSize:], next[:])
	return err == nil
}

// sealHash is sealNode for a hash node that is kept, into a buffer of its own.
func sealHash(out *[NodeSize + tagSize]byte, node *hashNode, s slot) {
	sealNode(out[:], node[:], s)
}

// deriveSecret expands the wrap key for one purpose; info says which.
func deriveSecret(wrap Key, info string, length int) []byte {
	secret, err := hkdf.Key(sha256.New, wrap[:], nil, info, length)
	if err != nil {
		panic(fmt.Sprintf("protectedfile: internal error: derive %d bytes: %v", length, err))
	}
	return secret
}

// keySource gives each node the key it is encrypted under. It is used from
// several goroutines at once.
type keySource interface {
	// nodeKeys fills dst with the 16-byte keys of consecutive physical nodes.
	// A key may be used once only; asking again for the same node gives a
	// fresh key, or the same one where the plaintext is the same by design.
	nodeKeys(first int64, dst []byte) error
	// metadataNonce fills the input of the metadata key's derivation.
	metadataNonce(dst []byte) error
}

// randomKeys draws every key and the nonce from a random source, a group at a
// time.
type randomKeys struct {
	mu   sync.Mutex // a caller's source need not be safe for concurrent use
	rand io.Reader  // nil for the operating system's
}

func (r *randomKeys) nodeKeys(_ int64, dst []byte) error { return r.read(dst) }
func (r *randomKeys) metadataNonce(dst []byte) error     { return r.read(dst) }

func (r *randomKeys) read(dst []byte) error {
	if r.rand == nil {
		_, err := rand.Read(dst)
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := io.ReadFull(r.rand, dst); err != nil {
		return fmt.Errorf("draw node keys: %w", err)
	}
	return nil
}

// derivedKeys computes the keys of a reproducible file; the package comment
// has the construction and why it is sound.
type derivedKeys struct {
	block cipher.Block
	nonce [nonceSize]byte
}

func newDerivedKeys(wrap Key, digest [digestSize]byte, s shape, format Format, path string) *derivedKeys {
	info := make([]byte, 0, 64+len(path))
	info = append(info, "cc reproducible protected file v1\x00"...)
	info = append(info, digest[:]...)
	info = binary.BigEndian.AppendUint64(info, uint64(s.size))
	info = append(info, byte(format))
	info = append(info, path...)
	secret := deriveSecret(wrap, string(info), 32+nonceSize)
	d := &derivedKeys{block: newAES(secret[:32])}
	copy(d.nonce[:], secret[32:])
	return d
}

func (d *derivedKeys) nodeKeys(first int64, dst []byte) error {
	for i := 0; i < len(dst); i += keySize {
		key := dst[i:][:keySize]
		clear(key)
		binary.BigEndian.PutUint64(key[8:], uint64(first))
		d.block.Encrypt(key, key)
		first++
	}
	return nil
}

func (d *derivedKeys) metadataNonce(dst []byte) error {
	copy(dst, d.nonce[:])
	return nil
}
