#!/usr/bin/env python3
"""Make frozen graphs with batch normalisations, as exporters write them, for the comparison in interop.py.

Usage: make_models.py DIRECTORY. Writes *.pb and prints a JSON list of {"graph", "inputs", "outputs", "feeds", "folds",
"tolerance"}: "folds" is how many normalisations can be folded. Weights are random and so are the statistics, since those
of a fresh model (mean 0, variance 1) would hide mistakes.
"""

import json
import os
import sys

os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2  # noqa: E402

v1 = tf.compat.v1
random = np.random.RandomState(11)


def write(directory, name, graph_def):
    path = os.path.join(directory, name + ".pb")
    with open(path, "wb") as f:
        f.write(graph_def.SerializeToString(deterministic=True))
    return path


def keras(directory, name, model, size):
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            n = gamma.shape
            layer.set_weights([random.uniform(0.7, 1.3, n), random.normal(0, 0.1, n), random.normal(0, 0.2, n), random.uniform(0.5, 1.5, n)])
        elif getattr(layer, "use_bias", False) and len(layer.get_weights()) == 2:
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel, random.normal(0, 0.2, bias.shape)])
    norms = sum(isinstance(layer, tf.keras.layers.BatchNormalization) for layer in model.layers)
    spec = tf.TensorSpec([None, size, size, 3], tf.float32, name="input")
    function = tf.function(lambda x: tf.identity(model(x, training=False), name="predict")).get_concrete_function(spec)
    frozen = convert_variables_to_constants_v2(function)
    outputs = [t.name.split(":")[0] for t in frozen.outputs]
    return {"graph": write(directory, name, frozen.graph.as_graph_def()), "inputs": frozen.inputs[0].name.split(":")[0], "outputs": ",".join(outputs),
            "feeds": {frozen.inputs[0].name: [1, size, size, 3]}, "folds": norms}


def decomposed(directory):
    """Every form of TensorFlow 1: fused and written out, with and without bias, depthwise, one that trains and one that shares."""
    def weights(*shape):
        return tf.constant(random.normal(0, 0.4, shape), tf.float32)

    def statistics(n):
        return [tf.constant(random.uniform(*r, n), tf.float32) for r in ((-0.3, 0.3), (0.5, 1.5), (-0.4, 0.4), (0.6, 1.4))]

    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 16, 16, 3], name="input")
        y = tf.nn.conv2d(x, weights(3, 3, 3, 8), 1, "SAME")
        mean, variance, beta, gamma = statistics(8)
        y = tf.nn.relu(tf.nn.batch_normalization(y, mean, variance, beta, gamma, 1e-3))
        y = tf.nn.depthwise_conv2d(y, weights(3, 3, 8, 2), [1, 1, 1, 1], "SAME")
        mean, variance, beta, gamma = statistics(16)
        y = tf.nn.relu(tf.nn.batch_normalization(y, mean, variance, beta, None, 1e-3))
        y = tf.nn.bias_add(tf.nn.conv2d(y, weights(1, 1, 16, 8), 2, "VALID"), weights(8))
        mean, variance, beta, gamma = statistics(8)
        y, _, _ = v1.nn.fused_batch_norm(y, gamma, beta, mean, variance, 1e-3, is_training=False)
        y = tf.debugging.check_numerics(tf.identity(y), "finite")
        z = tf.nn.conv2d(y, weights(3, 3, 8, 8), 1, "SAME") + weights(8)
        mean, variance, beta, gamma = statistics(8)
        z = tf.raw_ops.FusedBatchNormV2(x=z, scale=gamma, offset=beta, mean=mean, variance=variance, epsilon=1e-3, is_training=False)[0]
        shared = tf.nn.conv2d(y, weights(3, 3, 8, 8), 1, "SAME")
        mean, variance, beta, gamma = statistics(8)
        left = tf.nn.batch_normalization(shared, mean, variance, beta, gamma, 1e-3)
        tf.identity(tf.reduce_mean(z + left + shared, [1, 2]), name="predict")
    return {"graph": write(directory, "forms", graph.as_graph_def()), "inputs": "input", "outputs": "predict", "feeds": {"input:0": [2, 16, 16, 3]}, "folds": 4}


def main():
    directory = sys.argv[1]
    applications = tf.keras.applications
    print(json.dumps([
        keras(directory, "resnet50", applications.ResNet50(weights=None, classifier_activation=None), 224),
        keras(directory, "mobilenet_v2", applications.MobileNetV2(weights=None, classifier_activation=None), 224),
        decomposed(directory),
    ]))


if __name__ == "__main__":
    main()
