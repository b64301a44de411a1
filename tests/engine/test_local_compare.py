# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A person's own embeddings beside published ones of the same place: the sample, copied and changed."""

import json

import numpy as np
import pytest

from tessera_plugin.__main__ import main
from tessera_plugin.engine import embeddings, grid
from tessera_plugin.engine.compare_spaces import SPOT_PX, SpacesRequest, compare_spaces
from tessera_plugin.errors import UnknownDataset, UnknownYear
from tessera_plugin.io import local
from tessera_plugin.values import Access, Extent, NetworkSettings, Window
from tests.archive.sample import SampleArchive
from tests.local_builders import write_dataset
from tests.servers import RangeServer

QUICK = NetworkSettings(backoff_s=0.01, attempts=2, connect_timeout_s=5, read_timeout_s=5)
HERE = Extent(0.120, 52.190, 0.124, 52.193)
PUBLISHED = "1.1-cambridge"


@pytest.fixture(scope="module")
def server():
    with RangeServer(SampleArchive()) as running:
        yield running


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def published(server, kept):
    """What is published here and a pixel around it: window, codes, scales."""
    (window,) = grid.windows_of(HERE)
    wide = Window(window.zone, window.row - 1, window.col - 1, window.height + 2, window.width + 2)
    source = embeddings.open_source(PUBLISHED, 2024, Access(str(kept), server.url, network=QUICK))
    assert not source.fetch([wide], lambda *_: None).failed
    return (wide, *source.read(wide))


def quantised(values):
    largest = np.abs(values).max(axis=-1)
    scales = np.where(largest > 0, largest / 127, np.nan).astype(np.float32)
    return np.rint(np.nan_to_num(values / scales[..., None])).astype(np.int8), scales


def compared(server, kept, folder, **changes):
    dataset = local.dataset_of(folder)
    access = Access(str(kept), server.url, network=QUICK, stores=(dataset,))
    facts = {"dataset": dataset.key, "other": PUBLISHED, "year": 2024, "extent": HERE, **changes}
    return compare_spaces(SpacesRequest(**facts, access=access))


def own(tmp_path, window, codes, scales, depth=128):
    seen = np.full((*window.shape, 3), 30, np.uint16)
    return write_dataset(tmp_path, window=window, pixels=(codes, scales, seen), year=2024,
                         depth=depth)  # fmt: skip


def test_the_same_embeddings(server, kept, published, tmp_path):
    window, codes, scales = published
    folder = own(tmp_path, window, codes, scales * np.float32(0.5))
    found = compared(server, kept, folder)
    assert found.looks_same
    valid = [np.isfinite(scales[spot.slices_in(window)]).sum() for spot in found.windows]
    assert found.pixels == sum(valid) > 0.5 * len(valid) * SPOT_PX**2
    assert (found.depth, found.depths, found.shift) == (128, (128, 128), None)
    assert found.cosine_median == pytest.approx(1)
    assert found.cosine_low == pytest.approx(1)
    assert (found.equal_codes, found.relative_scale) == (1, pytest.approx(0.5))
    assert found.failed == ()
    assert found.sentence() == (
        f"{local.dataset_of(folder).key} and {PUBLISHED} in {found.pixels:,} pixels of 2024: the "
        "median cosine is 1.000 (5 % are below 1.000), 100 % of the codes are equal, and the first "
        "is 0.50 times as long. They look like the same embedding space."
    )
    # the other way round it is the same
    back = compared(server, kept, folder, dataset=PUBLISHED, other=local.dataset_of(folder).key)
    assert back.relative_scale == pytest.approx(2)
    assert back.windows == found.windows


@pytest.mark.parametrize(
    ("noise", "verdict", "low", "high"),
    [(0.1, "the same embedding space", 0.98, 1.0), (0.8, "are related, but", 0.6, 0.95)],
)
def test_the_numbers_are_those_of_a_slow_way(
    server, kept, published, tmp_path, noise, verdict, low, high
):
    window, codes, scales = published
    values = codes * scales[..., None]
    spread = noise * np.nanstd(values)
    changed = values + np.random.default_rng(1).normal(0, spread, values.shape)
    mine = quantised(np.where(np.isfinite(scales)[..., None], changed, 0))
    found = compared(server, kept, own(tmp_path, window, *mine))
    cosines, equal = [], []
    for spot in found.windows:
        rows, cols = spot.slices_in(window)
        for row, col in np.ndindex(*spot.shape):
            at = rows.start + row, cols.start + col
            if np.isfinite(scales[at]):
                a, b = mine[0][at].astype(float), codes[at].astype(float)
                cosines.append(a @ b / np.sqrt((a @ a) * (b @ b)))
                equal.append((mine[0][at] == codes[at]).mean())
    assert found.pixels == len(cosines)
    assert found.cosine_median == pytest.approx(np.median(cosines), abs=1e-5)
    assert found.cosine_low == pytest.approx(np.percentile(cosines, 5), abs=1e-5)
    assert found.equal_codes == pytest.approx(np.mean(equal))
    assert low < found.cosine_median < high
    assert verdict in found.sentence()


def test_another_space(server, kept, published, tmp_path):
    window, codes, scales = published
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(128, 128)))[0]
    mine = quantised(np.nan_to_num(codes * scales[..., None]) @ turn)
    found = compared(server, kept, own(tmp_path, window, *mine))
    assert not found.looks_same
    assert abs(found.cosine_median) < 0.3
    assert found.shift is None
    assert "look like different embedding spaces" in found.sentence()


def test_less_depth_is_compared_by_what_both_have(server, kept, published, tmp_path):
    window, codes, scales = published
    found = compared(server, kept, own(tmp_path, window, codes[..., :64], scales, 64))
    assert (found.depth, found.depths) == (64, (64, 128))
    assert found.looks_same
    assert "have 64 and 128 dimensions: the first 64 were compared" in found.sentence()


@pytest.mark.parametrize(("by", "way"), [((0, 1), "1 pixel east"), ((-1, 0), "1 pixel north")])
def test_a_copy_that_is_displaced(server, kept, published, tmp_path, by, way):
    window, codes, scales = published
    random = np.random.default_rng(3)  # neighbours are alike in the sample, these are not
    codes = random.integers(-127, 128, codes.shape).astype(np.int8)
    scales = np.full(scales.shape, 0.01, np.float32)
    first = own(tmp_path / "one", window, codes, scales)
    moved = [np.roll(each, by, axis=(0, 1)) for each in (codes, scales)]
    seen = np.full((*window.shape, 3), 30, np.uint16)
    second = write_dataset(tmp_path / "two", "another", window=window, year=2024,
                           pixels=(*moved, seen))  # fmt: skip
    datasets = [local.dataset_of(each) for each in (first, second)]
    access = Access(str(kept), "http://127.0.0.1:9", network=QUICK, stores=tuple(datasets))
    found = compare_spaces(SpacesRequest(datasets[0].key, datasets[1].key, 2024, HERE, access))
    assert found.shift == by
    assert f"{datasets[1].key} seems to lie {way} of its place." in found.sentence()


def test_nothing_to_compare(server, kept, published, tmp_path):
    window, codes, scales = published
    folder = own(tmp_path, window, np.zeros_like(codes), scales)
    found = compared(server, kept, folder)
    assert (found.pixels, found.looks_same, found.shift) == (0, False, None)
    assert "No pixel could be compared" in found.sentence()
    with pytest.raises(UnknownYear):
        compared(server, kept, folder, year=2023)
    with pytest.raises(UnknownDataset):
        compared(server, kept, folder, other="1.1-nobody")


def test_the_command(server, kept, published, tmp_path, capsys):
    window, codes, scales = published
    folder = own(tmp_path, window, codes, scales)
    bbox = f"{HERE.west},{HERE.south},{HERE.east},{HERE.north}"
    status = main(["compare", "--store", str(folder), "--with", PUBLISHED, "--year", "2024",
                   "--bbox", bbox, "--archive", server.url, "--cache", str(kept), "--json",
                   "--dataset", local.dataset_of(folder).key])  # fmt: skip
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (status, facts["looks_same"], facts["equal_codes"]) == (0, True, 1)
