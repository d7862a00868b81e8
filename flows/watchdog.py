"""A process beside ``cubecast up`` that ends what it has started, should it be killed."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from flows.children import stop_started
from flows.state import forget
from stores.counting import count

log = logging.getLogger(__name__)


def watch(home: Path) -> None:
    """Wait until nobody can write to our input any more: then ``up`` is gone, however it ended.

    The kernel closes a pipe with the last process that holds it, on every system.
    """
    sys.stdin.buffer.read()
    n_ended = stop_started(home)
    log.warning("cubecast up was killed; ended %s that it left", count(n_ended, "process"))
    forget(home)


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(message)s")
    watch(Path(sys.argv[1]))
