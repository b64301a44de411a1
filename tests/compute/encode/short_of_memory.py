# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run a batch with and without room for it: `python short_of_memory.py MODEL`; tells both as JSON."""

import json
import re
import resource
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import numpy as np

from tessera_plugin.compute.worker.encode.pace import Pace
from tessera_plugin.compute.worker.encode.session import open_encoder, zeros

BATCH_PX = 16384
MORE_BYTES = 90 << 20

encoder = open_encoder(sys.argv[1], threads=1)
inputs = zeros(encoder.spec, BATCH_PX, 8, 8)
for array in inputs.values():
    array[:] = np.arange(BATCH_PX, dtype=np.float32)[:, None, None] / BATCH_PX
parts = [{name: a[i : i + 64] for name, a in inputs.items()} for i in range(0, BATCH_PX, 64)]
wanted = np.concatenate([encoder.run(part) for part in parts])
held = int(re.search(r"VmSize:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (held + MORE_BYTES, resource.RLIM_INFINITY))
pace = Pace(encoder, BATCH_PX, None)
found = pace.run(inputs)
print(json.dumps({"same": bool((found == wanted).all()), "notes": pace.notes}))
