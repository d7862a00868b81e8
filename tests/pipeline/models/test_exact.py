import pytest
import torch
from torch import nn

from pipeline.models import check_tile_exact
from tests.networks import Built, DirectHead, PixelLSTM, UNet, WindowCNN, make_convlstm


class SpatialAttention(nn.Module):
    """An attention of somebody's own."""


REFUSED = [
    (nn.GroupNorm(1, 4), "GroupNorm"),
    (nn.InstanceNorm2d(4), "InstanceNorm2d"),
    (nn.LayerNorm((4, 8, 8)), "LayerNorm"),
    (nn.MultiheadAttention(4, 2), "MultiheadAttention"),
    (nn.TransformerEncoderLayer(4, 2), "MultiheadAttention"),
    (SpatialAttention(), "SpatialAttention"),
    (nn.AdaptiveAvgPool2d(1), "AdaptiveAvgPool2d"),
    (nn.AdaptiveMaxPool2d(1), "AdaptiveMaxPool2d"),
    (nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), "Upsample"),
    (nn.UpsamplingBilinear2d(scale_factor=2), "UpsamplingBilinear2d"),
    (nn.Upsample(size=(8, 8)), "Upsample"),
    (nn.Upsample(scale_factor=3, mode="bilinear"), "Upsample"),
    (nn.BatchNorm2d(4, track_running_stats=False), "BatchNorm2d"),
    (nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"), "Conv2d"),
    (nn.CircularPad2d(1), "CircularPad2d"),
]


@pytest.mark.parametrize(("layer", "kind"), REFUSED, ids=lambda value: type(value).__name__)
def test_a_layer_that_couples_far_pixels_is_refused_by_name(
    layer: nn.Module, kind: str
) -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Sequential(layer)).eval()
    refusal = rf"layer '1\.0[\w.]*' \({kind}\).*rollout\.mode: blend"
    with pytest.raises(ValueError, match=refusal):
        check_tile_exact(network)


def test_batch_normalization_is_refused_until_it_uses_its_running_statistics() -> None:
    network = nn.Sequential(nn.BatchNorm2d(4))
    with pytest.raises(ValueError, match="in training mode"):
        check_tile_exact(network)
    check_tile_exact(network.eval())


def test_layers_that_keep_to_their_pixels_pass() -> None:
    check_tile_exact(
        nn.Sequential(
            nn.Conv2d(4, 4, 3, padding=1, padding_mode="replicate"),
            nn.LayerNorm(4),
            nn.InstanceNorm2d(4, track_running_stats=True),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.AvgPool2d(2),
        ).eval()
    )


@pytest.mark.parametrize(
    "kind",
    [
        Built(make_convlstm, {"history": 2}),
        Built(UNet, {"history": 1, "strides": (2, 2), "pooled": False}),
        Built(DirectHead, {"history": 2, "emits": 3}),
        Built(PixelLSTM, {"history": 2, "emits": 3}),
        Built(WindowCNN, {"history": 2}),
    ],
    ids=repr,
)
def test_every_kind_of_network_to_come_is_exact(kind: Built) -> None:
    network = kind.network()
    assert isinstance(network, nn.Module)
    assert next(network.parameters()).dtype == torch.float64
    check_tile_exact(network)
