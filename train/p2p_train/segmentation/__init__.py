"""A small segmentation network, trained on real photos, that evaluates generated ones."""
