"""Studies of label maps after codecs, and of label repair."""
