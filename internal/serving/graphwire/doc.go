// Package graphwire reads TensorFlow's GraphDef messages as they lie in a file,
// without loading them: it indexes the nodes, and leaves weights where they are.
//
// # What is read
//
// A [Message] iterates over the fields of one protocol buffer message in a file,
// a [Window] holds the few kilobytes that are looked at. [ReadGraph] makes the
// index of a tensorflow.GraphDef (tensorflow/core/framework/graph.proto): for
// each NodeDef its name, operation, inputs, and where its bytes are. Attributes
// are read on demand by [Graph.ReadAttrs], tensors by [Attrs.Tensor]. What a
// later TensorFlow adds to the messages is skipped and never lost, because
// whoever writes a graph copies bytes.
//
// What is wrong with the structure of a graph as a whole (duplicate names, inputs
// that do not exist, cycles) does not keep it from being read; it is collected in
// [Graph.Problems].
//
// # Input is hostile
//
// Every length is held against what remains of its enclosing message before
// anything is read or allocated, strings and node counts are limited, and
// nesting is as deep as the schema, never as the file wants. Errors about the
// content are of type [*FormatError].
package graphwire
