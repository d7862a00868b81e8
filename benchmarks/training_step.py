"""One step of training: forward, backward and update, against the straightforward ConvLSTM.

Both networks have the same weights and see the same batch of 6 frames with 9 channels. The
straightforward cell convolves inputs and memory joined, step by step. On a GPU the network
compiled by torch is measured too.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common.case import random_network
from benchmarks.common.measure import (
    build_parser,
    median,
    print_environment,
    print_table,
    print_target,
)
from benchmarks.common.reference_convlstm import ReferenceConvLSTM
from benchmarks.device import Device, matrix_peak
from flows.runtime import configure_malloc, set_num_threads
from pipeline.models import ConvLSTMSpec

_CHANNELS = 9
_HISTORY = 6
_HIDDEN = (32, 64)
_PROBE_PX = 16
_AIM = 3.0


@dataclass(frozen=True)
class TrainingVariant:
    """A network in training, and the arithmetic of its convolutions."""

    label: str
    network: nn.Module
    half: bool


def main() -> None:
    """Time steps of all variants in turns."""
    options = _options()
    set_num_threads(options.threads)
    configure_malloc()  # as where networks are trained
    device = Device(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    peak = matrix_peak(device)
    print_environment(
        device=torch.cuda.get_device_name() if device.is_gpu else "no GPU at hand: a processor",
        batch=f"{options.batch} x {_HISTORY} x {_CHANNELS} x {options.side} x {options.side}",
        threads=options.threads,
        peak=f"{peak / 1e12:.3g} TFLOP/s of bfloat16 matrix products, measured here",
    )
    variants = list_variants(device)
    frames = torch.randn(options.batch, _HISTORY, _CHANNELS, options.side, options.side)
    frames = frames.to(device.torch_device)
    steps = {variant.label: make_step(variant, frames, device) for variant in variants}
    seconds: dict[str, list[float]] = {label: [] for label in steps}
    for step in steps.values():
        step()  # the first one chooses kernels and compiles
    for _ in range(options.repeats):
        for label, step in steps.items():
            seconds[label].append(device.seconds(step))
    report(variants, seconds, frames, peak)


def _options() -> argparse.Namespace:
    parser = build_parser(str(__doc__))
    parser.add_argument("--batch", type=int, help="patches; 2, --full 8")
    parser.add_argument("--side", type=int, help="of a patch; 64, --full 128 [px]")
    parser.add_argument("--repeats", type=int, default=3, help="of each variant")
    options = parser.parse_args()
    options.batch = options.batch or (8 if options.full else 2)
    options.side = options.side or (128 if options.full else 64)
    return options


def list_variants(device: Device) -> list[TrainingVariant]:
    """List the variants of training one network, in the order of the table."""
    shape = ConvLSTMSpec(_CHANNELS, _HISTORY, hidden=_HIDDEN, head=(32,), dropout=0.0)
    ours = random_network(shape).to(device.torch_device).train()
    joined = ReferenceConvLSTM(copy.deepcopy(ours)).train()
    variants = [
        TrainingVariant(f"{name}, {'bfloat16' if half else 'float32'}", network, half)
        for half in (False, True)
        for name, network in (("straightforward", joined), ("ours", ours))
    ]
    if device.is_gpu:
        compiled = torch.compile(copy.deepcopy(ours))
        variants.append(TrainingVariant("ours compiled, bfloat16", compiled, True))  # type: ignore[arg-type]
    return variants


def make_step(variant: TrainingVariant, frames: Tensor, device: Device) -> Callable[[], None]:
    """Return the function that makes one step."""
    optimizer = torch.optim.AdamW(variant.network.parameters(), lr=1e-6)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.torch_device.type, torch.bfloat16, enabled=variant.half):
            loss = variant.network(frames).float().square().mean()
        loss.backward()
        optimizer.step()

    return step


def flops_per_px(variant: TrainingVariant, frames: Tensor) -> float:
    """Count the operations of a step at one pixel of one patch, on small ones."""
    small = frames[:1, ..., :_PROBE_PX, :_PROBE_PX]
    with FlopCounterMode(display=False) as counter:
        variant.network(small).float().square().mean().backward()
    return float(counter.get_total_flops()) / _PROBE_PX**2


def report(
    variants: list[TrainingVariant],
    seconds: dict[str, list[float]],
    frames: Tensor,
    peak: float,
) -> None:
    """Print the table, and the aim beside what was reached."""
    n_px = frames.shape[0] * frames.shape[-2] * frames.shape[-1]
    base = median(seconds["straightforward, float32"])
    rows = []
    for variant in variants:
        spent = seconds[variant.label]
        rate = flops_per_px(variant, frames) * n_px / median(spent)
        rows.append(
            [
                variant.label,
                f"{1e3 * median(spent):.0f}",
                f"{1e3 * min(spent):.0f} to {1e3 * max(spent):.0f}",
                f"{base / median(spent):.2f}",
                f"{100 * rate / peak:.1f} %",
            ]
        )
    print_table(
        ["", "ms a step", "of repeats", "x straightforward float32", "of bf16 peak"], rows
    )
    best = max(
        base / median(seconds[variant.label]) for variant in variants if "ours" in variant.label
    )
    if frames.is_cuda:
        print_target("3 x on a GPU", f"{best:.2f} x", met=best >= _AIM)
    else:
        print(f"best of ours: {best:.2f} x; the aim of {_AIM:.0f} x is for a GPU")


if __name__ == "__main__":
    main()
