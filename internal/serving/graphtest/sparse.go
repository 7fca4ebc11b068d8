package graphtest

// Segments is a file of given bytes and runs of zeros, for graphs that are too
// large to make.
type Segments []Segment

// Segment is a part of a file: bytes, and zeros behind them.
type Segment struct {
	At    int64 // offset in the file
	Data  []byte
	Zeros int64
}

// Length is the number of bytes.
func (s Segment) Length() int64 { return int64(len(s.Data)) + s.Zeros }

// ReadAt reads as if the file never ended.
func (s Segments) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	for _, part := range s {
		if lo, hi := max(off, part.At), min(off+int64(len(p)), part.At+int64(len(part.Data))); lo < hi {
			copy(p[lo-off:hi-off], part.Data[lo-part.At:])
		}
	}
	return len(p), nil
}
