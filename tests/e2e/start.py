# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What `qgis --code` runs: performs the scenario that the plan names.

QGIS reads this text and executes it, so it has no place of its own; the folder of the scenarios is
on PYTHONPATH. An error at this level would leave QGIS open for ever, so it ends QGIS instead.
"""

import os
import traceback

try:
    import person

    person.start()
except BaseException:
    traceback.print_exc()
    os._exit(70)
