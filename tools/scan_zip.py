# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Scan the plugin's zip as the plugin site does on upload: names, bandit, detect-secrets, flake8."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import List

# the rules that block an upload, as the site's own source lists them
BANDIT = (
    "B102,B103,B105,B106,B107,B111,B201,B202,B301,B302,B304,B305,B306,B307,B312,B321,B323,B401,"
    "B402,B412,B413,B501,B502,B503,B505,B506,B507,B601,B602,B604,B605,B609,B610,B611,B612,B613,"
    "B615,B701"
)
FLAKE8 = "E901,E902,E999,F821,F823,F831"
WARNING_SECRETS = {"Base64 High Entropy String", "Hex High Entropy String", "Secret Keyword"}
SUSPICIOUS = {".exe", ".dll", ".so", ".dylib", ".bat", ".sh", ".ps1", ".cmd", ".pyc"}
REQUIRED = [
    "name",
    "description",
    "version",
    "qgisMinimumVersion",
    "author",
    "email",
    "about",
    "tracker",
    "repository",
]
MAX_BYTES = 25 * 1024 * 1024


def layout_problems(path: Path) -> List[str]:
    """Return what the site would say of names, sizes and metadata."""
    problems = []
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        tops = {name.split("/")[0] for name in names}
        if len(tops) != 1 or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]+", next(iter(tops))):
            return [f"exactly one top folder with a Python name is needed, found {sorted(tops)}"]
        (top,) = tops
        problems += [
            f"{name} is missing"
            for name in ("__init__.py", "metadata.txt", "LICENSE")
            if f"{top}/{name}" not in names
        ]
        problems += [
            f"{name} may not be shipped"
            for name in names
            if Path(name).suffix in SUSPICIOUS or "__pycache__" in name or ".." in name
        ]
        metadata = configparser.ConfigParser(interpolation=None)
        metadata.read_string(archive.read(f"{top}/metadata.txt").decode("utf-8"))
        general = metadata["general"]
        problems += [f"metadata lacks {key}" for key in REQUIRED if not general.get(key)]
        if "plugin" in general["name"].lower():
            problems.append("the name may not contain 'plugin'")
    if path.stat().st_size > MAX_BYTES:
        problems.append(f"the zip has {path.stat().st_size:,} bytes, more than {MAX_BYTES:,}")
    return problems


def scanner_problems(folder: Path) -> List[str]:
    """Return what the three scanners say at the levels that block."""
    python = [sys.executable, "-m"]
    runs = {
        "bandit": [*python, "bandit", "-q", "-r", "-t", BANDIT, str(folder)],
        "flake8": [*python, "flake8", "--isolated", f"--select={FLAKE8}", str(folder)],
    }
    problems = []
    for name, command in runs.items():
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            problems.append(f"{name}:\n{done.stdout}{done.stderr}")
    scan = subprocess.run(
        [*python, "detect_secrets", "scan", "--all-files", "."],
        capture_output=True, text=True, check=True, cwd=folder,
    )  # fmt: skip
    for file, found in json.loads(scan.stdout)["results"].items():
        problems += [
            f"detect-secrets: {file}:{secret['line_number']} {secret['type']}"
            for secret in found
            if secret["type"] not in WARNING_SECRETS
        ]
    return problems


def main(path: Path) -> int:
    """Print every problem; return how many kinds of them there are."""
    problems = layout_problems(path)
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)  # built by ourselves a moment ago
        problems += scanner_problems(Path(folder))
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
