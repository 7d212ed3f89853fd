"""Live sources: the newest frame wins, and a source that went away is fetched back."""

from .capture import Capture, Captured
from .policy import LivePolicy
from .source import LiveSource

__all__ = ["Capture", "Captured", "LivePolicy", "LiveSource"]
