"""From a trained generator to an ONNX graph: folding, rewriting, fp16 and int8."""
