"""Checkpoints of other projects: pytorch-CycleGAN-and-pix2pix."""
