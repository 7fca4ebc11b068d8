#!/usr/bin/env python3
"""Make ops.pb and ops.json: a graph of many operations, and what TensorFlow infers of each tensor.

ops.json maps node:port to [dtype, shape], the shape null where its rank is unknown. The test holds this
package's inference against it: equal or less, never different.

Usage: python make_ops.py   (made with tensorflow-cpu 2.21.0)
"""

import json
import os
import pathlib

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf  # noqa: E402

v1 = tf.compat.v1
here = pathlib.Path(__file__).parent

with tf.Graph().as_default() as graph:
    image = v1.placeholder(tf.float32, [None, 9, 8, 4], name="image")
    fixed = v1.placeholder(tf.float32, [2, 9, 8, 4], name="fixed")
    vague = v1.placeholder(tf.float32, [None, None, None, 4], name="vague")
    anything = v1.placeholder(tf.float32, name="anything")
    planes = v1.placeholder(tf.float32, [None, 4, 9, 8], name="planes")
    matrix = v1.placeholder(tf.float32, [None, 6], name="matrix")
    vector = v1.placeholder(tf.int64, [5], name="vector")
    scalar = v1.placeholder(tf.float32, [], name="scalar")
    default = v1.placeholder_with_default(tf.zeros([3, 2], tf.float16), [None, 2], name="default")
    kernel = tf.ones([3, 2, 4, 5], name="kernel")
    deep = tf.ones([3, 3, 4, 2], name="deep")
    for x, name in ((image, "image"), (fixed, "fixed"), (vague, "vague"), (anything, "anything")):
        with tf.name_scope("of_" + name):
            for stride in (1, 2, 3):
                for padding in ("SAME", "VALID"):
                    tf.nn.conv2d(x, kernel, strides=stride, padding=padding)
                    v1.nn.depthwise_conv2d_native(x, deep, strides=[1, stride, stride, 1], padding=padding)
                    tf.nn.max_pool2d(x, [3, 2], stride, padding)
                    tf.nn.avg_pool2d(x, 2, stride, padding)
            tf.nn.conv2d(x, kernel, strides=1, padding="VALID", dilations=[1, 2, 3, 1])
            tf.nn.conv2d(x, kernel, strides=[1, 2, 1, 1], padding=[[0, 0], [1, 2], [3, 0], [0, 0]])
            for axes in ([1, 2], [-1], [0], [], [1, 2, 3]):
                tf.reduce_mean(x, axis=axes)
                tf.reduce_max(x, axis=axes, keepdims=True)
            tf.reduce_any(tf.cast(x, tf.bool), axis=1)
            tf.transpose(x, [0, 3, 1, 2])
            tf.reshape(x, [-1, 288])
            tf.reshape(x, [2, 9, -1])
            tf.reshape(x, tf.stack([tf.shape(x)[0], 32, -1]))
            tf.reshape(x, tf.shape(x))
            tf.expand_dims(x, 0)
            tf.expand_dims(x, -1)
            tf.expand_dims(x, 2)
            tf.pad(x, [[0, 0], [1, 2], [3, 4], [0, 0]])
            tf.argmax(x, axis=-1)
            tf.argmin(x, axis=1, output_type=tf.int32)
            tf.shape(x)
            tf.shape(x, out_type=tf.int64)
            tf.size(x)
            tf.rank(x)
            tf.concat([x, x], axis=1)
            tf.concat([x, fixed], axis=0)
            tf.concat([x, image, image], axis=-1)
            tf.stack([x, x, x], axis=1)
            tf.stack([x, x], axis=-1)
            tf.unstack(x, num=4, axis=3)
            tf.split(x, 2, axis=3)
            tf.image.resize(x, [20, 30]) if x is not anything else None
            v1.image.resize_nearest_neighbor(x, [5, 6])
            x + tf.ones([4])
            x * tf.ones([9, 1, 4])
            tf.maximum(x, scalar)
            x - fixed
            tf.math.squared_difference(x, image)
            tf.less(x, 0.5)
            tf.equal(x, fixed)
            tf.logical_not(tf.greater(x, 0.0))
            tf.nn.softmax(x)
            tf.nn.bias_add(x, tf.zeros([4]))
            v1.nn.fused_batch_norm(x, tf.ones([4]), tf.ones([4]), tf.ones([4]), tf.ones([4]), is_training=False)
            tf.nn.relu6(tf.nn.elu(tf.nn.leaky_relu(tf.sigmoid(tf.tanh(tf.abs(x))))))
            tf.cast(x, tf.uint8)
            tf.identity_n([x, vector])
            tf.clip_by_value(x, 0.0, 1.0)
            tf.strings.as_string(x)
            tf.nn.top_k(x, 2)
            tf.one_hot(tf.argmax(x, -1), 7)
            tf.gather(x, [0, 1], axis=1)
            tf.where(tf.less(x, 0.5), x, x)
            tf.tile(x, [1, 2, 2, 1])
            tf.linalg.matmul(x, tf.ones([4, 3]))
    tf.nn.conv2d(planes, kernel, strides=[1, 1, 2, 1], padding="SAME", data_format="NCHW")
    tf.nn.max_pool2d(planes, 2, 2, "VALID", data_format="NCHW")
    tf.nn.bias_add(planes, tf.zeros([4]), data_format="NCHW")
    tf.squeeze(tf.ones([1, 3, 1, 2]))
    tf.squeeze(tf.ones([1, 3, 1, 2]), [0])
    tf.squeeze(v1.placeholder(tf.float32, [None, 1, 3, 1], name="thin"), [1, -1])
    tf.squeeze(v1.placeholder(tf.float32, [None, 1, 3, 1], name="maybe_thin"))
    tf.matmul(matrix, tf.ones([6, 3]))
    tf.matmul(matrix, tf.ones([3, 6]), transpose_b=True)
    tf.matmul(matrix, matrix, transpose_a=True)
    tf.matmul(v1.placeholder(tf.float32, name="unranked"), tf.ones([6, 3]))
    tf.fill([2, 3], 1.0)
    tf.fill(tf.stack([tf.shape(matrix)[0], 4]), 1.0)
    tf.range(3, 9, 2)
    tf.zeros_like(matrix)
    tf.unique(vector)
    tf.constant([[1, 2], [3, 4]], tf.int8)
    tf.constant(7, tf.int64, shape=[4])
    tf.constant("text")
    tf.random.uniform([2, 3])
    tf.image.non_max_suppression(tf.ones([5, 4]), tf.ones([5]), 3)
    tf.io.decode_png(v1.placeholder(tf.string, [], name="png"))
    tf.io.decode_jpeg(v1.placeholder(tf.string, [], name="jpeg"))
    tf.add_n([matrix, matrix])
    v1.while_loop(lambda i, m: i < 3, lambda i, m: (i + 1, tf.nn.relu(m)), [0, matrix])
    tf.cond(scalar > 0.0, lambda: matrix + 1.0, lambda: matrix)
    definition = graph.as_graph_def()
    expected = {}
    for operation in graph.get_operations():
        for tensor in operation.outputs:
            shape = None if tensor.shape.rank is None else [-1 if d is None else d for d in tensor.shape.as_list()]
            expected[tensor.name] = [tensor.dtype.base_dtype.name, shape]

for node in definition.node:
    node.attr.pop("_output_shapes", None)
definition.ClearField("debug_info")
(here / "ops.pb").write_bytes(definition.SerializeToString(deterministic=True))
(here / "ops.json").write_text("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in expected.items()) + "\n}\n")
print(len(definition.node), "nodes,", len(expected), "tensors")
