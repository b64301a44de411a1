# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The locks: complete, exact, and resolved anew by a dry run."""

import json
import re
import shutil
import subprocess
import sys

import pytest

from tessera_plugin.environment import bundles
from tessera_plugin.environment.bundles import (
    CPU,
    CUDA,
    DIRECTML,
    LOCKS,
    RUNTIME,
    TRAINING,
    platform_tag,
    recipe,
)
from tessera_plugin.errors import PlatformUnsupported

NAMES = sorted(json.loads((LOCKS / "sizes.json").read_text("utf-8")))
UV_PLATFORM = {
    "linux-x86_64": "x86_64-manylinux_2_28",
    "windows-x86_64": "x86_64-pc-windows-msvc",
    "macos-arm64": "aarch64-apple-darwin",
    "macos-x86_64": "x86_64-apple-darwin",
}
RESOLVED = [
    "runtime-linux-x86_64-py312",
    "training-linux-x86_64-py311",
    "training-windows-x86_64-py312",
    "runtime-windows-x86_64-py312-directml",
    "training-macos-arm64-py312",
    "runtime-macos-x86_64-py311",
]


def parts(name):
    found = re.fullmatch(r"(runtime|training)-(.+)-py3(\d+)(?:-(cuda|directml))?", name)
    bundle, platform, minor, variant = found.groups()
    return bundle, platform, f"3.{minor}", variant or CPU


@pytest.mark.parametrize("name", NAMES)
def test_a_lock_pins_every_package_to_one_wheel(name):
    found = recipe(*parts(name))
    assert len({pin.name for pin in found.pins}) == len(found.pins) >= 5
    for pin in found.pins:
        assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", pin.name)
        assert re.fullmatch(r"[0-9][0-9a-z.+]*", pin.version)
        assert re.fullmatch(r"[0-9a-f]{64}", pin.sha256)
    assert 10e6 < found.download_bytes < found.installed_bytes
    assert "://" not in found.lock.read_text("utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_a_lock_holds_what_its_bundle_is_for(name):
    bundle, platform, python, variant = parts(name)
    held = {pin.name: pin.version for pin in recipe(bundle, platform, python, variant).pins}
    onnx = {CPU: "onnxruntime", CUDA: "onnxruntime-gpu", DIRECTML: "onnxruntime-directml"}
    assert {"numpy", "numcodecs", onnx[variant]} <= set(held)
    assert ("torch" in held) == (bundle == TRAINING)
    assert ("scikit-learn" in held) == (bundle == TRAINING)
    assert len([name for name in held if name.startswith("onnxruntime")]) == 1
    assert ("msvc-runtime" in held) == platform.startswith("windows")


def test_training_holds_the_same_versions_as_runtime():
    for name in NAMES:
        bundle, *rest = parts(name)
        if bundle == TRAINING and rest[0] != "macos-x86_64":  # its torch needs an older numpy
            small = {pin.name: pin.version for pin in recipe(RUNTIME, *rest).pins}
            large = {pin.name: pin.version for pin in recipe(TRAINING, *rest).pins}
            shared = ("numpy", "onnxruntime", "onnxruntime-gpu", "onnxruntime-directml")
            assert [large.get(n) for n in shared] == [small.get(n) for n in shared], name


def test_each_file_is_listed_and_each_listed_one_is_there():
    assert sorted(path.stem for path in LOCKS.glob("*.txt")) == sorted([*NAMES, "uv"])


def test_what_is_refused_is_refused_by_name_and_says_what_would_do():
    with pytest.raises(PlatformUnsupported) as caught:
        recipe(RUNTIME, "linux-arm64", "3.12")
    assert "linux-arm64" in str(caught.value)
    assert caught.value.pythons == ()
    with pytest.raises(PlatformUnsupported) as caught:
        recipe(TRAINING, "linux-x86_64", "3.9.2")
    assert "3.9" in str(caught.value)
    assert "3.11" in caught.value.pythons


def test_only_the_vendors_build_needs_the_vendors_index():
    assert recipe(TRAINING, "linux-x86_64", "3.11").index == bundles.VENDOR_INDEX
    assert recipe(TRAINING, "windows-x86_64", "3.12").index == ""
    assert recipe(RUNTIME, "linux-x86_64", "3.11").index == ""


@pytest.mark.parametrize(
    ("system", "machine", "tag"),
    [
        ("linux", "x86_64", "linux-x86_64"),
        ("linux", "aarch64", "linux-arm64"),
        ("win32", "AMD64", "windows-x86_64"),
        ("win32", "ARM64", "windows-arm64"),
        ("darwin", "arm64", "macos-arm64"),
        ("darwin", "x86_64", "macos-x86_64"),
        ("freebsd14", "amd64", "freebsd14-x86_64"),
    ],
)
def test_platforms_are_told_by_system_and_machine(system, machine, tag):
    assert platform_tag(system, machine) == tag


@pytest.mark.parametrize("name", RESOLVED)
def test_a_lock_resolves_by_dry_run_with_its_hashes(name, tmp_path):
    bundle, platform, python, variant = parts(name)
    found = recipe(bundle, platform, python, variant)
    command = [sys.executable, "-m", "uv", "pip", "install", "--dry-run", "--no-deps",
               "--only-binary", ":all:", "--require-hashes", "--target", str(tmp_path / "x"),
               "--python-platform", UV_PLATFORM[platform], "--python-version", python,
               "--python", sys.executable, *_wheel_folders(), "-r", str(found.lock)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    for pin in found.pins:
        assert f"+ {pin.name}=={pin.version}" in done.stderr


def test_a_wrong_hash_does_not_resolve(tmp_path):
    found = recipe(RUNTIME, "linux-x86_64", "3.11")
    lock = tmp_path / "lock.txt"
    shutil.copy(found.lock, lock)
    lock.write_text(lock.read_text("utf-8").replace(found.pins[0].sha256, "0" * 64), "utf-8")
    command = [sys.executable, "-m", "uv", "pip", "install", "--dry-run", "--no-deps",
               "--require-hashes", "--target", str(tmp_path / "x"), "--python-version", "3.11",
               "--python-platform", "x86_64-manylinux_2_28", "--python", sys.executable,
               "-r", str(lock)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0 or "0" * 64 not in done.stderr


def _wheel_folders():
    """uv does not read pip's settings; a folder of wheels named there may be the only source."""
    asked = [sys.executable, "-m", "pip", "config", "list"]
    told = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    found = re.findall(r"find-links='([^']+)'", told)
    return [part for each in found for folder in each.split() for part in ("--find-links", folder)]
