"""Label maps: palettes, and which class each pixel most likely had before the codec."""
