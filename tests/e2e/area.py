# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Looking before fetching, fetching, and fetching with failures. Runs inside QGIS."""

from pathlib import Path

from qgis.PyQt.QtTest import QTest
from scenarios import at_work


def look_fetch_and_fail(plan):
    """The test's side slows the server down on `marker`, and lets it fail on `marker2`."""
    person, dock = at_work(plan)
    facts = {"before": dock.look_what_is_there(plan["dataset"], plan["year"])}
    person.look("coverage-1-before")

    told(plan, "marker")
    person.click("fetchButton")
    bar, download = person.find("jobBar"), person.find("downloadLabel")
    person.wait(lambda: bar.value() > 300, 60, "a third to have come")
    person.click("pauseButton")
    QTest.qWait(700)
    paused_at = bar.value()
    person.look("coverage-2-during")
    QTest.qWait(1500)
    facts["paused"] = [paused_at, bar.value(), person.find("jobLabel").text()]
    person.click("pauseButton")
    facts["fetched"] = dock.done("fetchNote", 90)
    person.wait(lambda: "in the cache" in download.text(), 30, "coverage after the fetch")
    facts["after"] = download.text()
    person.look("coverage-3-after")

    told(plan, "marker2")
    person.zoom_to(*plan["wider"])
    words = "in the cache"
    person.wait(lambda: words in download.text() and "MB" in download.text(), 30, "a wider view")
    facts["wider"] = download.text()
    person.look("coverage-4-wider")
    told(plan, "marker3")
    person.click("fetchButton")
    facts["failed"] = dock.done("fetchNote", 120)
    person.look("coverage-5-failures")
    told(plan, "marker4")
    person.click("fetchNoteButton")
    facts["again"] = dock.done("fetchNote", 120)
    person.look("coverage-6-again")
    return facts


def told(plan, name):
    """Tell the test's side, and wait until it has done its part."""
    Path(plan[name]).touch()
    answer = Path(f"{plan[name]}.done")
    for _ in range(200):
        if answer.exists():
            return
        QTest.qWait(50)
    raise AssertionError(f"nobody answered {name}")
