"""A process beside ``cubecast up`` that ends what it has started, should it be killed."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from flows.processes import stop_owned
from flows.state import remove_state
from stores.formatting import pluralize

log = logging.getLogger(__name__)


def wait_and_clean_up(home: Path) -> None:
    """Wait until nobody can write to our input any more: then ``up`` is gone, however it ended.

    The kernel closes a pipe with the last process that holds it, on every system.
    """
    sys.stdin.buffer.read()
    n_ended = stop_owned(home)
    log.warning("cubecast up was killed; ended %s that it left", pluralize(n_ended, "process"))
    remove_state(home)


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(message)s")
    wait_and_clean_up(Path(sys.argv[1]))
