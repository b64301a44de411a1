# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of docs/architecture.md, kept true. Needs nothing installed."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "tessera_plugin"
LEAVES = {"children", "errors", "oslocks", "progress", "values"}
QGIS = {"qgis"}

# part -> (parts of ours it may import, packages it may import beside the standard library)
ALLOWED = {
    "children": (set(), set()),
    "oslocks": (set(), set()),
    "errors": (set(), set()),
    "progress": (set(), set()),
    "values": (set(), set()),
    "paths": (LEAVES, set()),
    "settings": (LEAVES | {"paths"}, set()),
    "io": ({"io"} | LEAVES, {"numpy", "osgeo", "requests", "urllib3"}),
    "compute.protocol": (LEAVES, set()),
    "compute.client": ({"compute", "compute.protocol"} | LEAVES, set()),
    "compute.worker": (
        {"compute.protocol", "compute.worker"},
        {"numpy", "numcodecs", "onnx", "onnxruntime", "sklearn", "torch"},
    ),
    "compute": ({"compute", "compute.protocol"} | LEAVES, set()),
    "engine": ({"engine", "io", "compute.client"} | LEAVES, {"numpy"}),
    "environment.verify_script": (
        set(),
        {"numcodecs", "numpy", "onnxruntime", "sklearn", "torch"},
    ),
    "environment": ({"environment", "paths"} | LEAVES, set()),
    "tasks": ({"tasks", "engine", "environment", "settings", "paths"} | LEAVES, QGIS),
    "gui": ({"gui", "tasks", "engine", "settings", "paths"} | LEAVES, QGIS),
    "cli": ({"cli", "engine", "settings", "paths"} | LEAVES, set()),
    "__main__": ({"cli"} | LEAVES, set()),
    "plugin": ({"gui", "tasks", "settings", "paths"} | LEAVES, QGIS),
    "__init__": (set(), set()),
}


def part_of(dotted):
    """Return the longest part of the table that a dotted name inside the package belongs to."""
    names = dotted.split(".")
    for length in range(len(names), 0, -1):
        if ".".join(names[:length]) in ALLOWED:
            return ".".join(names[:length])
    return names[0]


def imports(path):
    """Yield `file:line` and the dotted name of every import in a file, relative ones resolved."""
    here = ("tessera_plugin", *path.parent.relative_to(PACKAGE).parts)
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        at = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            yield from ((at, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else ()
            stem = ".".join((*base, node.module) if node.module else base)
            yield from ((at, f"{stem}.{alias.name}") for alias in node.names)


def problems(path):
    """Yield every import of a file that the table does not allow."""
    own = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    ours, packages = ALLOWED[part_of(own)]
    for at, name in imports(path):
        top, _, rest = name.partition(".")
        if top == "tessera_plugin":
            absolute = "compute/worker/__main__.py" in path.as_posix()
            if part_of(rest) not in ours and not absolute:
                yield f"{at} imports {name}"
        elif top not in sys.stdlib_module_names and top not in packages:
            yield f"{at} imports {name}"


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_a_file_imports_only_what_its_part_may(path):
    assert list(problems(path)) == []


def test_a_forbidden_import_is_found(tmp_path, monkeypatch):
    module = sys.modules[__name__]
    monkeypatch.setattr(module, "PACKAGE", tmp_path / "tessera_plugin")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    planted = tmp_path / "tessera_plugin" / "engine" / "planted.py"
    planted.parent.mkdir(parents=True)
    planted.write_text("def f():\n    from ..gui import dock\n    import torch\n    import json\n")
    assert [found.split(" imports ")[1] for found in problems(planted)] == [
        "tessera_plugin.gui.dock",
        "torch",
    ]


def test_the_root_imports_nothing_at_load():
    tree = ast.parse((ROOT / "__init__.py").read_text("utf-8"))
    allowed = {"__future__"}
    found = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert all(isinstance(n, ast.ImportFrom) and n.module in allowed for n in found)


def test_imports_inside_the_package_are_relative():
    absolute = [
        at
        for path in PACKAGE.rglob("*.py")
        if "compute/worker/__main__.py" not in path.as_posix()
        for at, line in (
            (f"{path}:{number}", text)
            for number, text in enumerate(path.read_text("utf-8").splitlines(), 1)
        )
        if line.strip().startswith(("import tessera_plugin", "from tessera_plugin"))
    ]
    assert absolute == []
