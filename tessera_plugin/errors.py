# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Every error that is raised on purpose, as facts.

Each holds its facts as attributes and says them in one English sentence for the log and the command
line; `gui/messages.py` turns the same facts into two translated sentences. Anything else that is
raised is a bug.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple


@dataclass
class TesseraError(Exception):
    """Something that can happen to a careful person and has a next step."""

    def __post_init__(self) -> None:
        super().__init__(str(self))

    def __str__(self) -> str:
        return type(self).__name__


# --- what was asked for


@dataclass
class ExtentInvalid(TesseraError):
    reason: str

    def __str__(self) -> str:
        return f"The extent can't be used: {self.reason}."


@dataclass
class ExtentTooLarge(TesseraError):
    pixels: int
    bytes: int
    limit_px: int

    def __str__(self) -> str:
        return (
            f"The extent has {self.pixels:,} pixels ({self.bytes / 1e9:,.1f} GB of embeddings), "
            f"more than the limit of {self.limit_px:,}. Choose a smaller extent or raise the limit."
        )


@dataclass
class UnknownDataset(TesseraError):
    key: str
    known: Tuple[str, ...]

    def __str__(self) -> str:
        return f"There is no dataset {self.key!r}; there are: {', '.join(self.known)}."


@dataclass
class UnknownYear(TesseraError):
    dataset: str
    year: int
    years: Tuple[int, ...]

    def __str__(self) -> str:
        return (
            f"Dataset {self.dataset} has no year {self.year}; "
            f"it has {self.years[0]} to {self.years[-1]}."
        )


# --- the archive, the network and the cache


@dataclass
class NetworkFailed(TesseraError):
    """No answer, or none that could be used, after all tries."""

    url: str
    reason: str

    def __str__(self) -> str:
        return f"{self.url} could not be read: {self.reason}."


@dataclass
class AccessRefused(TesseraError):
    url: str
    status: int

    def __str__(self) -> str:
        return f"The server refused {self.url} (status {self.status})."

    @property
    def reason(self) -> str:
        """A few words, no sentence."""
        return f"access refused (status {self.status})"


@dataclass
class ProxyLoginNeeded(AccessRefused):
    """The proxy on the way wants a login that it was not given, or not the right one."""

    proxy: str
    """Host and port."""
    given: bool
    """Whether a user name was sent."""

    def __str__(self) -> str:
        return f"{self.url} could not be read: {self.reason}."

    @property
    def reason(self) -> str:
        """A few words, no sentence."""
        if self.given:
            return f"the proxy {self.proxy} refused the user name and password"
        return f"the proxy {self.proxy} wants a user name and a password"


@dataclass
class TileUnusable(TesseraError):
    """A published tile that is not what it should be: wrong header, shape, checksum."""

    tile: str
    reason: str

    def __str__(self) -> str:
        return f"Tile {self.tile} can't be used: {self.reason}."


@dataclass
class StoreUnusable(TesseraError):
    """A published Zarr store that is not what is understood; the reason names what is not."""

    store: str
    reason: str

    def __str__(self) -> str:
        return f"The Zarr store {self.store} can't be used: {self.reason}."


@dataclass
class DepthNotOffered(TesseraError):
    store: str
    depth: int
    depths: Tuple[int, ...]

    def __str__(self) -> str:
        return (
            f"{self.store} does not offer embeddings of {self.depth} dimensions; "
            f"it offers {', '.join(map(str, self.depths)) or 'none'}."
        )


@dataclass
class FormNotOffered(TesseraError):
    """A dataset was asked for in a form that it is not published in, at this depth."""

    dataset: str
    form: str
    """`zarr` or `npy`."""
    depth: int
    forms: Tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"Dataset {self.dataset} with {self.depth} dimensions is not published as {self.form}; "
            f"it is as {', '.join(self.forms) or 'nothing'}."
        )


@dataclass
class LocationUnusable(TesseraError):
    """A URL or folder that is neither an archive in the published layout nor a store."""

    location: str
    reason: str

    def __str__(self) -> str:
        return f"{self.location} can't be used: {self.reason}."


@dataclass
class SceneUnusable(TesseraError):
    """A Sentinel raster, or a folder of them, that can't become inputs of an encoder."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path} can't be used: {self.reason}."


@dataclass
class NoScenes(TesseraError):
    """Nothing that an encoder could be fed with; the reason says what there is instead."""

    place: str
    reason: str

    def __str__(self) -> str:
        return f"No usable Sentinel scenes in {self.place}: {self.reason}."


@dataclass
class EncoderUnusable(TesseraError):
    """An encoder file, or the checkpoint it is to be made from, that can't be used."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"The encoder {self.path} can't be used: {self.reason}."


@dataclass
class ModelUnusable(TesseraError):
    """Somebody's ONNX model that can't be run over embeddings."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"The model {self.path} can't be used: {self.reason}."


@dataclass
class DecoderMissing(TesseraError):
    """The GDAL at hand can't unpack what is published, and there is no worker that can."""

    codec: str
    gdal_version: str
    reason: str = ""
    """Why the worker could not; empty where there is none."""

    def __str__(self) -> str:
        said = f"GDAL {self.gdal_version} of this QGIS can't unpack {self.codec}"
        if self.reason:
            return f"{said}, and the add-on could not either: {self.reason}."
        return f"{said}; install the add-on, which can."


@dataclass
class NothingPublished(TesseraError):
    dataset: str
    year: int

    def __str__(self) -> str:
        return f"Dataset {self.dataset} has no embeddings here for {self.year}."


@dataclass
class NoValidEmbeddings(TesseraError):
    dataset: str
    year: int
    reason: str

    def __str__(self) -> str:
        return f"There is no valid embedding of {self.dataset}, {self.year} here: {self.reason}."


@dataclass
class PlaceNotValid(NoValidEmbeddings):
    """A place that something is to be compared with, or looked up at, has no embedding."""

    lon: float
    lat: float
    state: str
    """Name of a `values.State`: `WATER`, `NODATA`, `OUTSIDE`, `UNKNOWN` (not in the cache)."""


@dataclass
class DiskFull(TesseraError):
    path: str
    needed_bytes: int
    """0 where it is not known."""

    def __str__(self) -> str:
        needed = f"; {self.needed_bytes:,} bytes were needed" if self.needed_bytes else ""
        return f"The disk of {self.path} is full{needed}."


@dataclass
class NotWritable(TesseraError):
    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path} can't be written: {self.reason}."


@dataclass
class LabelsBusy(NotWritable):
    """Many labels are being written; until they are there, nothing else can be changed."""

    reason: str = "many labels are being written to it"


@dataclass
class LabelsChanged(NotWritable):
    """Somebody else changed the labels while a change of ours was made; nothing of it is written."""

    reason: str = "somebody else changed it at the same moment"


@dataclass
class TooManyPolygons(TesseraError):
    """A map is too speckled to be of use as polygons."""

    limit: int

    def __str__(self) -> str:
        return (
            f"The map has more than {self.limit:,} areas, too many for polygons. Remove small areas "
            "with a larger sieve first, or map a smaller extent."
        )


@dataclass
class PolygonsFarApart(TesseraError):
    """Polygons to be mapped would leave their raster nearly all empty, and too large to write."""

    pixels: int
    """Of the rasters around them, or of the rectangle."""
    limit_px: int

    def __str__(self) -> str:
        return (
            f"The polygons lie too far apart: the raster around them would have {self.pixels:,} "
            f"pixels, nearly all of them empty, and the limit is {self.limit_px:,}. Map them one by "
            "one, or those together that are near each other."
        )


@dataclass
class LabelsNeeded(TesseraError):
    """Novelty is a distance to labels, and there are none to measure from."""

    def __str__(self) -> str:
        return (
            "Novelty is the distance to the labels that the head learnt from, and no labels were "
            "given."
        )


@dataclass
class CacheFolderUnusable(TesseraError):
    """A folder that a cache can't be moved to, or that somebody else is at."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"The folder {self.path} can't be used for the cache: {self.reason}."


# --- labels and training


@dataclass
class LabelsUnreadable(TesseraError):
    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path} can't be read: {self.reason}."


@dataclass
class ClassListUnreadable(TesseraError):
    path: str
    reason: str

    def __str__(self) -> str:
        return f"The classes in {self.path} can't be read: {self.reason}."


@dataclass
class FieldMissing(TesseraError):
    path: str
    field: str
    fields: Tuple[str, ...]

    def __str__(self) -> str:
        has = f"it has: {', '.join(self.fields)}" if self.fields else "it has none at all"
        return f"{self.path} has no field {self.field!r}; {has}."


@dataclass
class NoLabels(TesseraError):
    where: str

    def __str__(self) -> str:
        return f"There are no labels in {self.where}."


@dataclass
class NoUsableLabels(TesseraError):
    """There are labels, but none falls on a valid embedding."""

    labels: int
    reason: str

    def __str__(self) -> str:
        return f"None of the {self.labels} labels falls on a valid embedding: {self.reason}."


@dataclass
class TooFewLabels(TesseraError):
    """A class, or the whole, has fewer labels than a head needs."""

    counts: Tuple[Tuple[str, int], ...]
    """Class name and usable labels."""
    needed: int

    def __str__(self) -> str:
        told = ", ".join(f"{name}: {count}" for name, count in self.counts)
        return f"Two classes or more with at least {self.needed} labels each are needed; {told}."


@dataclass
class ValidationImpossible(TesseraError):
    """The labels can't be divided so that every class is learnt from some and tested on others."""

    scheme: str
    """`random`, `blocks`, `areas`, `years` or `file`."""
    reason: str

    def __str__(self) -> str:
        return f"The head can't be tested by {self.scheme}: {self.reason}."


# --- heads


@dataclass
class HeadUnreadable(TesseraError):
    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path} is not a head that can be used: {self.reason}."


@dataclass
class HeadMismatch(TesseraError):
    """A head was given embeddings of another feature space."""

    head_dataset: str
    head_depth: int
    dataset: str
    depth: int

    def __str__(self) -> str:
        return (
            f"The head was trained on {self.head_dataset} with {self.head_depth} dimensions and "
            f"can't be used with {self.dataset} with {self.depth} dimensions."
        )


@dataclass
class OnnxNotAHead(TesseraError):
    """An ONNX file that is to be imported, and is no head that was exported from here."""

    path: str
    reason: str
    is_encoder: bool = False

    def __str__(self) -> str:
        other = (
            "Encoders are for `encode`" if self.is_encoder else "Other models run in `apply-model`"
        )
        return f"{self.path} is not a head that was exported from here: {self.reason}. {other}."


@dataclass
class OnnxHeadTooOld(TesseraError):
    """A head that was exported before ONNX files held all that a head is."""

    path: str

    def __str__(self) -> str:
        return (
            f"{self.path} was exported by an earlier version, which left out what an import needs. "
            f"Export the head again from its own file, or run it as a model with `apply-model`."
        )


@dataclass
class HeadExportDiffers(TesseraError):
    """A head's ONNX file does not give the answers of the head, and was not kept."""

    path: str
    worst: float
    """Largest difference of a probability."""
    other_class: int
    """Embeddings that it gives another class, but for ties."""

    def __str__(self) -> str:
        return (
            f"{self.path} was not written: in ONNX Runtime its probabilities differ by up to "
            f"{self.worst:.1e} from the head's, and {self.other_class} classes do."
        )


# --- worker


@dataclass
class WorkerUnavailable(TesseraError):
    reason: str

    def __str__(self) -> str:
        return f"The worker for torch is not available: {self.reason}."


@dataclass
class WorkerDied(TesseraError):
    last_words: str

    def __str__(self) -> str:
        return f"The worker ended by itself: {self.last_words or 'it said nothing'}"


@dataclass
class WorkerOutOfMemory(WorkerDied):
    """The worker was ended since it held more memory than it may."""

    used_bytes: int
    limit_bytes: int

    def __str__(self) -> str:
        return (
            f"The worker was ended: it held {self.used_bytes / 1e9:.1f} GB of memory, "
            f"more than the limit of {self.limit_bytes / 1e9:.1f} GB."
        )


@dataclass
class WorkerFailed(TesseraError):
    """The worker answered with an error."""

    kind: str
    message: str
    details: str

    def __str__(self) -> str:
        return f"The worker could not do it: {self.kind}: {self.message}"


@dataclass
class ProtocolMismatch(TesseraError):
    expected: int
    found: int

    def __str__(self) -> str:
        return f"The worker speaks protocol {self.found}, not {self.expected}."


# --- the private environment


@dataclass
class PlatformUnsupported(TesseraError):
    """There are no packages for this kind of computer or Python."""

    platform: str
    python: str
    bundle: str
    pythons: Tuple[str, ...]
    """Pythons that would do on this platform."""

    def __str__(self) -> str:
        if self.pythons:
            would = f"; it can be made with Python {', '.join(self.pythons)}"
        else:
            would = "; there is none for this kind of computer"
        return f"There is no {self.bundle} add-on for {self.platform} with Python {self.python}{would}."


@dataclass
class InterpreterUnusable(TesseraError):
    """A program that is not a Python the add-on can be made with."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path} can't be used as Python: {self.reason}."


@dataclass
class InstallFailed(TesseraError):
    """The add-on could not be installed; what was there before is untouched."""

    kind: str
    """One of `environment.failures.KINDS`."""
    detail: str
    log: str
    """Path of the log."""

    def __str__(self) -> str:
        return f"The add-on could not be installed ({self.kind.replace('_', ' ')}): {self.detail}"
