# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The add-on in a real window with an empty profile: installed, used and removed; and failing."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tessera_plugin.environment import bundles
from tests.archive.sample import SampleArchive
from tests.environment.index import Index, RefusingProxy, write_locks
from tests.servers import RangeServer
from tools import demo, desktop
from tools.qgis_profile import ROOT

YEAR = 2024
BBOX = (0.11, 52.185, 0.14, 52.205)
SYSTEM_PYTHON = "/usr/bin/python3.11"

pytestmark = pytest.mark.skipif(
    not Path(SYSTEM_PYTHON).exists() or sys.platform != "linux",
    reason="the locks of these tests are for Python 3.11 on Linux",
)


@pytest.fixture
def folder(request):
    made = ROOT / "build" / "e2e" / request.node.name
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    yield made
    subprocess.Popen(["rm", "-rf", str(made / "data")])  # a gigabyte: half a minute on some disks


@pytest.fixture
def person(folder):
    """Plan, settings and variables of a person who has nothing installed."""
    archive = SampleArchive()
    classes = [{**each, "points": each["points"][:5]} for each in demo.classes(archive, BBOX)]
    plan = {"bbox": BBOX, "classes": classes, "pictures": str(folder / "pictures")}
    variables = {"TESSERA_WORKER_PYTHON": "", "XDG_DATA_HOME": str(folder / "data")}
    with RangeServer(archive) as server:
        settings = {
            "archive": server.url,
            "cache_dir": folder / "cache",
            "labels_path": folder / "labels.gpkg",
            "dataset": "1.1-cambridge",
            "year": YEAR,
        }
        yield folder, plan, settings, variables


def can_fetch(folder):
    """Whether a package can be had from here at all, through the person's own pip settings."""
    command = [SYSTEM_PYTHON, "-I", "-m", "pip", "download", "--no-deps", "-q", "-d", str(folder),
               "--only-binary", ":all:", "-r", str(bundles.LOCKS / "uv.txt")]  # fmt: skip
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_installed_from_the_dock_used_and_removed(person):
    folder, plan, settings, variables = person
    plan = {**plan, "marker": str(folder / "marker"), "killed_at": 0.2}
    first = "add_on.install_and_be_killed"
    with desktop.running(folder, first, plan, settings, **variables) as process:
        until = time.monotonic() + 180
        while not (folder / "marker").exists() and process.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.1)
    if not (folder / "marker").exists():
        facts = desktop.answer_of(folder)
        if "failed" in facts and not can_fetch(folder / "packages"):
            pytest.skip(f"packages can't be had from here: {facts['failed']}")
        pytest.fail(str(facts))
    variables["UV_PYTHON_DOWNLOADS"] = "never"  # it was asked for the first time
    second = "add_on.install_train_and_remove"
    facts = desktop.perform(folder, second, plan, settings, **variables)
    assert "error" not in facts, facts["error"]
    assert "was cut off" in facts["before"]
    assert "it works" in facts["installed"]
    assert facts["state"] == "With training (PyTorch)"
    assert facts["place"].startswith(str(folder / "data"))
    recipe = bundles.recipe("training", "linux-x86_64", "3.11")
    for pin in recipe.pins:
        if pin.name in ("torch", "onnxruntime", "scikit-learn"):
            assert f"{pin.name} {pin.version}" in facts["versions"]
    assert "Trained on" in facts["mlp"][0]
    assert "PyTorch computes on the processor" in facts["diagnostics"]["devices"]
    assert "with PyTorch on the processor" in facts["diagnostics"]["speed"]
    assert "This frees 1." in facts["removed"][-1]
    assert not facts["left"]
    assert "Trained on" in facts["instant"][0]


@pytest.fixture
def mounted(folder):
    """A small disk and one that can't be written; None where that may not be made here."""
    made = {}
    for name, options in (("small", "size=30m"), ("readonly", "ro")):
        place = folder / name
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        done = subprocess.run(command, check=False, capture_output=True)
        made[name] = place if done.returncode == 0 else None
    yield made
    for place in filter(None, made.values()):
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_each_failure_says_what_happened_and_what_to_do(person, mounted):
    folder, plan, settings, variables = person
    names = ("tessera-one", "tessera-two")
    good, cut, slow = (Index(names) for _ in range(3))
    cut.cut, slow.bytes_per_s = 1_000_000, 300_000
    proxy = RefusingProxy(403)
    locks = write_locks(folder / "locks", good)
    wrong = write_locks(folder / "wrong", good, wrong_hash=True)

    def trouble(name, index=good.url, locks=locks, **more):
        root = folder / "data" / name.replace(" ", "-")
        return {"name": name, "index": index, "locks": str(locks), "root": str(root), **more}

    troubles = [
        trouble("network cut", cut.url),
        trouble("wrong hash", locks=wrong),
        trouble("killed installer", slow.url, kill=True),
        trouble("proxy refuses", "https://packages.invalid/simple", proxy=proxy.url.split(":")[-1]),
    ]
    if mounted["small"]:
        troubles.append({**trouble("disk full"), "root": str(mounted["small"] / "x")})
    if mounted["readonly"]:
        troubles.append({**trouble("read-only", uv=False), "root": str(mounted["readonly"] / "x")})
    environ = {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_RETRIES": "0",
        "UV_HTTP_RETRIES": "0",
        "UV_PYTHON_DOWNLOADS": "never",
    }
    uv = str(Path(sys.executable).with_name("uv"))
    plan = {**plan, "troubles": troubles, "environ": environ, "uv": uv}
    try:
        facts = desktop.perform(folder, "add_on.fail", plan, settings, **variables)
    finally:
        for each in (good, cut, slow, proxy):
            each.close()
    assert "error" not in facts, facts["error"]
    told = facts["told"]
    assert "cut off" in told["network cut"]
    assert "not the one that was expected" in told["wrong hash"]
    assert "ended the installer" in told["killed installer"]
    assert "proxy does not let" in told["proxy refuses"]
    assert "could not be installed" in facts["line"]
    if not all(mounted.values()):
        pytest.skip("a small disk can't be mounted here: the others are tested")
    assert "too full" in told["disk full"]
    assert "can't be written" in told["read-only"]
