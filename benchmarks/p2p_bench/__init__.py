"""The measure: the same frames through every backend, at the same boundary.

This file imports nothing, so that ``p2p-bench --help`` stays instant.
"""
