"""Stop a training that cannot go on, with the cause and what to change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from pipeline.channels import ChannelSpec
from pipeline.streams.samples import Sample
from pipeline.training.task import DeviceBatch, StepOutput

_OUT_OF_MEMORY_TEXTS = ("can't allocate memory", "not enough memory", "out of memory")
_MAX_NAMED = 4  # samples named in a message


@contextmanager
def explaining_out_of_memory(what: str) -> Iterator[None]:
    """Turn an allocation in the body that fails into advice.

    Args:
        what: what was computed, and where.

    Raises:
        MemoryError: the memory is full; names what to set.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise MemoryError(
            f"{what} does not fit into the memory, so no step can be made; "
            "lower training.batch and raise training.accumulate by as much (a step stays as it "
            "is), or lower training.patch_px, training.leads or the members of a loss crps, or "
            "set training.precision=bf16"
        ) from error


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(text in str(error) for text in _OUT_OF_MEMORY_TEXTS)


def check_loss_finite(
    output: StepOutput, batch: DeviceBatch, channels: ChannelSpec, context: str
) -> float:
    """Return the loss as a number.

    Args:
        output: result of the step.
        batch: what it was computed from.
        channels: the network's channels.
        context: step, epoch and batch, for the message.

    Raises:
        FloatingPointError: it is not finite; names the samples and the channel.
    """
    loss = float(output.loss.detach())
    if loss - loss == 0:  # neither NaN nor infinite
        return loss
    bad = _find_bad_samples(output)
    raise FloatingPointError(
        f"the loss is {loss} at {context}; it comes from "
        f"{_format_samples(batch.samples, bad)}, where "
        f"{_describe_suspect(batch, bad, channels)}; lower training.lr or training.clip if the "
        "weights ran away, or repair the archive there"
    )


def check_gradient_finite(norm: Tensor, batch: DeviceBatch, context: str) -> None:
    """Refuse a step that would spoil the weights.

    Raises:
        FloatingPointError: the gradient is not finite though the loss is.
    """
    if not torch.isfinite(norm):
        samples = _format_samples(batch.samples, range(len(batch)))
        raise FloatingPointError(
            f"the gradient is {float(norm)} at {context} though the loss is finite; the last "
            f"batch was {samples}; lower training.lr, or take "
            "another loss or precision"
        )


def _find_bad_samples(output: StepOutput) -> list[int]:
    """List the samples whose forecast is not finite or whose truth is not."""
    errors = output.forecast.detach() - output.truth  # (b, l, y, x)
    is_bad = ~torch.isfinite(errors) & output.valid
    bad = is_bad.flatten(1).any(dim=1).nonzero().flatten().tolist()
    return bad or list(range(len(output.forecast)))


def _format_samples(samples: Sequence[Sample], indices: Sequence[int]) -> str:
    names = [f"{samples[i].init}/{samples[i].window}" for i in indices[:_MAX_NAMED]]
    more = f" and {len(indices) - _MAX_NAMED} more" if len(indices) > _MAX_NAMED else ""
    return f"sample{'s' if len(indices) > 1 else ''} {', '.join(names)}{more}"


def _describe_suspect(batch: DeviceBatch, bad: Sequence[int], channels: ChannelSpec) -> str:
    """Describe the channel that is not finite, or else the one with the largest value."""
    largest = {
        name: values[bad].abs().max().nan_to_num(torch.inf, torch.inf).item()
        for name, values in _by_channel(batch, channels).items()
        if values.numel()
    }
    name = max(largest, key=lambda key: largest[key])
    if largest[name] == torch.inf:
        return f"channel {name!r} is not finite"
    return (
        f"all inputs are finite and the largest is {largest[name]:.3g} in channel {name!r} "
        "[normalized units]"
    )


def _by_channel(batch: DeviceBatch, channels: ChannelSpec) -> dict[str, Tensor]:
    """Return the values (b, ..., y, x) of all channels but ``valid``."""
    forcings = zip(channels.forcings.names, batch.forcings.unbind(dim=2), strict=True)
    statics = zip(channels.statics.names, batch.statics.unbind(dim=1), strict=True)
    return {channels.target: batch.target, **dict(forcings), **dict(statics)}
