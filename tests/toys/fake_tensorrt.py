"""TensorRT without TensorRT: as much of its Python module as a build touches."""

from __future__ import annotations

import enum
import signal
from types import SimpleNamespace


class Severity(enum.IntEnum):
    """As TensorRT numbers them."""

    ERROR = 1
    WARNING = 2
    INFO = 3


class FakeTensorRT:
    """A module of TensorRT 11 that notes what it is asked, and builds ``b"engine of " + graph``.

    Args:
        refusal: what the parser answers instead.
        failure: what the builder logs instead of building.
    """

    __version__ = "11.0.0"
    NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
    BuilderFlag = SimpleNamespace(TF32="TF32")

    def __init__(self, refusal: str = "", failure: str = "") -> None:
        self.refusal, self.failure = refusal, failure
        self.calls: list[tuple[object, ...]] = []

    class ILogger:
        """What loggers must be derived from."""

        Severity = Severity

    def Builder(self, logger):  # noqa: N802 - TensorRT's names
        def build(network, config):
            self.on_ctrl_c = signal.getsignal(signal.SIGINT)
            if self.failure:
                logger.log(Severity.ERROR, self.failure)
                return None
            return memoryview(b"engine of " + network.graph)

        return SimpleNamespace(
            create_network=self._create_network,
            create_builder_config=self._create_config,
            create_optimization_profile=lambda: SimpleNamespace(set_shape=self._note("shapes")),
            build_serialized_network=build,
        )

    def OnnxParser(self, network, logger):  # noqa: N802 - TensorRT's names
        def parse(content):
            network.graph = content
            return not self.refusal

        error = SimpleNamespace(desc=lambda: self.refusal)
        return SimpleNamespace(parse=parse, num_errors=1, get_error=lambda index: error)

    def _create_network(self, flags):
        self.calls.append(("network", flags))
        frame = SimpleNamespace(name="frame", shape=(-1, 64, 64, 3))
        return SimpleNamespace(get_input=lambda index: frame, graph=b"")

    def _create_config(self):
        return SimpleNamespace(
            clear_flag=self._note("clear"), add_optimization_profile=lambda profile: 0
        )

    def _note(self, name):
        return lambda *arguments: self.calls.append((name, *arguments))
