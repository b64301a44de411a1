# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Result rasters: GeoTIFFs written part by part and read back, and mosaics over zone seams.

GDAL's exception mode belongs to QGIS, so every call is checked in a way that works in both modes.
numpy arrays are handed over as buffers: `osgeo.gdal_array` breaks where numpy is not the one that
QGIS was built with.
"""

from __future__ import annotations

import contextlib
import html
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Type

import numpy as np
from numpy.typing import NDArray
from osgeo import gdal, osr

from ..errors import DiskFull, NotWritable, TesseraError
from ..progress import Report, part, silent
from ..values import PIXEL_M, SOUTH_OFFSET_M, LandClass, Window
from . import files
from .gdal_errors import collected as _errors
from .projection import strip_limits

CLASS_NODATA = 0
CONFIDENCE_NODATA = 255
HECTARES_PER_PX = PIXEL_M * PIXEL_M / 10_000

_TILE_PX = 256
_LOW_DISK_BYTES = 1_000_000
_TYPES = {
    np.dtype(np.uint8): gdal.GDT_Byte,
    np.dtype(np.uint16): gdal.GDT_UInt16,
    np.dtype(np.float32): gdal.GDT_Float32,
}


@dataclass(frozen=True)
class ClassCount:
    """How much of a map a class covers."""

    id: int
    name: str
    color: str
    pixels: int
    hectares: float
    """The pixels' area on the zone grid."""

    @classmethod
    def of(cls, land_class: LandClass, pixels: int) -> ClassCount:
        """Return the count of a class's pixels."""
        hectares = round(pixels * HECTARES_PER_PX, 2)
        return cls(land_class.id, land_class.name, land_class.color, pixels, hectares)


@dataclass(frozen=True)
class Layout:
    """What a raster is made of."""

    dtype: np.dtype[Any]
    bands: int = 1
    nodata: Optional[float] = None
    resampling: str = "NEAREST"
    """How its overviews are made; empty for none."""
    options: Tuple[str, ...] = ("COMPRESS=DEFLATE",)


class RasterWriter:
    """Writes one GeoTIFF part by part; `finish` makes it whole, anything else removes it.

    A context manager. Raises in every method: DiskFull, NotWritable.
    """

    def __init__(self, path: Path, window: Window, layout: Layout, tags: Mapping[str, str]) -> None:
        self.path = path
        self._window = window
        self._layout = layout
        self._rows = _TileRows(window, layout)
        self._written: List[Tuple[Window, int]] = []
        self._dataset: Any = None  # None again once it is closed
        self._whole = False
        with self._checked():
            self._dataset = _create(path, window, layout, tags)

    def __enter__(self) -> RasterWriter:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if not self._whole:
            self.abandon()

    def style(self, classes: Sequence[LandClass]) -> None:
        """Set the colours of the values, before anything is written."""
        with self._checked():
            band = self._dataset.GetRasterBand(1)
            band.SetColorInterpretation(gdal.GCI_PaletteIndex)
            band.SetColorTable(_color_table(classes))

    def describe(self, names: Sequence[str]) -> None:
        """Name the bands."""
        with self._checked():
            for number, name in enumerate(names, 1):
                self._dataset.GetRasterBand(number).SetDescription(name)

    def write(self, place: Window, values: NDArray[Any]) -> None:
        """Write the pixels of `place`, each once.

        What does not fill rows of tiles waits in memory until it does, or until `finish`.
        Shapes: values (H, W) for one band, else (bands, H, W), of the layout's type.
        """
        shape = place.shape if self._layout.bands == 1 else (self._layout.bands, *place.shape)
        if values.shape != shape or values.dtype != self._layout.dtype:
            raise ValueError(f"expected {self._layout.dtype} of {shape}, got {values.dtype} of "
                             f"{values.shape}")  # fmt: skip
        if self._rows.is_whole(place):
            self._put(place, values)
            return
        for row, gathered in self._rows.add(place, values):
            self._put(row, gathered)

    def finish(self, counts: Sequence[ClassCount] = (), report: Report = silent) -> None:
        """Add overviews and the attribute table, close, and read everything back."""
        for row, gathered in self._rows.rest():
            self._put(row, gathered)
        self._add_overviews(part(report, 0.0, 0.7))
        with self._checked():
            if counts:
                _add_classes(self._dataset.GetRasterBand(1), counts)
            self._dataset = None  # GDAL's way of closing, the last errors come here
        self._verify(part(report, 0.7, 1.0))
        self._whole = True

    def abandon(self) -> None:
        """Close and remove the file."""
        with _errors([]):
            self._dataset = None
        for path in (self.path, self.path.with_name(self.path.name + ".aux.xml")):
            with contextlib.suppress(OSError):
                path.unlink()

    def _put(self, place: Window, values: NDArray[Any]) -> None:
        buffer = values.tobytes()
        with self._checked():
            self._dataset.WriteRaster(*self._at(place), buffer, *place.shape[::-1])
            self._dataset.FlushCache()  # else GDAL keeps a twentieth of the machine's memory
        self._written.append((place, zlib.crc32(buffer)))

    def _at(self, place: Window) -> Tuple[int, int, int, int]:
        rows, cols = place.slices_in(self._window)
        return cols.start, rows.start, place.width, place.height

    def _add_overviews(self, report: Report) -> None:
        levels = _levels(self._window)
        if not levels or not self._layout.resampling:
            return
        problems = self._overviews(self._layout.resampling, levels, report)
        if problems and self._layout.resampling != "NEAREST":
            # a GDAL that does not know the method
            self._overviews("NONE", [], report)
            problems = self._overviews("NEAREST", levels, report)
        if problems:
            raise self._failure(problems)

    def _overviews(self, method: str, levels: Sequence[int], report: Report) -> List[str]:
        """Build overviews and return what went wrong; what `report` raises goes on."""
        stop: List[BaseException] = []
        problems: List[str] = []

        def forward(fraction: float, _message: str, _data: object) -> int:
            try:
                report(fraction, "overviews")
            except BaseException as error:  # noqa: BLE001  (may not pass through GDAL's C code)
                stop.append(error)
                return 0
            return 1

        with _errors(problems):
            self._dataset.BuildOverviews(method, list(levels), forward)
        if stop:
            raise stop[0]
        return problems

    def _verify(self, report: Report) -> None:
        problems: List[str] = []
        with _errors(problems):
            dataset = gdal.OpenEx(str(self.path), gdal.OF_RASTER)
            for index, (place, expected) in enumerate(self._written):
                report(index / len(self._written), "reading back")
                data = dataset.ReadRaster(*self._at(place)) if dataset else None
                if data is None or zlib.crc32(data) != expected:
                    problems.append("what was written can't be read back")
                    break
                dataset.FlushCache()  # lets go of what was read
            dataset = None
        if problems:
            raise self._failure(problems)

    @contextlib.contextmanager
    def _checked(self) -> Iterator[None]:
        problems: List[str] = []
        with _errors(problems):
            yield
        if problems:
            raise self._failure(problems)

    def _failure(self, problems: Sequence[str]) -> TesseraError:
        pixel_bytes = self._layout.bands * self._layout.dtype.itemsize
        return _failure(self.path, problems, self._window.pixels * pixel_bytes)


class _TileRows:
    """Gathers parts until rows of tiles are whole: a half tile would be compressed twice."""

    def __init__(self, window: Window, layout: Layout) -> None:
        self._window = window
        self._layout = layout
        self._gathered: Dict[Window, NDArray[Any]] = {}
        self._lacks_px: Dict[Window, int] = {}

    def is_whole(self, place: Window) -> bool:
        """Return whether a part consists of whole tiles."""
        rows, cols = place.slices_in(self._window)
        height, width = self._window.shape
        return all(
            side.start % _TILE_PX == 0 and (side.stop % _TILE_PX == 0 or side.stop == edge)
            for side, edge in ((rows, height), (cols, width))
        )

    def add(self, place: Window, values: NDArray[Any]) -> Iterator[Tuple[Window, NDArray[Any]]]:
        """Yield the rows of tiles that are whole now. Shape: (bands, H, W)."""
        values = values.reshape(self._layout.bands, *place.shape)
        for row in self._rows_of(place):
            inside = place.intersection(row)
            if inside is None:
                continue
            if row not in self._gathered:
                self._gathered[row] = self._empty(row)
                self._lacks_px[row] = row.pixels
            (to_rows, to_cols), (rows, cols) = inside.slices_in(row), inside.slices_in(place)
            self._gathered[row][:, to_rows, to_cols] = values[:, rows, cols]
            self._lacks_px[row] -= inside.pixels
            if self._lacks_px[row] == 0:
                yield row, self._gathered.pop(row)

    def rest(self) -> Iterator[Tuple[Window, NDArray[Any]]]:
        """Yield the rows of tiles that parts are missing of, nodata there."""
        while self._gathered:
            yield self._gathered.popitem()

    def _rows_of(self, place: Window) -> Iterator[Window]:
        outer = self._window
        first = outer.row + (place.row - outer.row) // _TILE_PX * _TILE_PX
        for row in range(first, place.stop_row, _TILE_PX):
            stop = min(row + _TILE_PX, outer.stop_row)
            yield Window.between(outer.zone, row, outer.col, stop, outer.stop_col)

    def _empty(self, row: Window) -> NDArray[Any]:
        shape = (self._layout.bands, *row.shape)
        return np.full(shape, self._layout.nodata or 0, self._layout.dtype)


def class_map(
    path: Path, window: Window, classes: Sequence[LandClass], tags: Mapping[str, str]
) -> RasterWriter:
    """Return the writer of a class map: class ids, 0 = nodata, coloured.

    uint8, or uint16 where an id is over 255 (see `class_dtype`).
    Raises: DiskFull, NotWritable.
    """
    layout = Layout(class_dtype(classes), nodata=CLASS_NODATA, resampling="MODE")
    writer = RasterWriter(path, window, layout, tags)
    writer.style(classes)
    return writer


def class_dtype(classes: Sequence[LandClass]) -> np.dtype[Any]:
    """Return the type that holds the ids of all classes. Raises ValueError outside 1 to 65535."""
    ids = [each.id for each in classes]
    if min(ids) < 1 or max(ids) > 65535:
        raise ValueError(f"class ids must be 1 to 65535, got {min(ids)} to {max(ids)}")
    return np.dtype(np.uint8 if max(ids) <= 255 else np.uint16)


def confidence(path: Path, window: Window, tags: Mapping[str, str], bands: int = 1) -> RasterWriter:
    """Return the writer of a confidence raster, or another one in percent: uint8, 255 = nodata.

    Raises: DiskFull, NotWritable.
    """
    # GDAL would take three or four bands for red, green, blue and alpha
    options = ("COMPRESS=DEFLATE", "PHOTOMETRIC=MINISBLACK", "ALPHA=NO", "INTERLEAVE=BAND")
    layout = Layout(np.dtype(np.uint8), bands, CONFIDENCE_NODATA, "AVERAGE", options)
    return RasterWriter(path, window, layout, tags)


def picture(path: Path, window: Window, tags: Mapping[str, str]) -> RasterWriter:
    """Return the writer of a picture: uint8 red, green, blue, alpha (0 where there is nothing).

    Raises: DiskFull, NotWritable.
    """
    options = ("COMPRESS=DEFLATE", "PHOTOMETRIC=RGB", "ALPHA=YES", "INTERLEAVE=PIXEL")
    layout = Layout(np.dtype(np.uint8), bands=4, resampling="AVERAGE", options=options)
    return RasterWriter(path, window, layout, tags)


def embeddings(path: Path, window: Window, depth: int, tags: Mapping[str, str]) -> RasterWriter:
    """Return the writer of embeddings as float32 bands, NaN = nodata.

    Not compressed: it would save a tenth of the bytes and take five times the time.
    Raises: DiskFull, NotWritable.
    """
    files.check_space(path, window.pixels * depth * 4)
    options = ("INTERLEAVE=BAND",)
    layout = Layout(np.dtype(np.float32), depth, float("nan"), resampling="", options=options)
    writer = RasterWriter(path, window, layout, tags)
    writer.describe([f"dimension {number}" for number in range(depth)])
    return writer


def tiles(window: Window) -> Iterator[Window]:
    """Yield the parts of a window that are whole tiles of its GeoTIFF (256 x 256 px), row by row."""
    for row in range(window.row, window.stop_row, _TILE_PX):
        for col in range(window.col, window.stop_col, _TILE_PX):
            yield Window.between(window.zone, row, col, min(row + _TILE_PX, window.stop_row),
                                 min(col + _TILE_PX, window.stop_col))  # fmt: skip


def mosaic(
    out: Path,
    sources: Sequence[Path],
    epsg: int,
    counts: Sequence[ClassCount] = (),
    tags: Optional[Mapping[str, str]] = None,
) -> Tuple[Path, ...]:
    """Write a VRT over rasters of several zones, in the CRS of `epsg`.

    Sources in another CRS are warped by nearest neighbour in VRTs of their own, in the folder of
    `out`, which must be that of the sources; all name each other without a folder, so that they can
    be moved together. Colours, nodata and the bands' names are those of the sources, the names of
    values and areas those of `counts`.
    Returns the VRTs in the order they build on each other, `out` last.
    Raises: DiskFull, NotWritable.
    """
    problems: List[str] = []
    helpers: List[Path] = []
    beyond: List[Path] = []
    own: List[Path] = []
    with _errors(problems):
        for source in sources:
            is_own = _epsg_of(source) % 100 == epsg % 100
            layer = source
            if not is_own:
                layer = _with_fringe(source, out)
                helpers.append(layer)
            if _epsg_of(source) != epsg:
                layer = _warp(layer, source.stem, epsg, out, counts)
                helpers.append(layer)
            (own if is_own else beyond).append(layer)
        # the last lies on top: where fringes reach over the seam, the zone's own pixels count
        layers = [*beyond, *own]
        dataset = gdal.BuildVRT(str(out), [str(layer) for layer in layers])
        if dataset is not None:
            _add_classes(dataset.GetRasterBand(1), counts)
            _name_bands(dataset, sources[0])
            dataset.SetMetadata(dict(tags or {}))
        dataset = None
    if problems:
        raise _failure(out, problems, 0)
    _name_beside(out)
    _check_readable(out)
    return (*helpers, out)


# --- GDAL, checked


def _failure(path: Path, problems: Sequence[str], needed_bytes: int) -> TesseraError:
    said = "; ".join(dict.fromkeys(problems))
    if "No space left" in said or files.free_bytes(path) < _LOW_DISK_BYTES:
        return DiskFull(str(path), needed_bytes)
    return NotWritable(str(path), said.rstrip("."))


def _create(path: Path, window: Window, layout: Layout, tags: Mapping[str, str]) -> gdal.Dataset:
    options = ["TILED=YES", f"BLOCKXSIZE={_TILE_PX}", f"BLOCKYSIZE={_TILE_PX}",
               "BIGTIFF=IF_SAFER", *layout.options]  # fmt: skip
    dataset = gdal.GetDriverByName("GTiff").Create(
        str(path), window.width, window.height, layout.bands, _TYPES[layout.dtype], options
    )
    if dataset is None:
        raise RuntimeError(gdal.GetLastErrorMsg() or "GDAL can't create it")
    dataset.SetSpatialRef(_reference(window.epsg))
    dataset.SetGeoTransform(window.transform)
    dataset.SetMetadata(dict(tags))
    if layout.nodata is not None:
        for number in range(1, layout.bands + 1):
            dataset.GetRasterBand(number).SetNoDataValue(layout.nodata)
    return dataset


def _reference(epsg: int) -> osr.SpatialReference:
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(epsg)
    reference.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    return reference


def _levels(window: Window) -> List[int]:
    levels: List[int] = []
    while max(window.shape) > _TILE_PX * 2 ** len(levels):
        levels.append(2 ** (len(levels) + 1))
    return levels


def _rgb(color: str) -> Tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def _color_table(classes: Sequence[LandClass]) -> gdal.ColorTable:
    table = gdal.ColorTable()
    table.SetColorEntry(CLASS_NODATA, (0, 0, 0, 0))
    for each in classes:
        table.SetColorEntry(each.id, (*_rgb(each.color), 255))
    return table


def _add_classes(band: gdal.Band, counts: Sequence[ClassCount]) -> None:
    """Give a band category names and an attribute table."""
    if not counts:
        return
    names = [""] * (max(each.id for each in counts) + 1)
    for each in counts:
        names[each.id] = each.name
    band.SetCategoryNames(names)
    band.SetDefaultRAT(_attribute_table(counts))


def _attribute_table(counts: Sequence[ClassCount]) -> gdal.RasterAttributeTable:
    table = gdal.RasterAttributeTable()
    whole = gdal.GFT_Integer
    pixels = whole if max(each.pixels for each in counts) < 2**31 else gdal.GFT_Real
    for name, kind, usage in (
        ("Value", whole, gdal.GFU_MinMax),
        ("Class", gdal.GFT_String, gdal.GFU_Name),
        ("Red", whole, gdal.GFU_Red),
        ("Green", whole, gdal.GFU_Green),
        ("Blue", whole, gdal.GFU_Blue),
        ("Pixels", pixels, gdal.GFU_PixelCount),
        ("Hectares", gdal.GFT_Real, gdal.GFU_Generic),
    ):
        table.CreateColumn(name, kind, usage)
    table.SetRowCount(len(counts))
    for row, each in enumerate(counts):
        table.SetValueAsInt(row, 0, each.id)
        table.SetValueAsString(row, 1, each.name)
        for col, value in enumerate(_rgb(each.color), 2):
            table.SetValueAsInt(row, col, value)
        table.SetValueAsDouble(row, 5, float(each.pixels))
        table.SetValueAsDouble(row, 6, each.hectares)
    return table


def _name_bands(dataset: gdal.Dataset, source: Path) -> None:
    """Name the bands as those of a source are named."""
    known = gdal.OpenEx(str(source), gdal.OF_RASTER)
    for number in range(1, dataset.RasterCount + 1):
        dataset.GetRasterBand(number).SetDescription(known.GetRasterBand(number).GetDescription())


def _epsg_of(path: Path) -> int:
    dataset = gdal.OpenEx(str(path), gdal.OF_RASTER)
    if dataset is None:
        raise RuntimeError(f"{path.name} can't be read")
    return int(dataset.GetSpatialRef().GetAuthorityCode(None))


def _with_fringe(source: Path, out: Path) -> Path:
    """Write a VRT of a raster whose pixels at a seam are repeated once beyond it.

    The nearest pixel of a place just inside a strip may have its own centre just outside, where the
    raster is clipped: without the fringe a mosaic has holes along the seam.
    """
    target = out.with_name(f"{source.stem}_seam.vrt")
    window = _window_of(source)
    dataset = gdal.Translate(
        str(target), str(source), format="VRT",
        srcWin=[-1, 0, window.width + 2, window.height],
    )  # fmt: skip
    if dataset is not None:
        name = html.escape(source.name, quote=False)
        for index in range(1, dataset.RasterCount + 1):
            band = dataset.GetRasterBand(index)
            for number, (col, beyond, row, rows) in enumerate(_fringe(window)):
                xml = (
                    f'<SimpleSource><SourceFilename relativeToVRT="1">{name}'
                    f"</SourceFilename><SourceBand>{index}</SourceBand>"
                    f'<SrcRect xOff="{col}" yOff="{row}" xSize="1" ySize="{rows}"/>'
                    f'<DstRect xOff="{beyond + 1}" yOff="{row}" xSize="1" ySize="{rows}"/>'
                    "</SimpleSource>"
                )
                band.SetMetadataItem(f"source_{number}", xml, "new_vrt_sources")
    dataset = None
    _name_beside(target)
    return target


def _fringe(window: Window) -> Iterator[Tuple[int, int, int, int]]:
    """Yield the column at the seam, the one beyond it, first row and rows, all from the window's."""
    wide = Window(window.zone, window.row, window.col - 2, window.height, window.width + 4)
    first, stop = (limit - window.col for limit in strip_limits(wide))
    for limit, inside, is_here in (
        (first, first, (first >= 0) & (first < window.width)),
        (stop, stop - 1, (stop > 0) & (stop <= window.width)),
    ):
        edges = np.flatnonzero(np.diff(np.where(is_here, limit, -9), prepend=-8, append=-8))
        for row, end in zip(edges[:-1].tolist(), edges[1:].tolist()):
            if is_here[row]:
                col = int(inside[row])
                yield col, (col - 1 if limit is first else col + 1), row, end - row


def _window_of(path: Path) -> Window:
    """Return the window of a raster on a zone's grid."""
    dataset = gdal.OpenEx(str(path), gdal.OF_RASTER)
    west, _, _, north, _, _ = dataset.GetGeoTransform()
    epsg = _epsg_of(path)
    north -= SOUTH_OFFSET_M if epsg >= 32700 else 0
    row, col = round(-north / PIXEL_M), round(west / PIXEL_M)
    return Window(epsg % 100, row, col, dataset.RasterYSize, dataset.RasterXSize)


def _warp(source: Path, stem: str, epsg: int, out: Path, counts: Sequence[ClassCount]) -> Path:
    """Write a VRT of a raster in another zone's CRS, on that zone's pixel grid."""
    target = out.with_name(f"{stem}_in_{_zone_name(epsg)}.vrt")
    dataset = gdal.Warp(
        str(target), str(source), format="VRT", dstSRS=f"EPSG:{epsg}", xRes=PIXEL_M, yRes=PIXEL_M,
        targetAlignedPixels=True, resampleAlg="near",
    )  # fmt: skip
    if dataset is not None:
        _add_classes(dataset.GetRasterBand(1), counts)
    dataset = None
    _name_beside(target)
    return target


def _zone_name(epsg: int) -> str:
    return f"utm{epsg % 100:02d}"


def _name_beside(vrt: Path) -> None:
    """Let a VRT name its sources without their folder."""
    try:
        text = vrt.read_text("utf-8")
        vrt.write_text(_SOURCE.sub(r'relativeToVRT="1"\1>\2</\3>', text), "utf-8")
    except OSError as error:
        raise files.write_error(vrt, error) from error


_SOURCE = re.compile(
    r'relativeToVRT="[01]"([^>]*)>[^<]*?([^<>/\\]+)</(SourceFilename|SourceDataset)>'
)


def _check_readable(path: Path) -> None:
    problems: List[str] = []
    with _errors(problems):
        dataset = gdal.OpenEx(str(path), gdal.OF_RASTER)
        size = (dataset.RasterXSize, dataset.RasterYSize) if dataset else (1, 1)
        small = tuple(min(edge, _TILE_PX) for edge in size)
        if dataset is None or dataset.ReadRaster(0, 0, *size, *small) is None:
            problems.append("what was written can't be read back")
        dataset = None
    if problems:
        raise _failure(path, problems, 0)
