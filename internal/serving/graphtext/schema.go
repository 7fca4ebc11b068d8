package graphtext

import (
	"strconv"
	"strings"
)

// schemaText lists the messages that a GraphDef is made of, as defined in
// tensorflow/core/framework/*.proto: number, name and type of each field, "*" for
// a repeated field, "|" for one of which a message has one at most. The type
// "skip" is read and left out: it tells where in a program a node was made.
const schemaText = `
GraphDef:
	1 node NodeDef*; 2 library FunctionDefLibrary; 3 version int32; 4 versions VersionDef; 5 debug_info skip
NodeDef:
	1 name string; 2 op string; 3 input string*; 4 device string; 5 attr NodeDef.AttrEntry*;
	6 experimental_debug_info NodeDef.ExperimentalDebugInfo; 7 experimental_type FullTypeDef
NodeDef.AttrEntry:
	1 key string; 2 value AttrValue
AttrValue:
	1 list AttrValue.ListValue|; 2 s bytes|; 3 i int64|; 4 f float|; 5 b bool|; 6 type DataType|; 7 shape TensorShapeProto|;
	8 tensor TensorProto|; 9 placeholder string|; 10 func NameAttrList|
TensorShapeProto:
	2 dim TensorShapeProto.Dim*; 3 unknown_rank bool
TensorShapeProto.Dim:
	1 size int64; 2 name string
TensorProto:
	1 dtype DataType; 2 tensor_shape TensorShapeProto; 3 version_number int32; 4 tensor_content bytes; 5 float_val float*;
	6 double_val double*; 7 int_val int32*; 8 string_val bytes*; 9 scomplex_val float*; 10 int64_val int64*; 11 bool_val bool*;
	12 dcomplex_val double*; 13 half_val int32*; 14 resource_handle_val ResourceHandleProto*; 15 variant_val VariantTensorDataProto*;
	16 uint32_val uint32*; 17 uint64_val uint64*; 18 float8_val bytes
ResourceHandleProto:
	1 device string; 2 container string; 3 name string; 4 hash_code uint64; 5 maybe_type_name string;
	6 dtypes_and_shapes ResourceHandleProto.DtypeAndShape*
ResourceHandleProto.DtypeAndShape:
	1 dtype DataType; 2 shape TensorShapeProto
VariantTensorDataProto:
	1 type_name string; 2 metadata bytes; 3 tensors TensorProto*
AttrValue.ListValue:
	2 s bytes*; 3 i int64*; 4 f float*; 5 b bool*; 6 type DataType*; 7 shape TensorShapeProto*; 8 tensor TensorProto*;
	9 func NameAttrList*
NameAttrList:
	1 name string; 2 attr NameAttrList.AttrEntry*
NameAttrList.AttrEntry:
	1 key string; 2 value AttrValue
NodeDef.ExperimentalDebugInfo:
	1 original_node_names string*; 2 original_func_names string*
FullTypeDef:
	1 type_id FullTypeId; 2 args FullTypeDef*; 3 s string|; 4 i int64|
VersionDef:
	1 producer int32; 2 min_consumer int32; 3 bad_consumers int32*
FunctionDefLibrary:
	1 function FunctionDef*; 2 gradient GradientDef*; 3 registered_gradients RegisteredGradient*
FunctionDef:
	1 signature OpDef; 3 node_def NodeDef*; 4 ret FunctionDef.RetEntry*; 5 attr FunctionDef.AttrEntry*;
	6 control_ret FunctionDef.ControlRetEntry*; 7 arg_attr FunctionDef.ArgAttrEntry*;
	8 resource_arg_unique_id FunctionDef.ResourceArgUniqueIdEntry*
OpDef:
	1 name string; 2 input_arg OpDef.ArgDef*; 3 output_arg OpDef.ArgDef*; 4 attr OpDef.AttrDef*; 5 summary string;
	6 description string; 8 deprecation OpDeprecation; 16 is_aggregate bool; 17 is_stateful bool; 18 is_commutative bool;
	19 allows_uninitialized_input bool; 20 control_output string*; 21 is_distributed_communication bool
OpDef.ArgDef:
	1 name string; 2 description string; 3 type DataType; 4 type_attr string; 5 number_attr string; 6 type_list_attr string;
	7 handle_data ResourceHandleProto.DtypeAndShape*; 16 is_ref bool; 17 experimental_full_type FullTypeDef
OpDef.AttrDef:
	1 name string; 2 type string; 3 default_value AttrValue; 4 description string; 5 has_minimum bool; 6 minimum int64;
	7 allowed_values AttrValue
OpDeprecation:
	1 version int32; 2 explanation string
FunctionDef.AttrEntry:
	1 key string; 2 value AttrValue
FunctionDef.ArgAttrEntry:
	1 key uint32; 2 value FunctionDef.ArgAttrs
FunctionDef.ArgAttrs:
	1 attr FunctionDef.ArgAttrs.AttrEntry*
FunctionDef.ArgAttrs.AttrEntry:
	1 key string; 2 value AttrValue
FunctionDef.ResourceArgUniqueIdEntry:
	1 key uint32; 2 value uint32
FunctionDef.RetEntry:
	1 key string; 2 value string
FunctionDef.ControlRetEntry:
	1 key string; 2 value string
GradientDef:
	1 function_name string; 2 gradient_func string
RegisteredGradient:
	1 gradient_func string; 2 registered_op_type string
`

// enumText lists the enumerations' names. A DataType has a twin with the suffix
// _REF and a number larger by 100.
const enumText = `
DataType:
	DT_INVALID=0 DT_FLOAT=1 DT_DOUBLE=2 DT_INT32=3 DT_UINT8=4 DT_INT16=5 DT_INT8=6 DT_STRING=7 DT_COMPLEX64=8 DT_INT64=9 DT_BOOL=10
	DT_QINT8=11 DT_QUINT8=12 DT_QINT32=13 DT_BFLOAT16=14 DT_QINT16=15 DT_QUINT16=16 DT_UINT16=17 DT_COMPLEX128=18 DT_HALF=19
	DT_RESOURCE=20 DT_VARIANT=21 DT_UINT32=22 DT_UINT64=23 DT_FLOAT8_E5M2=24 DT_FLOAT8_E4M3FN=25 DT_FLOAT8_E4M3FNUZ=26
	DT_FLOAT8_E4M3B11FNUZ=27 DT_FLOAT8_E5M2FNUZ=28 DT_INT4=29 DT_UINT4=30 DT_INT2=31 DT_UINT2=32 DT_FLOAT4_E2M1FN=33
FullTypeId:
	TFT_UNSET=0 TFT_VAR=1 TFT_ANY=2 TFT_PRODUCT=3 TFT_NAMED=4 TFT_FOR_EACH=20 TFT_CALLABLE=100 TFT_TENSOR=1000 TFT_ARRAY=1001
	TFT_OPTIONAL=1002 TFT_LITERAL=1003 TFT_ENCODED=1004 TFT_SHAPE_TENSOR=1005 TFT_BOOL=200 TFT_UINT8=201 TFT_UINT16=202 TFT_UINT32=203
	TFT_UINT64=204 TFT_INT8=205 TFT_INT16=206 TFT_INT32=207 TFT_INT64=208 TFT_HALF=209 TFT_FLOAT=210 TFT_DOUBLE=211 TFT_BFLOAT16=215
	TFT_COMPLEX64=212 TFT_COMPLEX128=213 TFT_STRING=214 TFT_DATASET=10102 TFT_RAGGED=10103 TFT_ITERATOR=10104 TFT_MUTEX_LOCK=10202
	TFT_LEGACY_VARIANT=10203
`

// fieldType is the type of a field as text writes it.
type fieldType struct {
	name     string
	number   int32
	typ      string // of a scalar, or the name of a message or enumeration
	message  map[string]*fieldType
	enum     map[string]int64
	repeated bool
	oneof    bool
}

// schema maps messages to their fields by name.
var schema = parseSchema()

func parseSchema() map[string]map[string]*fieldType {
	enums := map[string]map[string]int64{}
	for name, items := range sections(enumText) {
		enums[name] = map[string]int64{}
		for item := range strings.FieldsSeq(items) {
			label, number, _ := strings.Cut(item, "=")
			n, _ := strconv.ParseInt(number, 10, 32)
			enums[name][label] = n
			if name == "DataType" && n > 0 {
				enums[name][label+"_REF"] = n + 100
			}
		}
	}
	messages := map[string]map[string]*fieldType{}
	texts := sections(schemaText)
	for name := range texts {
		messages[name] = map[string]*fieldType{}
	}
	for name, items := range texts {
		for item := range strings.SplitSeq(items, ";") {
			part := strings.Fields(item)
			n, _ := strconv.ParseInt(part[0], 10, 32)
			typ, oneof := strings.CutSuffix(part[2], "|")
			typ, repeated := strings.CutSuffix(typ, "*")
			messages[name][part[1]] = &fieldType{
				name: part[1], number: int32(n), typ: typ, message: messages[typ], enum: enums[typ], repeated: repeated, oneof: oneof,
			}
		}
	}
	return messages
}

// sections splits a text into what follows each "name:" at a line's beginning.
func sections(text string) map[string]string {
	found := map[string]string{}
	name := ""
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		if label, ok := strings.CutSuffix(line, ":"); ok {
			name = label
			continue
		}
		found[name] += strings.TrimSuffix(strings.TrimSpace(line), ";") + separator(line)
	}
	for name := range found {
		found[name] = strings.TrimSuffix(found[name], ";")
	}
	return found
}

// separator keeps the fields of two lines apart.
func separator(line string) string {
	if strings.HasSuffix(strings.TrimSpace(line), ";") {
		return ";"
	}
	return " "
}
