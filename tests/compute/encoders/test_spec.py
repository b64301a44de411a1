# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What an encoder file says about itself, as text and back; and what is refused."""

import dataclasses
import json

import pytest

from tessera_plugin.compute.worker.encoders.releases import RULES, inputs_of
from tessera_plugin.compute.worker.encoders.spec import (
    DAY_OF_YEAR,
    MAX_TEXT,
    SCHEMA,
    EncoderSpec,
    Loss,
    Output,
    Parity,
    SelfTest,
    Source,
    Work,
    spec_from_text,
    spec_to_text,
)


def a_spec(generation="1.1", data_source="aws", **changed):
    rules = RULES[generation]
    s2, s1 = inputs_of(rules.scaling[data_source])
    pixel = SelfTest(
        bands=(((1, 2, 3, 4, 5, 6, 7, 8, 9, 10),),),
        masks=((1,),),
        doys=(366,),
        ascending=(),
        ascending_doys=(),
        descending=(((5500, 3000),),),
        descending_doys=(12,),
        expected=((0.25, -1.0),),
        tolerance=1e-3,
    )
    values = {
        "schema": SCHEMA,
        "name": "tessera-1.1-aws",
        "generation": generation,
        "size": "",
        "data_source": data_source,
        "space": "tessera-1.1-aws-0123456789ab",
        "heads": 4,
        "precision": "float32",
        "loss": None,
        "is_fast_preview": False,
        "gflop_per_px": Work(0.25, 0.75, 1e-3, 0.75, 1e-3),
        "is_order_sensitive": True,
        "s2": s2,
        "s1": s1,
        "day_of_year": DAY_OF_YEAR,
        "sampling": rules.sampling,
        "output": Output("output", 3, 2, (), is_layer_normalised=False),
        "quantisation": rules.quantisation,
        "source": Source("a.pt", "0" * 64, "CC0-1.0", "test"),
        "parity": Parity(1e-6, 5e-5, 0.5, ("random",)),
        "self_test": pixel,
    }
    return EncoderSpec(**{**values, **changed})


LOSS = {
    "cosine_mean": 0.9999,
    "cosine_min": 0.9995,
    "error_of_spread": 0.02,
    "pixels": 256,
    "batch_difference": 0.0,
    "calibration": "a folder",
}


def reduced(**worse):
    loss = Loss(**{**LOSS, **worse})
    return a_spec(precision="int8", loss=loss, is_fast_preview=bool(worse))


def test_a_loss_survives_as_text_and_decides_what_is_a_preview():
    for spec in (reduced(), reduced(cosine_min=0.9989), reduced(batch_difference=1.1e-5)):
        assert spec_from_text(spec_to_text(spec)) == spec
        plain = json.loads(spec_to_text(spec))
        plain["is_fast_preview"] = not spec.is_fast_preview
        with pytest.raises(ValueError, match="does not follow"):
            spec_from_text(json.dumps(plain))
    assert spec_from_text(spec_to_text(a_spec())).loss is None


def test_work_grows_with_both_lengths():
    work = Work(1.0, 0.5, 0.01, 0.25, 0.02)
    assert work.of(10, 20) == pytest.approx(1 + 5 + 1 + 5 + 8)


def changed(path, value=None, *, remove=False):
    """Return the text of a spec with one place of it changed."""
    plain = json.loads(spec_to_text(a_spec()))
    *way, last = path
    place = plain
    for step in way:
        place = place[step]
    if remove:
        del place[last]
    else:
        place[last] = value
    return json.dumps(plain)


@pytest.mark.parametrize(
    ("generation", "source"),
    [("1.0", "unstated"), ("1.0-qat", "unstated"), ("1.1", "mpc"), ("2.0", "unstated")],
)
def test_a_spec_survives_as_text(generation, source):
    spec = a_spec(generation, source)
    again = spec_from_text(spec_to_text(spec))
    assert again == spec
    assert again.s1.streams[1].std == spec.s1.streams[1].std
    assert isinstance(again.self_test.expected[0], tuple)


def every_field(plain, at=()):
    if isinstance(plain, dict):
        for name, value in plain.items():
            yield (*at, name)
            yield from every_field(value, (*at, name))
    if isinstance(plain, list) and plain:
        yield from every_field(plain[0], (*at, 0))


def test_nothing_may_be_left_out():
    for path in every_field(json.loads(spec_to_text(a_spec()))):
        with pytest.raises(ValueError, match=f"missing: {path[-1]}"):
            spec_from_text(changed(path, remove=True))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("heads",), "4", r"tessera\.heads: int is expected, not str"),
        (("heads",), True, r"tessera\.heads: int is expected, not bool"),
        (("heads",), 4.5, r"tessera\.heads: int is expected, not float"),
        (("is_order_sensitive",), 1, "bool is expected, not int"),
        (("surprise",), 1, r"tessera: fields unknown: surprise"),
        (("output", "units"), "m", r"tessera\.output: fields unknown: units"),
        (("s2", "streams", 0, "mean", 3), "x", r"s2\.streams\[0\]\.mean\[3\]: float is expected"),
        (("s2", "streams", 0, "mean"), [1.0], "one mean and one std per band"),
        (("s1", "streams", 1, "std", 0), 0.0, "std must be positive"),
        (("s1", "streams", 0, "valid"), "z", "validity by 'z'"),
        (("s1", "streams", 0, "name"), "s1_descending", "not those of a d-pixel folder"),
        (("schema",), 0, "schema 0 is unknown"),
        (("schema",), 2, "schema 2 is newer than 1"),
        (("generation",), "3.0", "generation '3.0' is unknown"),
        (("data_source",), "esa", "data_source 'esa' is unknown"),
        (("day_of_year",), "from 0", "day_of_year 'from 0' is unknown"),
        (("sampling", "fill"), "v3", "filling 'v3' is unknown"),
        (("sampling", "lengths"), [16, 8], "lengths must ascend"),
        (("sampling", "lengths"), [10**9], "lengths lie between"),
        (("sampling", "empty_length"), 0, "empty 'zeros' with length 0"),
        (("output", "kept_dimension"), 500, "dimensions out of range"),
        (("output", "prefixes"), [3], "a prefix is longer"),
        (("quantisation", "smallest_code"), -1, "unknown rule"),
        (("source", "file"), "/home/a/b.pt", "a path has no place"),
        (("source", "sha256"), "abc", "64 hexadecimal digits"),
        (("self_test", "masks"), [], "shapes don't agree"),
        (("self_test", "expected", 0), [1.0], "shapes don't agree"),
        (("self_test", "bands", 0, 0), [1], "shapes don't agree"),
        (("precision",), "int4", "precision 'int4' is unknown"),
        (("precision",), "int8", "loss must be given"),
        (("loss",), LOSS, "loss must not be given"),
        (("loss",), {**LOSS, "cosine_min": 2.0}, r"tessera\.loss: cosines out of range"),
        (("loss",), {**LOSS, "pixels": 0}, "pixels or differences out of range"),
        (("loss",), {**LOSS, "more": 1}, r"tessera\.loss: fields unknown: more"),
        (("loss",), [], r"tessera\.loss: an object is expected"),
        (("is_fast_preview",), True, "is_fast_preview does not follow"),
        (("gflop_per_px", "per_s2"), -1.0, "work is not negative"),
        (("parity", "largest_difference"), 1e-3, "larger than is allowed"),
        (("parity",), [], r"tessera\.parity: an object is expected"),
        (("parity", "cases"), "all", r"tessera\.parity\.cases: a list is expected"),
    ],
)
def test_what_is_wrong_is_named(path, value, words):
    with pytest.raises(ValueError, match=words):
        spec_from_text(changed(path, value))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Expecting value"),
        ("[]", "an object is expected"),
        ("[" * 100_000, "nested too deep"),
        ('{"schema":7,"new":1}', "schema 7 is newer"),
        (spec_to_text(a_spec()).replace("0.5", "NaN"), "NaN is no number"),
        (spec_to_text(a_spec()).replace("0.5", "1e999"), "too large"),
        (spec_to_text(a_spec()).replace('"heads":4', '"heads":4,"heads":8'), "given twice"),
        (" " * MAX_TEXT + "{}", "characters are more than"),
    ],
)
def test_hostile_text_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        spec_from_text(text)


def test_numbers_that_are_not_finite_are_not_written():
    test = dataclasses.replace(a_spec().self_test, expected=((float("nan"), 1.0),))
    with pytest.raises(ValueError):
        spec_to_text(dataclasses.replace(a_spec(), self_test=test))
