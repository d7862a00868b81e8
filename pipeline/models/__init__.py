"""Networks and the loop that rolls them out: torch only, so they run wherever a GPU is."""

from pipeline.models.build_network import (
    FAMILIES,
    build_meta_network,
    build_network,
    build_untrained_network,
    describe_network,
    parse_network_spec,
)
from pipeline.models.convlstm import ConvLSTM, ConvLSTMSpec, count_parameters
from pipeline.models.exact import check_tile_exact
from pipeline.models.reach import Reach, measure_reach
from pipeline.models.receptive_field import ReceptiveField
from pipeline.models.step_spec import StepSpec

__all__ = [
    "FAMILIES",
    "ConvLSTM",
    "ConvLSTMSpec",
    "Reach",
    "ReceptiveField",
    "StepSpec",
    "build_meta_network",
    "build_network",
    "build_untrained_network",
    "check_tile_exact",
    "count_parameters",
    "describe_network",
    "measure_reach",
    "parse_network_spec",
]
