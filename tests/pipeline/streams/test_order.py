import itertools
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.streams.batch import Batch
from pipeline.streams.batch_assembler import BatchAssembler
from pipeline.streams.order import merge_reads, order_by_blocks, plan_reads
from stores.array_types import AnyArray

blocks = st.lists(st.integers(0, 6), min_size=1, max_size=80)


@given(blocks=blocks, buffer_size=st.integers(1, 90), seed=st.integers(0, 99))
def test_an_order_holds_every_sample_once(
    blocks: list[int], buffer_size: int, seed: int
) -> None:
    order = order_by_blocks(blocks, buffer_size=buffer_size, seed=(seed,))
    assert sorted(order) == list(range(len(blocks)))
    again = order_by_blocks(blocks, buffer_size=buffer_size, seed=(seed,))
    np.testing.assert_array_equal(order, again)


def test_samples_that_fit_into_the_buffer_keep_their_order() -> None:
    order = order_by_blocks([2, 0, 1, 0, 2], buffer_size=5, seed=(1,))
    np.testing.assert_array_equal(order, np.arange(5))


def test_without_a_seed_blocks_come_one_after_the_other() -> None:
    order = order_by_blocks([2, 0, 1, 0, 2], buffer_size=2, seed=None)
    assert order.tolist() == [0, 4, 1, 3, 2]


def test_a_small_buffer_still_mixes_blocks_and_other_seeds_mix_them_otherwise() -> None:
    blocks = np.repeat(np.arange(20), 30).tolist()
    one = order_by_blocks(blocks, buffer_size=90, seed=(1,))
    other = order_by_blocks(blocks, buffer_size=90, seed=(2,))
    assert not np.array_equal(one, other)
    in_a_batch = [
        len({blocks[i] for i in one[start : start + 30]}) for start in range(90, 480, 30)
    ]
    assert min(in_a_batch) >= 3


@given(blocks=blocks, buffer_size=st.integers(1, 90), max_samples=st.integers(1, 12))
def test_reads_hold_every_place_once_and_nothing_waits_beyond_the_buffer(
    blocks: list[int], buffer_size: int, max_samples: int
) -> None:
    order = order_by_blocks(blocks, buffer_size=buffer_size, seed=(3,))
    wanted = [blocks[index] for index in order]
    reads = plan_reads(wanted, max_samples=max_samples)
    assert sorted(place for read in reads for place in read) == list(range(len(blocks)))
    assert all(len({wanted[place] for place in read}) == 1 for read in reads)
    assert all(len(read) <= max_samples for read in reads)
    arrived: set[int] = set()
    left = 0
    for read in reads:
        arrived |= set(read)
        while left in arrived:
            left += 1
        assert len(arrived) - left <= buffer_size + max_samples


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=20), max_samples=st.integers(1, 20)
)
def test_joined_reads_keep_every_place_in_turn_and_stay_small(
    sizes: list[int], max_samples: int
) -> None:
    ends = np.cumsum(sizes)
    reads = [list(range(end - size, end)) for size, end in zip(sizes, ends, strict=True)]
    joined = merge_reads(reads, max_samples=max_samples)
    assert [place for read in joined for place in read] == list(range(ends[-1]))
    assert all(len(read) <= max(max_samples, *sizes) for read in joined)
    assert all(len(a) + len(b) > max_samples for a, b in itertools.pairwise(joined))


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=9),
    max_samples=st.integers(1, 7),
    rows=st.booleans(),
)
def test_batches_leave_in_order_and_hold_what_was_written(
    sizes: list[int], max_samples: int, rows: bool
) -> None:
    n = sum(sizes)

    def made(places: AnyArray) -> Batch:
        columns: list[Any] = [10.0 * places[:, None] + index for index in range(5)]
        return Batch(*columns)

    order = np.random.default_rng(n).permutation(n)
    reads = [order[start : start + max_samples].tolist() for start in range(0, n, max_samples)]
    growing = BatchAssembler(sizes, lambda size: made(np.zeros(size)))
    left: list[Batch] = []
    for read in reads:
        given_ = made(np.array(read))
        if rows:
            for index, place in enumerate(read):
                for array, values in zip(growing.row(place), given_, strict=True):
                    array[...] = values[index]
        else:
            growing.write(read, given_)
        left += growing.pop_ready(read)
    assert growing.n_incomplete == 0
    assert [len(one.target) for one in left] == sizes
    for index, column in enumerate(zip(*left, strict=True)):
        expected = made(np.arange(n))[index]
        np.testing.assert_array_equal(np.concatenate(column), expected)
