// Package graphopt rewrites a frozen TensorFlow graph for inference: what comes
// out computes the same outputs from the same inputs with fewer nodes.
//
// # Passes
//
// prune keeps what the outputs of the signature need: data, control and
// colocation edges are followed. An input in the middle of the graph becomes a
// Placeholder, and what computed it goes.
//
// splice takes out Identity and CheckNumerics nodes, and the waiting for what is
// there from the beginning, such as constants. A CheckNumerics fails a
// request whose numbers are not finite; without it the answer has them.
//
// fold moves batch normalisations into the weights of the convolution before
// them (Conv2D, DepthwiseConv2dNative), leaving a BiasAdd under the name of the
// normalisation. It knows FusedBatchNorm, V2 and V3,
// BatchNormWithGlobalNormalization, and the form that tf.nn.batch_normalization
// writes, x*m + (beta - mean*m) with m = gamma*rsqrt(variance + epsilon). One
// BiasAdd or Add of a constant may stand between the two.
//
// sweep drops what nothing needs any more.
//
// # Arithmetic
//
// For channel c, in the order and precision of TensorFlow's own
// fold_batch_norms (tensorflow/python/tools/optimize_for_inference_lib.py), so
// that both make the same bits:
//
//	v    = float32(variance[c] + epsilon)
//	s[c] = 1/sqrt(float64(v)) * gamma[c]              in float64
//	m[c] = float32(mean[c] - bias[c])
//	b[c] = float32(float64(-m[c])*s[c] + beta[c])     the BiasAdd
//	W[i] = float32(float64(W[i]) * s[c(i)])           c(i) = i mod channels
//
// # Guards
//
// A rewrite that is not certain to keep the outputs is not made, and the report
// says why. The guards have numbers, which the report gives:
//
//	G1   a normalisation that is training computes its own statistics
//	G2   the convolution's output is read by others too, who would see it scaled
//	G3   weights that others read stay as they are; the convolution gets a copy
//	G4   the normalisation's other outputs are read
//	G5   only float32 is folded
//	G6   convolution, bias and normalisation must agree where the channels are
//	G7   "weights:0" and "weights" are the same tensor
//	G8   new nodes take no name that is in use
//	G9   a variance + epsilon that is not positive, or a result that is not finite
//	G10  inputs and outputs of the signature keep their names and values
//	G11  a graph with control flow of TensorFlow 1 is only pruned
//
// # Memory
//
// Weights are read when the graph is written, a quarter of a megabyte at a time;
// what is kept is the index of the nodes. The same graph and signature always
// give the same bytes, and what this package does not know of a node (attributes,
// fields of later TensorFlow versions) is copied.
package graphopt
