# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""From an error's facts to two translated sentences: what happened, what to do.

Any other exception is a bug: it is shown as such, with a button for the details.
"""

from __future__ import annotations

import re
import traceback
from typing import Any, Callable, Dict, NamedTuple, Type

from qgis.core import Qgis, QgsMessageLog
from qgis.gui import QgsMessageBar, QgsMessageViewer
from qgis.PyQt.QtCore import QCoreApplication
from qgis.PyQt.QtWidgets import QPushButton, QWidget

from .. import errors
from ..errors import TesseraError
from . import install_failures, text
from .reasons import reason

TAG = "Tessera"
"""Our tab of the log messages panel."""

translate = QCoreApplication.translate


class Told(NamedTuple):
    """An error in two sentences."""

    happened: str
    advice: str


def explain(error: TesseraError) -> Told:
    """Return an error in two translated sentences."""
    for kind in type(error).__mro__:
        if kind in _EXPLAIN:
            return _EXPLAIN[kind](error)
    return Told(str(error), "")


def phase(message: str) -> str:
    """Return what the engine says it is at, translated where it is known."""
    for pattern, translated in _phases().items():
        found = re.fullmatch(pattern, message.strip(), re.IGNORECASE)
        if found:
            return translated.format(*found.groups())
    return message


def waits_for(running: str) -> str:
    """Return why a button can't be used while a job runs; empty when none does."""
    if not running:
        return ""
    return translate("Messages", "“{}” is running: wait for it or cancel it.").format(running)


def log(error: BaseException) -> str:
    """Write an error to the log messages panel; return what was written."""
    if isinstance(error, TesseraError):
        written = f"{type(error).__name__}: {error}\n{getattr(error, 'details', '')}".strip()
    else:
        written = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    QgsMessageLog.logMessage(written, TAG, Qgis.MessageLevel.Warning, False)
    return written


def words(error: BaseException) -> str:
    """Return what to say of an error in a dialog, and write it to the log messages panel."""
    log(error)
    if isinstance(error, TesseraError):
        return text.join(explain(error))
    return translate("Messages", "This is a bug of the Tessera plugin: {}").format(error)


def show_error(bar: QgsMessageBar, error: BaseException) -> None:
    """Show an error in the message bar, with a button for its details."""
    details = log(error)
    if isinstance(error, TesseraError):
        told = explain(error)
        title, sentence = told.happened, told.advice
        level = Qgis.MessageLevel.Warning
    else:
        title = translate("Messages", "Unexpected error")
        sentence = translate(
            "Messages", "This is a bug of the Tessera plugin. Your labels and files are safe."
        )
        level = Qgis.MessageLevel.Critical
    item = QgsMessageBar.createMessage(title, sentence)
    item.setObjectName("tesseraMessage")
    button = QPushButton(translate("Messages", "Details"), item)
    button.setObjectName("detailsButton")
    button.clicked.connect(lambda: show_details(bar, details))
    item.layout().addWidget(button)
    bar.pushWidget(item, level)


def attempt(bar: QgsMessageBar, change: Callable[[], Any]) -> Any:  # noqa: ANN401 - what the call gives
    """Do something that writes or reads; where it can't be done say so and return None."""
    try:
        return change()
    except TesseraError as error:
        show_error(bar, error)
        return None


def show_details(parent: QWidget, details: str) -> None:
    """Show a traceback, to read and to copy."""
    viewer = QgsMessageViewer(parent.window())  # deletes itself when closed
    viewer.setTitle(translate("Messages", "Tessera: details"))
    viewer.setCheckBoxVisible(False)
    viewer.setMessageAsPlainText(details)
    viewer.showMessage(False)


# --- the sentences, one function per error


def _extent_invalid(error: errors.ExtentInvalid) -> Told:
    return Told(
        translate("Messages", "The map's extent can't be used: {}.").format(error.reason),
        translate("Messages", "Open a map and zoom to the area you want."),
    )


def _extent_too_large(error: errors.ExtentTooLarge) -> Told:
    return Told(
        translate("Messages", "The area is too large: {} pixels ({}), the limit is {}.").format(
            text.count(error.pixels), text.size(error.bytes), text.count(error.limit_px)
        ),
        translate("Messages", "Zoom in, or raise the limit in the settings."),
    )


def _unknown_dataset(error: errors.UnknownDataset) -> Told:
    return Told(
        translate("Messages", "There is no dataset {}.").format(error.key),
        translate("Messages", "Choose one of: {}.").format(", ".join(error.known)),
    )


def _unknown_year(error: errors.UnknownYear) -> Told:
    return Told(
        translate("Messages", "Dataset {} has no year {}.").format(error.dataset, error.year),
        translate("Messages", "Choose a year from {} to {}.").format(
            error.years[0], error.years[-1]
        ),
    )


def _network_failed(error: errors.NetworkFailed) -> Told:
    told = translate("Messages", "{} could not be read: {}.").format(
        error.url, reason(error.reason)
    )
    if not error.url.startswith("http"):
        return Told(told, translate("Messages", "Check that the folder or drive is there."))
    return Told(
        told,
        translate(
            "Messages",
            "Check the connection and QGIS's proxy settings, then fetch again: what has arrived is "
            "kept.",
        ),
    )


def _access_refused(error: errors.AccessRefused) -> Told:
    return Told(
        translate("Messages", "The server refused {} (status {}).").format(error.url, error.status),
        translate(
            "Messages",
            "Check the archive's address in the settings, and whether a proxy is needed.",
        ),
    )


def _proxy_login_needed(error: errors.ProxyLoginNeeded) -> Told:
    happened = (
        translate("Messages", "The proxy {} refused the user name and password.")
        if error.given
        else translate("Messages", "The proxy {} wants a user name and a password.")
    )
    return Told(
        happened.format(error.proxy),
        translate(
            "Messages",
            "Enter them in QGIS under Settings, Options, Network, then try again: what has arrived "
            "is kept.",
        ),
    )


def _tile_unusable(error: errors.TileUnusable) -> Told:
    return Told(
        translate("Messages", "Tile {} can't be used: {}.").format(error.tile, error.reason),
        translate("Messages", "Try again later, or choose another year or dataset."),
    )


def _store_unusable(error: errors.StoreUnusable) -> Told:
    return Told(
        translate("Messages", "The Zarr store {} can't be used: {}.").format(
            error.store, error.reason
        ),
        translate("Messages", "Try again later, or choose another dataset."),
    )


def _depth_not_offered(error: errors.DepthNotOffered) -> Told:
    return Told(
        translate("Messages", "{} does not offer embeddings of {} dimensions.").format(
            error.store, error.depth
        ),
        translate("Messages", "Choose another number of dimensions: {}.").format(
            ", ".join(map(str, error.depths))
        ),
    )


def _form_not_offered(error: errors.FormNotOffered) -> Told:
    return Told(
        translate("Messages", "{} with {} dimensions is not published as {}.").format(
            error.dataset, error.depth, error.form
        ),
        translate("Messages", "Choose another form or another number of dimensions."),
    )


def _location_unusable(error: errors.LocationUnusable) -> Told:
    return Told(
        translate("Messages", "{} can't be used: {}.").format(error.location, error.reason),
        translate("Messages", "Give the address or folder of a Zarr store or of a whole archive."),
    )


def _scene_unusable(error: errors.SceneUnusable) -> Told:
    return Told(
        translate("Messages", "{} can't be used: {}.").format(error.path, error.reason),
        translate("Messages", "Leave it out or correct what was recognised, and try again."),
    )


def _no_scenes(error: errors.NoScenes) -> Told:
    return Told(
        translate("Messages", "There are no usable Sentinel scenes in {}: {}.").format(
            error.place, error.reason
        ),
        translate(
            "Messages",
            "Sentinel-2 L2A with all ten bands is needed; look at what was not recognised and why.",
        ),
    )


def _encoder_unusable(error: errors.EncoderUnusable) -> Told:
    return Told(
        translate("Messages", "The encoder {} can't be used: {}.").format(error.path, error.reason),
        translate("Messages", "Choose another one, or make it anew from the official checkpoint."),
    )


def _model_unusable(error: errors.ModelUnusable) -> Told:
    return Told(
        translate("Messages", "The model {} can't be used: {}.").format(error.path, error.reason),
        translate("Messages", "Ask whoever made it for a plain ONNX file, or choose another one."),
    )


def _decoder_missing(error: errors.DecoderMissing) -> Told:
    facts = translate("Messages", "GDAL {} of this QGIS can't unpack {}.").format(
        error.gdal_version, error.codec
    )
    if error.reason:
        failed = translate("Messages", "The add-on (PyTorch) could not either: {}.")
        return Told(
            f"{facts} {failed.format(error.reason)}",
            translate("Messages", "Repair the add-on, or choose a dataset with NPY tiles."),
        )
    return Told(
        facts,
        translate(
            "Messages",
            "Install the add-on (PyTorch), which can, or choose a dataset with NPY tiles.",
        ),
    )


def _nothing_published(error: errors.NothingPublished) -> Told:
    return Told(
        translate("Messages", "{} has no embeddings here for {}.").format(
            error.dataset, error.year
        ),
        translate("Messages", "Choose another year or dataset, or move the map over land."),
    )


def _no_valid_embeddings(error: errors.NoValidEmbeddings) -> Told:
    return Told(
        translate("Messages", "There is no valid embedding of {}, {} here: {}.").format(
            error.dataset, error.year, error.reason
        ),
        translate("Messages", "Choose another year or dataset, or move the map over land."),
    )


def _place_not_valid(error: errors.PlaceNotValid) -> Told:
    which = {
        "WATER": translate("Messages", "This place is water, which has no embedding."),
        "NODATA": translate("Messages", "This place has no data in {}."),
        "OUTSIDE": translate("Messages", "Nothing is published of this place for {}."),
        "UNKNOWN": translate("Messages", "The embeddings of {} are not fetched here yet."),
    }
    happened = which.get(error.state, translate("Messages", "This place has no embedding in {}."))
    advice = translate("Messages", "Choose another place.")
    if error.state == "UNKNOWN":
        advice = translate("Messages", "Fetch them on the Area page, or choose another place.")
    return Told(happened.format(error.year), advice)


def _disk_full(error: errors.DiskFull) -> Told:
    if error.needed_bytes:
        needs = translate("Messages", "The disk is full: {} needs {}.")
        happened = needs.format(error.path, text.size(error.needed_bytes))
    else:
        happened = translate("Messages", "The disk is full: {} can't be written.").format(
            error.path
        )
    return Told(
        happened,
        translate("Messages", "Make room, or choose another folder in the settings."),
    )


def _not_writable(error: errors.NotWritable) -> Told:
    return Told(
        translate("Messages", "{} can't be written: {}.").format(error.path, error.reason),
        translate("Messages", "Choose another place, or close the program that holds the file."),
    )


def _labels_busy(_: errors.LabelsBusy) -> Told:
    return Told(
        translate("Messages", "Many labels are being written just now."),
        translate("Messages", "Do it again when they are there, in a moment."),
    )


def _labels_changed(_: errors.LabelsChanged) -> Told:
    return Told(
        translate(
            "Messages",
            "Somebody else changed the labels at the same moment, so nothing of yours was written.",
        ),
        translate("Messages", "What they changed is shown now: look at it, and do it again."),
    )


def _cache_folder_unusable(error: errors.CacheFolderUnusable) -> Told:
    return Told(
        translate("Messages", "The folder {} can't be used for the cache: {}.").format(
            error.path, error.reason
        ),
        translate("Messages", "Choose an empty folder, or one that is a cache already."),
    )


def _labels_unreadable(error: errors.LabelsUnreadable) -> Told:
    return Told(
        translate("Messages", "{} can't be read: {}.").format(error.path, error.reason),
        translate("Messages", "Choose another file."),
    )


def _class_list_unreadable(error: errors.ClassListUnreadable) -> Told:
    return Told(
        translate("Messages", "The classes in {} can't be read: {}.").format(
            error.path, error.reason
        ),
        translate(
            "Messages",
            "Nothing was added: put one class on each line, its name and perhaps a colour like "
            "#1b7837.",
        ),
    )


def _field_missing(error: errors.FieldMissing) -> Told:
    return Told(
        translate("Messages", "{} has no field {}.").format(error.path, error.field),
        translate("Messages", "Choose one of: {}.").format(", ".join(error.fields)),
    )


def _no_labels(error: errors.NoLabels) -> Told:
    return Told(
        translate("Messages", "There are no labels in {} yet.").format(error.where),
        translate("Messages", "Click some on the Labels page first."),
    )


def _no_usable_labels(error: errors.NoUsableLabels) -> Told:
    return Told(
        translate("Messages", "No label falls on a valid embedding: {}.").format(error.reason),
        translate("Messages", "Label places on land, inside the area that was fetched."),
    )


def _validation_impossible(error: errors.ValidationImpossible) -> Told:
    return Told(
        translate("Messages", "The head can't be tested this way: {}.").format(error.reason),
        translate("Messages", "Label the class in more places, or choose another way to test."),
    )


def _too_few_labels(error: errors.TooFewLabels) -> Told:
    counts = ", ".join(f"{name}: {number}" for name, number in error.counts)
    return Told(
        translate("Messages", "There are too few labels ({}).").format(counts),
        translate("Messages", "Two classes or more need at least {} labels each.").format(
            error.needed
        ),
    )


def _head_unreadable(error: errors.HeadUnreadable) -> Told:
    return Told(
        translate("Messages", "{} is not a head that can be used: {}.").format(
            error.path, error.reason
        ),
        translate("Messages", "Train a head, or load another file."),
    )


def _onnx_not_a_head(error: errors.OnnxNotAHead) -> Told:
    if error.is_encoder:
        do = translate("Messages", "Add it in “Encode own scenes…” in the dock's menu.")
    else:
        do = translate(
            "Messages",
            "A model of somebody else makes maps with “Run an ONNX model…” in the dock's menu.",
        )
    facts = translate("Messages", "{} is not a head that was exported from here: {}.")
    return Told(facts.format(error.path, error.reason), do)


def _onnx_head_too_old(error: errors.OnnxHeadTooOld) -> Told:
    return Told(
        translate(
            "Messages",
            "{} was exported by an earlier version of the plugin, which left out what an import needs.",
        ).format(error.path),
        translate(
            "Messages",
            "Export the head again from its own file, or run this one with “Run an ONNX model…” in "
            "the dock's menu.",
        ),
    )


def _head_mismatch(error: errors.HeadMismatch) -> Told:
    return Told(
        translate(
            "Messages", "The head was trained on {} with {} dimensions, not on {} with {}."
        ).format(error.head_dataset, error.head_depth, error.dataset, error.depth),
        translate("Messages", "Choose that dataset on the Area page, or train a new head."),
    )


def _too_many_polygons(error: errors.TooManyPolygons) -> Told:
    return Told(
        translate("Messages", "The map has more than {} areas, too many for polygons.").format(
            text.count(error.limit)
        ),
        translate("Messages", "Remove small areas with a larger sieve, or map a smaller extent."),
    )


def _polygons_far_apart(error: errors.PolygonsFarApart) -> Told:
    what = translate(
        "Messages",
        "The polygons lie too far apart: a raster around them would have {} pixels, the limit is {}.",
    )
    return Told(
        what.format(text.pixels(error.pixels), text.pixels(error.limit_px)),
        translate("Messages", "Map them one by one: select those that are near each other."),
    )


def _labels_needed(_: errors.LabelsNeeded) -> Told:
    return Told(
        translate("Messages", "Novelty is the distance to the labels, and there are none here."),
        translate("Messages", "Open the labels that the head learnt from, or leave novelty out."),
    )


def _head_export_differs(error: errors.HeadExportDiffers) -> Told:
    return Told(
        translate(
            "Messages",
            "The ONNX file was not kept: ONNX Runtime gives other answers than the head "
            "(probabilities differ by up to {}).",
        ).format(text.decimal(error.worst, 5)),
        translate(
            "Messages", "Repair or reinstall the add-on from the dock's menu, and try again."
        ),
    )


def _worker_unavailable(error: errors.WorkerUnavailable) -> Told:
    return Told(
        translate("Messages", "The add-on is not available: {}.").format(error.reason),
        translate(
            "Messages",
            "Install or repair it from the dock's menu; the instant head works without it.",
        ),
    )


def _worker_died(error: errors.WorkerDied) -> Told:
    return Told(
        translate("Messages", "The add-on's process ended by itself: {}").format(
            error.last_words or translate("Messages", "it said nothing")
        ),
        translate(
            "Messages",
            "Try again. If it happens again, look at the add-on in the dock's menu; the instant head works without it.",
        ),
    )


def _worker_out_of_memory(error: errors.WorkerOutOfMemory) -> Told:
    return Told(
        translate("Messages", "The add-on's process was ended: it held {}, more than {}.").format(
            text.size(error.used_bytes), text.size(error.limit_bytes)
        ),
        translate(
            "Messages", "Close other programs or take a smaller area; the instant head needs less."
        ),
    )


def _worker_failed(error: errors.WorkerFailed) -> Told:
    return Told(
        translate("Messages", "The add-on could not do it: {}: {}").format(
            error.kind, error.message
        ),
        translate("Messages", "Look at the details, or try it with the instant head."),
    )


def _protocol_mismatch(error: errors.ProtocolMismatch) -> Told:
    return Told(
        translate("Messages", "The add-on is of another version ({}, not {}).").format(
            error.found, error.expected
        ),
        translate("Messages", "Repair the add-on (menu of the dock); the instant head works."),
    )


_EXPLAIN: Dict[Type[BaseException], Callable[[Any], Told]] = {
    errors.PlatformUnsupported: lambda error: Told(*install_failures.platform_unsupported(error)),
    errors.InterpreterUnusable: lambda error: Told(*install_failures.interpreter_unusable(error)),
    errors.InstallFailed: lambda error: Told(*install_failures.install_failed(error)),
    errors.ExtentInvalid: _extent_invalid,
    errors.ExtentTooLarge: _extent_too_large,
    errors.UnknownDataset: _unknown_dataset,
    errors.UnknownYear: _unknown_year,
    errors.NetworkFailed: _network_failed,
    errors.AccessRefused: _access_refused,
    errors.ProxyLoginNeeded: _proxy_login_needed,
    errors.TileUnusable: _tile_unusable,
    errors.StoreUnusable: _store_unusable,
    errors.DepthNotOffered: _depth_not_offered,
    errors.FormNotOffered: _form_not_offered,
    errors.LocationUnusable: _location_unusable,
    errors.SceneUnusable: _scene_unusable,
    errors.NoScenes: _no_scenes,
    errors.EncoderUnusable: _encoder_unusable,
    errors.ModelUnusable: _model_unusable,
    errors.DecoderMissing: _decoder_missing,
    errors.NothingPublished: _nothing_published,
    errors.NoValidEmbeddings: _no_valid_embeddings,
    errors.PlaceNotValid: _place_not_valid,
    errors.DiskFull: _disk_full,
    errors.NotWritable: _not_writable,
    errors.LabelsBusy: _labels_busy,
    errors.LabelsChanged: _labels_changed,
    errors.CacheFolderUnusable: _cache_folder_unusable,
    errors.LabelsUnreadable: _labels_unreadable,
    errors.ClassListUnreadable: _class_list_unreadable,
    errors.FieldMissing: _field_missing,
    errors.NoLabels: _no_labels,
    errors.NoUsableLabels: _no_usable_labels,
    errors.TooFewLabels: _too_few_labels,
    errors.ValidationImpossible: _validation_impossible,
    errors.HeadUnreadable: _head_unreadable,
    errors.OnnxNotAHead: _onnx_not_a_head,
    errors.OnnxHeadTooOld: _onnx_head_too_old,
    errors.HeadMismatch: _head_mismatch,
    errors.HeadExportDiffers: _head_export_differs,
    errors.TooManyPolygons: _too_many_polygons,
    errors.PolygonsFarApart: _polygons_far_apart,
    errors.LabelsNeeded: _labels_needed,
    errors.WorkerUnavailable: _worker_unavailable,
    errors.WorkerDied: _worker_died,
    errors.WorkerOutOfMemory: _worker_out_of_memory,
    errors.WorkerFailed: _worker_failed,
    errors.ProtocolMismatch: _protocol_mismatch,
}


def _phases() -> Dict[str, str]:
    """Return what the engine may say, as patterns, and how it is said here."""
    return {
        "classify": translate("Messages", "Classifying"),
        "majority": translate("Messages", "Smoothing the map"),
        "sieve": translate("Messages", "Removing small areas"),
        "clean": translate("Messages", "Writing the cleaned map"),
        "polygons": translate("Messages", "Drawing polygons"),
        "polygons of the area": translate("Messages", "Looking at the area's polygons"),
        "preview": translate("Messages", "Drawing the preview"),
        "overviews": translate("Messages", "Building overviews"),
        "reading back": translate("Messages", "Checking what was written"),
        "reading embeddings": translate("Messages", "Reading embeddings"),
        "looking in the cache": translate("Messages", "Looking in the cache"),
        "looking through the cache": translate("Messages", "Looking through the cache"),
        "clearing the cache": translate("Messages", "Clearing the cache"),
        "making room in the cache": translate("Messages", "Making room in the cache"),
        r"moving ([\d.]+) of ([\d.]+) mb": translate("Messages", "Moving {} of {} MB"),
        "checking what has arrived": translate("Messages", "Checking what has arrived"),
        r"looking up (\w+) tiles?": translate("Messages", "Looking up tiles: {}"),
        r"fetching ([\d.]+) of ([\d.]+) mb": translate("Messages", "Fetching {} of {} MB"),
        "checking": translate("Messages", "Checking"),
        "getting the installer": translate("Messages", "Getting the installer"),
        "making the environment": translate("Messages", "Making the environment"),
        "trying it out": translate("Messages", "Trying it out"),
        "removing": translate("Messages", "Removing"),
        r"epoch (\d+)": translate("Messages", "Epoch {}"),
        r"testing (\w+), (\d+) of (\d+)": translate("Messages", "Testing {}: {} of {}"),
        r"learning curve, (\d+) labels? per class": translate(
            "Messages", "Learning curve, labels per class: {}"
        ),
        **_phases_of_encoding(),
    }


def _phases_of_encoding() -> Dict[str, str]:
    """Return what is said while a scene is downloaded, built and encoded."""
    return {
        r"([\d,]+) of ([\d,]+) pixels": translate("Messages", "Encoding: {} of {} pixels"),
        r"([\d,]+) of ([\d,]+) pixels, (\d+) s left": translate(
            "Messages", "Encoding: {} of {} pixels, {} s left"
        ),
        r"preview, ([\d,]+) of ([\d,]+) pixels": translate(
            "Messages", "A first look: {} of {} pixels"
        ),
        r"fetching (.+): (\d+) of (\d+) files, ([\d.]+) mb": translate(
            "Messages", "Downloading {}: {} of {} files, {} MB"
        ),
        r"building the inputs(.*)": translate("Messages", "Building the inputs{}"),
        r"searching images(.*)": translate("Messages", "Searching images{}"),
        "looking how large the images are": translate(
            "Messages", "Looking how large the images are"
        ),
    }
