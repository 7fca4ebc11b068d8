package savedmodel

import (
	"fmt"
	"math"
	"strings"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphwire"
)

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
func outputDType(n *graphwire.Node, a *graphwire.Attrs, port int32) (DataType, error) {
	if noOutputs[n.Op] {
		return Invalid, fmt.Errorf("node %q is a %s, which has no output tensor", n.Name, n.Op)
	}
	rule, ok := dtypeRules[n.Op]
	if !ok {
		return Invalid, nil
	}
	if rule, ok = rule.port(port); !ok {
		return Invalid, fmt.Errorf("node %q is a %s, which has no output %d", n.Name, n.Op, port)
	}
	if rule.attr == "" {
		return rule.fixed, nil
	}
	if outputs := a.Integer(rule.count, math.MaxInt64); int64(port) >= outputs {
		return Invalid, fmt.Errorf("node %q is a %s with %d outputs, it has no output %d", n.Name, n.Op, outputs, port)
	}
	if d, ok := a.DType(rule.attr); ok {
		return d, nil
	}
	if !rule.list {
		return rule.fixed, nil
	}
	types, err := a.DTypes(rule.attr)
	if err != nil {
		return Invalid, err
	}
	if len(types) == 0 {
		return rule.fixed, nil
	}
	if int(port) >= len(types) {
		return Invalid, fmt.Errorf("node %q is a %s with %d outputs, it has no output %d", n.Name, n.Op, len(types), port)
	}
	return types[port], nil
}
