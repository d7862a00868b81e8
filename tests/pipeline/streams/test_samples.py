import pickle
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.executors import SerialExecutor
from pipeline.recipes import SplitRecipe
from pipeline.streams.batch import Batch
from pipeline.streams.dataset import BatchDataset
from pipeline.streams.patch_plan import PatchPlan
from pipeline.streams.samples import PackedSamples, RolloutSpan, Sample, list_inits
from stores.times import Step, parse_time
from stores.windows import Window

MONTH = Step.parse("month")


@given(history=st.integers(1, 7), leads=st.integers(1, 7), length=st.integers(1, 30))
def test_every_frame_of_a_sample_lies_in_its_part(
    history: int, leads: int, length: int
) -> None:
    start = parse_time("2001-03")
    frames = MONTH.range(start, MONTH.add(start, length - 1))
    held = MONTH.range(parse_time("1999-01"), parse_time("2005-12"))
    span = RolloutSpan(history, leads)
    inits = list_inits([frames], held, span)
    assert len(inits) == max(0, length - history - leads + 1)
    for init in inits:
        read = [*span.history_times(MONTH, init), *span.lead_times(MONTH, init)]
        assert set(read) <= set(frames)
        assert len(read) == history + leads


@given(
    history=st.integers(1, 4),
    leads=st.integers(1, 4),
    gap=st.integers(0, 3),
    folds=st.integers(2, 5),
    data=st.data(),
)
def test_no_sample_of_a_fold_spans_the_hole_or_shares_a_frame_with_what_validates(
    history: int, leads: int, gap: int, folds: int, data: st.DataObject
) -> None:
    split = SplitRecipe(
        train=("2000-01", "2003-12"),
        validation=("2004-05", "2005-03"),
        test=("2006-01", "2006-12"),
        gap=gap,
        folds=folds,
        fold=data.draw(st.integers(0, folds - 1)),
    )
    held = MONTH.range(parse_time("1999-01"), parse_time("2006-12"))
    span = RolloutSpan(history, leads)
    left_out = split.to_split().frames("validation", MONTH)
    free = MONTH.range(MONTH.add(left_out[0], -gap), MONTH.add(left_out[-1], gap))
    inits = list_inits(split.to_split().segments("train", MONTH), held, span)
    assert len(inits) >= 62 - len(left_out) - 2 * (gap + history + leads)
    for init in inits:
        read = [*span.history_times(MONTH, init), *span.lead_times(MONTH, init)]
        assert set(read) <= set(split.to_split().frames("train", MONTH))
        assert not set(read) & set(free)
    for init in list_inits(split.to_split().segments("validation", MONTH), held, span):
        assert {*span.history_times(MONTH, init), *span.lead_times(MONTH, init)} <= set(
            left_out
        )


def test_samples_stop_where_the_cube_ends() -> None:
    frames = MONTH.range(parse_time("2001-01"), parse_time("2001-12"))
    inits = list_inits([frames], frames[:8], RolloutSpan(3, 2))
    assert [MONTH.label(init) for init in inits] == ["2001-03", "2001-04", "2001-05", "2001-06"]


def named(n: int) -> list[Sample]:
    start = parse_time("2001-01")
    return [Sample(MONTH.add(start, index), Window(0, 1, 0, 1)) for index in range(n)]


def test_packed_samples_are_the_same_ones_in_their_order_and_say_little() -> None:
    moved = [replace(s, window=Window(n, n + 9, 2 * n, 70)) for n, s in enumerate(named(11))]
    again: PackedSamples = pickle.loads(pickle.dumps(PackedSamples.of(moved)))
    assert again.samples() == moved
    assert len({*moved, *again.samples()}) == 11
    assert str(again) == "11 samples from 2001-01-01T00:00:00 y[0:9] x[0:70]"


def remember(samples: Sequence[Sample]) -> Batch:
    months = np.array([sample.init.astype("datetime64[M]").astype(int) for sample in samples])
    return Batch(*(months for _ in Batch._fields))


def stream(**changes: int | None) -> BatchDataset:
    plan = replace(PatchPlan(tuple(named(11)), seed=3), **changes)  # type: ignore[arg-type]
    return BatchDataset(remember, plan, batch=4, executor=SerialExecutor())


def seen(batches: BatchDataset) -> list[int]:
    return [int(month) for target, *_ in batches for month in target]


def test_an_epoch_shows_every_sample_once_in_an_order_of_its_own() -> None:
    batches = stream()
    first = seen(batches)
    batches.epoch = 1
    second = seen(batches)
    assert sorted(first) == sorted(second) == sorted(seen(stream(seed=None)))
    assert first != second
    assert len(batches) == 3


def test_the_same_seed_and_epoch_give_the_same_order() -> None:
    assert seen(stream()) == seen(stream())
    assert seen(stream()) != seen(stream(seed=4))


def test_an_epoch_may_draw_fewer_samples() -> None:
    drawn = seen(stream(per_epoch=6))
    assert len(drawn) == len(set(drawn)) == 6
