#!/usr/bin/env python3
"""Compare SavedModels with the frozen graphs they were made of, in TensorFlow.

Reads a JSON list from standard input, [{"graph": PATH, "model": DIRECTORY, "feeds": {TENSOR: SHAPE}}], and
writes for each a line of JSON: {"model", "loader", "tf2", "largest", "signature", "folded", "same_bits", "error"}. "loader"
and "tf2" are the largest differences of any output from the frozen graph's, loaded as TensorFlow Serving does (tag and
tensor names) and with tf.saved_model.load; "largest" is the largest absolute value of any output; "signature" is what
TensorFlow reads of the signature. Inputs are random and the same for all three. Grappler is off and one thread is used,
so that equal graphs give equal bits.

Of an optimised model, "folded" counts the constants that TensorFlow's own optimize_for_inference makes for folded
normalisations, and "same_bits" those of them that the model has under the same name with the same bits.
"""

import json
import os
import sys

os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np  # noqa: E402  (the environment comes first)
import tensorflow as tf  # noqa: E402

v1 = tf.compat.v1


def session():
    config = v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return v1.Session(config=config)


def described(infos):
    entries = []
    for key in sorted(infos):
        info = infos[key]
        shape = None if info.tensor_shape.unknown_rank else [d.size for d in info.tensor_shape.dim]
        entries.append({"key": key, "tensor": info.name, "dtype": tf.dtypes.as_dtype(info.dtype).name, "shape": shape})
    return entries


def largest(got, want):
    return max(float(np.max(np.abs(g.astype(np.float64) - w.astype(np.float64)))) if g.shape == w.shape else float("inf") for g, w in zip(got, want))


def constants(graph_def):
    return {n.name: tf.make_ndarray(n.attr["value"].tensor) for n in graph_def.node
            if n.op == "Const" and (n.name.endswith("_weights") or n.name.endswith("_bn_offset"))}


def folds(case, ours):
    """What TensorFlow folds itself, and how much of it is the same here."""
    from tensorflow.python.tools import optimize_for_inference_lib as lib

    with open(case["graph"], "rb") as f:
        graph_def = v1.GraphDef.FromString(f.read())
    names = lambda tensors: sorted({t.split(":")[0] for t in tensors})  # noqa: E731
    before = constants(graph_def)
    types = [next(n.attr["dtype"].type or 1 for n in graph_def.node if n.name == name) for name in names(case["feeds"])]
    theirs = constants(lib.optimize_for_inference(graph_def, names(case["feeds"]), names(case["outputs"]), types, True))
    made = [n for n in theirs if n not in before]
    here = constants(ours)
    return {"folded": len(made), "same_bits": sum(n in here and here[n].tobytes() == theirs[n].tobytes() for n in made)}


def compare(case):
    random = np.random.RandomState(7)
    feeds = {}
    for tensor, shape in case["feeds"].items():
        feeds[tensor] = np.float32(1) if not shape else random.rand(*shape).astype(np.float32)
    with tf.Graph().as_default(), session() as sess:
        meta = v1.saved_model.loader.load(sess, ["serve"], case["model"])
        signature = meta.signature_def["serving_default"]
        keys = sorted(signature.outputs)
        fetches = [signature.outputs[k].name for k in keys]
        loader = sess.run(fetches, feeds)
    with tf.Graph().as_default(), session() as sess:
        with open(case["graph"], "rb") as f:
            tf.import_graph_def(v1.GraphDef.FromString(f.read()), name="")
        frozen = sess.run(fetches, feeds)
    function = tf.saved_model.load(case["model"], tags=["serve"]).signatures["serving_default"]
    answers = function(**{k: tf.constant(feeds[t.name]) for k, t in signature.inputs.items()})
    extra = folds(case, meta.graph_def) if case["optimized"] else {}
    return extra | {
        "largest": max(float(np.max(np.abs(f.astype(np.float64)))) for f in frozen),
        "loader": largest(loader, frozen),
        "tf2": largest([answers[k].numpy() for k in keys], frozen),
        "signature": {"inputs": described(signature.inputs), "outputs": described(signature.outputs), "method": signature.method_name},
    }


def main():
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    for case in json.load(sys.stdin):
        result = {"model": case["model"], "error": ""}
        try:
            result.update(compare(case))
        except Exception as error:  # noqa: BLE001  (whatever TensorFlow has to say is the result)
            result["error"] = f"{type(error).__name__}: {error}"
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
