import pytest
import torch

from pipeline.losses import build_loss

FORECAST = torch.tensor([1.0, 5.0, float("nan")])
TRUTH = torch.tensor([2.0, 2.0, 0.0])
VALID = torch.tensor([True, True, False])


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


def test_a_batch_without_valid_pixels_has_no_loss() -> None:
    assert build_loss("mse")(FORECAST, TRUTH, torch.zeros(3, dtype=torch.bool)) == 0


def test_an_unknown_loss_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="'rmse' is unknown; choose one of mse, mae, huber"):
        build_loss("rmse")
