# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""From dated rasters to a map on the command line, as a script would do it."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from osgeo import gdal, ogr, osr

from tests.compute.helpers import ROOT
from tests.scenes import spectra
from tests.scenes.areas import WOLD, label_points, lonlat, write_area
from tests.stac_server import World

ENCODER = ROOT / "tools" / "demo_encoder" / "demo.onnx"
AREA = dataclasses.replace(WOLD, height=60, width=64, s2_count=16, s1_count=8)


def run(*arguments):
    asked = [sys.executable, "-m", "tessera_plugin", *map(str, arguments)]
    return subprocess.run(asked, capture_output=True, text=True, check=False, timeout=120)


def told(*arguments):
    """Return the facts of a command that must succeed."""
    made = run(*arguments, "--json")
    assert made.returncode == 0, made.stdout + made.stderr
    return json.loads(made.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("own")


@pytest.fixture(scope="module")
def images(folder):
    return write_area(folder, AREA).images


@pytest.fixture(scope="module")
def bbox():
    west, north = lonlat(AREA, AREA.row, AREA.col)
    east, south = lonlat(AREA, AREA.row + AREA.height, AREA.col + AREA.width)
    return f"{west},{south},{east},{north}"


@pytest.fixture(scope="module")
def tile(folder, images, bbox):
    facts = told("build-dpixels", images, "--s2-unit", "by-date", "--bbox", bbox,
                 "--out", folder / "tile")  # fmt: skip
    assert facts["s2_dates"] > 5
    assert facts["year"] == 2022
    return folder / "tile"


@pytest.fixture(scope="module")
def encoded(folder, tile):
    asked = ["--encoder", ENCODER, "--tile", tile, "--year", 2022, "--name", "Wold"]
    return told("encode", *asked, "--out", folder / "datasets")


def test_what_no_file_tells_is_asked_for(images, bbox, folder):
    refused = run("build-dpixels", images, "--bbox", bbox, "--out", folder / "refused")
    assert refused.returncode == 2
    assert "--s2-unit" in refused.stderr
    assert not (folder / "refused").exists()
    listed = run("build-dpixels", images, "--list")
    assert listed.returncode == 0
    assert len([line for line in listed.stdout.splitlines() if line.startswith("S2 ")]) == 16
    assert "To be said: --s2-unit." in listed.stdout


def test_an_estimate_writes_nothing(folder, tile):
    asked = ["--encoder", ENCODER, "--tile", tile, "--year", 2022, "--name", "Wold"]
    facts = told("encode", *asked, "--out", folder / "nothing", "--estimate")
    assert facts["pixels"] >= AREA.height * AREA.width
    assert facts["seconds"] > 0
    assert not (folder / "nothing").exists()


def test_what_is_encoded_is_trained_on_and_mapped(folder, encoded, bbox):
    dataset = encoded["dataset"]
    assert encoded["encoded_px"] + encoded["nodata_px"] == encoded["pixels"]
    store = ["--store", dataset["local"], "--cache", folder / "cache", "--offline"]
    points = _labels(folder / "labels.gpkg")
    told("train", *store, "--year", 2022, "--samples", points, "--class-field", "cover",
         "--head", "instant", "--out", folder / "a.head")  # fmt: skip
    told("classify", *store, "--head", folder / "a.head", "--year", 2022, "--bbox", bbox,
         "--out", folder / "map.tif")  # fmt: skip
    raster = gdal.Open(str(folder / "map.tif"))
    assert raster.GetMetadataItem("TESSERA_SPACE") == dataset["space"]
    mapped = raster.ReadAsArray()
    west, _, _, north, _, _ = raster.GetGeoTransform()
    truth = gdal.Open(str(folder / AREA.name / "truth.tif"))
    at = truth.GetGeoTransform()
    rows, cols = np.nonzero(mapped)
    rows_there = (at[3] - (north - 10 * (rows + 0.5))) // 10
    cols_there = (west + 10 * (cols + 0.5) - at[0]) // 10
    inside = (rows_there >= 0) & (rows_there < AREA.height)
    inside &= (cols_there >= 0) & (cols_there < AREA.width)
    wanted = truth.ReadAsArray()[rows_there[inside].astype(int), cols_there[inside].astype(int)]
    ids = [each.id for each in spectra.CLASSES if (wanted == each.id).any()]
    assert (mapped[rows[inside], cols[inside]] > 0).all()
    names = _names(raster)
    found = np.array([0, *(_id(name) for name in names)])[mapped[rows[inside], cols[inside]]]
    known = np.isin(wanted, [_id(name) for name in names])
    assert len(ids) >= 3
    assert (found == wanted)[known].mean() > 0.5  # far more than by chance


def test_a_catalogues_scenes_become_a_tile(tmp_path):
    west, north = lonlat(WOLD, -569_950, 60_050)  # of zone 31
    east, south = lonlat(WOLD, -569_890, 60_120)
    bbox = f"{west},{south},{east},{north}"
    world = World()
    world.s2("A", "2023-05-01T10:50:31Z", baseline="03.01")
    world.s2("B", "2023-05-11T10:50:31Z", baseline="05.09")
    world.s1("R", "2023-05-02T05:00:00Z", "descending")
    with world.serving() as service:
        catalogues = service.request(None, tmp_path).catalogues
        file = tmp_path / "catalogues.json"
        file.write_text(json.dumps({n: dataclasses.asdict(c) for n, c in catalogues.items()}))
        asked = ["--stac", "planetary-computer", "--catalogues", file, "--from", "2023-04-01",
                 "--to", "2023-06-01", "--bbox", bbox,
                 "--scenes-dir", tmp_path / "scenes"]  # fmt: skip
        listed = told("build-dpixels", *asked, "--list")
        assert (listed["s2_dates"], listed["s1_dates"]) == (2, 1)
        built = told("build-dpixels", *asked, "--out", tmp_path / "tile")
    assert (built["s2_dates"], built["descending_dates"]) == (2, 1)
    assert np.load(tmp_path / "tile" / "doys.npy").tolist() == [121, 131]
    assert np.load(tmp_path / "tile" / "bands.npy").any()


def _labels(path):
    utm = osr.SpatialReference()
    utm.ImportFromEPSG(4326)
    utm.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    path.unlink(missing_ok=True)
    source = ogr.GetDriverByName("GPKG").CreateDataSource(str(path))
    layer = source.CreateLayer("labels", utm, ogr.wkbPoint)
    layer.CreateField(ogr.FieldDefn("cover", ogr.OFTString))
    for point in label_points(AREA, per_class=6):
        feature = ogr.Feature(layer.GetLayerDefn())
        feature["cover"] = f"class {point.class_id}"
        feature.SetGeometry(ogr.CreateGeometryFromWkt(f"POINT ({point.lon} {point.lat})"))
        layer.CreateFeature(feature)
    return path


def _names(raster):
    band = raster.GetRasterBand(1)
    band.GetDefaultRAT()  # GDAL 3.6 has no category names before it has looked at its side file
    return band.GetCategoryNames()[1:]


def _id(name):
    return int(name[6:])
