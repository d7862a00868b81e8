"""Issues: the name of a forecast, and the stage in which it grows out of sight.

A stage is one folder, guarded by one lease: ``issue`` is what will be published; beside it lie
the key, the ledger of what is done and the scratch store, which end with the stage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stores.digests import digest_json
from stores.disk_space import reraise_disk_full
from stores.errors import CorruptError
from stores.files import read_json, write_json
from stores.names import check_id

STAGING = ".staging"
ISSUES = "issues"
FORECAST = "forecast.zarr"
COGS = "cog"
CATALOG = "catalog.json"
ITEM = "item.json"
MANIFEST = "manifest.json"
SCRATCH = "scratch.zarr"
LEDGER = "ledger"

_KEY = "key.json"
_ISSUE = "issue"
_DIGEST_LENGTH = 12


@dataclass(frozen=True, slots=True)
class IssueKey:
    """What a forecast follows from: the same key is the same forecast."""

    name: str
    """Name of the recipe: its issues lie in a folder of their own."""
    recipe: str
    """Fingerprint of the recipe."""
    bundles: tuple[str, ...]
    """Digests of the models' bundles, in the order in which they take members."""
    cube: str
    """Version of the cube."""
    init: str
    """Label of the last observed time, such as ``2017-12``."""
    leads: int
    calibration: str = ""
    """Digest of the margins of the intervals; empty where none are published."""

    def __post_init__(self) -> None:
        for field in ("name", "recipe", "cube", "init"):
            check_id(getattr(self, field), field)
        for bundle in self.bundles:
            check_id(bundle, "bundle")
        if not self.bundles:
            raise ValueError("a forecast follows from no bundle; name one or more")
        if self.leads < 1:
            raise ValueError(f"leads={self.leads} is not a forecast; ask for 1 or more")

    @property
    def digest(self) -> str:
        """Hash of all fields."""
        return digest_json(self.to_json())

    @property
    def stage_name(self) -> str:
        """Name of the stage: the same for every rerun."""
        return _stage_name(self.name, self.init, self.digest)

    @property
    def lease_name(self) -> str:
        """Name of the lease under which this issue is made."""
        return f"issue-{self.digest[:_DIGEST_LENGTH]}"

    def to_json(self) -> dict[str, Any]:
        """Write the key as plain JSON; without intervals it says nothing of them."""
        written = asdict(self) | {"bundles": list(self.bundles)}
        return {name: value for name, value in written.items() if value != ""}

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> IssueKey:
        """Read what ``to_json`` wrote."""
        return cls(**{**written, "bundles": tuple(written["bundles"])})


def stage_path(root: Path, key: IssueKey) -> Path:
    """Return the folder of a stage, whether it is there or not."""
    return root / STAGING / key.stage_name


def open_stage(root: Path, key: IssueKey) -> Path:
    """Open the folder in which the issue ``key`` grows; a rerun finds what was written before.

    Whoever writes into it, or beside it, holds the lease ``key.lease_name``.
    """
    issue = stage_path(root, key) / _ISSUE
    with reraise_disk_full(issue):
        issue.mkdir(parents=True, exist_ok=True)
    if not (issue.parent / _KEY).exists():
        write_json(issue.parent / _KEY, key.to_json())
    found = read_key(issue)
    if found != key:
        raise CorruptError(
            f"{issue.parent} belongs to the request {found}, not to {key}, so two forecasts "
            "would be mixed; delete the folder and run again"
        )
    return issue


def staged_issue_path(staging: Path, name: str, init: str, digest: str) -> Path:
    """Return the folder in which an issue grows, by its recipe, init and key's digest."""
    return staging / _stage_name(name, init, digest) / _ISSUE


def list_stages(root: Path) -> list[Path]:
    """List the folders of all stages, whoever left them there."""
    return sorted((root / STAGING).glob("[!.]*/"))


def list_staged_keys(root: Path) -> Iterator[IssueKey]:
    """List the requests for which forecasts are being made, or were begun."""
    for stage in list_stages(root):
        with suppress(CorruptError):  # born a moment ago, or dead since its birth
            yield read_key(stage / _ISSUE)


def stage_lease_name(stage: Path) -> str:
    """Return the name of the lease under which the folder of a stage is written."""
    return f"issue-{stage.name[-_DIGEST_LENGTH:]}"


def read_key(issue: Path) -> IssueKey:
    """Read for which request ``open_stage`` opened a folder.

    Raises:
        CorruptError: the folder was not opened with ``open_stage``.
    """
    stage = issue.parent
    try:
        return IssueKey.from_json(read_json(stage / _KEY))
    except (OSError, TypeError, ValueError, KeyError) as error:
        raise CorruptError(
            f"{stage} does not say which forecast it holds ({error}), so it cannot be "
            "published; open it with open_stage"
        ) from None


def _stage_name(name: str, init: str, digest: str) -> str:
    return f"{name}-{init}-{digest[:_DIGEST_LENGTH]}"
