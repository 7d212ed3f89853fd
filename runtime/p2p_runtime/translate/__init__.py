"""From a frame to its translation: preprocess, infer, postprocess, in order."""
