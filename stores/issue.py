"""Issues: the name of a forecast, and the folder in which it grows out of sight."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stores.errors import CorruptError
from stores.files import read_json, write_json
from stores.names import check_id

STAGING, ISSUES = ".staging", "issues"
FORECAST, COGS = "forecast.zarr", "cog"
ITEM, MANIFEST = "item.json", "manifest.json"

_KEY = ".key.json"
_DIGITS = 12


@dataclass(frozen=True, slots=True)
class IssueKey:
    """What a forecast follows from: the same key is the same forecast."""

    recipe: str
    """Fingerprint of the recipe."""
    bundle: str
    """Digest of the model's bundle."""
    cube: str
    """Version of the cube."""
    init: str
    """Label of the last observed time, such as ``2017-12``."""
    leads: int
    calibration: str = ""
    """Digest of the margins of the intervals; empty where none are published."""

    def __post_init__(self) -> None:
        for field in ("recipe", "bundle", "cube", "init"):
            check_id(getattr(self, field), field)
        if self.leads < 1:
            raise ValueError(f"leads={self.leads} is not a forecast; ask for 1 or more")

    @property
    def digest(self) -> str:
        """Hash of all parts."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def stage_name(self) -> str:
        """Name of the staging folder: the same for every rerun."""
        return f"{self.init}-{self.digest[:_DIGITS]}"

    @property
    def lease_name(self) -> str:
        """Name of the lease under which this issue is made."""
        return f"issue-{self.digest[:_DIGITS]}"

    def to_json(self) -> dict[str, Any]:
        """Write the key as plain JSON; without intervals it says nothing of them."""
        return {name: part for name, part in asdict(self).items() if part != ""}


def open_stage(root: Path, key: IssueKey) -> Path:
    """Give the folder in which the issue ``key`` grows; a rerun finds what was written before.

    Whoever writes into it holds the lease ``key.lease_name``.
    """
    stage = root / STAGING / key.stage_name
    stage.mkdir(parents=True, exist_ok=True)
    if not (stage / _KEY).exists():
        write_json(stage / _KEY, key.to_json())
    if read_key(stage) != key:
        raise CorruptError(
            f"{stage} belongs to the request {read_key(stage)}, not to {key}, so two forecasts "
            "would be mixed; delete the folder and run again"
        )
    return stage


def stage_lease(stage: Path) -> str:
    """Name the lease under which a staging folder is written."""
    return f"issue-{stage.name[-_DIGITS:]}"


def read_key(stage: Path) -> IssueKey:
    """Tell for which request a staging folder was opened.

    Raises:
        CorruptError: the folder was not opened with ``open_stage``.
    """
    try:
        return IssueKey(**read_json(stage / _KEY))
    except (OSError, TypeError, ValueError) as error:
        raise CorruptError(
            f"{stage} does not say which forecast it holds ({error}), so it cannot be "
            "published; open it with open_stage"
        ) from None
