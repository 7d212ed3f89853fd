"""Backends: each takes (N, H, W, 3) uint8 BGR from host memory and returns the same."""
