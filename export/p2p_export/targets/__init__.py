"""Files that an export writes: ONNX bundles, TensorRT engines, and a page for the web."""
