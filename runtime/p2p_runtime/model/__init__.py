"""The model file: the pixel contract, the bundle, the golden frame, and their checks."""
