"""Live sources: the latest frame wins, and a lost source is reconnected."""

from .capture import RECONNECT_S, Capture, LivePolicy
from .source import LiveSource

__all__ = ["RECONNECT_S", "Capture", "LivePolicy", "LiveSource"]
