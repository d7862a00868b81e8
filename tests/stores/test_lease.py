from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stores.errors import FencedError, LeaseHeldError
from stores.lease import Holder, lease

HOLD = """
import sys, time
from pathlib import Path
from stores.lease import lease
with lease(Path(sys.argv[1]), "rain", wait_s=5) as held:
    print(held.token, flush=True)
    time.sleep(60)
"""


def start_holder(root: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline().strip().isdigit()
    return holder


def test_the_token_rises_with_every_holder(tmp_path: Path) -> None:
    tokens = []
    for _ in range(3):
        with lease(tmp_path, "rain", wait_s=0) as held:
            held.check()
            tokens.append(held.token)
    assert tokens == [1, 2, 3]


def test_leases_of_other_names_do_not_meet(tmp_path: Path) -> None:
    with lease(tmp_path, "rain", wait_s=0) as rain, lease(tmp_path, "snow", wait_s=0) as snow:
        rain.check()
        snow.check()


def test_a_second_holder_is_told_who_holds_the_lease(tmp_path: Path) -> None:
    waited: list[Holder | None] = []
    with (
        lease(tmp_path, "rain", wait_s=0),
        pytest.raises(LeaseHeldError, match=rf"held by process {os.getpid()} on .* since 20"),
        lease(tmp_path, "rain", wait_s=0.3, on_wait=waited.append),
    ):
        pass
    assert [holder.pid for holder in waited if holder] == [os.getpid()]


def test_a_killed_holder_gives_the_lease_back_at_once(tmp_path: Path) -> None:
    holder = start_holder(tmp_path)
    with (
        pytest.raises(LeaseHeldError, match=f"process {holder.pid}"),
        lease(tmp_path, "rain", wait_s=0),
    ):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with lease(tmp_path, "rain", wait_s=0) as held:
        assert held.token == 2


def test_a_waiting_run_takes_over_when_the_holder_is_done(tmp_path: Path) -> None:
    holder = start_holder(tmp_path)
    waited: list[Holder | None] = []

    def kill(who: Holder | None) -> None:
        waited.append(who)
        holder.kill()

    with lease(tmp_path, "rain", wait_s=20, on_wait=kill) as held:
        assert held.token == 2
    holder.communicate()
    assert [who.pid for who in waited if who] == [holder.pid]


def test_a_holder_whose_lock_was_lost_is_fenced_by_the_next_one(tmp_path: Path) -> None:
    with lease(tmp_path, "rain", wait_s=0) as zombie:
        zombie.path.unlink()
        with pytest.raises(FencedError, match="run the same command again"):
            zombie.check()
        with lease(tmp_path, "rain", wait_s=0) as heir:
            heir.check()
            with pytest.raises(FencedError, match="token 1, but token 2"):
                zombie.check()


def test_a_lease_ends_with_its_block(tmp_path: Path) -> None:
    with lease(tmp_path, "rain", wait_s=0) as held:
        pass
    with pytest.raises(FencedError, match="rain"):
        held.check()


def test_a_higher_token_alone_fences_the_holder(tmp_path: Path) -> None:
    with lease(tmp_path, "rain", wait_s=0) as held:
        notes = held.path.with_suffix(".json")
        latest = json.loads(notes.read_text())
        notes.write_text(json.dumps(latest | {"token": 9}))
        with pytest.raises(FencedError, match="token 9"):
            held.check()


def test_an_unreadable_token_file_fences_and_the_next_holder_starts_again(
    tmp_path: Path,
) -> None:
    with lease(tmp_path, "rain", wait_s=0) as held:
        held.path.with_suffix(".json").write_text("{")
        with pytest.raises(FencedError, match="no token"):
            held.check()
    with lease(tmp_path, "rain", wait_s=0) as heir:
        heir.check()


def test_a_child_process_that_outlives_the_holder_does_not_keep_the_lease(
    tmp_path: Path,
) -> None:
    script = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from stores.lease import lease\n"
        "with lease(Path(sys.argv[1]), 'rain', wait_s=5):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        os.close(1)\n"
        "        time.sleep(30)\n"
        "    print(child, flush=True)\n"
        "    os._exit(0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=20,
    )
    child = int(done.stdout)
    try:
        os.kill(child, 0)
        time.sleep(0.2)
        with lease(tmp_path, "rain", wait_s=2) as held:
            assert held.token == 2
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_name_that_leaves_its_folder_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="not a plain name"),
        lease(tmp_path, "../rain", wait_s=0),
    ):
        pass
