"""Which pixels each part gets, where parts are split by place."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.split import PARTS, SpatialSplit, Split
from pipeline.streams.fields import has_parts, read_domain, read_part_area, write_parts
from pipeline.tiling.splits import (
    Labels,
    SplitAssignment,
    group_sizes,
    label_blocks,
    label_groups,
    label_parts,
    part_area,
)
from stores.array_types import BoolArray
from stores.cube import Cube
from stores.files import write_text
from stores.formatting import pluralize
from stores.windows import Window

log = logging.getLogger(__name__)

PARTS_FILE = "parts.csv"


@dataclass(frozen=True)
class SplitAreas:
    """What each part got, by its name."""

    areas: Mapping[str, BoolArray]
    """Where its samples lie (y, x)."""
    n_groups: Mapping[str, int]


def fit_spatial_split(split: Split, spatial: SpatialSplit, cube: Cube, fields: Path) -> None:
    """Assign blocks or groups to the parts, and write their areas into the fields.

    ``parts.csv`` beside the fields holds in numbers what each part got.

    Raises:
        ValueError: a part gets nothing.
    """
    whole = Window.from_shape((cube.grid.height, cube.grid.width))
    domain = read_domain(fields, whole)
    groups = _label(spatial, cube, domain)
    assignment = SplitAssignment(spatial.shares, spatial.seed, split.folds, split.fold)
    parts = assign_areas(groups, domain, assignment, border_px=spatial.buffer_px)
    table = tabulate_areas(parts, domain)
    _check_filled(table, spatial)
    write_parts(fields, parts.areas)
    write_text(fields.with_name(PARTS_FILE), table.to_csv(index=False))
    summary = "; ".join(describe_areas(table, spatial.unit_name))
    log.info("parts %s; %s", split.describe(cube.step), summary)


def assign_areas(
    groups: Labels, domain: BoolArray, assignment: SplitAssignment, *, border_px: int
) -> SplitAreas:
    """Assign groups (y, x) to parts and keep their borders free; what is random has a seed."""
    part_of_group = assignment.assign(group_sizes(groups, domain))
    labels = label_parts(groups, part_of_group)
    counts = Counter(part_of_group.values())
    return SplitAreas(
        {
            name: part_area(labels, number, border=border_px)
            for number, name in enumerate(PARTS)
        },
        {name: counts[number] for number, name in enumerate(PARTS)},
    )


def tabulate_areas(parts: SplitAreas, domain: BoolArray) -> pd.DataFrame:
    """Count the domain's pixels (y, x) of each part, and what stays free between them."""
    pixels = {name: int((area & domain).sum()) for name, area in parts.areas.items()}
    free = int(domain.sum()) - sum(pixels.values())
    table = pd.DataFrame({"part": [*pixels, "free"], "pixels": [*pixels.values(), free]})
    table["share"] = table["pixels"] / max(1, domain.sum())
    table["groups"] = [*parts.n_groups.values(), 0]
    return table


def describe_areas(table: pd.DataFrame, unit: str) -> list[str]:
    """Describe in words what each part got, and what stays free."""
    rows = table.to_dict("records")
    singular = unit.removesuffix("s")
    lines = [
        f"{row['part']}: {pluralize(row['groups'], singular)}, {_size(row)}"
        for row in rows[:-1]
    ]
    return [*lines, f"free: {_size(rows[-1])}"]


def read_area_table(fields: Path) -> pd.DataFrame | None:
    """Read what each part got; None where parts are split by dates alone."""
    return pd.read_csv(fields.with_name(PARTS_FILE)) if has_parts(fields) else None


def read_part_numbers(fields: Path, window: Window) -> Labels:
    """Number the pixels (y, x) by the rows of ``read_area_table``; outside the domain is -1."""
    domain = read_domain(fields, window)
    areas = [read_part_area(fields, part, window) for part in PARTS]
    numbers = np.select(areas, range(len(PARTS)), default=len(PARTS))
    return np.where(domain, numbers, -1)


def _label(spatial: SpatialSplit, cube: Cube, domain: BoolArray) -> Labels:
    if spatial.groups is None:
        assert spatial.block_px is not None  # there is one or the other
        return label_blocks((domain.shape[0], domain.shape[1]), side=spatial.block_px)
    whole = Window.from_shape((cube.grid.height, cube.grid.width))
    return label_groups(cube.read(spatial.groups, whole), domain)


def _check_filled(table: pd.DataFrame, spatial: SpatialSplit) -> None:
    for row in table.to_dict("records")[:-1]:
        if not row["pixels"]:
            groups = pluralize(row["groups"], spatial.unit_name.removesuffix("s"))
            raise ValueError(
                f"the {row['part']} part gets {groups}, all within "
                f"{spatial.buffer_px} px of other parts, so it has no pixel; lower "
                f"split.place.correlation_px, take larger {spatial.unit_name}, "
                "or try another seed"
            )


def _size(row: Mapping[Any, Any]) -> str:
    return f"{row['pixels']} px ({row['share']:.1%})"
