"""The algebra of layers, against hand-drawn cones."""

import pytest

from pipeline.models import ReceptiveField, measure_reach


def test_a_chain_of_convolutions_adds_their_radii() -> None:
    assert ReceptiveField().conv(3).conv(5).conv(3, dilation=3).radius == 1 + 2 + 3


def test_a_strided_convolution_sees_around_every_second_pixel() -> None:
    look = ReceptiveField().conv(3, stride=2)
    assert (look.stride, look.period) == (2, 2)
    assert [look.span(pixel) for pixel in (0, 1, -1)] == [(-1, 1), (1, 3), (-3, -1)]


def test_half_pixel_upsampling_sees_the_two_nearest_cells_of_each_phase() -> None:
    look = ReceptiveField().pool(2).upsample(2)  # cells cover pixels 0-1, 2-3, ...
    assert (look.stride, look.period) == (1, 2)
    assert [look.span(pixel) for pixel in (0, 1, 2)] == [(-2, 1), (0, 3), (0, 3)]
    assert look.radius == 2


def test_a_skip_connection_sees_what_either_side_sees() -> None:
    assert ReceptiveField().conv(7).concat(ReceptiveField().pool(2).upsample(2)).radius == 3
    assert ReceptiveField().concat(ReceptiveField().pool(4).upsample(4)).period == 4


def test_maps_of_different_strides_cannot_be_joined() -> None:
    with pytest.raises(ValueError, match="stride 1 cannot be joined with one of stride 2"):
        ReceptiveField().concat(ReceptiveField().pool(2))


@pytest.mark.parametrize("factor", [1, 3, 8])
def test_upsampling_without_exact_weights_is_refused(factor: int) -> None:
    with pytest.raises(ValueError, match=f"factor={factor} of a map of stride 6"):
        ReceptiveField().pool(6).upsample(factor)


def test_recurrence_crosses_each_layer_once_and_in_one_of_them_time() -> None:
    assert ReceptiveField().recurrent(5, layers=3, frames=4).radius == 2 * (3 + 4 - 1)


@pytest.mark.parametrize("layers", [1, 2])
def test_the_reach_is_never_less_than_the_cone_of_many_calls(layers: int) -> None:
    look = ReceptiveField()
    for _ in range(layers):
        look = look.conv(3, stride=2)
    for _ in range(layers):
        look = look.upsample(2).conv(5)
    reach, seen = measure_reach(look, feedback=look), look
    for calls in range(1, 60):
        assert 0 <= reach.radius(calls) - seen.radius < look.period
        seen = look.compose(seen)
