# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Why the add-on could not be installed, in two translated sentences: what happened, what to do."""

from __future__ import annotations

from typing import Dict, Tuple

from qgis.PyQt.QtCore import QCoreApplication

from .. import errors

translate = QCoreApplication.translate

Sentences = Tuple[str, str]


def platform_unsupported(error: errors.PlatformUnsupported) -> Sentences:
    """Tell that there is nothing for this computer, or not for its Python."""
    happened = translate("AddOn", "There is no add-on for this kind of computer ({}).").format(
        error.platform
    )
    if not error.pythons:
        return happened, translate("AddOn", "The instant head and all the rest work without it.")
    versions = ", ".join(error.pythons)
    happened = translate("AddOn", "There is no add-on for {} with Python {}.").format(
        error.platform, error.python
    )
    return happened, translate("AddOn", "Choose a Python of version {}.").format(versions)


def interpreter_unusable(error: errors.InterpreterUnusable) -> Sentences:
    """Tell of a program that was chosen, and is no Python that would do."""
    return (
        translate("AddOn", "{} can't be used: {}.").format(error.path, error.reason),
        translate("AddOn", "Choose another program, or let the plugin choose one."),
    )


def install_failed(error: errors.InstallFailed) -> Sentences:
    """Tell one of the named failures; in all of them what was there before is untouched."""
    happened, advice = _by_kind().get(error.kind) or _by_kind()["other"]
    if "{}" in happened:
        happened = happened.format(error.detail)
    return happened, advice


def _by_kind() -> Dict[str, Sentences]:
    again = translate("AddOn", "Try again; what was downloaded is kept.")
    ask = translate("AddOn", "Ask the one who looks after your network, then try again.")
    return {
        "no_space": (
            translate("AddOn", "The disk is too full for the add-on: {}."),
            translate("AddOn", "Make room and try again; nothing was changed."),
        ),
        "not_writable": (
            translate("AddOn", "The folder of the add-on can't be written: {}."),
            translate("AddOn", "Ask for the right to write there, then try again."),
        ),
        "path_unusable": (
            translate("AddOn", "The add-on can't lie in its folder: {}."),
            translate("AddOn", "The instant head works without it."),
        ),
        "no_network": (
            translate("AddOn", "The download was cut off or there is no network ({})."),
            again,
        ),
        "timed_out": (translate("AddOn", "Nothing came any more from the server."), again),
        "proxy_login": (
            translate("AddOn", "The proxy wants a user name and a password."),
            translate("AddOn", "Set them in QGIS under Settings, Options, Network; try again."),
        ),
        "proxy_refused": (
            translate("AddOn", "The proxy does not let the download through ({})."),
            ask,
        ),
        "tls": (
            translate("AddOn", "The connection is not trusted: its certificate is unknown ({})."),
            ask,
        ),
        "wrong_hash": (
            translate("AddOn", "A package is not the one that was expected, so it was not used."),
            translate("AddOn", "Something on the way changes downloads; try from another network."),
        ),
        "no_package": (
            translate("AddOn", "The source of packages lacks one that is needed: {}."),
            translate(
                "AddOn", "A company's own source may be set up in pip: ask who looks after it."
            ),
        ),
        "no_python": (
            translate("AddOn", "No suitable Python could be found or downloaded: {}."),
            translate(
                "AddOn", "Install such a Python and choose it with “Use an existing Python…”."
            ),
        ),
        "no_pip": (
            translate("AddOn", "The Python that was found lacks pip ({})."),
            translate("AddOn", "Choose another one with “Use an existing Python…”."),
        ),
        "locked": (
            translate("AddOn", "The add-on is being installed already: {}."),
            translate("AddOn", "Wait until it is done."),
        ),
        "blocked": (
            translate("AddOn", "The system or a virus scanner blocks a file of the add-on: {}."),
            translate("AddOn", "Close other QGIS windows; if it goes on, ask to allow the folder."),
        ),
        "verify_failed": (
            translate("AddOn", "The add-on was installed but does not work here: {}."),
            translate("AddOn", "It is not used. Copy the log if you want to report it."),
        ),
        "interrupted": (
            translate("AddOn", "Something else on this computer ended the installer."),
            translate(
                "AddOn", "It may have had too little memory: close other programs, try again."
            ),
        ),
        "other": (
            translate("AddOn", "The add-on could not be installed: {}."),
            translate("AddOn", "Copy the log if you want to report it; nothing was changed."),
        ),
    }
