"""Live sources: the latest frame wins, and a lost source is reconnected."""

from .capture import Capture, LivePolicy
from .source import LiveSource

__all__ = ["Capture", "LivePolicy", "LiveSource"]
