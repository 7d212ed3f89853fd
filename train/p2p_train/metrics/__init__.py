"""Quality of generated images: distance to the photos, segmentation score, flicker."""
