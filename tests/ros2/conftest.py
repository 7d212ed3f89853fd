"""The fixtures of the tests of the ROS 2 package."""

from __future__ import annotations

from toy_runtime import bundle, contract, make_bundle, no_thread_is_left  # noqa: F401
