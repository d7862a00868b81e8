import pytest
import torch
from torch import nn

from pipeline.models.counter_rng import RandomKey, dropout_mask
from pipeline.models.dropout import MCDropout2d, mc_dropout
from pipeline.models.exact import check_tile_exact

KEYS = [RandomKey(seed=1, member=member, lead=0) for member in range(3)]


def make_network(p: float = 0.5) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 16, 3, padding=1),
        MCDropout2d(p),
        nn.Conv2d(16, 16, 3, padding=1),
        MCDropout2d(p),
        nn.Conv2d(16, 1, 1),
    ).eval()


def test_in_training_it_is_dropout2d() -> None:
    maps = torch.randn(3, 5, 7, 11)
    layer, known = MCDropout2d(0.3).train(), nn.Dropout2d(0.3).train()
    layer.keys = tuple(KEYS)
    torch.manual_seed(4)
    dropped = layer(maps)
    torch.manual_seed(4)
    assert torch.equal(dropped, known(maps))
    assert (dropped == 0).any()


def test_at_inference_it_does_nothing_and_nothing_stays_after_dropping() -> None:
    network, maps = make_network(), torch.randn(3, 2, 7, 11)
    before = network(maps)
    with mc_dropout(network, KEYS):
        assert not torch.equal(network(maps), before)
    assert torch.equal(network(maps), before)
    with pytest.raises(KeyError), mc_dropout(network, KEYS):
        raise KeyError
    assert torch.equal(network(maps), before)


def test_it_is_a_dropout2d_without_state_and_tiles_stay_exact() -> None:
    layer = MCDropout2d(0.3)
    assert isinstance(layer, nn.Dropout2d)
    assert not layer.state_dict()
    network = make_network()
    plain = nn.Sequential(*(nn.Dropout2d(0.5) if i in (1, 3) else network[i] for i in range(5)))
    with mc_dropout(network, KEYS):
        assert network.state_dict().keys() == plain.state_dict().keys()
        check_tile_exact(network)


def test_whole_maps_are_dropped_by_key_and_layers_choose_for_themselves() -> None:
    layers = nn.ModuleList([MCDropout2d(0.5), MCDropout2d(0.5)]).eval()
    maps = torch.ones(3, 64, 5, 7)
    with mc_dropout(layers, KEYS):
        given = [layer(maps) for layer in layers]
    for place, dropped in enumerate(given):
        keys = [key._replace(channel=place) for key in KEYS]
        assert torch.equal(dropped, dropout_mask(0.5, keys, 64).expand(-1, -1, 5, 7))
    assert not torch.equal(*given)


def test_a_member_is_the_same_in_every_tile_and_batch() -> None:
    network, maps = make_network(), torch.randn(1, 2, 19, 23)
    with mc_dropout(network, [KEYS[1]]):
        whole = network(maps)
        tile = network(maps[..., 3:14])
    with mc_dropout(network, KEYS):
        batch = network(maps.expand(3, -1, -1, -1))
    torch.testing.assert_close(tile[..., 2:-2], whole[..., 5:12])
    torch.testing.assert_close(batch[1:2], whole)
    assert not torch.allclose(batch[0], batch[1])


def test_half_precision_stays_half() -> None:
    layer = MCDropout2d(0.5).eval()
    with mc_dropout(layer, KEYS):
        assert layer(torch.ones(3, 4, 2, 2, dtype=torch.float16)).dtype == torch.float16


def test_a_network_without_dropout_is_refused() -> None:
    with pytest.raises(ValueError, match="no dropout, so all members would be equal"):
        mc_dropout(make_network(p=0.0), KEYS).__enter__()
    with pytest.raises(ValueError, match="no dropout, so all members would be equal"):
        mc_dropout(nn.Conv2d(2, 2, 1), KEYS).__enter__()


def test_a_network_in_training_is_refused() -> None:
    with pytest.raises(ValueError, match="in training mode"):
        mc_dropout(make_network().train(), KEYS).__enter__()


def test_a_batch_of_another_size_than_the_keys_is_refused() -> None:
    network = make_network()
    with (
        mc_dropout(network, KEYS),
        pytest.raises(ValueError, match="3 keys are set but the batch"),
    ):
        network(torch.randn(2, 2, 5, 7))
