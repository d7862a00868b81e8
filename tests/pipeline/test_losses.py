from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.losses import (
    WeightedLoss,
    build_loss,
    crps,
    laplacian,
    pinball,
    ssim,
    sum_losses,
    threshold_weights,
)
from stores.array_types import Float64Array

FORECAST = torch.tensor([1.0, 5.0, float("nan")])
TRUTH = torch.tensor([2.0, 2.0, 0.0])
VALID = torch.tensor([True, True, False])

Array = Float64Array


def made(n: int = 1, side: int = 13, holes: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Make n forecasts, a truth and where it is valid (2, 2, side, side + 2), in double."""
    rng = np.random.default_rng(0)
    shape = (2, 2, side, side + 2)
    forecast = torch.from_numpy(
        rng.normal(size=(n, *shape)) if n > 1 else rng.normal(size=shape)
    )
    valid = torch.ones(shape, dtype=torch.bool)
    for y, x in rng.integers(side, size=(holes, 2)):
        valid[:, 0, y, x] = False
    return forecast, torch.from_numpy(rng.normal(size=shape)), valid


LOSSES: dict[str, tuple[int, Callable[..., Tensor]]] = {
    "mse": (1, build_loss("mse")),
    "mae": (1, build_loss("mae")),
    "huber": (1, build_loss("huber", delta=0.7)),
    "ssim": (1, build_loss("ssim", data_range=6.0, window_px=5)),
    "laplacian": (1, build_loss("laplacian", levels=2)),
    "quantile": (3, lambda *given: pinball(*given, quantiles=(0.1, 0.5, 0.9))),
    "crps": (4, crps),
}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("mse", (1 + 9) / 2), ("mae", (1 + 3) / 2), ("huber", (0.5 + 2 * (3 - 1)) / 2)],
)
def test_a_loss_is_the_mean_over_valid_pixels_by_hand(kind: str, expected: float) -> None:
    assert build_loss(kind, delta=2.0)(FORECAST, TRUTH, VALID).item() == pytest.approx(expected)


def test_a_nan_outside_the_valid_pixels_reaches_no_weight() -> None:
    forecast = FORECAST.clone().requires_grad_(True)
    build_loss("mse")(forecast, TRUTH, VALID).backward()  # type: ignore[no-untyped-call]
    assert forecast.grad is not None
    assert forecast.grad.tolist() == [-1.0, 3.0, 0.0]


@pytest.mark.parametrize("kind", LOSSES)
def test_invalid_pixels_change_neither_a_loss_nor_its_gradient(kind: str) -> None:
    n, loss = LOSSES[kind]
    forecast, truth, valid = made(n)
    gradients, losses = [], []
    for filled in (0.0, 1e6, float("nan")):
        given = torch.where(valid, forecast, filled).requires_grad_(True)
        value = loss(given, torch.where(valid, truth, -filled), valid)
        value.backward()  # type: ignore[no-untyped-call]
        assert given.grad is not None
        losses.append(value.item())
        gradients.append(given.grad)
    assert not valid.all()
    assert losses[0] > 0
    assert losses == [losses[0]] * 3
    assert gradients[0].any()
    for gradient in gradients:
        assert torch.isfinite(gradient).all()
        torch.testing.assert_close(gradient, gradients[0], rtol=0, atol=0)
        assert not torch.where(valid, 0.0, gradient).any()


@pytest.mark.parametrize("kind", LOSSES)
def test_the_gradient_of_a_loss_is_that_of_finite_differences(kind: str) -> None:
    n, loss = LOSSES[kind]
    forecast, truth, valid = made(n, side=6)  # random values lie at no kink
    forecast.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda f: loss(f, truth, valid), (forecast,))


@pytest.mark.parametrize("kind", LOSSES)
def test_a_batch_without_valid_pixels_has_no_loss(kind: str) -> None:
    n, loss = LOSSES[kind]
    forecast, truth, valid = made(n)
    assert loss(forecast, truth, torch.zeros_like(valid)) == 0


@pytest.mark.parametrize("kind", ["mse", "mae", "huber", "ssim", "laplacian"])
def test_a_perfect_forecast_has_no_loss(kind: str) -> None:
    _, truth, valid = made()
    assert LOSSES[kind][1](truth.clone(), truth, valid).item() == pytest.approx(0, abs=1e-12)


def test_an_unknown_loss_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        ValueError,
        match=r"loss 'rmse' is unknown .*; known are mse, mae, huber, "
        r"ssim, laplacian, quantile, crps$",
    ):
        build_loss("rmse")


def test_weights_multiply_the_error_of_their_pixel_by_hand() -> None:
    weights = torch.tensor([2.0, 0.5, float("nan")])
    loss = build_loss("mse")(FORECAST, TRUTH, VALID, weights)
    assert loss.item() == pytest.approx((2 * 1 + 0.5 * 9) / 2)


def test_a_value_on_a_threshold_belongs_to_the_upper_class() -> None:
    truth = torch.tensor([[0.0, 1.0], [1.5, 9.0]]).reshape(1, 1, 2, 2)
    factors = torch.tensor([1.0, 2.0, 5.0])
    found = threshold_weights(truth, torch.tensor([1.0, 5.0]), factors)
    assert found.flatten().tolist() == [1.0, 2.0, 2.0, 5.0]


def test_every_pixel_may_have_thresholds_of_its_own() -> None:
    truth = torch.full((1, 1, 1, 2), 3.0)
    thresholds = torch.tensor([[2.0, 4.0]]).reshape(1, 1, 1, 1, 2)
    found = threshold_weights(truth, thresholds, torch.tensor([1.0, 7.0]))
    assert found.flatten().tolist() == [7.0, 1.0]


@pytest.mark.parametrize("kind", ["quantile", "crps"])
def test_weights_multiply_what_a_pixel_adds_to_the_score_of_a_spread(kind: str) -> None:
    n, loss = LOSSES[kind]
    forecast, truth, valid = made(n, side=3)
    weights = torch.where(valid, torch.rand(truth.shape, dtype=truth.dtype), float("nan"))
    each = [
        loss(forecast[..., y : y + 1, :], truth[..., y : y + 1, :], valid[..., y : y + 1, :])
        * valid[..., y, :].sum()
        for y in range(3)
    ]
    rows = torch.tensor([1.0, 2.0, 0.5], dtype=truth.dtype)[:, None].expand(truth.shape)
    expected = (torch.stack(each) * rows[0, 0, :, 0]).sum() / valid.sum()
    torch.testing.assert_close(loss(forecast, truth, valid, rows), expected)
    assert torch.isfinite(loss(forecast, truth, valid, weights))


def test_a_term_scores_the_spread_or_what_stands_for_it() -> None:
    forecast, truth, valid = made(3)
    quantile = build_loss("quantile", quantiles=(0.1, 0.5, 0.9))
    terms = [
        WeightedLoss(2.0, quantile, takes_distribution=True),
        WeightedLoss(1.0, build_loss("mse")),
    ]
    found = sum_losses(terms)(forecast[1], truth, valid, None, forecast)
    expected = 2 * quantile(forecast, truth, valid) + build_loss("mse")(
        forecast[1], truth, valid
    )
    torch.testing.assert_close(found, expected)


def test_losses_are_added_by_their_factors() -> None:
    weights = torch.tensor([2.0, 2.0, 2.0])
    loss = sum_losses(
        [WeightedLoss(1.0, build_loss("mse")), WeightedLoss(0.1, build_loss("mae"))]
    )
    assert loss(FORECAST, TRUTH, VALID).item() == pytest.approx(5 + 0.1 * 2)
    assert loss(FORECAST, TRUTH, VALID, [None, weights]).item() == pytest.approx(5 + 0.1 * 4)


def ssim_by_hand(x: Array, y: Array, valid: Array, data_range: float, side: int) -> float:
    """Compare the windows one by one, with weighted sums as Wang et al. write them."""
    at = np.arange(side) - (side - 1) / 2
    line = np.exp(-(at**2) / (2 * 1.5**2))
    weights = np.outer(line, line) / line.sum() ** 2
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    found = []
    for row in range(x.shape[0] - side + 1):
        for col in range(x.shape[1] - side + 1):
            window = slice(row, row + side), slice(col, col + side)
            if not valid[window].all():
                continue
            a, b = x[window], y[window]
            mu_a, mu_b = (weights * a).sum(), (weights * b).sum()
            var_a, var_b = (weights * (a - mu_a) ** 2).sum(), (weights * (b - mu_b) ** 2).sum()
            cov = (weights * (a - mu_a) * (b - mu_b)).sum()
            top = (2 * mu_a * mu_b + c1) * (2 * cov + c2)
            found.append(top / ((mu_a**2 + mu_b**2 + c1) * (var_a + var_b + c2)))
    return float(1 - np.mean(found))


def test_the_similarity_is_the_mean_over_windows_without_a_hole_by_hand() -> None:
    forecast, truth, valid = (values[:1, :1] for values in made())
    x, y, block_valid = (values[0, 0].numpy() for values in (forecast, truth, valid))
    expected = ssim_by_hand(x, y, block_valid, 6.0, 5)
    whole = ssim(forecast, truth, torch.ones_like(valid), data_range=6.0, window_px=5)
    found = ssim(forecast, truth, valid, data_range=6.0, window_px=5)
    assert found.item() == pytest.approx(expected, rel=1e-9)
    assert found != whole


def test_a_window_larger_than_the_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="smaller than window_px=15"):
        ssim(*made(), data_range=1.0, window_px=15)


def laplacian_by_hand(error: Array, valid: Array, levels: int) -> float:
    """Sum the bands, block by block."""
    total = 0.0
    for _ in range(levels):
        rows, cols = -(-error.shape[0] // 2), -(-error.shape[1] // 2)
        coarse, block_valid = np.zeros((rows, cols)), np.zeros((rows, cols), dtype=bool)
        bands = []
        for row in range(rows):
            for col in range(cols):
                block = slice(2 * row, 2 * row + 2), slice(2 * col, 2 * col + 2)
                inside = error[block][valid[block]]
                if inside.size:
                    coarse[row, col], block_valid[row, col] = inside.mean(), True
                    bands += list(np.abs(inside - inside.mean()))
        total += float(np.mean(bands))
        error, valid = coarse, block_valid
    return total + float(np.abs(error[valid]).mean())


@pytest.mark.parametrize("levels", [1, 3])
def test_the_pyramid_is_that_of_blocks_of_valid_pixels_by_hand(levels: int) -> None:
    forecast, truth, valid = (values[:1, :1] for values in made(holes=30))
    error = (forecast - truth)[0, 0].numpy()
    expected = laplacian_by_hand(error, valid[0, 0].numpy(), levels)
    found = laplacian(forecast, truth, valid, levels=levels)
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_the_pinball_loss_is_that_of_its_definition_by_hand() -> None:
    forecast, truth, valid = made(2)
    f, t, v = (values.numpy() for values in (forecast, truth, valid))
    costs = [
        np.where(t >= f[i], q * (t - f[i]), (1 - q) * (f[i] - t))[v].mean()
        for i, q in enumerate((0.2, 0.9))
    ]
    found = pinball(forecast, truth, valid, quantiles=(0.2, 0.9))
    assert found.item() == pytest.approx(np.mean(costs), rel=1e-9)


def test_a_forecast_for_each_quantile_is_needed() -> None:
    with pytest.raises(ValueError, match="2 values a pixel for 1 quantiles"):
        pinball(*made(2), quantiles=(0.5,))


def test_the_ensemble_score_is_the_sum_over_all_pairs_by_hand() -> None:
    forecast, truth, valid = made(5)
    f, t, v = (values.numpy() for values in (forecast, truth, valid))
    off = np.mean([np.abs(member - t) for member in f], axis=0)
    pairs = [np.abs(f[i] - f[j]) for i in range(5) for j in range(5) if i != j]
    expected = (off - np.mean(pairs, axis=0) / 2)[v].mean()
    assert crps(forecast, truth, valid).item() == pytest.approx(expected, rel=1e-9)


def test_an_ensemble_of_one_is_refused() -> None:
    forecast, truth, valid = made()
    with pytest.raises(ValueError, match="give two members or more"):
        crps(forecast[None], truth, valid)
