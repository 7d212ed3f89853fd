"""Learning from a larger trained generator: what ``p2p-train --teacher`` does.

In the spirit of Ren et al. 2021, "Online Multi-Granularity Distillation for GAN Compression" (arXiv
2108.06908): the student matches its teacher's image, the features of a trained network on it, and
the means of the teacher's own channels. Unlike there, the teacher is trained already, and the
features are those of a network at hand (its discriminator, or a segmenter) instead of a VGG's. The
losses are ``p2p_train/losses/distil_*.py``.
"""

from __future__ import annotations

from .teacher import FeatureNetwork, Teacher

__all__ = ["FeatureNetwork", "Teacher"]
