"""The graph that is exported: folded, rewritten, in fewer bits."""
