"""Rasters as no archive should hold them, each a function of a path, a frame and a seed."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from stores.array_types import Float32Array
from tests.make import GRID, NODATA, SHAPE, write_tiff

Frame = Float32Array
Random = np.random.Generator
Damage = Callable[[Path, Frame, Random], None]

_WIDTH, _HEIGHT = 256, 257  # tags of a TIFF


def plain(path: Path, frame: Frame, **profile: Any) -> None:
    """Write a sound file."""
    write_tiff(path, frame, **({"nodata": NODATA} | profile))


def cut(path: Path, frame: Frame, random: Random) -> None:
    plain(path, frame, compress=random.choice(["deflate", "lzw", "zstd"]))
    os.truncate(path, int(random.integers(0, path.stat().st_size)))


def flipped(path: Path, frame: Frame, random: Random) -> None:
    plain(path, frame)
    _flip(path, random)


def flipped_raw(path: Path, frame: Frame, random: Random) -> None:
    plain(path, frame, compress=None)
    _flip(path, random)


def scrambled_header(path: Path, frame: Frame, random: Random) -> None:
    plain(path, frame)
    raw = bytearray(path.read_bytes())
    first = struct.unpack("<I", raw[4:8])[0]
    for place in random.integers(first, min(len(raw), first + 200), 6):
        raw[place] = random.integers(0, 256)
    path.write_bytes(raw)


def zero_hole(path: Path, frame: Frame, random: Random) -> None:
    plain(path, frame, compress=None)
    raw = bytearray(path.read_bytes())
    first = random.integers(500, len(raw) - 400)
    raw[first : first + 400] = bytes(400)
    path.write_bytes(raw)


def declared_huge(path: Path, frame: Frame, random: Random) -> None:
    """Declare many pixels in a few bytes."""
    write_sparse(path, int(random.integers(6_000, 30_000)))


def declared_huge_by_header(path: Path, frame: Frame, random: Random) -> None:
    plain(path, frame)
    raw, side = bytearray(path.read_bytes()), int(random.integers(1 << 16, 1 << 31))
    for tag in (_WIDTH, _HEIGHT):
        _set_tag(raw, tag, side)
    path.write_bytes(raw)


def one_block(path: Path, frame: Frame, random: Random) -> None:
    """Store one strip for all rows, which is decoded at once."""
    side = int(random.integers(9_000, 12_000))
    values = np.zeros((1, side), dtype=np.float32)
    profile = {"height": side, "width": side, "count": 1, "dtype": "float32"}
    placed = {"crs": str(GRID.crs), "transform": GRID.affine, "sparse_ok": True}
    with rasterio.open(
        path, "w", driver="GTiff", compress="deflate", blockysize=side, **profile, **placed
    ) as raster:
        raster.update_tags(made_of=values.dtype)


def other_crs(path: Path, frame: Frame, random: Random) -> None:
    plain(path, frame, crs=f"EPSG:{random.choice([3857, 32748, 4258, 5179])}")


def no_crs(path: Path, frame: Frame, random: Random) -> None:
    plain(path, frame, crs=None)


def rotated(path: Path, frame: Frame, random: Random) -> None:
    turned = GRID.affine @ Affine.rotation(float(random.uniform(1, 89)))
    plain(path, frame, transform=turned)


def sheared(path: Path, frame: Frame, random: Random) -> None:
    plain(path, frame, transform=GRID.affine @ Affine.shear(float(random.uniform(1, 40))))


def no_size(path: Path, frame: Frame, random: Random) -> None:
    a, _, c, _, e, f = list(GRID.affine)[:6]
    flat = [(0, e), (a, 0), (np.nan, e), (np.inf, e)][random.integers(4)]
    plain(path, frame, transform=Affine(flat[0], 0, c, 0, flat[1], f))


def shifted(path: Path, frame: Frame, random: Random) -> None:
    offset = random.uniform(0.1, 3, 2)
    plain(path, frame, transform=GRID.affine @ Affine.translation(*offset))


def complex_numbers(path: Path, frame: Frame, random: Random) -> None:
    kind = random.choice(["complex64", "complex128", "complex_int16"])
    plain(path, (frame + 1j).astype("complex64"), dtype=kind, nodata=None)


def many_bands(path: Path, frame: Frame, random: Random) -> None:
    n = int(random.integers(200, 2_000))
    plain(path, np.broadcast_to(frame.astype("uint8"), (n, *SHAPE)), nodata=None)


def other_type(path: Path, frame: Frame, random: Random) -> None:
    kind = random.choice(["uint8", "int16", "uint16", "int32", "uint32", "float64"])
    plain(path, np.clip(frame, 0, 200).astype(kind), nodata=None)


def not_numbers(path: Path, frame: Frame, random: Random) -> None:
    values = frame.copy()
    values[random.random(SHAPE) < random.choice([0.01, 0.5, 1.0])] = np.nan
    plain(path, values, nodata=np.nan)


def infinite(path: Path, frame: Frame, random: Random) -> None:
    values = frame.copy()
    values[random.random(SHAPE) < 0.3] = random.choice([np.inf, -np.inf])
    plain(path, values)


def other_nodata(path: Path, frame: Frame, random: Random) -> None:
    marker = random.choice([-3.4e38, 1e36, -32768.0, 0.0])
    values = frame.copy()
    values[:5] = marker
    plain(path, values, nodata=float(marker))


def other_scale(path: Path, frame: Frame, random: Random) -> None:
    plain(path, frame)
    with rasterio.open(path, "r+") as raster:
        raster.scales = (float(random.choice([0.0, np.nan, np.inf, 1e-300, -1.0])),)


def virtual(path: Path, frame: Frame, random: Random) -> None:
    other = random.choice(["/etc/passwd", "/vsicurl/http://127.0.0.1:9/x.tif"])
    path.write_text(
        '<VRTDataset rasterXSize="31" rasterYSize="23"><SRS>EPSG:4326</SRS>'
        '<VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f"<SourceFilename>{other}</SourceFilename><SourceBand>1</SourceBand>"
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )


def text(path: Path, frame: Frame, random: Random) -> None:
    path.write_bytes([b"", b"no raster\n", b"II*\0", random.bytes(3_000)][random.integers(4)])


def link_out(path: Path, frame: Frame, random: Random) -> None:
    path.symlink_to(random.choice(["/etc/passwd", "../../elsewhere.tif", "/dev/zero"]))


def link_to_nothing(path: Path, frame: Frame, random: Random) -> None:
    path.symlink_to(random.choice([path.name, "absent.tif"]))


def pipe(path: Path, frame: Frame, random: Random) -> None:
    os.mkfifo(path)


def folder(path: Path, frame: Frame, random: Random) -> None:
    path.mkdir()
    plain(path / "rain_2000.01.tif", frame)


DAMAGES: tuple[Damage, ...] = (
    *(cut, flipped, flipped_raw, scrambled_header, zero_hole),
    *(declared_huge, declared_huge_by_header, one_block),
    *(other_crs, no_crs, rotated, sheared, no_size, shifted),
    *(complex_numbers, many_bands, other_type, not_numbers, infinite),
    *(other_nodata, other_scale),
    *(virtual, text, link_out, link_to_nothing, pipe, folder),
)


def write_sparse(path: Path, side: int, grid: GeoBox = GRID) -> Path:
    """Declare a square of many pixels that holds none."""
    profile = {"height": side, "width": side, "count": 1, "dtype": "uint8", "tiled": True}
    placed = {"crs": str(grid.crs), "transform": grid.affine, "sparse_ok": True}
    with rasterio.open(
        path, "w", driver="GTiff", blockxsize=256, blockysize=256, **profile, **placed
    ):
        return path


def _flip(path: Path, random: Random) -> None:
    raw = bytearray(path.read_bytes())
    raw[random.integers(len(raw))] ^= 1 << random.integers(8)
    path.write_bytes(raw)


def _set_tag(raw: bytearray, tag: int, value: int) -> None:
    """Set a number in the first folder of a little-endian TIFF."""
    first = struct.unpack("<I", raw[4:8])[0]
    for n in range(struct.unpack("<H", raw[first : first + 2])[0]):
        entry = first + 2 + 12 * n
        if struct.unpack("<H", raw[entry : entry + 2])[0] == tag:
            raw[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, value)
