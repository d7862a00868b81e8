"""Networks and the loop that rolls them out: torch only, so they run wherever a GPU is."""

from pipeline.models.build import build_network, describe_network
from pipeline.models.convlstm import ConvLSTM, ConvLSTMShape, count_parameters
from pipeline.models.reach import Reach

__all__ = [
    "ConvLSTM",
    "ConvLSTMShape",
    "Reach",
    "build_network",
    "count_parameters",
    "describe_network",
]
