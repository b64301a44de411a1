# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the driver says, and which build follows from it."""

import pytest

from tessera_plugin.environment.gpu import Gpu, find_gpu, parse, variant_for

H100 = "NVIDIA H100 80GB HBM3, 550.54.15, 9.0, 81559"


def gpu(driver=(550, 54, 15), capability=(9, 0)):
    return Gpu("NVIDIA H100 80GB HBM3", driver, capability, 81559 << 20)


def test_a_line_of_the_driver_becomes_a_gpu():
    assert list(parse(H100)) == [gpu()]


@pytest.mark.parametrize(
    "told",
    [
        "",
        "No devices were found",
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
        "NVIDIA X, 550.54, [N/A], 1000",
        "NVIDIA X, [Not Supported], 7.5, 1000",
    ],
)
def test_what_is_no_gpu_is_none(told):
    assert find_gpu(lambda: told) is None


def test_of_several_the_most_capable_is_taken():
    old = "NVIDIA GeForce GTX 1050, 550.54.15, 6.1, 2048"
    assert find_gpu(lambda: f"{old}\n{H100}\n{old}\n") == gpu()


def test_a_machine_without_a_driver_has_none(monkeypatch):
    monkeypatch.setattr("tessera_plugin.environment.gpu._tool", lambda: "")
    assert find_gpu() is None


def test_a_driver_tool_that_fails_or_hangs_is_no_gpu(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\necho '{H100}'\nexit 9\n")
    tool.chmod(0o755)
    monkeypatch.setattr("tessera_plugin.environment.gpu._tool", lambda: str(tool))
    assert find_gpu() is None
    tool.write_text(f"#!/bin/sh\necho '{H100}'\n")
    assert find_gpu() == gpu()
    tool.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr("tessera_plugin.environment.gpu._TIMEOUT_S", 0.2)
    assert find_gpu() is None


@pytest.mark.parametrize(
    ("found", "platform", "variant"),
    [
        (gpu(), "linux-x86_64", "cuda"),
        (None, "linux-x86_64", "cpu"),
        (gpu(capability=(7, 5)), "linux-x86_64", "cuda"),
        (gpu(capability=(7, 0)), "linux-x86_64", "cpu"),
        (gpu(driver=(525, 60, 13)), "linux-x86_64", "cuda"),
        (gpu(driver=(525, 53)), "linux-x86_64", "cpu"),
        (gpu(driver=(470, 256, 2)), "linux-x86_64", "cpu"),
        (gpu(), "windows-x86_64", "directml"),
        (None, "windows-x86_64", "directml"),
        (None, "macos-arm64", "cpu"),
    ],
)
def test_the_build_follows_from_generation_and_driver(found, platform, variant):
    told = variant_for(found, platform)
    assert told[0] == variant
    assert told[1].endswith(".")


def test_why_not_names_what_is_too_old():
    assert "6.1" in variant_for(gpu(capability=(6, 1)), "linux-x86_64")[1]
    assert "470.256.2" in variant_for(gpu(driver=(470, 256, 2)), "linux-x86_64")[1]
