// Package graphtext reads the text form of a TensorFlow graph, as
// tf.io.write_graph writes it to a .pbtxt file, and gives its binary form.
//
// The text form is that of protocol buffers
// (https://protobuf.dev/reference/protobuf/textformat-spec/), for the messages
// below tensorflow.GraphDef. It has field names where the binary form has
// numbers, so the reader knows those messages' fields, and a name that it does
// not know is an error: what is left out could change what the graph computes.
// Debug information alone, which says where in a program a node was made, is
// read and left out.
//
// The result depends on the text alone. Fields are written in the order of their
// numbers, repeated ones in the order of the text, and a scalar that the text
// states is written even if it is zero: in an attribute it is the difference
// between a value and none.
package graphtext
