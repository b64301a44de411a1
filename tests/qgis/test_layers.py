# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Extents and networks as values, results as layers."""

import ssl

import numpy as np
import pytest
from osgeo import gdal, osr
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsNetworkAccessManager,
    QgsProject,
    QgsRectangle,
    QgsSettings,
)
from qgis.PyQt.QtGui import QColor

from tessera_plugin.errors import ExtentInvalid, ExtentTooLarge
from tessera_plugin.settings import Settings
from tessera_plugin.tasks import layers, network, snapshot
from tessera_plugin.values import Extent, LandClass

LONLAT = QgsCoordinateReferenceSystem("EPSG:4326")
CLASSES = (LandClass(1, "Water", "#0000ff"), LandClass(5, "Forest", "#00ff00"))


def raster(path, values, bands=1):
    height, width = values.shape
    made = gdal.GetDriverByName("GTiff").Create(str(path), width, height, bands, gdal.GDT_Byte)
    made.SetGeoTransform((300_000, 10, 0, 5_800_000, 0, -10))
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(32631)
    made.SetProjection(reference.ExportToWkt())
    for band in range(1, bands + 1):
        made.GetRasterBand(band).WriteArray(values)
    made.GetRasterBand(1).SetNoDataValue(0)
    made.FlushCache()
    return str(path)


@pytest.fixture
def file(tmp_path):
    return raster(tmp_path / "map.tif", np.array([[0, 1], [5, 5]], np.uint8))


# --- snapshots


def test_an_extent_is_a_value(qgis_app):
    extent = snapshot.extent_of(QgsRectangle(1, 2, 3, 4), LONLAT)
    assert extent == Extent(1, 2, 3, 4, "EPSG:4326")


@pytest.mark.parametrize(
    ("west", "east", "expected"),
    [(179, 181, (179, -179)), (-185, -179, (175, -179)), (361, 363, (1, 3)), (-300, 300, (-180, 180))],
)  # fmt: skip
def test_a_canvas_in_degrees_goes_on_counting(qgis_app, west, east, expected):
    extent = snapshot.extent_of(QgsRectangle(west, 0, east, 1), LONLAT)
    assert (extent.west, extent.east) == pytest.approx(expected)


def test_a_crs_of_this_qgis_alone_becomes_wkt(qgis_app):
    custom = QgsCoordinateReferenceSystem.fromProj("+proj=laea +lat_0=52 +lon_0=0 +units=m")
    extent = snapshot.extent_of(QgsRectangle(0, 0, 1000, 1000), custom)
    assert "Lambert_Azimuthal_Equal_Area" in extent.crs
    assert snapshot.measure(extent, 10**6).pixels == pytest.approx(10_000, rel=0.1)


@pytest.mark.parametrize(
    ("rectangle", "crs"),
    [
        (QgsRectangle(), LONLAT),
        (QgsRectangle(0, 0, 1, 1), QgsCoordinateReferenceSystem()),
        (QgsRectangle(0, 91, 1, 92), LONLAT),
    ],
)
def test_nothing_to_see_is_said(qgis_app, rectangle, crs):
    with pytest.raises(ExtentInvalid):
        snapshot.extent_of(rectangle, crs)


def test_the_world_is_refused_with_its_size(qgis_app):
    with pytest.raises(ExtentTooLarge) as refused:
        snapshot.measure(Extent(-170, -60, 170, 80), 50_000_000)
    assert refused.value.pixels > 1e12 / 100


# --- layers


def test_a_class_map_has_names_and_colours(qgis_new_project, file):
    layer = layers.class_map(file, "Land cover", CLASSES)
    found = [(c.value, c.label, c.color.name()) for c in layer.renderer().classes()]
    assert found == [(1, "Water", "#0000ff"), (5, "Forest", "#00ff00")]
    image = layer.renderer().block(1, layer.extent(), 2, 2).image()
    assert image.pixelColor(1, 0) == QColor("#0000ff")
    assert image.pixelColor(0, 1) == QColor("#00ff00")
    assert image.pixelColor(0, 0).alpha() == 0


def test_a_confidence_map_is_a_ramp(qgis_new_project, tmp_path):
    file = raster(tmp_path / "c.tif", np.array([[1, 50], [75, 100]], np.uint8))
    layer = layers.confidence_map(file, "Confidence")
    image = layer.renderer().block(1, layer.extent(), 2, 2).image()
    assert image.pixelColor(1, 1) == QColor("#fde725")
    assert image.pixelColor(1, 0) == QColor("#21918c")


def test_a_preview_is_shown_as_it_is(qgis_new_project, tmp_path):
    values = np.array([[10, 200], [30, 255]], np.uint8)
    layer = layers.preview_map(raster(tmp_path / "p.tif", values, bands=4), "Preview")
    image = layer.renderer().block(1, layer.extent(), 2, 2).image()
    assert image.pixelColor(1, 1) == QColor(255, 255, 255, 255)
    assert image.pixelColor(1, 0).alpha() == 200


def test_layers_have_their_order_whatever_comes_first(qgis_new_project, file):
    project = QgsProject.instance()
    for role in (layers.PREVIEW, layers.CONFIDENCE, layers.MAP):
        layers.add(project, layers.class_map(file, role, CLASSES), role)
    newer = layers.class_map(file, "newer map", CLASSES)
    layers.add(project, newer, layers.MAP)
    group = project.layerTreeRoot().findGroup(layers.GROUP)
    names = [node.name() for node in group.children()]
    assert names == ["newer map", "map", "confidence", "preview"]
    shown = [node.itemVisibilityChecked() for node in group.children()]
    assert shown == [True, True, False, True]


def test_a_file_is_released_and_its_place_kept(qgis_new_project, file, tmp_path):
    project = QgsProject.instance()
    other = raster(tmp_path / "other.tif", np.array([[1]], np.uint8))
    layers.add(project, layers.class_map(file, "mine", CLASSES), layers.MAP)
    layers.add(project, layers.class_map(other, "other", CLASSES), layers.MAP)
    places = layers.release(project, [str(tmp_path / "." / "map.tif"), "/not/there.tif"])
    assert [layer.name() for layer in project.mapLayers().values()] == ["other"]
    layers.add(project, layers.class_map(file, "new", CLASSES), layers.MAP, places[layers.MAP])
    group = project.layerTreeRoot().findGroup(layers.GROUP)
    assert [node.name() for node in group.children()] == ["other", "new"]


def test_the_group_may_be_removed_or_renamed(qgis_new_project, file):
    project = QgsProject.instance()
    layers.add(project, layers.class_map(file, "a", CLASSES), layers.MAP)
    places = layers.release(project, [file])
    root = project.layerTreeRoot()
    root.removeChildNode(root.findGroup(layers.GROUP))
    layers.add(project, layers.class_map(file, "b", CLASSES), layers.MAP, places[layers.MAP])
    assert [node.name() for node in root.findGroup(layers.GROUP).children()] == ["b"]


# --- network


@pytest.fixture
def proxy(qgis_app):
    manager, settings = QgsNetworkAccessManager.instance(), QgsSettings()

    def set_up(**values):
        for key, value in values.items():
            settings.setValue(f"proxy/{key}", value)
        manager.setupDefaultProxyAndCache()

    yield set_up
    settings.remove("proxy")
    manager.setupDefaultProxyAndCache()


def test_the_proxy_of_qgis_with_its_credentials(proxy):
    proxy(
        proxyEnabled=True, proxyType="HttpProxy", proxyHost="proxy.corp", proxyPort="8080",
        proxyUser="me@corp", proxyPassword="p:/w", proxyExcludedUrls=["https://inside"],
        noProxyUrls=["https://direct"],
    )  # fmt: skip
    assert network.proxies_for(["https://data.source.coop/tessera"]) == (
        ("https://data.source.coop", "http://me%40corp:p%3A%2Fw@proxy.corp:8080"),
    )
    assert network.proxies_for(["https://inside/x"]) == ()
    assert network.proxies_for(["https://direct/x"]) == ()


def test_socks_and_ipv6(proxy):
    proxy(proxyEnabled=True, proxyType="Socks5Proxy", proxyHost="::1", proxyPort="1080")
    assert network.proxies_for(["http://host/x"]) == (("http://host", "socks5h://[::1]:1080"),)


def test_without_a_proxy(proxy):
    proxy(proxyEnabled=False)
    assert network.proxies_for(["https://data.source.coop/tessera"]) == ()


def test_the_authorities_are_one_file_that_tls_takes(qgis_app, tmp_path):
    path = network.ca_bundle(tmp_path / "d")
    context = ssl.create_default_context(cafile=path)
    assert len(context.get_ca_certs()) >= 50
    assert network.ca_bundle(tmp_path / "d") == path
    assert len(list((tmp_path / "d").iterdir())) == 1


def test_the_settings_of_the_network(qgis_app, tmp_path):
    settings = Settings(connections=3, max_mb_per_s=1.5)
    found = network.network_settings(settings, tmp_path, ["https://data.source.coop/tessera"])
    assert found.connections == 3
    assert found.read_timeout_s == QgsNetworkAccessManager.timeout() / 1000
    assert found.ca_bundle.startswith(str(tmp_path))
    assert found.bytes_per_s == 1_500_000
    plain = network.network_settings(Settings(), tmp_path, ["http://127.0.0.1:1", "/a/folder"])
    assert plain.ca_bundle == ""
