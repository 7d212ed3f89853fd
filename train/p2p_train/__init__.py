"""The workstation: train a pix2pix GAN on paired images.

Read :mod:`p2p_train.training.loop` first; it tells the whole story. This file imports nothing, so
that ``p2p-train --help`` stays instant.
"""
