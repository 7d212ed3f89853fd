"""From pairs on disk to batches of pixels."""
