# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest

from tessera_plugin.children import clean_environment

QGIS = "C:\\Program Files\\QGIS 3.34.1"

WINDOWS = {
    "Path": ";".join(
        [
            QGIS + "\\apps\\qgis-ltr\\bin",
            "c:/program files/qgis 3.34.1/BIN",
            "C:\\OSGeo4W64\\bin",
            "D:\\Tools\\OSGeo4W\\apps\\Qt5\\bin",
            "C:\\Windows\\system32",
            "C:\\Windows",
            '"C:\\Program Files\\NVIDIA GPU Computing Toolkit\\CUDA\\v12.4\\bin"',
            "",
            "E:\\Company GIS\\bin",
            "E:\\Company GIS\\apps\\Python312\\Scripts",
            "E:\\Company GIS tools",
        ]
    ),
    "SystemRoot": "C:\\Windows",
    "USERPROFILE": "C:\\Users\\Zoë",
    "PYTHONHOME": QGIS + "\\apps\\Python39",
    "PythonPath": QGIS + "\\apps\\qgis-ltr\\python",
    "GDAL_DATA": "x",
    "PROJ_LIB": "x",
    "PROJ_DATA": "x",
    "QT_PLUGIN_PATH": "x",
    "QGIS_PREFIX_PATH": "x",
    "OSGEO4W_ROOT": "x",
}


def test_windows_loses_the_folders_of_qgis_and_its_variables():
    env = clean_environment(WINDOWS, "win32", ["E:\\Company GIS", ""])
    assert env == {
        "Path": "C:\\Windows\\system32;C:\\Windows;"
        "C:\\Program Files\\NVIDIA GPU Computing Toolkit\\CUDA\\v12.4\\bin;E:\\Company GIS tools",
        "SystemRoot": "C:\\Windows",
        "USERPROFILE": "C:\\Users\\Zoë",
    }


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_elsewhere_the_loader_variables_go_and_the_path_stays(platform):
    env = {
        "PATH": "/Applications/QGIS.app/Contents/MacOS/bin:/usr/bin",
        "HOME": "/home/zoë",
        "LANG": "de_DE.UTF-8",
        "PROJECT": "mine",
        "CUDA_VISIBLE_DEVICES": "0",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "ACTIVE",
        "LD_LIBRARY_PATH": "/usr/lib/grass82/lib",
        "LD_PRELOAD": "libx.so",
        "DYLD_LIBRARY_PATH": "/Applications/QGIS.app/Contents/MacOS/lib",
        "DYLD_INSERT_LIBRARIES": "x",
        "__PYVENV_LAUNCHER__": "/Applications/QGIS.app/Contents/MacOS/bin/python3",
        "PYTHONPATH": "/usr/share/qgis/python",
        "PYTHONSTARTUP": "x",
        "GDAL_DRIVER_PATH": "x",
        "QT_QPA_PLATFORM": "offscreen",
    }
    before = dict(env)
    assert clean_environment(env, platform, ["/usr"]) == {
        "PATH": "/Applications/QGIS.app/Contents/MacOS/bin:/usr/bin",
        "HOME": "/home/zoë",
        "LANG": "de_DE.UTF-8",
        "PROJECT": "mine",
        "CUDA_VISIBLE_DEVICES": "0",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "ACTIVE",
    }
    assert env == before
