"""Files that an export writes: ONNX bundles and TensorRT engines."""
