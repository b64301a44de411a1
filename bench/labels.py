# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Many labels at once: how long it takes, and how long the interface stands still meanwhile.

The same labels (four in five are points, the others polygons) are added by `add_labels`, which is
done when it returns, and by `adding`, as an import does; then taken back and brought back. Gaps are
those between ticks of 10 ms, the longest of each, against the same with nothing to do.
"""

import argparse
import os
import random
import tempfile
import time
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from qgis.core import QgsApplication, QgsGeometry, QgsPointXY, QgsRectangle
from qgis.PyQt.QtCore import Qt, QTimer

from tessera_plugin.tasks.labels import LabelStore, NewLabel

SIZE_DEG = 0.0005


def made(number, class_id):
    rng = random.Random(1)  # noqa: S311 - the same ones each time
    for each in range(number):
        at = QgsPointXY(rng.random(), 52 + rng.random())
        shape = QgsGeometry.fromPointXY(at)
        if each % 5 == 0:
            corner = QgsPointXY(at.x() + SIZE_DEG, at.y() + SIZE_DEG)
            shape = QgsGeometry.fromRect(QgsRectangle(at, corner))
        yield NewLabel(shape, class_id, 2024)


class Watch:
    """Measures a step, from its beginning until the store is at rest again."""

    def __init__(self, store):
        self._store, self._gaps, self._last = store, [], 0.0
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._timer.start(10)

    def __call__(self, name, step, least_s=0.0):
        self._gaps, self._last = [], time.perf_counter()
        began = time.perf_counter()
        step()
        while self._store.is_writing or time.perf_counter() - began < least_s:
            QgsApplication.processEvents()
            time.sleep(0.001)
        took_s = time.perf_counter() - began
        self._tick()
        print(f"{name:24} {took_s:6.2f} s, longest gap {1000 * max(self._gaps):6.0f} ms")

    def _tick(self):
        now = time.perf_counter()
        self._gaps.append(now - self._last)
        self._last = now


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=50_000)
    number = parser.parse_args().labels
    application = QgsApplication([], True)
    application.initQgis()
    with tempfile.TemporaryDirectory() as folder:
        store = LabelStore()
        store.open(str(Path(folder) / "labels.gpkg"))
        class_id = store.add_class("a").id
        watch = Watch(store)
        watch("nothing to do", lambda: None, 1.0)
        watch("add_labels", lambda: store.add_labels(list(made(number, class_id))))
        store.close()
        store.open(str(Path(folder) / "others.gpkg"))
        class_id = store.add_class("a").id
        watch("adding", lambda: store.adding(lambda _: made(number, class_id), number).start())
        for name in ("undo", "redo"):
            watch(name, getattr(store, name))
        watch("a second of rest", lambda: None, 3.0)
        watch("a label more", lambda: store.add_labels(list(made(1, class_id))))
        store.close()
    os._exit(0)  # QGIS without a window does not end well


if __name__ == "__main__":
    main()
