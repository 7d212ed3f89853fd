"""Recipes: bundles of settings that replace the defaults; flags still win."""

from __future__ import annotations

from typing import Any

__all__ = ["RECIPES"]

_SMALL: dict[str, Any] = {
    "ngf": 16,
    "batch_size": 4,
    "num_downs": 5,
    "dropout": 0.0,
    "checkerboard_free": True,
    "jitter_px": 0,
    "lambda_pattern": 30.0,
    "ema": 0.999,
    "freeze_batchnorm": 0.89,
    "lr_decay": True,
    "precision": "auto",
}
_PROJECTED = {"discriminator": "projected", "ndf": 64, "gan_loss": "hinge", "lambda_l1": 5.0}

RECIPES: dict[str, dict[str, Any]] = {
    "classic": {},
    "paper": {"batch_size": 1, "epochs": 200, "lr_decay": True},
    "edge": _SMALL | _PROJECTED,
    # Surfaces of rendered pictures are no label maps, whose fixed pattern that loss would lower.
    "enhance": _SMALL | _PROJECTED | {"palette": "none", "lambda_pattern": 0.0},
    "auto": _SMALL | _PROJECTED | {"epochs": 400},
    # The teacher's image is a fixed target, so steps may be larger than against a discriminator.
    "student": _SMALL | {"gan_loss": "none", "lambda_l1": 0.0, "lr": 6e-4},
}
"""Settings of each recipe, by the names that :meth:`.TrainConfig.of` takes.

``classic`` is pix2pix with large batches; ``paper`` trains as Isola et al. 2017 did; ``edge`` is a
small generator for devices, see docs/training.md; ``enhance`` is the same for rendered pictures
in place of labels, see docs/enhance.md; ``auto`` depends on pairs and machine, too, see
:func:`.fit_auto`; ``student`` learns from ``--teacher`` alone, see docs/distillation.md.
"""
