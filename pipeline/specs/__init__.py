"""The door of the science: a recipe is translated here, once, into plain values.

Flows ask for a spec and hand it on; training, rollout and streams know no recipe, so that a
notebook can fill in the same dataclasses by hand.
"""

from pipeline.specs.channels import build_fit_spec
from pipeline.specs.rollout import build_hindcast_spec, build_rollout_spec
from pipeline.specs.training import build_training_spec

__all__ = [
    "build_fit_spec",
    "build_hindcast_spec",
    "build_rollout_spec",
    "build_training_spec",
]
