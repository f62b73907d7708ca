"""A trained generator for others: an ONNX file, a folder with a model card, the Hugging Face Hub.

Its face: `folder.write_folder`, `onnx_export.save_onnx`, `hub.push_folder`.
"""
