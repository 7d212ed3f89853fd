"""Learning from a larger generator that is trained already: what ``p2p-train --teacher`` does.

In the spirit of Ren et al. 2021, "Online Multi-Granularity Distillation for GAN Compression" (arXiv
2108.06908): the student matches its teacher's image, what a trained network sees in it, and the
means of the teacher's own layers. Unlike there, the teacher has finished learning, the features are
those of networks that are at hand instead of a VGG's, and distances are relative to the teacher's
values, so that a weight means the same whatever the features' scale.
"""

from __future__ import annotations

from .student import Distillation
from .teacher import Teacher, load_teacher

__all__ = ["Distillation", "Teacher", "load_teacher"]
