"""What a pixel of a feature map sees of the input, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

PixelRange = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ReceptiveField:
    """First and last input pixel that each pixel of a feature map sees, along one axis.

    Layers are appended in the order of the network, from the input on:
    ``ReceptiveField().conv(3)``. A strided network sees differently at each phase of its
    stride, and to the left not as far as to the right, so one span is kept for each phase.
    Borders only take paths away.
    """

    stride: int = 1
    """Input pixels from one pixel of the map to the next."""
    spans: tuple[PixelRange, ...] = ((0, 0),)
    """First and last input pixel of map pixels 0, 1, ...; repeats after ``period`` pixels."""

    @property
    def period(self) -> int:
        """Input pixels after which the pattern repeats: the total stride so far."""
        return self.stride * len(self.spans)

    @property
    def radius(self) -> int:
        """Farthest input pixel, on either side, of the worst phase [px]."""
        return max(
            max(phase * self.stride - first, last - phase * self.stride)
            for phase, (first, last) in enumerate(self.spans)
        )

    def span(self, pixel: int) -> PixelRange:
        """Return the first and last input pixel that map pixel ``pixel`` sees."""
        n_periods, phase = divmod(pixel, len(self.spans))
        first, last = self.spans[phase]
        return first + n_periods * self.period, last + n_periods * self.period

    def conv(
        self, kernel: int, *, stride: int = 1, dilation: int = 1, padding: int | None = None
    ) -> ReceptiveField:
        """Append a convolution, by default with the padding that keeps the size."""
        width = dilation * (kernel - 1)
        before = width // 2 if padding is None else padding

        def input_range(pixel: int) -> PixelRange:
            return pixel * stride - before, pixel * stride - before + width

        return self._through(self.stride * stride, input_range)

    def pool(self, side: int) -> ReceptiveField:
        """Append a pooling of ``side`` x ``side`` pixels into one, of any kind."""
        return self.conv(side, stride=side, padding=0)

    def upsample(self, factor: int) -> ReceptiveField:
        """Append a half-pixel (not corner-aligned) bilinear upsampling by a power of two.

        Other factors have weights that are rounded differently at every position, so tiles
        would agree to rounding of the position only.
        """
        if factor < 2 or factor & (factor - 1) or self.stride % factor:
            raise ValueError(
                f"upsampling by factor={factor} of a map of stride {self.stride} has no exact "
                "weights on the pixels of the input; use a power of two that divides the stride"
            )

        def input_range(pixel: int) -> PixelRange:
            twice = 2 * pixel + 1 - factor  # source position times 2 * factor
            return twice // (2 * factor), -(-twice // (2 * factor))

        return self._through(self.stride // factor, input_range)

    def recurrent(self, kernel: int, *, layers: int, frames: int) -> ReceptiveField:
        """Append stacked recurrent layers that read ``frames`` frames.

        A signal crosses every layer once, and in one of them all later frames as well.
        """
        field = self
        for _ in range(layers + frames - 1):
            field = field.conv(kernel)
        return field

    def concat(self, other: ReceptiveField) -> ReceptiveField:
        """Put another map beside this one, as a skip connection does."""
        if other.stride != self.stride:
            raise ValueError(
                f"a map of stride {self.stride} cannot be joined with one of stride "
                f"{other.stride}, as their pixels do not match; upsample one of them first"
            )
        n = math.lcm(self.period, other.period) // self.stride
        both = ((self.span(pixel), other.span(pixel)) for pixel in range(n))
        return ReceptiveField(
            self.stride, tuple((min(a, c), max(b, d)) for (a, b), (c, d) in both)
        )

    def compose(self, earlier: ReceptiveField) -> ReceptiveField:
        """Read a map whose pixels see ``earlier``: this network, fed with that one's output."""
        return earlier._through(self.stride, self.span, repeats=self.period)

    def _through(
        self, stride: int, input_range: Callable[[int], PixelRange], *, repeats: int = 1
    ) -> ReceptiveField:
        """Return the field of a map whose pixels read ``input_range`` of this one."""
        n = math.lcm(self.period, stride, repeats) // stride
        spans = (input_range(pixel) for pixel in range(n))
        return ReceptiveField(
            stride, tuple((self.span(first)[0], self.span(last)[1]) for first, last in spans)
        )
