# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line's start: all commands are told, and only the chosen one is loaded."""

import subprocess
import sys

import pytest

from tessera_plugin.__main__ import main
from tessera_plugin.cli.options import COMMANDS, parser

HEAVY = """
import sys
from tessera_plugin.__main__ import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
names = ("numpy", "osgeo", "requests", "tessera_plugin.engine", "tessera_plugin.io")
print(*(name for name in names if name in sys.modules), sep=",")
"""


def test_help_is_complete_and_loads_nothing_heavy():
    done = subprocess.run(
        [sys.executable, "-c", HEAVY, "--help"],
        capture_output=True, text=True, check=True, env={"COLUMNS": "200"},
    )  # fmt: skip
    *told, loaded = done.stdout.splitlines()
    assert loaded == ""
    words = " ".join(" ".join(told).split())
    for name, (help_, _) in COMMANDS.items():
        assert f" {name} {help_} " in words


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_its_arguments(name, capsys):
    with pytest.raises(SystemExit) as left:
        main([name, "--help"])
    assert left.value.code == 0
    told = capsys.readouterr().out
    assert f"usage: tessera_plugin {name} " in told
    with pytest.raises(SystemExit) as left:
        main([name, "--no-such-option"])
    assert left.value.code == 2


def test_a_command_that_is_not_there_is_answered_with_those_that_are(capsys):
    for arguments in ([], ["fetsch"]):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert left.value.code == 2
    assert "export-encoder" in capsys.readouterr().err
    with pytest.raises(SystemExit):  # the arguments of others are not there
        parser(["cache"]).parse_args(["fetch", "--year", "2024"])
