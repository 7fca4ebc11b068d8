#!/usr/bin/env python3
"""Read an ssl.cfg from standard input as TensorFlow Serving does: as text format of tensorflow.serving.SSLConfig.

The message is built here from its definition (tensorflow_serving/config/ssl_config.proto). Prints its fields as JSON; whatever
the parser refuses ends the program.
"""

import json
import sys

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format


def ssl_config():
    file = descriptor_pb2.FileDescriptorProto(name="ssl_config.proto", package="tensorflow.serving", syntax="proto3")
    message = file.message_type.add(name="SSLConfig")
    field = descriptor_pb2.FieldDescriptorProto
    for number, (name, kind) in enumerate(
            [("server_key", field.TYPE_STRING), ("server_cert", field.TYPE_STRING), ("custom_ca", field.TYPE_STRING), ("client_verify", field.TYPE_BOOL)], 1):
        message.field.add(name=name, number=number, type=kind, label=field.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.serving.SSLConfig"))()


config = ssl_config()
text_format.Parse(sys.stdin.read(), config)
print(json.dumps({"server_key": config.server_key, "server_cert": config.server_cert, "custom_ca": config.custom_ca, "client_verify": config.client_verify}))
