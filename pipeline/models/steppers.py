"""How a network reads the frames of a rollout: as seldom as gives the same forecast."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from pipeline.channels import DATED, ORDER
from pipeline.models.step_spec import ForecastModel, StepSpec

Network = Callable[[Tensor], Tensor]


@runtime_checkable
class FrameEncoder(Protocol):
    """A network whose first part looks at each frame alone."""

    def encode_static(self, statics: Tensor) -> Any:
        """Compute what looks at the static channels (b, s, y, x) alone."""

    def encode_dynamic(self, frames: Tensor, static_encoding: Any) -> Sequence[Tensor]:
        """Compute the rest for frames without these (b, t, c - s, y, x); one result a frame."""

    def predict(self, encoded: Sequence[Tensor], last: Tensor) -> Tensor:
        """Forecast from the encoded window, whose last target is ``last`` (b, y, x).

        One frame (b, y, x), or its quantiles (b, q, y, x).
        """


@runtime_checkable
class StatefulNetwork(FrameEncoder, Protocol):
    """A network that may keep its memory between calls, instead of reading its window again."""

    @property
    def memory_channels(self) -> int:
        """Maps of a memory."""

    def step(
        self, encoded: Sequence[Tensor], last: Tensor, memory: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Forecast like ``predict`` from encoded frames; return the memory (b, m, y, x) too.

        Args:
            encoded: frames that the memory has not read.
            last: target of the last one (b, y, x).
            memory: what an earlier call returned; None before the first frame.
        """


class WindowStepper:
    """Give a network every window as a whole."""

    memory: Tensor | None = None

    def __init__(self, network: Network, statics: Tensor) -> None:
        self._network = network
        self._statics = statics

    def __call__(self, target: Tensor, valid: Tensor, forcings: Tensor) -> Tensor:
        """Forecast one frame from the channels of a window, each (b, t, ..., y, x)."""
        return self._network(stack_channels(target, valid, forcings, self._statics))


class CachedStepper:
    """Give a network windows that slide by one frame, and encode every frame once.

    A frame is seen by as many windows as the history is long, and statics by all of them; what
    looks at one of these alone is the same each time.
    """

    memory: Tensor | None = None

    def __init__(self, network: FrameEncoder, statics: Tensor) -> None:
        self._network = network
        self._static_encoding = network.encode_static(statics)
        self._encoded: list[Tensor] = []

    def __call__(self, target: Tensor, valid: Tensor, forcings: Tensor) -> Tensor:
        """Forecast one frame from the channels of a window, each (b, t, ..., y, x)."""
        n_new = 1 if self._encoded else target.shape[1]
        frames = stack_dynamic(target, valid, forcings, n_last=n_new)
        encoded = self._network.encode_dynamic(frames, self._static_encoding)
        self._encoded = [*self._encoded[n_new:], *encoded]
        return self._network.predict(self._encoded, target[:, -1])


class StatefulStepper:
    """Give a network every frame once, and let it go on from its memory."""

    def __init__(
        self, network: StatefulNetwork, statics: Tensor, memory: Tensor | None
    ) -> None:
        self._network = network
        self._static_encoding = network.encode_static(statics)
        self.memory = memory

    def __call__(self, target: Tensor, valid: Tensor, forcings: Tensor) -> Tensor:
        """Forecast one frame from the channels of a window, each (b, t, ..., y, x)."""
        n_new = target.shape[1] if self.memory is None else 1
        frames = stack_dynamic(target, valid, forcings, n_last=n_new)
        encoded = self._network.encode_dynamic(frames, self._static_encoding)
        forecast, self.memory = self._network.step(encoded, target[:, -1], self.memory)
        return forecast


def make_stepper(
    network: Network, reading: StepSpec, statics: Tensor, memory: Tensor | None
) -> WindowStepper | CachedStepper | StatefulStepper:
    """Choose how a network reads its frames, given statics (b, s, y, x)."""
    if reading.carries:
        return StatefulStepper(require_stateful(network), statics, memory)
    if reading.is_sliding and isinstance(network, FrameEncoder):
        return CachedStepper(network, statics)
    return WindowStepper(network, statics)


def require_stateful(network: Network) -> StatefulNetwork:
    """Return a network as one that keeps its memory between calls.

    Raises:
        ValueError: it does not.
    """
    if not (
        isinstance(network, ForecastModel)
        and network.reading.carries
        and isinstance(network, StatefulNetwork)
    ):
        raise ValueError(
            f"{type(network).__name__} keeps no memory between calls, so there is none to go "
            "on from; roll out from the history, or train with model.memory=carried"
        )
    return network


def stack_channels(target: Tensor, valid: Tensor, forcings: Tensor, statics: Tensor) -> Tensor:
    """Stack all channels in the order of the network (b, t, c, y, x).

    Args:
        target: (b, t, y, x).
        valid: where the target is usable (b, t, y, x).
        forcings: (b, t, f, y, x).
        statics: (b, s, y, x).
    """
    n_frames = target.shape[1]
    static = statics[:, None].expand(-1, n_frames, -1, -1, -1)  # (b, t, s, y, x)
    groups = _dated_groups(target, valid, forcings, n_last=n_frames) | {"statics": static}
    return torch.cat([groups[name] for name in ORDER], dim=2)  # (b, t, c, y, x)


def stack_dynamic(target: Tensor, valid: Tensor, forcings: Tensor, *, n_last: int) -> Tensor:
    """Stack the channels that have a date, of the last frames (b, n_last, c - s, y, x)."""
    groups = _dated_groups(target, valid, forcings, n_last=n_last)
    return torch.cat([groups[name] for name in DATED], dim=2)


def _dated_groups(
    target: Tensor, valid: Tensor, forcings: Tensor, *, n_last: int
) -> dict[str, Tensor]:
    """Return the last frames of all that has a date, each (b, n_last, channel, y, x)."""
    return {
        "target": target[:, -n_last:, None],
        "valid": valid[:, -n_last:, None].to(target.dtype),
        "forcings": forcings[:, -n_last:],
    }
