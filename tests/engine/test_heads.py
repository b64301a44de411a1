# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
import io
import json
import tracemalloc
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from tessera_plugin.engine.accuracy import assess
from tessera_plugin.engine.head_library import list_heads, look
from tessera_plugin.engine.heads import Head, fit_instant, load, save, storage
from tessera_plugin.engine.heads.instant import within_class_shrinkage
from tessera_plugin.errors import HeadMismatch, HeadUnreadable, NotWritable
from tessera_plugin.values import LandClass
from tests.builders import CLASSES, random_embeddings, random_head


def gaussians(counts, depth=128, seed=0):
    """Rows of classes with one covariance of strongly correlated dimensions."""
    random = np.random.default_rng(seed)
    mixing = random.normal(0, 1, (depth, depth)) * np.geomspace(1, 0.05, depth)
    y = np.repeat(np.arange(len(counts)), counts)
    centres = random.normal(0, 3, (len(counts), depth))
    x = centres[y] + random.normal(0, 1, (len(y), depth)) @ mixing.T
    return x.astype(np.float32), y


def probabilities(weights, x):
    z = x.astype(np.float64) @ weights["W"] + weights["b"]
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def weighted_residuals(x, y, priors):
    counts = np.bincount(y)
    means = np.array([x[y == k].mean(axis=0, dtype=float) for k in range(len(counts))])
    return (x - means[y]) * np.sqrt((priors / counts)[y] * len(y))[:, None]


# --- instant


@pytest.mark.parametrize("counts", [(8, 8, 8), (200, 40, 5), (1, 1, 30), (3000, 20_000, 10)])
@pytest.mark.parametrize("depth", [16, 128])
def test_instant_is_scikit_learns_discriminant(counts, depth):
    x, y = gaussians(counts, depth)
    shrinkage = within_class_shrinkage(x, y)
    equal = np.full(len(counts), 1 / len(counts))
    oracle = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage, priors=equal)
    oracle.fit(x.astype(np.float64), y)
    fresh = gaussians((50, 50, 50), depth)[0]
    ours = probabilities(fit_instant(x, y), fresh)
    np.testing.assert_allclose(ours, oracle.predict_proba(fresh), atol=2e-4)
    np.testing.assert_array_equal(ours.argmax(axis=1), oracle.predict(fresh))


@pytest.mark.parametrize("shrinkage", [0.0, 0.2, 1.0])
def test_given_priors_and_shrinkage_are_used(shrinkage):
    x, y = gaussians((50, 100, 60), 10)
    priors = np.array([0.7, 0.2, 0.1])
    oracle = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage, priors=priors)
    oracle.fit(x.astype(np.float64), y)
    ours = probabilities(fit_instant(x, y, priors, shrinkage), x)
    np.testing.assert_allclose(ours, oracle.predict_proba(x), atol=1e-4)


@pytest.mark.parametrize("counts", [(8, 8, 8), (200, 40, 5), (9000, 500)])
def test_shrinkage_is_that_of_ledoit_and_wolf(counts):
    x, y = gaussians(counts)
    equal = np.full(len(counts), 1 / len(counts))
    expected = ledoit_wolf(weighted_residuals(x, y, equal), assume_centered=True)[1]
    assert within_class_shrinkage(x, y) == pytest.approx(expected, rel=1e-6)
    assert 0 < expected < 1


def test_eight_labels_per_class_in_128_dimensions_are_enough():
    x, y = gaussians((1000,) * 6, seed=3)
    few = np.concatenate([np.flatnonzero(y == k)[:8] for k in range(6)])
    weights = fit_instant(x[few], y[few])
    assert np.mean(probabilities(weights, x).argmax(axis=1) == y) > 0.95


def test_one_pixel_per_class_gives_the_nearest_mean():
    x = np.array([[0, 0], [4, 0], [0, 4]], np.float32)
    weights = fit_instant(x, np.arange(3))
    random = np.random.default_rng(0).uniform(-2, 6, (200, 2))
    nearest = ((random[:, None] - x) ** 2).sum(axis=2).argmin(axis=1)
    np.testing.assert_array_equal(probabilities(weights, random).argmax(axis=1), nearest)


def test_a_class_without_a_row_and_bad_priors_are_refused():
    x, y = gaussians((5, 5, 5), 4)
    with pytest.raises(ValueError, match="every class"):
        fit_instant(x, np.where(y == 1, 2, y))
    for priors in ([0.5, 0.5], [0.5, 0.5, 0.5], [1.0, 0.0, 0.0]):
        with pytest.raises(ValueError, match="priors"):
            fit_instant(x, y, np.array(priors))


# --- prediction


def reference(head, codes, scales):
    """The forward pass in float64, written plainly."""
    x = (codes * scales[:, None].astype(np.float64) - head.mean) / head.std
    names = sorted(name for name in head.weights if name.startswith("W"))
    for number, name in enumerate(names):
        x = x @ head.weights[name].astype(np.float64) + head.weights["b" + name[1:]]
        if number < len(names) - 1:
            x = np.maximum(x, 0)
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("hidden", [(), (64,), (32, 16)])
def test_probabilities_are_those_of_the_plain_formula(hidden):
    head = random_head(hidden)
    codes, scales = random_embeddings(40_000)  # several chunks, the last one short
    found = head.probabilities(codes, scales)
    assert found.dtype == np.float32
    assert found.shape == (40_000, 3)
    expected = reference(head, codes, scales)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert np.mean(found.argmax(axis=1) == expected.argmax(axis=1)) > 0.9999


@pytest.mark.parametrize("hidden", [(), (64,), (32, 16)])
def test_the_best_class_alone_is_what_the_probabilities_say(hidden):
    head = replace(random_head(hidden), temperature=1.7)
    codes, scales = random_embeddings(40_000)
    index, percent = head.best(codes, scales)
    expected = head.probabilities(codes, scales)
    np.testing.assert_array_equal(index, expected.argmax(axis=1))
    np.testing.assert_allclose(percent, 100 * expected.max(axis=1), atol=0.51)
    same = replace(head, weights={**head.weights, **{n: 0 * w for n, w in head.weights.items()}})
    assert not same.best(codes, scales)[0].any()  # of equals the first
    with pytest.raises(HeadMismatch):
        head.best(codes[:, :64], scales)


@pytest.mark.parametrize("hidden", [(), (8,)])
def test_invalid_pixels_give_nan_rows_and_touch_no_other(hidden):
    head = random_head(hidden)
    codes, scales = random_embeddings(50)
    holes = np.array([0, 7, 49])
    broken = scales.copy()
    broken[holes] = [np.nan, np.inf, np.nan]
    with np.errstate(all="raise", under="ignore"):
        found = head.probabilities(codes, broken)
    assert np.isnan(found[holes]).all()
    others = np.setdiff1d(np.arange(50), holes)
    np.testing.assert_array_equal(found[others], head.probabilities(codes, scales)[others])
    assert head.probabilities(codes[:0], scales[:0]).shape == (0, 3)


def test_huge_values_do_not_overflow():
    head = random_head(hidden=(8,))
    codes = np.full((3, 128), 127, np.int8)
    found = head.probabilities(codes, np.full(3, 1e6, np.float32))
    assert np.isfinite(found).all()
    assert np.allclose(found.sum(axis=1), 1)


def test_a_head_refuses_another_dataset_or_depth_and_names_both():
    head = random_head()
    head.check("1.1-cambridge", 128)
    with pytest.raises(HeadMismatch) as caught:
        head.check("1.0-vultr", 128)
    assert "1.1-cambridge" in str(caught.value)
    assert "1.0-vultr" in str(caught.value)
    with pytest.raises(HeadMismatch, match=r"128 dimensions.*64 dimensions"):
        head.check("1.1-cambridge", 64)
    with pytest.raises(HeadMismatch):
        head.probabilities(*random_embeddings(3, depth=64))


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "forest"},
        {"classes": CLASSES[:1]},
        {"classes": (*CLASSES[:2], CLASSES[0])},
        {"classes": (*CLASSES[:2], LandClass(0, "nodata", "#000000"))},
        {"classes": (*CLASSES, LandClass(4, "more", "#000000"))},
        {"depth": 64},
        {"std": np.zeros(128, np.float32)},
        {"mean": np.full(128, np.nan, np.float32)},
        {"mean": np.zeros(128)},
        {"weights": {"W1": np.zeros((128, 3), np.float32)}},
        {"weights": {"W": np.zeros((128, 3), np.float32), "b": np.zeros(4, np.float32)}},
        {"weights": {"W": np.zeros((64, 3), np.float32), "b": np.zeros(3, np.float32)}},
        {"weights": {"W": np.full((128, 3), np.inf, np.float32), "b": np.zeros(3, np.float32)}},
    ],
)
def test_a_head_that_does_not_fit_together_is_never_born(changes):
    good = random_head()
    with pytest.raises(ValueError):
        Head(**{**vars(good), **changes})


def test_the_id_is_of_what_decides_the_predictions():
    head, renamed = random_head(), random_head(classes=[*CLASSES[:2], LandClass(3, "x", "#000000")])
    assert head.id == renamed.id == random_head(years=(2023,)).id
    assert len({head.id, random_head(seed=1).id, random_head(hidden=(4,)).id}) == 3


# --- storage


def full_head(hidden=(16, 8)):
    accuracy = assess(np.array([1, 2, 3, 3]), np.array([1, 2, 3, 1]), CLASSES)
    return random_head(
        hidden,
        accuracy=accuracy,
        training={"epochs": 12, "refitted": True, "loss_curve": [[1, 0.5, float("nan")]]},
        seed=0,
        versions={"numpy": np.__version__},
        classes=(*CLASSES[:2], LandClass(300, "Čierna hora «ö» 森", "#AbCdEf")),
    )


@pytest.mark.parametrize("hidden", [(), (16,), (16, 8)])
def test_a_saved_head_is_the_same_bit_for_bit(tmp_path, hidden):
    head = full_head(hidden)
    path = str(tmp_path / "map ö.tessera-head")
    save(head, path)
    again = load(path)
    for name in ("mean", "std"):
        assert getattr(again, name).tobytes() == getattr(head, name).tobytes()
    assert {n: w.tobytes() for n, w in again.weights.items()} == {
        n: w.tobytes() for n, w in head.weights.items()
    }
    assert again.training["loss_curve"] == [[1, 0.5, None]]
    for name in (
        "id",
        "kind",
        "classes",
        "dataset",
        "depth",
        "years",
        "accuracy",
        "seed",
        "versions",
    ):
        assert getattr(again, name) == getattr(head, name), name
    codes, scales = random_embeddings(100)
    assert (
        again.probabilities(codes, scales).tobytes() == head.probabilities(codes, scales).tobytes()
    )
    assert [each.name for each in tmp_path.iterdir()] == ["map ö.tessera-head"]


def test_equal_heads_are_equal_files(tmp_path):
    save(full_head(), str(tmp_path / "a"))
    save(full_head(), str(tmp_path / "b"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_head_that_can_not_be_written_says_so_and_keeps_the_old_one(tmp_path):
    with pytest.raises(NotWritable):
        save(full_head(), str(tmp_path / "missing" / "head"))
    (tmp_path / "folder").mkdir()
    with pytest.raises(NotWritable):
        save(full_head(), str(tmp_path / "folder"))
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


def repacked(path, tmp_path, facts=None, arrays=None, drop=(), extra=()):
    """A copy of a head file with some of it changed."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    if facts is not None:
        members["head.json"] = json.dumps({**json.loads(members["head.json"]), **facts}).encode()
    if arrays is not None:
        with zipfile.ZipFile(io.BytesIO(members["weights.npz"])) as inner:
            files = {name: inner.read(name) for name in inner.namelist()}
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as inner:
            for name, content in {**files, **arrays}.items():
                if content is not None:
                    inner.writestr(name, content)
        members["weights.npz"] = buffer.getvalue()
    out = tmp_path / "changed"
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in [*members.items(), *extra]:
            if name not in drop:
                archive.writestr(name, content)
    return str(out)


def npy(array, **options):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, **options)
    return buffer.getvalue()


def lying_header(shape):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue() + b"\0" * 64


CHANGES = {
    "later version": ({"facts": {"format_version": 2}}, "version 2"),
    "another format": ({"facts": {"format": "other"}}, "does not describe a head"),
    "no classes": ({"facts": {"classes": "forest"}}, "classes"),
    "class without id": ({"facts": {"classes": [{"name": "a", "color": "#000000"}]}}, "id is missing"),
    "class id as text": (
        {"facts": {"classes": [{"id": "1", "name": "a", "color": "#000000"}] * 3}}, "id is '1'"),
    "bad colour": (
        {"facts": {"classes": [{"id": 1, "name": "a", "color": "red"}] * 3}}, "colour 'red'"),
    "other kind": ({"facts": {"kind": "pickle"}}, "pickle"),
    "depth true": ({"facts": {"depth": True}}, "depth"),
    "years": ({"facts": {"years": ["2024"]}}, "years"),
    "accuracy": ({"facts": {"accuracy": {"class_ids": [1]}}}, "missing"),
    "no weights": ({"drop": ["weights.npz"]}, "weights.npz is missing"),
    "no facts": ({"drop": ["head.json"]}, "head.json is missing"),
    "no bias": ({"arrays": {"b1.npy": None}}, "W1"),
    "no mean": ({"arrays": {"mean.npy": None}}, "mean is missing"),
    "wrong shape": ({"arrays": {"b1.npy": npy(np.zeros(5, np.float32))}}, "layer 1"),
    "float64": ({"arrays": {"mean.npy": npy(np.zeros(128))}}, "float64"),
    "objects": ({"arrays": {"mean.npy": npy(np.array([{}] * 128), allow_pickle=True)}}, "object"),
    "fortran": ({"arrays": {"W1.npy": npy(np.asfortranarray(np.ones((128, 16), "f4")))}}, "C order"),
    "a terabyte": ({"arrays": {"W1.npy": lying_header((2**19, 2**19))}}, "bytes for the shape"),
    "not an array": ({"arrays": {"W1.npy": b"hello"}}, ""),
    "path outside": ({"arrays": {"../../W1.npy": npy(np.zeros(3, np.float32))}}, "holds"),
    "not a number": ({"arrays": {"b1.npy": npy(np.full(16, np.nan, "f4"))}}, "finite"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_is_not_what_it_should_be_is_refused_with_a_reason(tmp_path, change):
    save(full_head(), str(tmp_path / "head"))
    options, reason = CHANGES[change]
    path = repacked(str(tmp_path / "head"), tmp_path, **options)
    with pytest.raises(HeadUnreadable) as caught:
        load(path)
    assert reason in caught.value.reason
    assert caught.value.path == path


@pytest.mark.parametrize(
    "name", ["id", "kind", "classes", "dataset", "depth", "years", "training", "accuracy", "seed",
             "versions"],
)  # fmt: skip
def test_a_missing_fact_is_named(tmp_path, name):
    save(full_head(), str(tmp_path / "head"))
    path = repacked(str(tmp_path / "head"), tmp_path)
    with zipfile.ZipFile(path) as archive:
        facts = json.loads(archive.read("head.json"))
        weights = archive.read("weights.npz")
    del facts[name]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("head.json", json.dumps(facts))
        archive.writestr("weights.npz", weights)
    with pytest.raises(HeadUnreadable, match=f"{name} is missing"):
        load(path)


def test_files_that_are_no_head_at_all(tmp_path):
    for content in (b"", b"PK\x03\x04", b"hello" * 100):
        (tmp_path / "head").write_bytes(content)
        with pytest.raises(HeadUnreadable):
            load(str(tmp_path / "head"))
    with pytest.raises(HeadUnreadable, match="no such file"):
        load(str(tmp_path / "absent"))
    with pytest.raises(HeadUnreadable):
        load(str(tmp_path))


def test_damaged_bytes_never_pass_and_never_crash(tmp_path):
    path = tmp_path / "head"
    save(full_head(), str(path))
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(whole)
        kind = random.integers(3)
        if kind == 0:
            broken = broken[: random.integers(len(broken))]
        else:
            for at in random.integers(0, len(broken), 1 + 20 * kind):
                broken[at] = random.integers(256)
        path.write_bytes(bytes(broken))
        try:
            head = load(str(path))
        except HeadUnreadable:
            continue
        # only bytes of the containers that decide nothing may differ
        assert head.weights["W1"].tobytes() == full_head().weights["W1"].tobytes()


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "head"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("head.json", b" " * (9 << 20))
        archive.writestr("weights.npz", b"")
    with pytest.raises(HeadUnreadable, match="larger than"):
        load(str(path))


def zeros(count):
    """A .npy file of so many zeros."""
    buffer = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + bytes(4 * count)


def deflated(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def bomb(folder, arrays):
    """A small head file whose arrays unpack to a lot."""
    save(full_head(), str(folder / "good.head"))
    with zipfile.ZipFile(folder / "good.head") as archive:
        facts = archive.read("head.json")
    content = deflated({"head.json": facts, "weights.npz": deflated(arrays)})
    (folder / "bomb.head").write_bytes(content)
    return str(folder / "bomb.head")


@pytest.mark.parametrize("names", [("W1", "W2", "W3"), ("W1", "b1", "X0")])
def test_arrays_that_unpack_to_a_lot_in_sum_are_not_unpacked(tmp_path, names):
    path = bomb(tmp_path, {f"{name}.npy": zeros(2 << 20) for name in names})
    tracemalloc.start()
    with pytest.raises(HeadUnreadable, match=r"larger than|holds") as caught:
        load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 << 20, caught.value.reason


def test_a_list_of_heads_shows_the_others_beside_one_that_takes_all_memory(tmp_path, monkeypatch):
    path = bomb(tmp_path, {f"W{number}.npy": zeros(1 << 20) for number in range(1, 4)})
    found = {each.path: each for each in list_heads(str(tmp_path))}
    assert found[str(tmp_path / "good.head")].head is not None
    assert found[path].head is None
    assert "larger than" in found[path].problem

    def no_room(*_):
        raise MemoryError

    monkeypatch.setattr(storage, "_array", no_room)
    assert [each.head for each in list_heads(str(tmp_path))] == [None, None]
    assert "more memory than there is" in look(str(tmp_path / "good.head")).problem


def test_a_head_that_was_packed_again_is_read(tmp_path):
    save(full_head(), str(tmp_path / "a"))
    with zipfile.ZipFile(tmp_path / "a") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(io.BytesIO(members["weights.npz"])) as inner:
        members["weights.npz"] = deflated({name: inner.read(name) for name in inner.namelist()})
    (tmp_path / "b").write_bytes(deflated(members))
    assert load(str(tmp_path / "b")).id == full_head().id
