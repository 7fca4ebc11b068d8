#!/usr/bin/env python3
"""Ask TensorFlow whether a SavedModel made by `ccctl model convert` is the model it was made from.

Usage (TensorFlow must be importable; train.py names the version that was used):

  ccctl model convert --import-path digits.pb --export-dir /tmp/digits --model-version 1 \
      --inputs input --outputs predict
  python check.py /tmp/digits/1 [--tolerance 0]

The directory is loaded twice, as TensorFlow 2 does (tf.saved_model.load) and as TensorFlow Serving's
loader does (tag `serve`, signature `serving_default`, tensor names fed verbatim). Both must answer the ten
images of samples.json as digits.pb itself does on this machine: bit for bit, unless --tolerance allows a
largest absolute difference relative to the largest absolute output (an optimised graph rounds differently).
digits.pb in turn must answer what samples.json says, within what another processor's rounding explains.

Prints one line a check; exits 1 if any fails.
"""

import argparse
import json
import os
import pathlib
import sys

os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np  # noqa: E402  (the environment comes first)
import tensorflow as tf  # noqa: E402


def configure():
    """As train.py: one thread, no oneDNN, the graph run as written, so that equal graphs give equal bits."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def session():
    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return tf.compat.v1.Session(config=config)


def frozen(path, images):
    with tf.Graph().as_default(), session() as sess:
        tf.import_graph_def(tf.compat.v1.GraphDef.FromString(path.read_bytes()), name="")
        return sess.run("predict:0", {"input:0": images})


def modern(directory, images):
    function = tf.saved_model.load(directory, tags=["serve"]).signatures["serving_default"]
    _, inputs = function.structured_input_signature
    (name,) = inputs
    answers = function(**{name: tf.constant(images)})
    (output,) = answers
    return {"input": name, "output": output}, answers[output].numpy()


def serving(directory, images):
    with tf.Graph().as_default(), session() as sess:
        meta = tf.compat.v1.saved_model.loader.load(sess, ["serve"], directory)
        signature = meta.signature_def["serving_default"]
        if signature.method_name != "tensorflow/serving/predict":
            raise SystemExit(f"method name is {signature.method_name!r}")
        ((_, feed),) = signature.inputs.items()
        ((_, fetch),) = signature.outputs.items()
        described = {}
        for role, info in (("input", feed), ("output", fetch)):
            shape = None if info.tensor_shape.unknown_rank else [d.size for d in info.tensor_shape.dim]
            described[role] = {"name": info.name, "dtype": tf.dtypes.as_dtype(info.dtype).name, "shape": shape}
        return described, sess.run(fetch.name, {feed.name: images})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", help="version directory, the one that holds saved_model.pb")
    parser.add_argument("--graph", default=pathlib.Path(__file__).with_name("digits.pb"), type=pathlib.Path)
    parser.add_argument("--samples", default=pathlib.Path(__file__).with_name("samples.json"), type=pathlib.Path)
    parser.add_argument("--tolerance", default=0.0, type=float)
    args = parser.parse_args()

    expected = json.loads(args.samples.read_text())
    images = np.array([s["input"] for s in expected["samples"]], np.float32)
    recorded = np.array([s["output"] for s in expected["samples"]], np.float32)
    failures = 0

    def report(what, ok, detail):
        nonlocal failures
        failures += not ok
        print(f"{'ok  ' if ok else 'FAIL'} {what}: {detail}")

    configure()
    wanted = frozen(args.graph, images)
    compare(report, "frozen graph, against samples.json", wanted, recorded, 1e-5)
    names, answers = modern(args.directory, images)
    compare(report, "tf.saved_model.load", answers, wanted, args.tolerance)
    report("signature keys", names == {"input": "input", "output": "predict"}, names)

    described, answers = serving(args.directory, images)
    compare(report, "TensorFlow Serving's loader", answers, wanted, args.tolerance)
    for role in ("input", "output"):
        report(f"signature {role}", described[role] == expected[role], described[role])
    sys.exit(1 if failures else 0)


def compare(report, what, answers, wanted, tolerance):
    if answers.shape != wanted.shape:
        report(what, False, f"shape {answers.shape}, want {wanted.shape}")
        return
    difference = float(np.max(np.abs(answers - wanted)) / np.max(np.abs(wanted)))
    report(what, difference <= tolerance, f"largest difference {difference:.3g} of the largest output, {len(wanted)} images")


if __name__ == "__main__":
    main()
