"""``python -m p2p_train``, as torchrun starts it."""

import os

from p2p_runtime.interrupts import end_now

from .cli import main

try:
    main(prog_name="p2p-train")
except SystemExit as leaving:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        end_now(leaving)  # Gloo's threads may outlive the interpreter and abort the process
    raise
