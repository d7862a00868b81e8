"""The network itself on the device: a GPU where there is one, else this processor.

Measures milliseconds per Mpx-lead in float32 and with convolutions in bfloat16, and the
fraction of the peak of bfloat16 matrix products, measured in the same run; against the
straightforward ConvLSTM, whose cell convolves inputs and memory joined, and which reads its
window anew for every lead. Weights are equal, so forecasts are too. Stores are not touched. On
a processor its own seconds count, so that what others do there matters less; on a GPU float32
is what torch makes of it by default, which is TF32 in convolutions.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common.case import random_network
from benchmarks.common.measure import (
    build_parser,
    median,
    print_environment,
    print_table,
)
from benchmarks.common.reference_convlstm import ReferenceConvLSTM
from flows.runtime import set_num_threads
from pipeline.models import ConvLSTMSpec
from pipeline.models.roll import RolloutInputs, rollout
from pipeline.models.steppers import Network

_N_FORCINGS = 2
_N_STATICS = 3
_PROBE_PX = 32
_PEAK_S = 2.0
_HEADER = (
    "",
    "ms per Mpx-lead",
    "of repeats",
    "x straightforward",
    "of bf16 peak",
    "device idle",
    "difference from float32",
)


@dataclass(frozen=True)
class Variant:
    """A network and the arithmetic of its convolutions."""

    label: str
    network: Network
    is_bf16: bool
    reference: str
    """Label of the variant whose forecasts these should be."""


@dataclass(frozen=True)
class Device:
    """Where networks run, and how time is taken there."""

    torch_device: torch.device

    @property
    def is_gpu(self) -> bool:
        """Whether work is only queued by a call."""
        return self.torch_device.type == "cuda"

    def clock(self) -> float:
        """Return the time of this process's threads, or of the wall for a GPU [s]."""
        if self.is_gpu:
            torch.cuda.synchronize(self.torch_device)
            return time.perf_counter()
        return time.process_time() / torch.get_num_threads()

    @contextmanager
    def arithmetic(self, *, half: bool) -> Iterator[None]:
        """Forecast, with convolutions in bfloat16 where they are to be."""
        with (
            torch.inference_mode(),
            torch.autocast(self.torch_device.type, torch.bfloat16, enabled=half),
        ):
            yield

    def seconds(self, work: Callable[[], object]) -> float:
        """Time one call until its results are there."""
        start = self.clock()
        work()
        return self.clock() - start

    def busy_seconds(self, work: Callable[[], object]) -> float:
        """Add up the kernels of one call, between which the GPU idles."""
        with profile(activities=[ProfilerActivity.CUDA]) as seen:
            work()
            torch.cuda.synchronize(self.torch_device)
        return float(sum(each.self_device_time_total for each in seen.key_averages())) / 1e6


def main() -> None:
    """Measure every network on the device that is at hand."""
    options = _options()
    set_num_threads(options.threads)
    device = Device(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    side = options.side or (1024 if device.is_gpu else 152)
    peak = matrix_peak(device)
    print_environment(
        device=_describe(device),
        rollout=f"{side} x {side} px, {options.leads} leads, random weights",
        threads=options.threads,
        peak=f"{peak / 1e12:.3g} TFLOP/s of bfloat16 matrix products, measured here",
    )
    for hidden in options.hidden:
        for history in options.history:
            shape = ConvLSTMSpec(
                2 + _N_FORCINGS + _N_STATICS, history, hidden=hidden, head=hidden[-1:]
            )
            print(f"hidden {', '.join(map(str, hidden))}; history {history}")
            report(Bench(device, shape, side, options.leads, options.repeats), peak)
    print(
        "difference: in standard deviations of the last lead, from the same network in float32"
    )


def _options() -> argparse.Namespace:
    parser = build_parser(str(__doc__))
    parser.add_argument("--side", type=int, help="of the raster; 152, on a GPU 1024 [px]")
    parser.add_argument("--leads", type=int, default=12, help="frames to forecast")
    parser.add_argument(
        "--history", type=int, nargs="+", help="frames that are read; 4, --full 4 and 12"
    )
    parser.add_argument(
        "--hidden", type=_sizes, nargs="+", default=[(8, 8), (32, 64)], help="such as 8,8"
    )
    parser.add_argument("--repeats", type=int, default=3, help="of each variant")
    options = parser.parse_args()
    options.history = options.history or ([4, 12] if options.full else [4])
    return options


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def _describe(device: Device) -> str:
    if device.is_gpu:
        return torch.cuda.get_device_name(device.torch_device)
    return "no GPU at hand: everything below is this processor"


def matrix_peak(device: Device) -> float:
    """Find the rate of a large product of bfloat16 matrices [FLOP/s]."""
    side = 8192 if device.is_gpu else 1024
    draw = torch.randn(2, side, side, device=device.torch_device).bfloat16()
    calls = 0
    spent = 0.0
    device.seconds(lambda: draw[0] @ draw[1])
    while spent < _PEAK_S:
        spent += device.seconds(lambda: draw[0] @ draw[1])
        calls += 1
    return float(2 * side**3 * calls / spent)


@dataclass(frozen=True)
class Bench:
    """One network, rolled out in every variant."""

    device: Device
    shape: ConvLSTMSpec
    side: int
    leads: int
    repeats: int

    @property
    def px_leads(self) -> int:
        """Pixels of all leads."""
        return self.side**2 * self.leads

    def variants(self) -> list[Variant]:
        """List the variants, in the order of the table."""
        window = random_network(self.shape).to(self.device.torch_device)
        carried = random_network(replace(self.shape, memory="carried")).to(
            self.device.torch_device
        )
        joined = ReferenceConvLSTM(window).eval()
        listed = [
            Variant("straightforward, float32", joined, False, "ours, float32"),
            Variant("straightforward, bfloat16", joined, True, "ours, float32"),
            Variant("ours, float32", window, False, "ours, float32"),
            Variant("ours, bfloat16", window, True, "ours, float32"),
            Variant("ours carried, float32", carried, False, "ours carried, float32"),
            Variant("ours carried, bfloat16", carried, True, "ours carried, float32"),
        ]
        return [*listed, *self._other_layout()] if self.device.is_gpu else listed

    def _other_layout(self) -> list[Variant]:
        """Put the channels of a pixel together, as processors do already where it pays."""
        network = random_network(self.shape).to(self.device.torch_device)
        last = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return [
            Variant("ours channels last, float32", last, False, "ours, float32"),
            Variant("ours channels last, bfloat16", last, True, "ours, float32"),
        ]

    def inputs(self, side: int) -> RolloutInputs:
        """Draw what a rollout reads; a tenth of the pixels is invalid."""
        draw = torch.Generator().manual_seed(0)

        def normal(*sizes: int) -> Tensor:
            return torch.randn(1, *sizes, side, side, generator=draw)

        history = self.shape.history
        valid = torch.rand(1, history, side, side, generator=draw) >= 0.1
        inputs = RolloutInputs(
            target=normal(history) * valid,
            valid=valid,
            forcings=normal(history + self.leads - 1, _N_FORCINGS),
            statics=normal(_N_STATICS),
            domain=torch.ones(1, side, side, dtype=torch.bool),
        )
        return RolloutInputs(*(tensor.to(self.device.torch_device) for tensor in inputs))

    def forecast(self, variant: Variant, inputs: RolloutInputs) -> Tensor:
        """Roll one variant out (b, leads, y, x)."""
        with self.device.arithmetic(half=variant.is_bf16):
            return rollout(variant.network, inputs, leads=self.leads).float()

    def flops(self, variant: Variant) -> float:
        """Count the operations of one lead at one pixel, on a small raster."""
        inputs = self.inputs(_PROBE_PX)
        with FlopCounterMode(display=False) as counter:
            self.forecast(variant, inputs)
        return float(counter.get_total_flops()) / (_PROBE_PX**2 * self.leads)


@dataclass(frozen=True)
class VariantResult:
    """What one variant forecast, and the seconds of its repeats."""

    variant: Variant
    frames: Tensor
    seconds: list[float]


def report(bench: Bench, peak: float) -> None:
    """Roll all variants out in turns, and print their table."""
    inputs = bench.inputs(bench.side)
    results = {
        variant.label: VariantResult(variant, bench.forecast(variant, inputs), [])
        for variant in bench.variants()
    }
    for _ in range(bench.repeats):
        for each in results.values():
            each.seconds.append(bench.device.seconds(_work(bench, each.variant, inputs)))
    first, *_ = results.values()
    rows = [
        [
            label,
            *_rates(bench, each, first),
            f"{100 * _flops_per_s(bench, each) / peak:.1f} %",
            _idle(bench, each, inputs),
            _difference(each.frames, results[each.variant.reference].frames),
        ]
        for label, each in results.items()
    ]
    print_table(_HEADER, rows)


def _rates(bench: Bench, result: VariantResult, first: VariantResult) -> list[str]:
    """Format milliseconds, their range, and how much faster than the first variant."""
    rates = [1e9 * seconds / bench.px_leads for seconds in result.seconds]
    gain = median(first.seconds) / median(result.seconds)
    return [f"{median(rates):.0f}", f"{min(rates):.0f} to {max(rates):.0f}", f"{gain:.2f}"]


def _flops_per_s(bench: Bench, result: VariantResult) -> float:
    done: float = bench.flops(result.variant) * bench.px_leads
    return done / median(result.seconds)


def _work(bench: Bench, variant: Variant, inputs: RolloutInputs) -> Callable[[], Tensor]:
    return lambda: bench.forecast(variant, inputs)


def _idle(bench: Bench, result: VariantResult, inputs: RolloutInputs) -> str:
    """Format the fraction of a rollout in which the GPU waits for work."""
    if not bench.device.is_gpu:
        return "-"
    busy = bench.device.busy_seconds(_work(bench, result.variant, inputs))
    return f"{100 * max(0.0, 1 - busy / median(result.seconds)):.0f} %"


def _difference(frames: Tensor, reference: Tensor) -> str:
    return f"{float((frames - reference).abs().max() / reference[:, -1].std()):.1e}"


if __name__ == "__main__":
    main()
