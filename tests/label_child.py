# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Changes a label file without a pause until it is killed: every step has to be all or nothing.

A step makes BATCH labels, removes those of the step before the last, and names the class after it.
"""

import os
import signal
import struct
import sys
import uuid
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

BATCH = 300


def main(path):
    from tessera_plugin.engine.label_files import LabelFile
    from tessera_plugin.values import LabelChange, LandClass, StoredClass, StoredLabel

    file = LabelFile(path)
    there = file.read()
    classes, labels = there.classes, list(there.labels)
    step = max((int(each.note) for each in labels), default=0)
    while True:
        step += 1
        named = (StoredClass(replace(classes[0].land_class, name=f"step {step}")),) if classes \
            else (StoredClass(LandClass(1, f"step {step}", "#000000")),)  # fmt: skip
        gone = [each for each in labels if int(each.note) < step - 1]
        made = [
            StoredLabel(
                str(uuid.uuid4()), 1, 2024, struct.pack("<BIdd", 1, 1, number, step % 80), str(step)
            )
            for number in range(BATCH)
        ]
        pairs = (*((each, None) for each in gone), *((None, each) for each in made))
        file.write(LabelChange(classes, named, pairs), 2)
        print(step, flush=True)
        classes, labels = named, [each for each in labels if each not in gone] + made


def half(path):
    """Begin to write many labels, and be killed when half of them are written."""
    from tessera_plugin.engine.label_files import LabelFile, create
    from tessera_plugin.values import LabelChange, LandClass, StoredClass, StoredLabel

    def report(fraction, _=""):
        if fraction >= 0.5:
            print(fraction, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    create(path)
    wkbs = (struct.pack("<BIdd", 1, 1, number, 1) for number in range(5000))
    made = [StoredLabel(str(uuid.uuid4()), 1, 2024, wkb) for wkb in wkbs]
    classes = (StoredClass(LandClass(1, "a", "#000000")),)
    LabelFile(path).write(LabelChange((), classes, tuple((None, e) for e in made)), 2, report)


if __name__ == "__main__":
    (half if "half" in sys.argv else main)(sys.argv[1])
