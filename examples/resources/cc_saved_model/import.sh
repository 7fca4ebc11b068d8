# A SavedModel that ccctl made is adopted with the graph it was made of; its
# inputs and outputs are read from it.
terraform import cc_saved_model.resnet50 '{"source": "resnet50_fp32_pretrained_model.pb", "export_dir": "plaintext/models/resnet50-v15-fp32", "model_version": 1}'
