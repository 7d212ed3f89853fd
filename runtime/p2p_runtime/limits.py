"""Limits that training and the device share."""

__all__ = ["LARGEST_PIXELS"]

LARGEST_PIXELS = 80_000_000
"""Maximum number of pixels of a picture, by its header."""
