package graphwire

import "google.golang.org/protobuf/encoding/protowire"

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

func AppendBytes(b []byte, num protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), v)
}

func AppendString(b []byte, num protowire.Number, v string) []byte {
	return AppendBytes(b, num, []byte(v))
}
