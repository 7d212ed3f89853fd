"""What an export writes: ONNX bundles and TensorRT engines."""
