// Package savedmodel turns a frozen TensorFlow graph into a SavedModel, and
// says what is inside of either, without TensorFlow.
//
// # The formats
//
// A frozen graph is one serialized tensorflow.GraphDef message whose variables
// have become Const nodes (tensorflow/core/framework/graph.proto). A SavedModel
// is a tensorflow.SavedModel message in a file saved_model.pb inside a version
// directory (tensorflow/core/protobuf/saved_model.proto, meta_graph.proto). It
// holds the same GraphDef as a length-delimited field, beside the tags by which
// a loader picks it and the signatures by which a client calls it:
//
//	SavedModel      { 1: schema version = 1; 2: MetaGraphDef }
//	MetaGraphDef    { 1: MetaInfoDef { 4: tag "serve" }; 2: GraphDef; 5: signatures }
//	SignatureDef    { 1: inputs; 2: outputs; 3: method name }
//	TensorInfo      { 1: "node:port"; 2: dtype; 3: shape }
//
// So [Convert] writes a prefix, the graph's bytes as they are, and a suffix. What
// this package does not know about a graph (function library, versions, debug
// information, fields of later TensorFlow versions) passes through unchanged, the
// result depends on the graph and the options alone, and memory grows with the
// number of nodes, not with the size of the weights.
//
// # What a server needs
//
// TensorFlow Serving picks the graph tagged "serve", the signature
// "serving_default" and its method "tensorflow/serving/predict"; its REST API
// converts JSON by the dtype in the signature, which must therefore be right. It
// is read from the graph: a placeholder states its dtype and shape, and other
// operations' follow from their attributes and inputs. A dtype that does not
// follow is an error that asks for it; a shape that does not follow is left
// unknown, which servers accept. A variable-free model needs no variables
// directory.
//
// # Names
//
// A tensor is written as a [TensorSpec], such as "predict", "detect:1" or
// "scores=detect:1@float32[-1,10]". With one input, its key in the signature is
// "input", and with one output "predict", because those are the keys which the
// clients of the Confidential Computing Zoo's tutorial send; several are keyed by
// their nodes' names.
package savedmodel
