package protectedfile

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

// Header is what a protected file says without a wrap key. Nothing of it is
// authenticated: anybody could have written it.
type Header struct {
	Format       Format
	MinorVersion uint8
	Flags        uint8 // version 2 only
	Pending      bool  // version 2: a write was in progress, see [KindPendingRecovery]
	FileSize     int64 // in bytes
	Nodes        int64
	// MinPlaintextSize and MaxPlaintextSize bound the plaintext by the number
	// of nodes, if none of them is left over.
	MinPlaintextSize, MaxPlaintextSize int64
	// Digest is the SHA-256 of node 0. It changes with every byte of the
	// plaintext, the path and the key.
	Digest [digestSize]byte
	// Warnings are oddities of node 0 that Gramine does not mind.
	Warnings []*Error
}

// Inspect looks at what can be read without a wrap key. The error is an *[Error]
// if the data is not a protected file or not a whole number of nodes.
func Inspect(src io.ReaderAt, size int64) (Header, error) {
	var node [NodeSize]byte
	h, err := readHeader(src, size, &node)
	if err != nil {
		return Header{}, err
	}
	if rest := size % NodeSize; rest != 0 {
		return Header{}, finding(KindTrailingBytes, size/NodeSize,
			"the last %d of %d bytes are no whole node of %d: the file was cut off, or something was appended to it", rest, size, NodeSize)
	}
	return h, nil
}

// readHeader reads and checks node 0.
func readHeader(src io.ReaderAt, size int64, node *[NodeSize]byte) (Header, error) {
	n, err := src.ReadAt(node[:min(max(size, 0), NodeSize)], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return Header{}, fmt.Errorf("read node 0: %w", err)
	}
	if lead := min(n, len(magic)); string(node[:lead]) != magic[:lead] {
		// What it starts with is not told: it may be a plaintext, or a key.
		return Header{}, headerFinding(KindBadMagic, 0, "bad magic: it does not start with %s, so it is not a protected file", magic)
	}
	if n > offMajor && !Format(node[offMajor]).valid() {
		return Header{}, headerFinding(KindUnsupportedVersion, offMajor,
			"unsupported version %d.%d: versions 1 and 2 exist (Gramine 1.0 to 1.9)", node[offMajor], node[min(offMinor, n-1)])
	}
	if n < NodeSize {
		return Header{}, headerFinding(KindTruncated, int64(n), "truncated: %d bytes found, a protected file has at least %d", n, NodeSize)
	}
	return parseHeader(node, size), nil
}

// parseHeader reads the fields of a node 0 whose magic and version are known.
func parseHeader(node *[NodeSize]byte, size int64) Header {
	h := Header{
		Format: Format(node[offMajor]), MinorVersion: node[offMinor], FileSize: size, Nodes: size / NodeSize,
		MaxPlaintextSize: inlineSize, Digest: sha256.Sum256(node[:]),
	}
	if hashes := ceilDiv(h.Nodes-1, groupNodes); hashes > 0 {
		data := h.Nodes - 1 - hashes
		h.MaxPlaintextSize = inlineSize + data*NodeSize
		h.MinPlaintextSize = max(h.MaxPlaintextSize-NodeSize+1, 0)
	}
	if h.MinorVersion != 0 {
		h.Warnings = append(h.Warnings, headerFinding(KindMinorVersion, offMinor,
			"the minor version is %d, Gramine writes 0; it is not authenticated", h.MinorVersion))
	}
	if h.Format == FormatV2 {
		h.Flags = node[offFlags]
		h.Pending = h.Flags&flagPending != 0
		if h.Flags&^flagPending != 0 {
			h.Warnings = append(h.Warnings, headerFinding(KindUnknownFlags, offFlags,
				"the flags are %#02x, of which only %#02x is defined; they are not authenticated", h.Flags, flagPending))
		}
	}
	padding := node[h.Format.bodyOffset()+metaSize:]
	if i := bytes.IndexFunc(padding, func(r rune) bool { return r != 0 }); i >= 0 {
		h.Warnings = append(h.Warnings, headerFinding(KindPadding, int64(NodeSize-len(padding)+i),
			"the padding is not zero; it is not authenticated"))
	}
	return h
}

// openHeader authenticates and decrypts the metadata.
func openHeader(node *[NodeSize]byte, key Key, format Format, meta *metadata) error {
	if openBody(node, key, format, meta) {
		return nil
	}
	// The version byte is not authenticated. When it was changed, the tag is
	// right at the other version's offset.
	other := FormatV1 + FormatV2 - format
	if openBody(node, key, other, meta) {
		return swappedFinding(other, format)
	}
	return headerFinding(KindMetadataMAC, offTag,
		"the authentication tag of the metadata does not match: the wrap key is another one than the file was encrypted with, "+
			"or node 0 was damaged or altered; the format cannot tell which")
}

func swappedFinding(was, is Format) error {
	return headerFinding(KindVersionSwapped, offMajor, "version %d was changed to %d: the metadata authenticates as version %[1]d only", was, is)
}

func openBody(node *[NodeSize]byte, key Key, format Format, meta *metadata) bool {
	derived := metadataKey(key, node[offNonce:][:nonceSize])
	var sealed [metaSize + tagSize]byte
	copy(sealed[:], node[format.bodyOffset():][:metaSize])
	copy(sealed[metaSize:], node[offTag:][:tagSize])
	_, err := newGCM(derived[:]).Open(meta[:0], zeroNonce[:], sealed[:], nil)
	return err == nil
}

// sealHeader encrypts the metadata into a node 0.
func sealHeader(head *[NodeSize]byte, meta *metadata, wrap Key, format Format, keys keySource) error {
	copy(head[:], magic)
	head[offMajor] = byte(format)
	nonce := head[offNonce:][:nonceSize]
	if err := keys.metadataNonce(nonce); err != nil {
		return err
	}
	key := metadataKey(wrap, nonce)
	body := format.bodyOffset()
	sealed := newGCM(key[:]).Seal(head[body:body], zeroNonce[:], meta[:], nil) //nolint:gosec // The key is used once, see zeroNonce.
	copy(head[offTag:], sealed[metaSize:])
	clear(head[body+metaSize:])
	return nil
}

// Rewrap re-encrypts node 0, the first [NodeSize] bytes of a file, under another
// wrap key and a fresh nonce; the rest of the file stays as it is and goes on
// to belong to it. It takes the same time for every file, because no other
// node's key depends on the wrap key.
//
// For the same reason it does not take anything back: whoever kept the old file
// and the old key still reads the old file, and finds in its metadata the keys
// of all nodes that both files share. [Reencrypt] gives every node a new key.
//
// Unauthenticated oddities of the old node are not carried over.
func Rewrap(node []byte, oldKey, newKey Key) ([]byte, error) {
	if oldKey.isZero() || newKey.isZero() {
		return nil, fmt.Errorf("rewrap: %w", errZeroKey)
	}
	if oldKey == newKey {
		return nil, errors.New("rewrap: the new wrap key is the old one")
	}
	var old, head [NodeSize]byte
	var meta metadata
	h, err := readHeader(bytes.NewReader(node), int64(len(node)), &old)
	if err != nil {
		return nil, err
	}
	if h.Pending {
		return nil, pendingFinding()
	}
	if err := openHeader(&old, oldKey, h.Format, &meta); err != nil {
		return nil, err
	}
	if err := sealHeader(&head, &meta, newKey, h.Format, &randomKeys{}); err != nil {
		return nil, err
	}
	return head[:], nil
}
