# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Write a small student's checkpoint: `python make_checkpoint.py FILE`, in the private environment."""

import sys

import torch
from networks import payload, stock

torch.save(payload("2.0", stock("2.0")), sys.argv[1])
