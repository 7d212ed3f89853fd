"""What Triton's Python backend runs in place of the onnxruntime backend, which no wheel has."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, os.environ["SERVER_PACKAGES"])  # the backend takes the system's own

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as triton


class TritonPythonModel:
    """Runs ``model.onnx`` beside it; requests that come together are one batch."""

    def initialize(self, words: dict[str, str]) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        folder = Path(words["model_repository"]) / words["model_version"]
        model = str(folder / "model.onnx")
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def execute(self, requests: list[Any]) -> list[Any]:
        time.sleep(0.01)  # others come meanwhile
        frames = [triton.get_input_tensor_by_name(one, "frame").as_numpy() for one in requests]
        (images,) = self._session.run(["image"], {"frame": np.concatenate(frames)})
        ends = np.cumsum([len(one) for one in frames])[:-1]
        return [
            triton.InferenceResponse([triton.Tensor("image", part)])
            for part in np.split(images, ends)
        ]
