#!/usr/bin/env python3
"""Train and freeze the quickstart's digit classifier.

Writes three files beside itself:

  digits.pb      frozen TensorFlow GraphDef; input `input` (float32 [-1,8,8,1], grey values
                 0..1), output `predict` (float32 [-1,10], softmax over the digits 0..9)
  samples.json   ten test images, one of each digit, and what TensorFlow's session answered
                 for them *before* the variables were frozen
  (stdout)       accuracy, size and SHA-256 of what was written

Usage:

  python3.11 train.py              make everything in a throw-away virtual environment
                                   (needs access to a Python package index; about 1 GB of disk while it runs)
  python  train.py --no-venv       use the packages of the running interpreter; the versions
                                   in REQUIREMENTS must match, or --any-version be given
  python  train.py --out DIR       write to DIR instead

The training is deterministic: every seed is fixed, TensorFlow runs one thread with
deterministic kernels. The same processor family and the same versions give the same bytes;
another processor may round differently in the last bit of a weight.

The batch normalisations are left as FusedBatchNormV3 nodes behind their convolutions, and the
variables' reads as Identity nodes: the graph is what training frameworks hand over, not what
an optimiser leaves.
"""

import argparse
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import venv

# The versions that made the committed files (Python 3.11).
REQUIREMENTS = {
    "tensorflow-cpu": "2.21.0",
    "scikit-learn": "1.9.1",
    "numpy": "2.4.6",
}
SEED = 20
EPOCHS = 40
BATCH = 32
MOMENTUM = 0.9  # of the moving averages
EPSILON = 1e-3


def run_in_throwaway_venv(out):
    with tempfile.TemporaryDirectory(prefix="digits-venv-") as directory:
        venv.create(directory, with_pip=True)
        python = os.path.join(directory, "bin", "python")
        pins = [f"{name}=={version}" for name, version in REQUIREMENTS.items()]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *pins], check=True)
        subprocess.run([python, os.path.abspath(__file__), "--no-venv", "--out", out], check=True)


def check_versions():
    from importlib import metadata

    wrong = []
    for name, want in REQUIREMENTS.items():
        try:
            got = metadata.version(name)
        except metadata.PackageNotFoundError:
            got = "not installed"
        if got != want:
            wrong.append(f"{name}: want {want}, found {got}")
    if wrong:
        sys.exit("these packages differ from the pinned ones (--any-version goes on all the same):\n  " + "\n  ".join(wrong))


def load_digits():
    """Return train and test images ([n,8,8,1], 0..1) and labels: a fixed split of 1500 and 297."""
    import numpy as np
    from sklearn.datasets import load_digits as load

    data = load()
    images = (data.images / 16.0).astype(np.float32)[..., np.newaxis]
    labels = data.target.astype(np.int64)
    order = np.random.RandomState(SEED).permutation(len(images))
    images, labels = images[order], labels[order]
    return images[:1500], labels[:1500], images[1500:], labels[1500:]


def network(tf, images, training):
    """Three convolutions and a depthwise one, each batch-normalised; returns logits and moving-average updates."""
    v1 = tf.compat.v1
    updates = []

    def variable(name, shape, initializer, trainable=True):
        return v1.get_variable(name, shape, tf.float32, initializer=initializer, trainable=trainable, use_resource=True)

    def normalise_and_relu(x):
        channels = x.shape[-1]
        with v1.variable_scope("BatchNorm"):
            gamma = variable("gamma", [channels], v1.ones_initializer())
            beta = variable("beta", [channels], v1.zeros_initializer())
            mean = variable("moving_mean", [channels], v1.zeros_initializer(), trainable=False)
            variance = variable("moving_variance", [channels], v1.ones_initializer(), trainable=False)
            if training:
                y, batch_mean, batch_variance = v1.nn.fused_batch_norm(x, gamma, beta, epsilon=EPSILON, is_training=True)
                updates.append(mean.assign(mean * MOMENTUM + batch_mean * (1 - MOMENTUM)))
                updates.append(variance.assign(variance * MOMENTUM + batch_variance * (1 - MOMENTUM)))
            else:
                y, _, _ = v1.nn.fused_batch_norm(x, gamma, beta, mean, variance, epsilon=EPSILON, is_training=False)
        return tf.nn.relu(y, name="Relu")

    def glorot(number):
        return v1.glorot_uniform_initializer(seed=SEED + number)

    with v1.variable_scope("conv1"):
        kernel = variable("weights", [3, 3, 1, 16], glorot(1))
        x = normalise_and_relu(tf.nn.conv2d(images, kernel, strides=1, padding="SAME", name="Conv2D"))
    with v1.variable_scope("conv2"):
        # With a bias: BatchNorm makes it superfluous, but exporters leave such chains behind.
        kernel = variable("weights", [3, 3, 16, 32], glorot(2))
        bias = variable("biases", [32], v1.zeros_initializer())
        x = tf.nn.conv2d(x, kernel, strides=2, padding="SAME", name="Conv2D")
        x = normalise_and_relu(tf.nn.bias_add(x, bias, name="BiasAdd"))
    with v1.variable_scope("depthwise"):
        kernel = variable("weights", [3, 3, 32, 1], glorot(3))
        x = v1.nn.depthwise_conv2d_native(x, kernel, strides=[1, 1, 1, 1], padding="SAME", name="Conv2D")
        x = normalise_and_relu(x)
    with v1.variable_scope("conv3"):
        kernel = variable("weights", [1, 1, 32, 48], glorot(4))
        x = normalise_and_relu(tf.nn.conv2d(x, kernel, strides=1, padding="SAME", name="Conv2D"))
    x = tf.reduce_mean(x, axis=[1, 2], name="pool")
    with v1.variable_scope("logits"):
        kernel = variable("weights", [48, 10], glorot(5))
        bias = variable("biases", [10], v1.zeros_initializer())
        logits = tf.nn.bias_add(tf.matmul(x, kernel, name="MatMul"), bias, name="BiasAdd")
    return logits, updates


def train(tf, images, labels):
    """Return the trained values by variable name."""
    import numpy as np

    v1 = tf.compat.v1
    with tf.Graph().as_default(), session(tf) as sess:
        v1.set_random_seed(SEED)
        x = v1.placeholder(tf.float32, [None, 8, 8, 1])
        y = v1.placeholder(tf.int64, [None])
        rate = v1.placeholder(tf.float32, [])
        logits, updates = network(tf, x, training=True)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
        with tf.control_dependencies(updates):
            step = v1.train.AdamOptimizer(rate).minimize(loss)
        sess.run(v1.global_variables_initializer())
        order = np.random.RandomState(SEED)
        for epoch in range(EPOCHS):
            permutation = order.permutation(len(images))
            for start in range(0, len(images), BATCH):
                batch = permutation[start : start + BATCH]
                sess.run(step, {x: images[batch], y: labels[batch], rate: 2e-3 * 0.93**epoch})
        model = [v for v in v1.global_variables() if "Adam" not in v.name and "beta1_power" not in v.name and "beta2_power" not in v.name]
        return dict(zip([v.name for v in model], sess.run(model)))


def session(tf):
    """A single-threaded session that runs the graph as written.

    Grappler would fold batch norms once their variables are constants, and the comparison of the graph
    before and after freezing would then be one of rounding errors.
    """
    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return tf.compat.v1.Session(config=config)


def freeze(tf, values, images, labels):
    """Return the frozen GraphDef, what the unfrozen graph answers for images, the ten samples it answered, and its accuracy."""
    import numpy as np

    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, session(tf) as sess:
        x = v1.placeholder(tf.float32, [None, 8, 8, 1], name="input")
        logits, _ = network(tf, x, training=False)
        predict = tf.nn.softmax(logits, name="predict")
        for variable in v1.global_variables():
            sess.run(variable.initializer, {variable.initializer.inputs[1]: values[variable.name]})
        answers = sess.run(predict, {x: images})
        accuracy = float(np.mean(np.argmax(answers, axis=1) == labels))
        chosen = [int(np.flatnonzero(labels == digit)[0]) for digit in range(10)]
        samples = list(zip(range(10), images[chosen], sess.run(predict, {x: images[chosen]})))
        frozen = v1.graph_util.convert_variables_to_constants(sess, graph.as_graph_def(), ["predict"])
    for node in frozen.node:
        node.device = ""
    frozen.ClearField("debug_info")
    return frozen, answers, samples, accuracy


def answers_of(tf, graph_def, images):
    with tf.Graph().as_default(), session(tf) as sess:
        tf.import_graph_def(graph_def, name="")
        return sess.run("predict:0", {"input:0": images})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=os.path.dirname(os.path.abspath(__file__)))
    parser.add_argument("--no-venv", action="store_true")
    parser.add_argument("--any-version", action="store_true")
    args = parser.parse_args()
    if not args.no_venv:
        return run_in_throwaway_venv(os.path.abspath(args.out))
    if not args.any_version:
        check_versions()

    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"  # its kernels sum in an order that depends on the processor
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import numpy as np
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    tf.compat.v1.disable_eager_execution()
    train_images, train_labels, test_images, test_labels = load_digits()
    values = train(tf, train_images, train_labels)
    frozen, answers, chosen, accuracy = freeze(tf, values, test_images, test_labels)

    data = frozen.SerializeToString(deterministic=True)
    reread = tf.compat.v1.GraphDef.FromString(data)
    if not np.array_equal(answers_of(tf, reread, test_images), answers):
        sys.exit("the frozen graph answers differently from the graph it was frozen from")

    samples = [{"label": label, "input": image.tolist(), "output": answer.tolist()} for label, image, answer in chosen]
    again = answers_of(tf, reread, np.array([s["input"] for s in samples], np.float32))
    if not np.array_equal(again, np.array([s["output"] for s in samples], np.float32)):
        sys.exit("the frozen graph answers the samples as written differently")

    out = pathlib.Path(args.out)
    (out / "digits.pb").write_bytes(data)
    header = {
        "tensorflow": tf.__version__,
        "input": {"name": "input:0", "dtype": "float32", "shape": [-1, 8, 8, 1]},
        "output": {"name": "predict:0", "dtype": "float32", "shape": [-1, 10]},
        "graph_sha256": hashlib.sha256(data).hexdigest(),
    }
    lines = ",\n".join("    " + json.dumps(s) for s in samples)
    text = json.dumps(header, indent=2)[:-2] + ',\n  "samples": [\n' + lines + "\n  ]\n}\n"
    json.loads(text)
    (out / "samples.json").write_text(text)

    print(f"accuracy  {accuracy:.4f} on {len(test_images)} held-out images")
    print(f"size      {len(data)} bytes, {len(frozen.node)} nodes")
    print(f"sha256    {hashlib.sha256(data).hexdigest()}  digits.pb")


if __name__ == "__main__":
    main()
