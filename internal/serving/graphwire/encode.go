package graphwire

import "google.golang.org/protobuf/encoding/protowire"

// EncodeShape is a TensorShapeProto.
func EncodeShape(s Shape) []byte {
	var b []byte
	if !s.Known {
		b = protowire.AppendTag(b, shapeUnknownRank, protowire.VarintType)
		return protowire.AppendVarint(b, 1)
	}
	for _, d := range s.Dims {
		dim := protowire.AppendTag(nil, dimSize, protowire.VarintType)
		dim = protowire.AppendVarint(dim, uint64(d)) // Two's complement is the encoding.
		b = AppendBytes(b, shapeDim, dim)
	}
	return b
}

// AppendBytes appends a length-delimited field.
func AppendBytes(b []byte, num protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), v)
}

// AppendString appends a string field.
func AppendString(b []byte, num protowire.Number, v string) []byte {
	return AppendBytes(b, num, []byte(v))
}

// AppendVarint appends a field that holds a number.
func AppendVarint(b []byte, num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
}
