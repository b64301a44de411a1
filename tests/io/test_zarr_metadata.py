# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What stores say of themselves; what is not understood is refused by its name."""

import copy
import json
import math

import numpy as np
import pytest

from tessera_plugin.errors import DepthNotOffered, StoreUnusable
from tessera_plugin.io.zarr.metadata import (
    ChunkCodec,
    depths_of,
    parse_array,
    parse_group,
    parse_root,
    years_of,
)
from tests import builders_zarr as build

CODES, SCALES = build.embeddings(64, 64)
B_NAMES = {"time": "time", "band": "band", "y": "northing", "x": "easting"}


def builder(name="utm31", epsg=32631, row=-5000, col=3000, attributes=None, store=None, **options):
    made = build.StoreBuilder(attributes=store)
    return made.group(name, CODES, SCALES, row=row, col=col, epsg=epsg,
                      attributes=attributes, **options)  # fmt: skip


def root_of(made):
    return parse_root("tiny", made.build()[f"{made.prefix}/zarr.json"])


def values_of(made, replaced=None):
    def values(array, count):
        if replaced is not None and array.path.endswith("time"):
            return np.asarray(replaced)
        data = made.files[f"{made.prefix}/{array.key()}"]
        raw = build.numcodecs.Blosc().decode(data)
        return np.frombuffer(raw, array.numpy_dtype)[:count]

    return values


def group_of(made, name="utm31", zone=31, depth=128, year=2024, replaced=None):
    root = root_of(made)
    return parse_group(root, name, zone, depth=depth, year=year, lookup=root.nodes.get,
                       values=values_of(made, replaced))  # fmt: skip


def array_of(made, path="utm31/embeddings"):
    return parse_array("tiny", path, made.nodes[path])


# --- arrays


def test_an_array_in_the_published_layout():
    array = array_of(builder())
    assert array.axes == ("time", "band", "y", "x")
    assert (array.shape, array.outer, array.inner) == (
        (1, 128, 64, 64), (1, 128, 128, 128), (1, 128, 32, 32))  # fmt: skip
    assert array.inner_grid == (1, 1, 4, 4)
    assert array.index_bytes == 16 * 16 + 4
    assert array.chunk_bytes == 128 * 32 * 32
    assert array.codec == ChunkCodec("blosc", "zstd")
    assert array.key(time=7, y=86, x=3) == "utm31/embeddings/c/7/0/86/3"
    scales = array_of(builder(), "utm31/scales")
    assert scales.key(time=7, y=86, x=3) == "utm31/scales/c/7/86/3"
    assert math.isinf(scales.fill)
    assert scales.numpy_dtype == np.dtype("<f4")


def test_dimensions_in_another_order_with_other_names():
    made = builder("31N", order=("time", "y", "x", "band"), names=B_NAMES, at_end=False)
    array = array_of(made, "31N/embeddings")
    assert array.axes == ("time", "y", "x", "band")
    assert array.key(time=1, y=2, x=3) == "31N/embeddings/c/1/2/3/0"
    assert not array.index_at_end


def test_keys_of_the_older_kind():
    made = builder()
    made.nodes["utm31/scales"]["chunk_key_encoding"] = {"name": "v2"}
    assert array_of(made, "utm31/scales").key(time=1, y=2, x=3) == "utm31/scales/1.2.3"


def change(path, value):
    """Return what sets a place in a node, by keys and numbers."""

    def apply(node):
        *way, last = path
        for key in way:
            node = node[key]
        node[last] = value

    return apply


SHARDS = ("codecs", 0, "configuration")
REFUSED_ARRAYS = [
    (change(("data_type",), "float16"), "data type 'float16'"),
    (change(("chunk_grid", "name"), "rectilinear"), "chunk grid 'rectilinear'"),
    (change((*SHARDS, "index_location"), "middle"), "index at 'middle'"),
    (change((*SHARDS, "codecs", 1, "name"), "pcodec"), "codec 'pcodec'"),
    (change((*SHARDS, "codecs", 0, "name"), "transpose"), "codec 'transpose'"),
    (change((*SHARDS, "index_codecs", 1, "name"), "adler32"), "packed with bytes, adler32"),
    (change((*SHARDS, "chunk_shape"), [1, 128, 48, 32]), "don't fill its shards"),
    (change((*SHARDS, "chunk_shape"), [1, 128, 32]), "another shape"),
    (change(("codecs", 0, "name"), "vlen"), "codec 'vlen'"),
    (change(("dimension_names", 1), "wavelength"), "dimension 'wavelength'"),
    (change(("dimension_names",), None), "does not name its dimensions"),
    (change(("dimension_names", 1), "time"), "has the dimensions time, time"),
    (change(("fill_value",), "0x7fc0"), "fill value '0x7fc0'"),
    (change(("chunk_key_encoding", "name"), "hash"), "names its chunks by 'hash'"),
    (change(("storage_transformers",), [{"name": "x"}]), "storage transformers"),
    (change(("node_type",), "group"), "not an array"),
    (change(("chunk_grid",), None), "can't be read"),
    (change(("shape",), ["a"]), "can't be read"),
]


@pytest.mark.parametrize(("apply", "reason"), REFUSED_ARRAYS, ids=[r for _, r in REFUSED_ARRAYS])
def test_an_array_that_is_not_understood_is_refused_by_name(apply, reason):
    node = copy.deepcopy(builder().nodes["utm31/embeddings"])
    apply(node)
    with pytest.raises(StoreUnusable) as caught:
        parse_array("tiny", "utm31/embeddings", node)
    assert reason in caught.value.reason
    assert "utm31/embeddings" in caught.value.reason
    assert caught.value.store == "tiny"


def test_shards_that_are_packed_again_are_refused():
    node = builder().nodes["utm31/embeddings"]
    node["codecs"].append({"name": "gzip"})
    with pytest.raises(StoreUnusable, match="packs its shards again with 'gzip'"):
        parse_array("tiny", "utm31/embeddings", node)


# --- root


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "can't be read"),
        (b"[1]", "not of Zarr version 3"),
        (b'{"zarr_format": 2}', "not of Zarr version 3"),
        (b'{"zarr_format": 3, "node_type": "array"}', "not a group"),
        ((b'{"zarr_format": 3, "node_type": "group", "attributes": '
          b'{"geoemb:quantization": {"method": "rvq"}}}'), "quantisation 'rvq'"),
        (b'{"zarr_format": 3, "node_type": "group", "consolidated_metadata": {"metadata": []}}',
         "consolidated metadata"),
    ],
)  # fmt: skip
def test_a_root_that_is_not_understood_is_refused(data, reason):
    with pytest.raises(StoreUnusable, match=reason):
        parse_root("tiny", data)


def test_groups_of_a_zone_by_either_name():
    root = root_of(builder())
    assert root.group_names(31) == ("utm31",)
    assert root.group_names(30) == ()
    assert root.some_zone() == "utm31"
    made = builder("31N")
    made.group("31S", CODES, SCALES, row=0, col=3000, epsg=32731)
    assert root_of(made).group_names(31) == ("31N", "31S")
    made.consolidated = False
    assert root_of(made).group_names(31) == ("utm31", "31N", "31S")


# --- groups


def test_a_group_lies_on_the_zone_grid():
    group = group_of(builder(row=-5790, col=3025))
    assert (group.zone, group.row, group.col, group.shape) == (31, -5790, 3025, (64, 64))
    assert group.cell == (32, 32)
    assert not group.nan_is_nodata


def test_the_south_by_negative_northings_and_by_its_own_epsg_is_the_same_place():
    north = group_of(builder(row=123, col=3025))
    south = group_of(builder("31S", 32731, 123, 3025), "31S")
    assert (north.row, north.col) == (south.row, south.col) == (123, 3025)


def test_without_a_transform_the_coordinates_tell():
    group = group_of(builder(row=-5790, col=3025, transform=False))
    assert (group.row, group.col) == (-5790, 3025)


def test_nan_is_nodata_where_the_store_says_so():
    said = {"geotessera:mask_source": "source_nodata"}
    assert group_of(builder(attributes=said)).nan_is_nodata
    assert group_of(builder(store=said)).nan_is_nodata


def test_years_are_those_of_the_time_coordinate():
    made = builder(years=(2015, 2019, 2024), time=2)
    assert group_of(made).time == 2
    assert group_of(made, year=2015).time == 0
    assert group_of(made, year=2017) is None
    root = root_of(made)
    assert years_of(root, "utm31", root.nodes.get, values_of(made)) == (2015, 2019, 2024)


@pytest.mark.parametrize(
    ("units", "numbers", "years"),
    [
        ("", [2023, 2024], (2023, 2024)),
        ("years since 2000-01-01", [17, 24], (2017, 2024)),
        ("days since 1970-01-01", [17167, 19723], (2017, 2024)),
        ("seconds since 1970-01-01 00:00:00", [1704067200], (2024,)),
        ("days since 2017-01-01T00:00:00", [0, 365], (2017, 2018)),
    ],
)
def test_years_in_units(units, numbers, years):
    made = builder(years=years)
    made.nodes["utm31/time"]["attributes"]["units"] = units
    root = root_of(made)
    assert years_of(root, "utm31", root.nodes.get, values_of(made, numbers)) == years


@pytest.mark.parametrize(
    ("units", "numbers"), [("", [0, 1]), ("", [2024, 2024]), ("", [math.nan]), ("", [17167]),
                           ("days since 1970-01-01", [10**12])]
)  # fmt: skip
def test_what_is_no_year_is_refused(units, numbers):
    made = builder(years=tuple(range(2000, 2000 + len(numbers))))
    made.nodes["utm31/time"]["attributes"]["units"] = units
    root = root_of(made)
    with pytest.raises(StoreUnusable, match="holds no years"):
        years_of(root, "utm31", root.nodes.get, values_of(made, numbers))


def test_depths_are_what_the_store_lists():
    offered = [{"dimensions": 4, "array": "embeddings_d4"}, {"dimensions": 16,
               "array": "embeddings_d16"}, {"dimensions": 64, "array": "not_there"}]  # fmt: skip
    made = builder(depths=(4, 16), store={"geoemb:depths": offered})
    root = root_of(made)
    assert sorted(depths_of(root, "utm31", root.nodes.get)) == [4, 16, 128]
    group = group_of(made, depth=16)
    assert group.codes.path == "utm31/embeddings_d16"
    assert group.cell == (64, 64)
    assert group.scales.inner == (1, 32, 32)
    with pytest.raises(DepthNotOffered) as caught:
        group_of(made, depth=64)
    assert caught.value.depths == (4, 16, 128)
    assert "64" in str(caught.value)


def drop(path):
    return lambda made: made.nodes.pop(path)


def said(path, way, value):
    def apply(made):
        change(way, value)(made.nodes[path])

    return apply


ATTRIBUTES = ("utm31", ("attributes", "spatial:transform"))
REFUSED_GROUPS = [
    (drop("utm31/scales"), "it has no utm31/scales"),
    (drop("utm31/time"), "utm31 has no time coordinate"),
    (said("utm31", ("attributes", "proj:code"), "EPSG:32632"), "CRS EPSG:32632"),
    (said("utm31", ("attributes", "proj:code"), "EPSG:3857"), "CRS EPSG:3857"),
    (said("utm31", ("attributes", "proj:code"), ""), "not that of UTM zone 31"),
    (said(*ATTRIBUTES, [10, 0, 533169.47, 0, -10, 718493.65]), "off the 10 m grid"),
    (said(*ATTRIBUTES, [20, 0, 0, 0, -20, 0]), "pixels of 20 x -20 m"),
    (said(*ATTRIBUTES, [10, 0, 0, 0, 10, 0]), "pixels of 10 x 10 m"),
    (said(*ATTRIBUTES, [10, 0, 0]), "transform of utm31 can't be read"),
    (said(*ATTRIBUTES, None), "neither a transform nor coordinates"),
    (said("utm31/embeddings", ("data_type",), "uint8"), "data type 'uint8'"),
    (said("utm31/embeddings", ("fill_value",), 1), "fill value 1"),
    (said("utm31/embeddings", (*SHARDS, "chunk_shape"), [1, 64, 32, 32]), "spreads its bands"),
    (said("utm31/embeddings", ("shape",), [1, 64, 64, 64]), "has 64 bands, not 128"),
    (said("utm31/scales", ("data_type",), "float64"), "data type 'float64'"),
    (said("utm31/scales", ("shape",), [1, 64, 65]), "another shape than"),
    (said("utm31/scales", ("chunk_grid", "configuration", "chunk_shape"), [1, 64, 64]),
     "other shards than"),
    (said("utm31/scales", ("codecs",), [{"name": "bytes"}]), "has no shards"),
    (said("utm31", ("node_type",), "array"), "utm31 is not a group"),
]  # fmt: skip


@pytest.mark.parametrize(("apply", "reason"), REFUSED_GROUPS, ids=[r for _, r in REFUSED_GROUPS])
def test_a_group_that_is_not_understood_is_refused_by_name(apply, reason):
    made = builder()
    made.nodes = copy.deepcopy(made.nodes)
    apply(made)
    with pytest.raises(StoreUnusable) as caught:
        group_of(made)
    assert reason in caught.value.reason


def test_chunks_of_scales_must_fit_those_of_codes():
    made = builder()
    node = made.nodes["utm31/scales"]
    node["chunk_grid"]["configuration"]["chunk_shape"] = [1, 96, 96]
    node["codecs"][0]["configuration"]["chunk_shape"] = [1, 48, 48]
    codes = made.nodes["utm31/embeddings"]
    codes["chunk_grid"]["configuration"]["chunk_shape"] = [1, 128, 96, 96]
    with pytest.raises(StoreUnusable, match="chunks that don't fit"):
        group_of(made)


def test_years_that_are_added_later_do_not_make_another_layout_but_all_else_does():
    first = group_of(builder(years=(2024,)))
    assert group_of(builder(years=(2024, 2025))).identity == first.identity
    others = [
        group_of(builder(years=(2023, 2024), time=1)),
        group_of(builder(row=-5001)),
        group_of(builder(inner=64)),
        group_of(builder(packer=build.Packer("zstd"))),
        group_of(builder(store={"geoemb:build_version": "2"})),
        group_of(builder(attributes={"geotessera:mask_source": "source_nodata"})),
    ]
    identities = {group.identity for group in [first, *others]}
    assert len(identities) == 7


def test_metadata_survive_json():
    made = builder()
    assert json.loads(json.dumps(made.nodes)) == made.nodes
