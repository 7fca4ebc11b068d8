package protectedfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Format is the major version of a protected file.
type Format uint8

// The formats that exist. FormatV1 is what every Gramine opens; FormatV2 needs
// Gramine 1.9.
const (
	FormatV1 Format = 1
	FormatV2 Format = 2
)

// valid tells whether f is a format that this package knows.
func (f Format) valid() bool { return f == FormatV1 || f == FormatV2 }

// NodeSize is the size in bytes of a node; files are a whole number of nodes.
const NodeSize = 4096

// MaxPathLen is the longest path in bytes that fits the metadata, which ends
// it with a NUL.
const MaxPathLen = pathSize - 1

// MaxPlaintextSize is the largest plaintext in bytes that this package handles.
// It keeps every offset within an int64; the format itself allows 2^64-1.
const MaxPlaintextSize = 1 << 62

const (
	magic = "GRAFS_PF" // the integer 0x46505F5346415247

	keySize   = 16
	tagSize   = 16
	nonceSize = 32

	// Offsets in node 0. The encrypted part and all after it move by one in
	// version 2, which has the flags at 58.
	offMajor = 8
	offMinor = 9
	offNonce = 10
	offTag   = offNonce + nonceSize
	offFlags = offTag + tagSize
	offBody1 = offTag + tagSize
	offBody2 = offFlags + 1

	// flagPending in the flags of version 2 says that a write was in progress.
	flagPending = 0x01

	// Offsets in the decrypted metadata.
	pathSize   = 772
	offSize    = pathSize
	offRootKey = offSize + 8
	offRootTag = offRootKey + keySize
	offInline  = offRootTag + tagSize
	inlineSize = 3072
	metaSize   = offInline + inlineSize

	// Slots of a hash node.
	slotSize      = keySize + tagSize
	dataPerHash   = 96
	hashesPerHash = 32
	offHashSlots  = dataPerHash * slotSize

	// A group is a hash node and the data nodes after it, adjacent on disk.
	groupNodes = 1 + dataPerHash
	groupData  = dataPerHash * NodeSize
)

// The structs of Gramine's protected_files_format.h are packed and of these
// sizes; an array length that goes negative does not compile.
var (
	_ [metaSize - 3884]struct{}
	_ [3884 - metaSize]struct{}
	_ [offBody1 - 58]struct{}
	_ [58 - offBody1]struct{}
	_ [NodeSize - offBody2 - metaSize - 153]struct{}
	_ [153 - (NodeSize - offBody2 - metaSize)]struct{}
	_ [NodeSize - (dataPerHash+hashesPerHash)*slotSize]struct{}
	_ [(dataPerHash+hashesPerHash)*slotSize - NodeSize]struct{}
)

// bodyOffset is where the encrypted metadata starts in node 0.
func (f Format) bodyOffset() int {
	if f == FormatV2 {
		return offBody2
	}
	return offBody1
}

// shape is what the plaintext size says about a file.
type shape struct {
	size  int64 // plaintext bytes
	data  int64 // data nodes
	hash  int64 // hash nodes, and so groups
	nodes int64 // all nodes, metadata included
}

// shapeOf computes the shape of a file with size bytes of plaintext.
func shapeOf(size int64) (shape, error) {
	if size < 0 || size > MaxPlaintextSize {
		return shape{}, fmt.Errorf("plaintext of %d bytes: a size from 0 to %d is possible", size, int64(MaxPlaintextSize))
	}
	s := shape{size: size, nodes: 1}
	if size > inlineSize {
		s.data = ceilDiv(size-inlineSize, NodeSize)
		s.hash = ceilDiv(s.data, dataPerHash)
		s.nodes += s.data + s.hash
	}
	return s, nil
}

// fileSize is the exact length of the file in bytes.
func (s shape) fileSize() int64 { return s.nodes * NodeSize }

// dataIn is the number of data nodes of group m.
func (s shape) dataIn(m int64) int {
	return int(min(s.data-m*dataPerHash, dataPerHash))
}

// interior tells whether hash node m has hash nodes below it.
func (s shape) interior(m int64) bool { return firstChild(m) < s.hash }

// FileSize returns the length in bytes of the protected file of a plaintext of
// the given size.
func FileSize(plaintextSize int64) (int64, error) {
	s, err := shapeOf(plaintextSize)
	if err != nil {
		return 0, err
	}
	return s.fileSize(), nil
}

// hashNodeNumber is the physical node number of hash node m.
func hashNodeNumber(m int64) int64 { return 1 + m*groupNodes }

// dataNodeNumber is the physical node number of data node n.
func dataNodeNumber(n int64) int64 { return 2 + n + n/dataPerHash }

// parentHash is the hash node that hash node m > 0 hangs off.
func parentHash(m int64) int64 { return (m - 1) / hashesPerHash }

// firstChild is the first hash node below hash node m.
func firstChild(m int64) int64 { return m*hashesPerHash + 1 }

// groupStart is the plaintext offset of the first data node of group m.
func groupStart(m int64) int64 { return inlineSize + m*groupData }

// slot is a key and a tag in a hash node or in the metadata.
type slot []byte

func (s slot) key() []byte { return s[:keySize] }
func (s slot) tag() []byte { return s[keySize:slotSize] }

// hashNode is the plaintext of a hash node.
type hashNode [NodeSize]byte

// dataSlot is the slot of the i-th data node of the group.
func (h *hashNode) dataSlot(i int) slot { return h[i*slotSize:][:slotSize] }

// hashSlot is the slot of hash node m, which hangs off h.
func (h *hashNode) hashSlot(m int64) slot {
	i := int((m - 1) % hashesPerHash)
	return h[offHashSlots+i*slotSize:][:slotSize]
}

// metadata is the plaintext of the encrypted part of node 0.
type metadata [metaSize]byte

func (m *metadata) root() slot     { return m[offRootKey:][:slotSize] }
func (m *metadata) inline() []byte { return m[offInline:] }

func (m *metadata) size() uint64     { return binary.LittleEndian.Uint64(m[offSize:]) }
func (m *metadata) setSize(n uint64) { binary.LittleEndian.PutUint64(m[offSize:], n) }

// path returns the bytes before the first NUL; false when there is none.
func (m *metadata) path() (string, bool) {
	for i, c := range m[:pathSize] {
		if c == 0 {
			return string(m[:i]), true
		}
	}
	return "", false
}

func ceilDiv(a, b int64) int64 { return (a + b - 1) / b }

// NormalizePath brings a path into the form that Gramine 1.3 and later compare
// with the one in a protected file. The rule is lexical: empty and "."
// components are dropped, ".." removes the component before it, stays where a
// relative path has none left and is dropped at the root; no file system is
// looked at. A path that normalises to nothing, such as "." or "a/..", gives
// the empty string, where [path.Clean] gives ".".
//
// It refuses what no protected file can carry: an empty path, a NUL byte, more
// than [MaxPathLen] bytes after normalising. Source:
// common/src/path_utils.c of Gramine v1.9.
func NormalizePath(p string) (string, error) {
	if p == "" {
		return "", errors.New("normalize path: the path is empty")
	}
	if strings.ContainsRune(p, 0) {
		return "", errors.New("normalize path: the path contains a NUL byte")
	}
	rooted := p[0] == '/'
	var kept []string
	for part := range strings.SplitSeq(p, "/") {
		switch part {
		case "", ".":
		case "..":
			switch n := len(kept); {
			case n > 0 && kept[n-1] != "..":
				kept = kept[:n-1]
			case !rooted:
				kept = append(kept, part)
			}
		default:
			kept = append(kept, part)
		}
	}
	n := strings.Join(kept, "/")
	if rooted {
		n = "/" + n
	}
	if len(n) > MaxPathLen {
		return "", fmt.Errorf("normalize path: %d bytes are too long, a protected file holds a path of at most %d", len(n), MaxPathLen)
	}
	return n, nil
}

// EmbeddablePath is [NormalizePath] for a path to encrypt under: it refuses what
// names no file, such as "." or "a/..".
func EmbeddablePath(p string) (string, error) {
	n, err := NormalizePath(p)
	if err != nil {
		return "", err
	}
	if n == "" || n == "/" || n == ".." || strings.HasSuffix(n, "/..") {
		return "", fmt.Errorf("normalize path: %q normalises to %q, which names no file", p, n)
	}
	return n, nil
}
