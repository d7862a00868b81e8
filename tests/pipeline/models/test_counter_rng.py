from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline.models.counter_rng import RandomKey, dropout_mask, normal, normal_fields, uniform
from stores.array_types import AnyArray

Array = AnyArray
KEY = RandomKey(seed=7, member=3, lead=5)
OTHERS = {
    "seed": KEY._replace(seed=8),
    "member": KEY._replace(member=4),
    "lead": KEY._replace(lead=6),
    "channel": KEY._replace(channel=1),
    "swapped": RandomKey(seed=7, member=5, lead=3),
}
WORD = 2**64
PINNED_UNIFORM = [905351, 4295834, 2662547]
PINNED_NORMAL = [-1.1634562, -0.7953916, 0.0414468]
PINNED_SMOOTH = [-0.7241879, -0.7305196, -0.8126939]


def splitmix(state: int, n: int) -> int:
    """Give output n, from 0, of SplitMix64 in plain integers."""
    state = (state + (n + 1) * 0x9E3779B97F4A7C15) % WORD
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB % WORD
    return state ^ (state >> 31)


def fold(*words: int) -> int:
    state = 0
    for word in words:
        state = splitmix(state ^ (word % WORD), 0)
    return state


def test_the_reference_gives_the_published_numbers_of_splitmix64() -> None:
    assert [splitmix(1234567, n) for n in range(5)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


@pytest.mark.parametrize("key", [KEY, RandomKey(-1, 0, 0), RandomKey(2**63, 10**6, 24, 9)])
def test_every_pixel_is_output_c_of_the_sequence_that_row_r_begins(key: RandomKey) -> None:
    origin = (4097, 2**31 - 2)
    window = uniform(key, origin, (3, 5))
    assert window.dtype == torch.float32
    for y, x in product(range(3), range(5)):
        row = splitmix(fold(*key, 1), origin[0] + y)
        bits = splitmix(row, origin[1] + x)
        assert window[y, x].item() == ((bits >> 41) + 0.5) / 2**23


def test_numbers_of_a_key_never_change() -> None:
    first = uniform(RandomKey(0, 0, 1), (0, 0), (1, 3))[0].tolist()
    assert [int(number * 2**23) for number in first] == PINNED_UNIFORM
    gauss = normal(RandomKey(0, 0, 1), (0, 0), (1, 3))[0].tolist()
    assert gauss == pytest.approx(PINNED_NORMAL, abs=1e-6)
    smooth = normal(RandomKey(0, 0, 1), (0, 0), (1, 3), correlation_px=4)[0].tolist()
    assert smooth == pytest.approx(PINNED_SMOOTH, abs=1e-6)


def test_uniform_numbers_are_uniform_and_never_zero_or_one() -> None:
    numbers = uniform(KEY, (0, 0), (997, 1009)).numpy().astype(np.float64).ravel()
    assert stats.kstest(numbers, "uniform").pvalue > 1e-3
    assert 0 < numbers.min() < 1e-5
    assert 1 - 1e-5 < numbers.max() < 1
    low_bits = (numbers * 2**23).astype(np.int64) % 64
    assert stats.chisquare(np.bincount(low_bits, minlength=64)).pvalue > 1e-3


def test_normal_numbers_are_normal_far_into_the_tails() -> None:
    numbers = normal(KEY, (0, 0), (1999, 2003)).numpy().astype(np.float64).ravel()
    assert stats.kstest(numbers, "norm").pvalue > 1e-3
    expected = 2 * stats.norm.sf(4) * numbers.size
    assert abs((np.abs(numbers) > 4).sum() - expected) < 4 * np.sqrt(expected)


def correlation(a: Array, b: Array) -> float:
    """Correlate, in units of the standard error that independent numbers would show."""
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1] * np.sqrt(a.size))


@pytest.mark.parametrize("lag", [(0, 1), (1, 0), (1, 1), (0, 7), (64, 0), (256, 256)])
def test_neighbors_are_independent(lag: tuple[int, int]) -> None:
    numbers = normal(KEY, (0, 0), (997, 1009)).numpy()
    moved = numbers[lag[0] :, lag[1] :]
    still = numbers[: moved.shape[0], : moved.shape[1]]
    assert abs(correlation(still, moved)) < 4
    assert abs(correlation(still**2, moved**2)) < 4


@pytest.mark.parametrize("what", OTHERS)
@pytest.mark.parametrize("correlation_px", [0, 5])
def test_other_keys_give_independent_numbers(what: str, correlation_px: int) -> None:
    one, other = (
        normal(key, (0, 0), (997, 1009), correlation_px=correlation_px).numpy()[
            :: correlation_px * 4 or 1, :: correlation_px * 4 or 1
        ]
        for key in (KEY, OTHERS[what])
    )
    assert abs(correlation(one, other)) < 4
    assert abs(correlation(one**2, other**2)) < 4


def test_uses_and_correlation_lengths_share_no_numbers() -> None:
    shape = (503, 499)
    white = normal(KEY, (0, 0), shape).numpy()
    flat = stats.norm.ppf(uniform(KEY, (0, 0), shape).numpy().astype(np.float64))
    smooth = normal(KEY, (0, 0), shape, correlation_px=2).numpy()
    assert abs(correlation(white, flat)) < 4
    nodes = smooth[::2, ::2]
    assert abs(correlation(white[: nodes.shape[0], : nodes.shape[1]], nodes)) < 4


@settings(max_examples=40, deadline=None)
@given(
    correlation_px=st.sampled_from([0, 1, 2, 3, 7, 16]),
    row=st.integers(-20, 70),
    col=st.integers(-20, 70),
    shape=st.tuples(st.integers(1, 29), st.integers(1, 31)),
)
def test_any_window_equals_the_same_window_of_the_whole_bit_for_bit(
    correlation_px: int, row: int, col: int, shape: tuple[int, int]
) -> None:
    whole = normal(KEY, (-20, -20), (120, 121), correlation_px=correlation_px)
    window = normal(KEY, (row, col), shape, correlation_px=correlation_px)
    cut = whole[row + 20 : row + 20 + shape[0], col + 20 : col + 20 + shape[1]]
    assert window.shape == shape
    assert torch.equal(window, cut)


@pytest.mark.parametrize("correlation_px", [0, 5])
def test_a_batch_of_windows_and_members_equals_each_alone(correlation_px: int) -> None:
    keys = [KEY, *OTHERS.values()]
    origins = [(0, 0), (3, 11), (3, 11), (1000, 4), (7, 7), (2, 999)]
    batch = normal_fields(keys, origins, (13, 17), correlation_px=correlation_px)
    assert batch.shape == (6, 13, 17)
    for place, (key, origin) in enumerate(zip(keys, origins, strict=True)):
        alone = normal(key, origin, (13, 17), correlation_px=correlation_px)
        assert torch.equal(batch[place], alone)


def test_smooth_noise_has_variance_one_at_every_pixel() -> None:
    keys = [RandomKey(1, member, 1) for member in range(4000)]
    noise = normal_fields(keys, [(5, 2)] * len(keys), (13, 11), correlation_px=6).numpy()
    variance = noise.astype(np.float64).var(axis=0, ddof=1)
    assert np.abs(variance - 1).max() < 5 * np.sqrt(2 / len(keys))
    assert np.abs(noise.mean(axis=0)).max() < 5 / np.sqrt(len(keys))


def test_correlation_is_a_half_at_the_stated_distance_and_then_dies_out() -> None:
    noise = normal(KEY, (0, 0), (2003, 2011), correlation_px=6).numpy().astype(np.float64)
    for axis in (0, 1):
        moved = np.moveaxis(noise, axis, 0)
        lags = [1, 3, 6, 12, 24, 48]
        seen = [np.corrcoef(moved[lag:].ravel(), moved[:-lag].ravel())[0, 1] for lag in lags]
        assert seen[0] > 0.97
        assert seen[1] == pytest.approx(0.83, abs=0.03)
        assert seen[2] == pytest.approx(0.49, abs=0.02)
        assert seen[3] == pytest.approx(0.05, abs=0.03)
        assert np.abs(seen[4:]).max() < 0.02


def test_a_correlation_of_one_pixel_is_white_noise() -> None:
    white = normal(KEY, (3, 4), (11, 13))
    assert torch.equal(normal(KEY, (3, 4), (11, 13), correlation_px=1), white)


def test_dropped_maps_are_a_share_p_and_the_rest_makes_up_for_them() -> None:
    factors = dropout_mask(0.2, [RandomKey(1, member, 1) for member in range(500)], 64)
    assert factors.shape == (500, 64, 1, 1)
    assert set(factors.flatten().tolist()) == {0.0, 1.25}
    dropped = (factors == 0).double().mean().item()
    assert abs(dropped - 0.2) < 4 * np.sqrt(0.2 * 0.8 / factors.numel())
    assert torch.equal(dropout_mask(0.0, [KEY], 5), torch.ones(1, 5, 1, 1))


def test_dropped_maps_depend_on_the_key_alone() -> None:
    keys = [KEY, *OTHERS.values()]
    batch = dropout_mask(0.5, keys, 128)
    for place, key in enumerate(keys):
        assert torch.equal(batch[place], dropout_mask(0.5, [key], 128)[0])
    flat = batch.flatten(1)
    for one in range(len(keys)):
        for other in range(one):
            same = (flat[one] == flat[other]).double().mean().item()
            assert abs(same - 0.5) < 4 * np.sqrt(0.25 / 128)


@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
def test_a_chance_of_dropping_outside_zero_to_one_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="is no chance of dropping a map"):
        dropout_mask(p, [KEY], 3)


def test_windows_without_a_key_and_negative_distances_are_refused() -> None:
    with pytest.raises(ValueError, match="1 keys are given for 2 windows"):
        normal_fields([KEY], [(0, 0), (1, 1)], (3, 3))
    with pytest.raises(ValueError, match="correlation_px=-1 is no distance"):
        normal(KEY, (0, 0), (3, 3), correlation_px=-1)


@pytest.mark.gpu
def test_a_gpu_draws_the_same_numbers() -> None:
    key, origin, shape = KEY, (4097, 311), (211, 223)
    assert torch.equal(
        uniform(key, origin, shape, device="cuda").cpu(), uniform(key, origin, shape)
    )
    assert torch.equal(
        dropout_mask(0.3, [key], 64, device="cuda").cpu(), dropout_mask(0.3, [key], 64)
    )
    for correlation_px in (0, 6):
        there = normal(key, origin, shape, correlation_px=correlation_px, device="cuda").cpu()
        here = normal(key, origin, shape, correlation_px=correlation_px)
        torch.testing.assert_close(there, here, rtol=1e-6, atol=1e-6)
