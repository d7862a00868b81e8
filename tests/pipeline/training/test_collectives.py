from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from lightning.fabric import Fabric
from torch import nn

from pipeline.losses import PROBABILISTIC, build_loss, global_denominator
from pipeline.models import ConvLSTM, ConvLSTMSpec
from pipeline.recipes import ComputeRecipe, load_recipe
from pipeline.training.collectives import Collectives, process_group_teardown, seed_rank
from pipeline.training.sync_batchnorm import SyncBatchNorm2d, convert_sync_batchnorm
from tests.make import make_recipe


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    here = f"file://{tmp_path}/meeting"
    dist.init_process_group("gloo", init_method=here, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("shape", [(4, 3, 5, 7), (1, 3, 1, 3)])
def test_normalizing_over_ranks_is_batch_normalization(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    plain, shared = nn.BatchNorm2d(3), SyncBatchNorm2d(3)
    maps = 5 + 2 * torch.randn(shape)
    target = torch.randn(shape)
    grads = []
    for norm in (plain, shared):
        with torch.no_grad():
            norm.weight.copy_(torch.tensor([1.0, 2.0, 0.5]))
        given = maps.clone().requires_grad_()
        for _ in range(3):
            (norm(given) - target).square().sum().backward()
        grads.append([given.grad, norm.weight.grad, norm.bias.grad])
    for one, other in zip(*grads, strict=True):
        assert one.abs().max() > 0.1
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    for name, kept in plain.state_dict().items():
        torch.testing.assert_close(shared.state_dict()[name], kept)
    torch.testing.assert_close(shared.eval()(maps), plain.eval()(maps))


@pytest.mark.usefixtures("alone")
def test_half_precision_is_normalized_by_statistics_of_single_precision() -> None:
    maps = (1000 + torch.randn(8, 2, 9, 9)).to(torch.bfloat16)
    output = SyncBatchNorm2d(2)(maps)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output, nn.BatchNorm2d(2)(maps.float()).to(torch.bfloat16))


def test_only_batch_normalization_is_replaced_and_weights_stay() -> None:
    given: dict[str, Any] = {"hidden": (3,), "head": (3,), "dropout": 0.1}
    for norm, n in (("batch", 2), ("group", 0)):
        network = ConvLSTM(ConvLSTMSpec(4, 3, norm=norm, **given))
        before = network.state_dict()
        convert_sync_batchnorm(network)
        assert sum(isinstance(part, SyncBatchNorm2d) for part in network.modules()) == n
        assert list(network.state_dict()) == list(before)
        ConvLSTM(network.shape).load_state_dict(network.state_dict())


@pytest.mark.parametrize(
    "loss",
    [
        {"kind": "mse"},
        {"kind": "ssim", "window_px": 3},
        {"kind": "laplacian", "levels": 1},
        {"kind": "quantile", "quantiles": (0.2, 0.5, 0.9)},
        {"kind": "crps"},
    ],
    ids=lambda loss: loss["kind"],
)
def test_losses_of_parts_that_count_together_add_up(loss: dict[str, Any]) -> None:
    torch.manual_seed(0)
    members = (3,) if loss["kind"] in PROBABILISTIC else ()
    forecast, truth = torch.randn(*members, 5, 2, 8, 8), torch.randn(5, 2, 8, 8)
    valid = torch.rand(5, 2, 8, 8) < 0.95
    valid[:2, :, :4] = False
    score = build_loss(**loss)
    counts: list[torch.Tensor] = []

    def note(n: torch.Tensor) -> torch.Tensor:
        counts.append(n)
        return n

    parts = [slice(0, 2), slice(2, 5), slice(5, 5)]
    with global_denominator(note):
        for part in parts:
            score(forecast[..., part, :, :, :], truth[part], valid[part])
    n_each = len(counts) // len(parts)
    assert counts[0] != counts[n_each]
    totals = [sum(counts[term::n_each], torch.tensor(0)) for term in range(n_each)]
    added = 0.0
    for part in parts:
        calls = iter(totals)
        with global_denominator(lambda _, calls=calls: next(calls)):  # type: ignore[misc]
            parted = forecast[..., part, :, :, :]
            added += float(score(parted, truth[part], valid[part]))
    assert added == pytest.approx(float(score(forecast, truth, valid)), rel=1e-5)


def test_weights_that_differ_between_ranks_are_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ranks, network = Collectives(Fabric(accelerator="cpu", devices=1)), nn.Linear(2, 2)
    ranks.check_weights_equal(network, "after epoch 3")
    sums: list[int] = []

    def gather(value: int) -> list[int]:
        sums.append(value)
        return [sums[0], value]

    monkeypatch.setattr(ranks, "all_gather", gather)
    ranks.check_weights_equal(network, "after epoch 3")
    with torch.no_grad():
        network.weight[1, 1] = torch.nextafter(network.weight[1, 1], torch.tensor(9.0))
    with pytest.raises(RuntimeError, match=r"ranks \[1\] hold other weights .* after epoch 3"):
        ranks.check_weights_equal(network, "after epoch 3")


def test_ranks_draw_different_numbers_and_the_first_those_of_one_process() -> None:
    drawn = []
    for rank in (0, 1, 2):
        torch.manual_seed(7)
        seed_rank(7, rank)
        drawn.append(float(torch.rand(())))
    assert len(set(drawn)) == 3
    torch.manual_seed(7)
    assert drawn[0] == float(torch.rand(()))


def test_only_what_the_network_of_ranks_says_is_taken_for_a_lost_rank() -> None:
    with (
        pytest.raises(ConnectionError, match="this rank lost the others"),
        process_group_teardown(),
    ):
        raise RuntimeError("[gloo/transport/tcp/pair.cc:537] Connection closed by peer [::1]:9")
    with pytest.raises(RuntimeError, match="of another kind"), process_group_teardown():
        raise RuntimeError("of another kind")


def test_more_ranks_than_workers_are_refused_before_anything_runs() -> None:
    with pytest.raises(ValueError, match=r"ranks=2 learn .* workers=0.* set workers=2"):
        ComputeRecipe(ranks=2, workers=0)
    assert ComputeRecipe(ranks=1, workers=0).ranks == 1
    assert ComputeRecipe(ranks=9, workers=0, scheduler="tcp://10.0.0.1:8786").ranks == 9


def test_more_ranks_than_samples_of_a_batch_are_refused(tmp_path: Path) -> None:
    path = make_recipe(tmp_path, compute={"workers": 8, "ranks": 5})
    with pytest.raises(ValueError, match=r"training.batch=4 is shared by compute.ranks=5"):
        load_recipe(path)


def test_ranks_change_no_fingerprint(tmp_path: Path) -> None:
    one = load_recipe(make_recipe(tmp_path, compute={"workers": 2}))
    two = one.replace(compute=one.compute.replace(ranks=2))
    assert one.fingerprint() == two.fingerprint()
