# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Settings survive, whatever the store makes of them."""

from dataclasses import fields, replace

import pytest
from qgis.core import QgsSettings
from qgis.PyQt.QtCore import QSettings

from tessera_plugin import paths
from tessera_plugin.settings import MemoryStore, Settings, load, read_stores, save, write_stores
from tessera_plugin.values import Dataset


class IniStore:
    """A real ini file, in which all is text: what QgsSettings does on Linux."""

    def __init__(self, path):
        self._path = str(path)

    def value(self, key, default, type):
        return QSettings(self._path, QSettings.Format.IniFormat).value(key, default, type=type)

    def setValue(self, key, value):
        settings = QSettings(self._path, QSettings.Format.IniFormat)
        settings.setValue(key, value)
        settings.sync()


STORE = Dataset(
    "store", "mine-1234", "", (2023, 2024), "Mine", depths=(4, 128), store="/a b/ä.zarr"
)

OTHER = Settings(
    cache_dir="/somewhere/ä b",
    limit_px=123_456,
    connections=3,
    confidence=False,
    test_share=0.25,
    seed=7,
    dataset="1.0-vultr",
    year=2020,
    also_years="2018,2022",
    depth=16,
    form="npy",
    offline=True,
    max_mb_per_s=2.5,
    cache_limit_gb=3.5,
    show_coverage=False,
    stores=write_stores([STORE]),
)


@pytest.mark.parametrize("kind", ["memory", "ini", "qgis"])
def test_what_is_saved_comes_back_with_its_types(kind, tmp_path):
    store = {"memory": MemoryStore(), "ini": IniStore(tmp_path / "a.ini"), "qgis": QgsSettings()}
    save(store[kind], OTHER)
    found = load(store[kind])
    assert found == OTHER
    for field in fields(Settings):
        assert type(getattr(found, field.name)) is type(field.default)


def test_only_changes_are_written():
    store = MemoryStore()
    save(store, replace(Settings(), seed=3), Settings())
    assert dict(store) == {"tessera/seed": 3}


@pytest.mark.parametrize(
    ("name", "value"),
    [("limit_px", "many"), ("limit_px", -5), ("connections", 1000), ("test_share", "3")],
)
def test_what_cannot_be_used_is_the_default(name, value):
    store = QgsSettings()
    store.setValue(f"tessera/{name}", value)
    assert getattr(load(store), name) == getattr(Settings(), name)
    store.remove(f"tessera/{name}")


def test_every_field_has_its_sentence():
    source = (paths.ROOT / "tessera_plugin" / "settings.py").read_text("utf-8")
    for field in fields(Settings):
        after = source.split(f"    {field.name}: ", 1)[1].split("\n")[1]
        assert after.strip().startswith('"""'), field.name


def test_access_says_where_from_and_where_to():
    access = Settings(cache_dir="/c", archive="http://here/", connections=2).access()
    assert (access.cache_dir, access.archive) == ("/c", "http://here")
    assert access.network.connections == 2
    assert Settings().access().cache_dir == str(paths.cache_dir())


def test_access_has_what_the_person_chose():
    settings = replace(OTHER, stores=write_stores([STORE]))
    access = settings.access()
    assert (access.form, access.offline, access.stores) == ("npy", True, (STORE,))
    assert access.network.bytes_per_s == 2_500_000
    assert replace(settings, form="paper").access().form == ""


def test_own_stores_come_back_and_garbage_does_not():
    assert read_stores(write_stores([STORE, STORE])) == (STORE, STORE)
    for garbage in ("", "[", "{}", "[1]", '[{"version": "1"}]', '[{"new": 1}]', '["x"]'):
        assert read_stores(garbage) == ()


def test_more_years_are_those_that_can_be_read():
    assert Settings(year=2024, also_years="2018, 2024,x,2022,").more_years == (2022, 2018)
