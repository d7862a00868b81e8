"""Networks and the loop that rolls them out: torch only, so they run wherever a GPU is."""

from pipeline.models.build import build_network, describe_network, outline_network, read_shape
from pipeline.models.convlstm import ConvLSTM, ConvLSTMShape, count_parameters
from pipeline.models.exact import check_tile_exact
from pipeline.models.look import Look
from pipeline.models.reach import Reach, measure_reach
from pipeline.models.reading import Reading

__all__ = [
    "ConvLSTM",
    "ConvLSTMShape",
    "Look",
    "Reach",
    "Reading",
    "build_network",
    "check_tile_exact",
    "count_parameters",
    "describe_network",
    "measure_reach",
    "outline_network",
    "read_shape",
]
