package protectedfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// recordSize is the size of a record of a recovery file: a node number and the
// node as it was before the interrupted write. There is no header. Source:
// common/src/protected_files/protected_files.c of Gramine v1.9.
const recordSize = 8 + NodeSize

// recover deals with a file whose last write is marked as interrupted. The mark
// is not authenticated, but neither does it give anything away: what is read is
// authenticated with it or without.
func (r *Reader) recover(node *[NodeSize]byte) error {
	if r.opts.Recovery == nil {
		if r.opts.AllowPending {
			return nil
		}
		return pendingFinding()
	}
	log, err := newUndoLog(r.src, r.header.FileSize, r.opts.Recovery, r.opts.RecoverySize)
	if err != nil {
		return err
	}
	h, err := readHeader(log, log.size, node)
	if err != nil {
		return err
	}
	if h.Pending || h.Format != FormatV2 {
		return headerFinding(KindRecoveryInvalid, offFlags, "the recovery file does not restore node 0: the write is still marked as interrupted")
	}
	r.src, r.header = log, h
	return nil
}

// pendingFinding is the finding about a file that was being written to.
func pendingFinding() error {
	return headerFinding(KindPendingRecovery, offFlags,
		"a write to the file was interrupted; its recovery file (<name>.gramine.recovery) restores the content from before")
}

// undoLog is a file with the records of its recovery file put over it. Nothing
// is written. The records are no more trusted than the file: what they give is
// authenticated like the rest.
type undoLog struct {
	base, records io.ReaderAt
	size          int64
	at            map[int64]int64 // node to offset of its bytes in records
}

func newUndoLog(base io.ReaderAt, baseSize int64, records io.ReaderAt, size int64) (*undoLog, error) {
	if size <= 0 || size%recordSize != 0 {
		return nil, headerFinding(KindRecoveryInvalid, offFlags, "the recovery file has %d bytes, want a multiple of %d", size, recordSize)
	}
	l := &undoLog{base: base, records: records, size: baseSize, at: map[int64]int64{}}
	// Records may restore nodes that a crash cut off, but no more than there
	// are records.
	limit := baseSize/NodeSize + size/recordSize
	var number [8]byte
	for off := int64(0); off < size; off += recordSize {
		if n, err := records.ReadAt(number[:], off); n < len(number) {
			return nil, fmt.Errorf("read recovery file at offset %d: %w", off, err)
		}
		node := binary.LittleEndian.Uint64(number[:])
		if node >= uint64(limit) {
			return nil, headerFinding(KindRecoveryInvalid, offFlags, "the recovery file restores node %d of a file that has %d", node, baseSize/NodeSize)
		}
		l.at[int64(node)] = off + 8 // The last record of a node counts, as in Gramine.
		l.size = max(l.size, (int64(node)+1)*NodeSize)
	}
	return l, nil
}

// ReadAt reads the file as it was before the interrupted write.
func (l *undoLog) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		at := off + int64(n)
		if at >= l.size {
			return n, io.EOF
		}
		within := at % NodeSize
		part := p[n:min(len(p), n+int(NodeSize-within))]
		src, from := l.base, at
		if rec, ok := l.at[at/NodeSize]; ok {
			src, from = l.records, rec+within
		}
		m, err := src.ReadAt(part, from)
		n += m
		if m < len(part) {
			if err == nil || errors.Is(err, io.EOF) {
				return n, io.EOF
			}
			return n, err
		}
	}
	return n, nil
}
