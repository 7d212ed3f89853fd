"""``python -m p2p_train``, as torchrun starts it."""

from .cli import main

main(prog_name="p2p-train")
