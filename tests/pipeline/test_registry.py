from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from pipeline.losses import build_loss
from pipeline.models import ConvLSTMSpec, parse_network_spec
from pipeline.registry import UnknownOptionError
from pipeline.rollout.blend import taper
from pipeline.rollout.device import autocast, pick_device
from pipeline.streams.input_stack import ForcingSpec, VariableSpec
from pipeline.streams.transforms import build_chain
from pipeline.training.environment import resolve_precision
from pipeline.training.schedule import Curriculum, lr_factor


def read_nothing(name: str) -> Any:
    raise AssertionError(name)


def decay(word: str) -> float:
    return Curriculum(4, 2, 1, teacher=(1.0, 0.0), teacher_decay=word).teacher_probability_at(1)


DECODERS: dict[str, Callable[[str], Any]] = {
    "transform": lambda word: build_chain([{"kind": word}], read_nothing),
    "chain": lambda word: VariableSpec("rain", ({"kind": word},)),
    "schedule": lambda word: lr_factor(3, kind=word, warmup_steps=0, total_steps=9),
    "teacher": decay,
    "taper": lambda word: taper(9, word),
    "norm": lambda word: ConvLSTMSpec(3, 2, norm=word),
    "residual": lambda word: ConvLSTMSpec(3, 2, residual=word),
    "memory": lambda word: ConvLSTMSpec(3, 2, memory=word),
    "family": lambda word: parse_network_spec({"family": word, "channels": 3, "history": 2}),
    "loss": build_loss,
    "device": pick_device,
    "arithmetic": lambda word: autocast(word, torch.device("cpu")),
    "precision": lambda word: resolve_precision(word, "cpu"),
    "covariate": ForcingSpec,
    "future": lambda word: ForcingSpec("step", future=word),
}


@pytest.mark.parametrize("decode", DECODERS.values(), ids=DECODERS)
def test_a_word_without_a_meaning_is_refused_with_those_that_have_one(
    decode: Callable[[str], Any],
) -> None:
    with pytest.raises(
        UnknownOptionError, match=r"'nonesuch' is unknown here, so .*; known are .+"
    ):
        decode("nonesuch")
