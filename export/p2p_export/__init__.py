"""The bridge: turn a trained generator into model bundles, and prove that they compute the same."""
