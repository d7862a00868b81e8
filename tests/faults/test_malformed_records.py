"""Records whose digests are right and whose contents are not: a sentence, never a traceback."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stores.bundle import open_bundle
from stores.clean import clean
from stores.cube import CUBE, Cube
from stores.cube_digests import check_frames
from stores.errors import StoreError
from stores.files import MAX_JSON_BYTES, read_json
from stores.ingest import commit_cube, prepare_cube
from stores.ledger import Ledger
from stores.publish import find_published
from stores.published import published_issues
from stores.reconcile import reconcile_register
from stores.retention import RetentionPolicy
from stores.verify import verify
from tests.make import make_archive, make_tiffs
from tests.make_ingest import RAIN, ingest_variables, make_plan, write_plan
from tests.make_issue import make_bundle, make_issue, make_key

WEIRD: list[Any] = [
    None,
    True,
    -1,
    10**400,
    float("nan"),
    "",
    "../../etc",
    "\ud800",
    [],
    {},
    [[[]]],
    {"a": {"b": 1}},
]
N = 24
MANY = 600


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    make_archive(root / "archive", n=3)
    ingest_variables(root / "archive", root / CUBE, RAIN)
    make_issue(root)
    make_bundle(root / "models")
    assert verify(root) == []
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "root")
    return tmp_path / "root"


def digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def spots(content: Any) -> Iterator[tuple[Any, Any]]:
    """Find every place of a document that can hold something else."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in list(pairs):
        yield content, key
        if isinstance(value, dict | list):
            yield from spots(value)


def malform(content: Any, dice: random.Random) -> None:
    """Take something out of a document, or put something else in its place."""
    where, key = dice.choice(list(spots(content)))
    before = where[key]
    if isinstance(where, dict) and dice.random() < 0.3:
        del where[key]
    else:
        where[key] = dice.choice([weird for weird in WEIRD if weird != before])


def malform_manifest(root: Path, dice: random.Random) -> None:
    _malform_sealed(next(root.glob("issues/rain/*/manifest.json")), dice)


def malform_bundle(root: Path, dice: random.Random) -> None:
    _malform_sealed(next(root.glob("models/*/bundle.json")), dice)


def malform_cube(root: Path, dice: random.Random) -> None:
    """Change the root metadata of a cube, as if it had been committed so."""
    path = root / CUBE / "zarr.json"
    content = json.loads(path.read_text())
    del content["attributes"]["cubecast_digests"]
    malform(content, dice)
    path.write_text(json.dumps(content))


def malform_inputs(root: Path, dice: random.Random) -> None:
    path = next(p for p in root.glob("cube.inputs/*.json") if "digests" not in p.name)
    _malform(path, dice)


def malform_digests(root: Path, dice: random.Random) -> None:
    (path,) = root.glob("cube.inputs/*.digests.json")
    content = json.loads(path.read_text())
    malform(content, dice)
    path.write_text(json.dumps(content))
    root_of_cube = root / CUBE / "zarr.json"
    written = json.loads(root_of_cube.read_text())
    written["attributes"]["cubecast_digests"] = digest(content)
    root_of_cube.write_text(json.dumps(written))


def malform_catalog(root: Path, dice: random.Random) -> None:
    _malform(root / dice.choice(["catalog.json", "issues/rain/catalog.json"]), dice)


def malform_item(root: Path, dice: random.Random) -> None:
    """Change an item, and its digest in the manifest."""
    (issue,) = root.glob("issues/rain/*/")
    _malform(issue / "item.json", dice)
    content = json.loads((issue / "manifest.json").read_text())
    new = (issue / "item.json").read_bytes()
    content["files"]["item.json"] = {
        "size": len(new),
        "sha256": hashlib.sha256(new).hexdigest(),
    }
    del content["digest"]
    (issue / "manifest.json").write_text(json.dumps(content | {"digest": digest(content)}))


def malform_register(root: Path, dice: random.Random) -> None:
    """Change a line of the register, and its seal."""
    path = root / ".register.jsonl"
    first, *rest = path.read_text().splitlines()
    content = json.loads(first)
    del content["seal"]
    malform(content, dice)
    content["seal"] = digest(content)[:16]
    path.write_text("\n".join([json.dumps(content), *rest]) + "\n")


def _malform(path: Path, dice: random.Random) -> None:
    content = json.loads(path.read_text())
    malform(content, dice)
    path.write_text(json.dumps(content))


def _malform_sealed(path: Path, dice: random.Random) -> None:
    content = json.loads(path.read_text())
    del content["digest"]
    malform(content, dice)
    path.write_text(json.dumps(content | {"digest": digest(content)}))


def read_everything(root: Path) -> Iterator[Callable[[], object]]:
    """Do what flows do before they read numbers, each for itself."""
    cube = root / CUBE
    yield lambda: published_issues(root)
    yield lambda: find_published(root, make_key())
    yield lambda: clean(
        root, RetentionPolicy(min_age_s=0, revisions=1, bundles=0), dry_run=True
    )
    yield lambda: reconcile_register(root)
    yield lambda: [open_bundle(path) for path in root.glob("models/rain-*/")]
    yield lambda: Cube.open(cube)
    yield lambda: check_frames(cube, ["rain/c/1/0/0"], purpose="this test")
    yield lambda: make_plan(root / "archive", cube, RAIN)


MALFORM = [
    malform_manifest,
    malform_bundle,
    malform_cube,
    malform_inputs,
    malform_digests,
    malform_catalog,
    malform_item,
    malform_register,
]


def check_malformed(root: Path, seed: int) -> None:
    act = MALFORM[seed % len(MALFORM)]
    act(root, random.Random(seed))
    findings = verify(root)
    assert act in (malform_bundle, malform_item, malform_cube) or findings, act
    assert all(20 < len(finding) < 3000 for finding in findings)
    for read in read_everything(root):
        try:
            read()
        except StoreError as error:
            refused = str(error)
        else:
            continue
        assert 20 < len(refused) < 3000


@pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")
@pytest.mark.parametrize("seed", range(N))
def test_a_malformed_record_is_answered_in_a_sentence(root: Path, seed: int) -> None:
    check_malformed(root, seed)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")
@pytest.mark.parametrize("seed", range(N, MANY))
def test_any_malformed_record_is_answered_in_a_sentence(root: Path, seed: int) -> None:
    check_malformed(root, seed)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("key", [], "'key' is []"),
        ("key", {"name": "rain"}, "KeyError('bundles')"),
        ("issue", "0", "not that of its 'key'"),
        ("revision", "one", "'revision' is 'one'"),
        ("revision", 0, "'revision' is 0"),
        ("files", {"item.json": 7}, "the digest of 'item.json' is 7"),
        ("files", {"../a": {"size": 1, "sha256": ""}}, "leads out of its folder"),
        ("chunks", {"rain": {}}, "the chunks of 'rain' are {}"),
        ("made", {}, "KeyError('created')"),
        ("made", {"created": "yesterday"}, "yesterday"),
    ],
)
def test_a_manifest_of_a_wrong_shape_is_named_with_what_is_wrong(
    root: Path, key: str, value: Any, message: str
) -> None:
    (path,) = root.glob("issues/rain/*/manifest.json")
    content = json.loads(path.read_text()) | {key: value}
    del content["digest"]
    path.write_text(json.dumps(content | {"digest": digest(content)}))
    (finding,) = (f for f in verify(path.parent) if "manifest.json" in f)
    assert "cannot be read" in finding
    assert message in finding
    assert published_issues(root) == {}


@pytest.mark.parametrize(
    "content",
    [b'{"key": "a"}', b"[1]", b"{", b"\xff", b"[" * 100_000, b'{"key":1,"receipt":[2]}'],
)
def test_a_damaged_entry_of_a_ledger_is_not_done(content: bytes, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.mark("a", {"n": 1})
    ledger.mark("b", {"n": 2})
    (tmp_path / "a.json").write_bytes(content)
    assert ledger.receipt("a") is None
    assert ledger.receipts() == {"b": {"n": 2}}


def test_a_huge_or_deep_record_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    with path.open("wb") as file:
        file.truncate(MAX_JSON_BYTES + 1)
    with pytest.raises(ValueError, match="bytes and files like it at most"):
        read_json(path)
    path.write_bytes(b'{"a":' * 100_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        read_json(path)


@pytest.mark.parametrize("content", [b"\xff", b"[" * 100_000, b"[]", b'{"version": 1}'])
def test_a_damaged_plan_of_an_unfinished_ingest_is_made_again(
    root: Path, content: bytes
) -> None:
    make_tiffs(root / "archive", n=5)
    plan = make_plan(root / "archive", root / CUBE, RAIN)
    prepare_cube(plan)
    (root / ".cube.zarr.pending/plan.json").write_bytes(content)
    commit_cube(plan, write_plan(plan))
    assert verify(root) == []


@pytest.mark.parametrize(
    "content", [b"\xff", b"[" * 100_000, b"[]", b'{"token":"1","pid":1,"host":"a","since":""}']
)
def test_a_damaged_note_of_a_lease_gives_its_tokens_anew(root: Path, content: bytes) -> None:
    for path in (root / ".leases").glob("*.json"):
        path.write_bytes(content)
    make_issue(root, make_key(init="2018-05"))
    assert verify(root) == []
