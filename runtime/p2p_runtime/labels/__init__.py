"""Label maps: palettes, colour lookup, and the repair of what video codecs blurred."""
