"""Rasters that grow 1 x, 4 x and 16 x: the set-up of benchmarks that look for flat memory."""

from __future__ import annotations

import argparse

from benchmarks.common.measure import build_parser

_GROWTH = (1, 2, 4)  # sides of the rasters, in sides of the smallest


def growth_parser(what: str, *, side: int, full: int) -> argparse.ArgumentParser:
    """Build the options of a benchmark, with the default side of its smallest raster [px]."""
    parser = build_parser(what)
    help_text = f"of the smallest raster; {side}, --full {full} [px]"
    parser.add_argument("--side", type=int, help=help_text)
    parser.set_defaults(sides_px=(side, full))
    return parser


def list_sides(options: argparse.Namespace) -> list[int]:
    """List the sides of the rasters, the smallest first [px]."""
    side, full = options.sides_px
    smallest = options.side or (full if options.full else side)
    return [smallest * factor for factor in _GROWTH]
