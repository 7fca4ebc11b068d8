#!/usr/bin/env python3
"""Convert a frozen graph the way the Confidential Computing Zoo's tutorial does, with TensorFlow, to measure it.

Usage: tensorflow_convert.py GRAPH EXPORT_DIR INPUT OUTPUT. Prints {"import_seconds", "seconds", "peak_kib"} as JSON: the time
to import TensorFlow, and to convert.
"""

import json
import os
import resource
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
started = time.monotonic()

import tensorflow as tf  # noqa: E402
from tensorflow.python.tools.optimize_for_inference_lib import optimize_for_inference  # noqa: E402

imported = time.monotonic()
v1 = tf.compat.v1


def main():
    graph, directory, input_name, output_name = sys.argv[1:]
    with tf.io.gfile.GFile(graph, "rb") as f:
        graph_def = v1.GraphDef.FromString(f.read())
    graph_def = optimize_for_inference(graph_def, [input_name], [output_name], tf.float32.as_datatype_enum, True)
    with tf.Graph().as_default() as g:
        tf.import_graph_def(graph_def, name="")
        with v1.Session(graph=g) as session:
            builder = v1.saved_model.builder.SavedModelBuilder(directory)
            tensor = lambda name: v1.saved_model.utils.build_tensor_info(g.get_tensor_by_name(name + ":0"))  # noqa: E731
            signature = v1.saved_model.signature_def_utils.build_signature_def(
                inputs={"input": tensor(input_name)}, outputs={"predict": tensor(output_name)}, method_name="tensorflow/serving/predict")
            builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map={"serving_default": signature})
            builder.save()
    print(json.dumps({"import_seconds": imported - started, "seconds": time.monotonic() - imported,
                      "peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))


if __name__ == "__main__":
    main()
