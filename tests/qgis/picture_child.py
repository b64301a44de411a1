# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Make a large image while every thread that Qt shares is busy in Python; says "made" when it is."""

import os
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from qgis.PyQt.QtCore import QCoreApplication, QRunnable, QThreadPool

from tessera_plugin.tasks.canvas_pictures import image_of


class Busy(QRunnable):
    """As a task that waits for the interpreter again and again."""

    def run(self):
        until = time.monotonic() + 30
        while time.monotonic() < until:
            sum(range(1000))


app = QCoreApplication(sys.argv)
pool = QThreadPool.globalInstance()
for _ in range(pool.maxThreadCount()):
    pool.start(Busy())
rgba = np.full((2000, 2000, 4), 200, np.uint8)
made = []
thread = threading.Thread(target=lambda: made.append(image_of(rgba)), daemon=True)
thread.start()
thread.join(20)
print("made" if made else "stuck", flush=True)
os._exit(0)  # the busy ones are not waited for
