"""The networks of pix2pix; they take numbers and modules, never options."""
