"""A model in KServe's own server: ``python kserve_model.py MODEL.onnx SIDE --http_port PORT``."""

from __future__ import annotations

import sys
from typing import Any

import kserve
import onnxruntime as ort


class Street(kserve.Model):
    """Runs an ONNX file."""

    def __init__(self, model: str, height: int, width: int) -> None:
        super().__init__("street")
        self._session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        self._sides, self.ready = [-1, height, width, 3], True

    async def get_input_types(self) -> list[dict[str, Any]]:
        return [{"name": "frame", "datatype": "UINT8", "shape": self._sides}]

    async def get_output_types(self) -> list[dict[str, Any]]:
        return [{"name": "image", "datatype": "UINT8", "shape": self._sides}]

    def predict(self, payload: kserve.InferRequest, *_: Any) -> kserve.InferResponse:
        (images,) = self._session.run(["image"], {"frame": payload.inputs[0].as_numpy()})
        output = kserve.InferOutput("image", list(images.shape), "UINT8")
        output.set_data_from_numpy(images, binary_data=True)
        asked = payload.request_outputs
        return kserve.InferResponse(payload.id, "street", [output], requested_outputs=asked)


if __name__ == "__main__":
    model, height, width = sys.argv[1:4]
    del sys.argv[1:4]
    kserve.ModelServer(enable_grpc=False).start([Street(model, int(height), int(width))])
