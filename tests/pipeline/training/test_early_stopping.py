import math

import pytest
import torch

from pipeline.training.early_stopping import EarlyStopping


def weights(value: float) -> dict[str, torch.Tensor]:
    return {"w": torch.tensor(value)}


def test_the_first_of_equally_good_epochs_is_kept() -> None:
    stopping = EarlyStopping(patience=3)
    found = [
        stopping.update(e, s, weights(e)) for e, s in enumerate((3.0, 1.0, 1.0, 2.0), start=1)
    ]
    assert found == [True, True, False, False]
    assert (stopping.best_epoch, stopping.best, stopping.weights["w"].item()) == (2, 1.0, 2.0)
    assert not stopping.should_stop


@pytest.mark.parametrize("patience", [1, 2])
def test_training_is_done_after_that_many_epochs_without_a_better_one(patience: int) -> None:
    stopping = EarlyStopping(patience)
    for epoch, score in enumerate((2.0, 1.0, *[1.5] * patience), start=1):
        assert not stopping.should_stop
        stopping.update(epoch, score, weights(epoch))
    assert stopping.should_stop


def test_a_better_epoch_gives_patience_back() -> None:
    stopping = EarlyStopping(patience=2)
    for epoch, score in enumerate((2.0, 3.0, 1.0, 3.0), start=1):
        stopping.update(epoch, score, weights(epoch))
    assert not stopping.should_stop


def test_early_stopping_resumes_from_its_state() -> None:
    stopping, other = EarlyStopping(patience=2), EarlyStopping(patience=2)
    stopping.update(1, 2.0, weights(1))
    stopping.update(2, 3.0, weights(2))
    other.load_state_dict(stopping.state_dict())
    assert other == stopping
    assert other.best < math.inf


def test_epochs_whose_rollouts_still_grow_use_up_no_patience_but_may_be_the_best() -> None:
    stopping = EarlyStopping(patience=2)
    scores = (2.0, 1.0, 3.0, 3.0, 3.0, 3.0)
    for epoch, score in enumerate(scores, start=1):
        assert not stopping.should_stop
        stopping.update(epoch, score, weights(epoch), is_growing=epoch < 5)
    assert stopping.should_stop
    assert stopping.best_epoch == 2
