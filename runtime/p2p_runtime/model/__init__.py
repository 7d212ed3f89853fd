"""The model file: what it says of itself, and how that is checked."""
