"""What a recipe says of its archive; imports little, so that a mistake is told at once."""

from __future__ import annotations

import logging

from pipeline.recipes import Recipe
from stores import units
from stores.archive import SourceVariable
from stores.inventory import check_files

log = logging.getLogger(__name__)


def check_sources_exist(recipe: Recipe) -> None:
    """Refuse an archive or a variable without files, none of which is opened, and no units.

    Raises:
        ArchiveError: names the folder, or the files that are near.
        ValueError: names the keys, and the nearest units.
    """
    check_files(recipe.archive.root, build_sources(recipe), recipe.step)
    refused = []
    for name, variable in recipe.archive.variables.items():
        try:
            units.check_units(variable.units)
        except ValueError as error:
            refused.append(f"  archive.variables.{name}.units: {error}")
    if refused:
        raise ValueError("\n".join([f"recipe {recipe.name} is refused:", *refused]))


def warn_of_units(recipe: Recipe) -> None:
    """Warn of units that do not fit their standard name."""
    for name, variable in recipe.archive.variables.items():
        if variable.standard_name is not None and (
            unlike := units.find_mismatch(variable.units, variable.standard_name)
        ):
            log.warning("archive.variables.%s: %s", name, unlike)


def build_sources(recipe: Recipe) -> list[SourceVariable]:
    """Turn the variables of a recipe into plain values."""
    return [
        SourceVariable(
            name=name,
            files=variable.files,
            units=variable.units,
            long_name=variable.long_name,
            standard_name=variable.standard_name,
            is_classes=variable.kind == "classes",
            resampling=variable.resampling,
            band=variable.band,
            nodata=variable.nodata,
            valid_range=variable.valid_range,
            share_of=variable.share_of,
            cell_methods=variable.cell_methods,
        )
        for name, variable in recipe.archive.variables.items()
    ]
