package savedmodel

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// DataType is the element type of a tensor, numbered as in
// tensorflow/core/framework/types.proto. The zero DataType is no type.
type DataType int32

// The data types that this package gives a meaning to.
const (
	Invalid   DataType = 0
	Float32   DataType = 1
	Float64   DataType = 2
	Int32     DataType = 3
	UInt8     DataType = 4
	Int16     DataType = 5
	Int8      DataType = 6
	String    DataType = 7
	Complex64 DataType = 8
	Int64     DataType = 9
	Bool      DataType = 10
	QInt8     DataType = 11
	QUInt8    DataType = 12
	QInt32    DataType = 13
	BFloat16  DataType = 14
	Float16   DataType = 19
	Resource  DataType = 20
	Variant   DataType = 21
)

// dataTypeNames are TensorFlow's own names, as tf.DType prints them.
var dataTypeNames = map[DataType]string{
	Float32: "float32", Float64: "float64", Int32: "int32", UInt8: "uint8", Int16: "int16", Int8: "int8",
	String: "string", Complex64: "complex64", Int64: "int64", Bool: "bool", QInt8: "qint8", QUInt8: "quint8",
	QInt32: "qint32", BFloat16: "bfloat16", 15: "qint16", 16: "quint16", 17: "uint16", 18: "complex128",
	Float16: "float16", Resource: "resource", Variant: "variant", 22: "uint32", 23: "uint64",
	24: "float8_e5m2", 25: "float8_e4m3fn", 29: "int4", 30: "uint4",
}

// refOffset is added to a type by operations that return a reference to a
// variable of TensorFlow 1.
const refOffset = 100

// String is TensorFlow's name of the type, such as "float32".
func (d DataType) String() string {
	if d == Invalid {
		return "unknown"
	}
	if name, ok := dataTypeNames[d]; ok {
		return name
	}
	if name, ok := dataTypeNames[d-refOffset]; ok {
		return name + "_ref"
	}
	return fmt.Sprintf("dtype(%d)", int32(d))
}

// MarshalText makes the type appear by its name in JSON.
func (d DataType) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// ParseDataType reads a type's name as TensorFlow writes it, such as "float32".
func ParseDataType(name string) (DataType, error) {
	for d, n := range dataTypeNames {
		if n == name {
			return d, nil
		}
	}
	names := make([]string, 0, len(dataTypeNames))
	for _, n := range dataTypeNames {
		names = append(names, n)
	}
	slices.Sort(names)
	return Invalid, fmt.Errorf("parse dtype %q: TensorFlow has %s", name, strings.Join(names, ", "))
}

// dataTypeOf is the type in an attribute, without the mark of a reference.
func dataTypeOf(v uint64) DataType {
	if v > refOffset && v < 2*refOffset {
		v -= refOffset
	}
	if v > 1<<20 {
		return Invalid
	}
	return DataType(v) // Bounded above.
}

// Shape is the shape of a tensor. The zero Shape is of unknown rank; a scalar's
// is Known with no dimensions.
type Shape struct {
	Known bool    // whether the rank is
	Dims  []int64 // -1 where a dimension is not known before the tensor is
}

// ShapeOf is the shape with the given dimensions, -1 for unknown ones.
func ShapeOf(dims ...int64) Shape { return Shape{Known: true, Dims: dims} }

// String is "[-1,10]", "[]" for a scalar, or "unknown".
func (s Shape) String() string {
	if !s.Known {
		return "unknown"
	}
	var b strings.Builder
	b.WriteByte('[')
	for i, d := range s.Dims {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatInt(d, 10))
	}
	b.WriteByte(']')
	return b.String()
}

// MarshalJSON writes the dimensions as an array, and null for an unknown rank.
func (s Shape) MarshalJSON() ([]byte, error) {
	if !s.Known {
		return []byte("null"), nil
	}
	return json.Marshal(append([]int64{}, s.Dims...))
}

// compatible reports whether a tensor can have both shapes.
func (s Shape) compatible(o Shape) bool {
	if !s.Known || !o.Known {
		return true
	}
	if len(s.Dims) != len(o.Dims) {
		return false
	}
	for i, d := range s.Dims {
		if d >= 0 && o.Dims[i] >= 0 && d != o.Dims[i] {
			return false
		}
	}
	return true
}

// elements is the number of elements, or false when it is not known.
func (s Shape) elements() (int64, bool) {
	if !s.Known {
		return 0, false
	}
	n := int64(1)
	for _, d := range s.Dims {
		if d < 0 || (d > 0 && n > maxElements/d) {
			return 0, false
		}
		n *= d
	}
	return n, true
}

// maxElements bounds products of dimensions; no tensor of a 2 GiB message has
// as many elements.
const maxElements = 1 << 40

// maxRank is TensorFlow's own limit (TensorShape::MaxDimensions).
const maxRank = 254

// dtypeRule says where an operation's output types come from: an attribute, with
// what an absent one stands for, or a type fixed by the operation.
type dtypeRule struct {
	attr  string
	fixed DataType // with attr: its default
	list  bool     // attr lists a type for each output, or is one type for all
	count string   // with list: the attribute that says how many outputs there are
	more  []dtypeRule
}

// port is the rule of one output.
func (r dtypeRule) port(port int32) (dtypeRule, bool) {
	switch {
	case r.list || port == 0:
		return r, true
	case int(port) <= len(r.more):
		return r.more[port-1], true
	}
	return dtypeRule{}, false
}

// dtypeRules follow the registrations in tensorflow/core/ops/*.cc.
var dtypeRules = makeDTypeRules()

func makeDTypeRules() map[string]dtypeRule {
	rules := map[string]dtypeRule{}
	set := func(rule dtypeRule, ops string) {
		for op := range strings.FieldsSeq(ops) {
			rules[op] = rule
		}
	}
	t, fixed := dtypeRule{attr: "T"}, func(d DataType) dtypeRule { return dtypeRule{fixed: d} }
	set(t, `Identity StopGradient PreventGradient Snapshot CheckNumerics EnsureShape
		Relu Relu6 Elu Selu LeakyRelu Softplus Softsign Softmax LogSoftmax Sigmoid Tanh Erf Erfc
		Abs Neg Sign Square Sqrt Rsqrt Exp Expm1 Log Log1p Sin Cos Tan Asin Acos Atan Sinh Cosh Floor Ceil Round Rint Reciprocal Inv
		Add AddV2 AddN Sub Mul MulNoNan Div DivNoNan RealDiv TruncateDiv FloorDiv FloorMod Mod Pow Maximum Minimum SquaredDifference Atan2 BiasAdd BiasAddV1
		MatMul BatchMatMul BatchMatMulV2 Einsum Conv2D Conv3D DepthwiseConv2dNative Conv2DBackpropInput Conv3DBackpropInputV2
		MaxPool MaxPoolV2 MaxPool3D AvgPool AvgPool3D LRN L2Loss Dilation2D BatchNormWithGlobalNormalization
		Mean Sum Prod Max Min Cumsum Cumprod SegmentSum SegmentMean SegmentMax
		Reshape Squeeze ExpandDims Transpose Concat ConcatV2 Pack ParallelConcat StridedSlice Slice Pad PadV2 MirrorPad Tile BroadcastTo
		Reverse ReverseV2 ReverseSequence SpaceToBatchND BatchToSpaceND SpaceToBatch BatchToSpace SpaceToDepth DepthToSpace
		Select SelectV2 ClipByValue Fill ZerosLike OnesLike OneHot Diag DiagPart MatrixDiag MatrixDiagPart MatrixBandPart ResizeNearestNeighbor
		GatherNd ScatterNd DynamicStitch Cross Roll InvertPermutation`)
	set(dtypeRule{attr: "T", list: true, count: "num_split"}, `Split SplitV`)
	set(dtypeRule{attr: "T", list: true, count: "num"}, `Unpack`)
	set(dtypeRule{attr: "T", list: true}, `IdentityN`)
	set(dtypeRule{attr: "T", more: []dtypeRule{t}}, `Switch RefSwitch`)
	set(dtypeRule{attr: "T", more: []dtypeRule{fixed(Int32)}}, `Merge RefMerge`)
	set(t, `Enter Exit NextIteration RefEnter RefExit RefNextIteration`)
	set(fixed(Bool), `LoopCond Equal NotEqual Less LessEqual Greater GreaterEqual ApproximateEqual LogicalAnd LogicalOr LogicalNot
		All Any IsNan IsInf IsFinite InTopK InTopKV2`)
	set(dtypeRule{attr: "dtype"}, `Const HostConst Placeholder PlaceholderV2 PlaceholderWithDefault RandomStandardNormal RandomUniform
		TruncatedNormal StatelessRandomUniform StatelessRandomNormal Empty VariableV2 Variable ReadVariableOp ResourceGather
		TensorArrayReadV3 TensorArrayGatherV3`)
	set(dtypeRule{attr: "dtype", more: []dtypeRule{fixed(Int64)}}, `TensorArrayConcatV3`)
	set(dtypeRule{attr: "DstT"}, `Cast`)
	set(dtypeRule{attr: "Tparams"}, `Gather GatherV2`)
	set(dtypeRule{attr: "output_type", fixed: Int64}, `ArgMax ArgMin`)
	set(dtypeRule{attr: "out_type", fixed: Int32}, `Shape Size`)
	set(dtypeRule{attr: "out_type", fixed: Int32, list: true}, `ShapeN`)
	set(dtypeRule{attr: "out_type", fixed: Float32}, `DecodeRaw StringToNumber`)
	set(fixed(Int32), `Rank NonMaxSuppression NonMaxSuppressionV2 NonMaxSuppressionV3`)
	set(fixed(Int64), `Where StringToHashBucket StringToHashBucketFast StringToHashBucketStrong`)
	set(dtypeRule{fixed: Int32, more: []dtypeRule{fixed(Int32)}}, `NonMaxSuppressionV4`)
	set(dtypeRule{fixed: Int32, more: []dtypeRule{{attr: "T", fixed: Float32}, fixed(Int32)}}, `NonMaxSuppressionV5`)
	set(dtypeRule{fixed: Float32, more: []dtypeRule{fixed(Float32), fixed(Float32), fixed(Int32)}}, `CombinedNonMaxSuppression`)
	set(fixed(Float32), `ResizeBilinear ResizeBicubic ResizeArea CropAndResize`)
	set(fixed(UInt8), `DecodeJpeg DecodeBmp DecodeGif DecodeAndCropJpeg`)
	set(dtypeRule{attr: "dtype", fixed: UInt8}, `DecodePng DecodeImage`)
	set(fixed(String), `AsString StringJoin ReduceJoin Substr ReadFile EncodeJpeg EncodePng DecodeBase64 EncodeBase64 StringLower StringUpper`)
	set(dtypeRule{attr: "Tidx", fixed: Int32}, `Range`)
	set(dtypeRule{attr: "T", more: []dtypeRule{fixed(Int32)}}, `TopK`)
	set(dtypeRule{attr: "T", more: []dtypeRule{{attr: "index_type", fixed: Int32}}}, `TopKV2`)
	set(dtypeRule{attr: "T", more: []dtypeRule{{attr: "out_idx", fixed: Int32}}}, `Unique`)
	set(dtypeRule{attr: "T", more: []dtypeRule{{attr: "Targmax", fixed: Int64}}}, `MaxPoolWithArgmax`)
	set(dtypeRule{attr: "T", more: []dtypeRule{t, t, t, t}}, `FusedBatchNorm`)
	u := dtypeRule{attr: "U"}
	set(dtypeRule{attr: "T", more: []dtypeRule{u, u, u, u}}, `FusedBatchNormV2`)
	set(dtypeRule{attr: "T", more: []dtypeRule{u, u, u, u, u}}, `FusedBatchNormV3`)
	set(dtypeRule{attr: "Tout", list: true}, `PartitionedCall StatefulPartitionedCall If StatelessIf Case StatelessCase PyFunc`)
	set(dtypeRule{attr: "T", list: true}, `While StatelessWhile`)
	set(dtypeRule{attr: "Tout"}, `LookupTableFind LookupTableFindV2`)
	set(fixed(Resource), `VarHandleOp HashTableV2 IteratorV2`)
	set(fixed(Variant), `TensorListReserve TensorListFromTensor EmptyTensorList TensorListSetItem`)
	set(dtypeRule{attr: "element_dtype"}, `TensorListStack TensorListGetItem`)
	set(dtypeRule{attr: "output_types", list: true}, `IteratorGetNext`)
	return rules
}

// noOutputs are operations that only do something.
var noOutputs = map[string]bool{
	"NoOp": true, "Assert": true, "ControlTrigger": true, "SaveV2": true, "MergeV2Checkpoints": true, "InitializeTable": true,
	"InitializeTableV2": true, "InitializeTableFromTextFile": true, "InitializeTableFromTextFileV2": true,
	"AssignVariableOp": true, "PrintV2": true, "WriteFile": true, "MakeIterator": true,
}

// outputDType is the type of one output, Invalid if the operation is not known
// or its attribute is missing.
func outputDType(n *node, a *attrs, port int32) (DataType, error) {
	if noOutputs[n.op] {
		return Invalid, fmt.Errorf("node %q is a %s, which has no output tensor", n.name, n.op)
	}
	rule, ok := dtypeRules[n.op]
	if !ok {
		return Invalid, nil
	}
	if rule, ok = rule.port(port); !ok {
		return Invalid, fmt.Errorf("node %q is a %s, which has no output %d", n.name, n.op, port)
	}
	if rule.attr == "" {
		return rule.fixed, nil
	}
	if outputs := a.integer(rule.count, math.MaxInt64); int64(port) >= outputs {
		return Invalid, fmt.Errorf("node %q is a %s with %d outputs, it has no output %d", n.name, n.op, outputs, port)
	}
	if d, ok := a.dtype(rule.attr); ok {
		return d, nil
	}
	if !rule.list {
		return rule.fixed, nil
	}
	types, err := a.dtypes(rule.attr)
	if err != nil {
		return Invalid, err
	}
	if len(types) == 0 {
		return rule.fixed, nil
	}
	if int(port) >= len(types) {
		return Invalid, fmt.Errorf("node %q is a %s with %d outputs, it has no output %d", n.name, n.op, len(types), port)
	}
	return types[port], nil
}
