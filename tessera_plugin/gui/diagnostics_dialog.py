# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What works here and what does not, in plain words, and as a report that can be sent on."""

from __future__ import annotations

from typing import Dict, NamedTuple, Optional

from qgis.core import QgsApplication
from qgis.PyQt.QtCore import Qt, QTimer
from qgis.PyQt.QtWidgets import QDialog, QLabel, QWidget

from ..tasks import diagnostics
from ..tasks.diagnostics import ABOUT, BAD, GOOD, NOTE, Finding
from ..tasks.lookups import Lookup
from ..tasks.session import Session
from . import forms, messages, note, text
from .links import Links

ICONS = {GOOD: note.SUCCESS, BAD: note.WARNING, NOTE: note.INFO}

COPIED_MS = 2000
"""How long the button says that the report is copied."""


class _Row(NamedTuple):
    icon: QLabel
    words: QLabel


class DiagnosticsDialog(QDialog):
    """Looks at once at what costs nothing; the rest, and the network, only when it is asked to."""

    def __init__(self, session: Session, version: str, parent: Optional[QWidget]) -> None:
        super().__init__(parent)
        forms.load("diagnostics_dialog", self)
        self._session, self._version = session, version
        self._findings: Dict[str, Finding] = {}
        self._links = Links()
        self._lookup = Lookup(self)
        titles = self._titles()
        self._rows = {about: self._add_row(line, about, titles[about])
                      for line, about in enumerate(ABOUT)}  # fmt: skip
        self._lookup.busy.connect(self._enable)
        self._links.connect(session.add_on.changed, self._glance)
        self.checkButton.clicked.connect(self._check)
        self.checkStopButton.clicked.connect(self._stop)
        self.copyReportButton.clicked.connect(self._copy)
        self._glance()

    def done(self, result: int) -> None:
        """Close; a check that runs ends."""
        self._links.close()
        self._lookup.close(timeout_s=0.0)
        super().done(result)

    def close_down(self) -> None:
        """Close, and let no code of ours run after it."""
        self._lookup.close()
        self.close()

    # --- inside

    def _titles(self) -> Dict[str, str]:
        names = (
            self.tr("This computer"),
            self.tr("GDAL"),
            self.tr("Cache"),
            self.tr("Add-on"),
            self.tr("Devices"),
            self.tr("Speed"),
            self.tr("Archive"),
        )
        return dict(zip(ABOUT, names))

    def _add_row(self, line: int, about: str, title: str) -> _Row:
        row = _Row(QLabel(self), QLabel(self))
        row.icon.setFixedSize(note.ICON_PX, note.ICON_PX)
        row.words.setObjectName(f"{about}Words")
        row.words.setWordWrap(True)
        row.words.setTextFormat(Qt.TextFormat.PlainText)
        row.words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        heading = QLabel(f"<b>{title}</b>", self)
        top = Qt.AlignmentFlag.AlignTop
        for label in (heading, row.words):
            label.setAlignment(top)
        self.findingsLayout.addWidget(row.icon, line, 0, top)
        self.findingsLayout.addWidget(heading, line, 1)
        self.findingsLayout.addWidget(row.words, line, 2)
        return row

    def _glance(self) -> None:
        """Begin anew: what was found before need not be true any more."""
        self._begin()
        task = diagnostics.glance(self._session)
        self._lookup.ask(task, self._nothing, self._broken, self._found)

    def _check(self) -> None:
        self._begin()
        task = diagnostics.check(self._session)
        self._lookup.ask(task, self._nothing, self._broken, self._found)

    def _begin(self) -> None:
        self._findings = {}
        for row in self._rows.values():
            row.icon.clear()
            row.words.setText(self.tr("Not checked"))
            row.words.setEnabled(False)

    def _found(self, finding: Finding) -> None:
        self._findings[finding.about] = finding
        row = self._rows[finding.about]
        image = QgsApplication.getThemeIcon(f"/{ICONS[finding.verdict]}")
        row.icon.setPixmap(image.pixmap(note.ICON_PX, note.ICON_PX))
        told = [finding.words]
        if finding.error is not None:
            told += messages.explain(finding.error)
        row.words.setText(text.join(told))
        row.words.setEnabled(True)

    def _nothing(self, *_: object) -> None:
        """All was told on the way."""

    def _broken(self, error: Exception) -> None:
        """Show a bug; whatever a check finds is a finding."""
        row = self._rows[next((each for each in ABOUT if each not in self._findings), ABOUT[0])]
        messages.log(error)
        row.words.setText(self.tr("This is a bug of the Tessera plugin: {}").format(error))

    def _stop(self) -> None:
        self._lookup.cancel()

    def _enable(self, *_: object) -> None:
        is_busy = self._lookup.is_busy
        self.checkFrame.setVisible(is_busy)
        self.checkButton.setEnabled(not is_busy)
        self.copyReportButton.setEnabled(not is_busy)

    def _copy(self) -> None:
        findings = [self._findings[about] for about in ABOUT if about in self._findings]
        told = diagnostics.report_text(self._session, self._version, findings)
        QgsApplication.clipboard().setText(told)
        self.copyReportButton.setText(self.tr("Copied"))
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.timeout.connect(lambda: self.copyReportButton.setText(self.tr("Copy report")))
        timer.start(COPIED_MS)
