import shlex
import signal
import subprocess
import sys

import pytest

from flows.options import drop_undone_changes
from flows.steps.seeds import format_command
from flows.training_request import TrainingRequest


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("train my.yaml --set a.b=1 --set a.b=2", "train my.yaml --set a.b=2"),
        ("train --set a.b=1 --root r --set=a.b=1 x.yaml", "train --root r x.yaml --set a.b=1"),
        ("train --set a.b=1 --set a={} --set a.b=2", "train --set 'a={}' --set a.b=2"),
        ("train --set 'a.b=[1, 2]' --debug", "train --debug --set 'a.b=[1, 2]'"),
        ("train --sweep a=1,2 --sweep b=1,2", "train --sweep a=1,2 --sweep b=1,2"),
    ],
)
def test_a_command_says_each_change_once_and_the_last_one_counts(typed: str, said: str) -> None:
    assert shlex.join(drop_undone_changes(shlex.split(typed))) == said


def test_what_is_typed_next_changes_no_key_twice() -> None:
    asked = TrainingRequest("my.yaml", ("rollout.members=5", "training.runs=3"), "a b", "")
    line = format_command("forecast", asked, ["rollout.members=3"])
    assert line == (
        "cubecast forecast my.yaml --set training.runs=3 --set rollout.members=3 --root 'a b'"
    )


def test_a_command_that_is_stopped_can_be_pasted_to_go_on() -> None:
    script = (
        "import os, signal, sys; from flows.launch import handle_interrupts\n"
        "with handle_interrupts('nothing'):\n    os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    typed = ["train", "a b.yaml", "--set", "a.b=[1, 2]", "--set", "a.b=[1, 3]"]
    done = subprocess.run(
        [sys.executable, "-c", script, *typed], capture_output=True, text=True, check=False
    )
    assert done.returncode == 128 + signal.SIGTERM
    assert done.stderr.endswith("to go on: -c train 'a b.yaml' --set 'a.b=[1, 3]'\n")
