package protectedfile

import (
	"fmt"
)

// Kind says what is wrong with a protected file.
type Kind uint8

// The kinds. The first group means that the data is not a protected file this
// package knows; the second that it is not what was encrypted; the third are
// oddities that the format leaves unauthenticated, which are warnings unless
// [ReaderOptions.Strict] is set.
const (
	_ Kind = iota

	KindBadMagic           // the data does not start with GRAFS_PF
	KindUnsupportedVersion // a major version other than 1 and 2

	KindTruncated       // shorter than its size, or not even a whole node 0
	KindMetadataMAC     // node 0 does not authenticate: wrong key or damage
	KindVersionSwapped  // node 0 authenticates, but as the other version
	KindMetadataInvalid // node 0 authenticates and is nonsense
	KindWrongPath       // made for another path
	KindHashNodeMAC     // a hash node does not authenticate
	KindDataNodeMAC     // a data node does not authenticate
	KindTrailingBytes   // a part of a node follows the last one
	KindPendingRecovery // version 2: a write was interrupted
	KindRecoveryInvalid // the recovery file does not repair the file

	KindTrailingNodes // whole nodes follow the last one in use
	KindMinorVersion  // the minor version is not 0
	KindUnknownFlags  // version 2: undefined flags are set
	KindPadding       // the padding of node 0 is not zero
)

var kindNames = map[Kind]string{
	KindBadMagic:           "bad magic",
	KindUnsupportedVersion: "unsupported version",
	KindTruncated:          "truncated",
	KindMetadataMAC:        "MAC mismatch in metadata",
	KindVersionSwapped:     "version swapped",
	KindMetadataInvalid:    "invalid metadata",
	KindWrongPath:          "wrong path",
	KindHashNodeMAC:        "MAC mismatch in hash node",
	KindDataNodeMAC:        "MAC mismatch in data node",
	KindTrailingBytes:      "trailing bytes",
	KindPendingRecovery:    "pending recovery",
	KindRecoveryInvalid:    "invalid recovery file",
	KindTrailingNodes:      "trailing nodes",
	KindMinorVersion:       "minor version",
	KindUnknownFlags:       "unknown flags",
	KindPadding:            "padding",
}

// String names the kind in a few words.
func (k Kind) String() string {
	if s, ok := kindNames[k]; ok {
		return s
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Foreign tells whether the data is not a protected file of a known version at
// all, as opposed to one that was damaged, tampered with or swapped.
func (k Kind) Foreign() bool { return k == KindBadMagic || k == KindUnsupportedVersion }

// Error is a finding about a protected file. Reading errors of the underlying
// file are not of this type.
type Error struct {
	Kind   Kind
	Node   int64 // physical number of the node, which starts at byte Node*NodeSize
	Offset int64 // byte of the file where the finding starts
	Err    error // what was found and what it means
}

// Error says what is wrong, where, and what it means.
func (e *Error) Error() string {
	return fmt.Sprintf("%s at offset %d: %v", e.where(), e.Offset, e.Err)
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// where names the node in the words of the format.
func (e *Error) where() string {
	switch p := e.Node - 1; {
	case e.Node <= 0:
		return "header"
	case e.Kind == KindTrailingNodes || e.Kind == KindTrailingBytes || e.Kind == KindTruncated:
		return fmt.Sprintf("node %d", e.Node)
	case p%groupNodes == 0:
		return fmt.Sprintf("hash node %d (node %d)", p/groupNodes, e.Node)
	default:
		return fmt.Sprintf("data node %d (node %d)", p-1-p/groupNodes, e.Node)
	}
}

// finding makes an Error whose offset is that of its node.
func finding(kind Kind, node int64, format string, a ...any) *Error {
	return &Error{Kind: kind, Node: node, Offset: node * NodeSize, Err: fmt.Errorf(format, a...)}
}

// headerFinding makes an Error of a byte in node 0.
func headerFinding(kind Kind, offset int64, format string, a ...any) *Error {
	return &Error{Kind: kind, Offset: offset, Err: fmt.Errorf(format, a...)}
}
