"""Files that an export writes: ONNX bundles, TensorRT engines, Triton models, web pages."""
