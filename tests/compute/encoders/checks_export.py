# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The ONNX files: what they compute, say and refuse. Runs in the private environment."""

import functools
import hashlib
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime as ort
import torch
from networks import SMALL, heads_of, observations, payload, run, stock

from tessera_plugin.compute.worker.encode.errors import EncoderUnusable
from tessera_plugin.compute.worker.encode.quantise import quantise
from tessera_plugin.compute.worker.encode.session import open_encoder
from tessera_plugin.compute.worker.encoders import storage
from tessera_plugin.compute.worker.encoders.checkpoint import read_checkpoint
from tessera_plugin.compute.worker.encoders.export import export_encoder
from tessera_plugin.compute.worker.encoders.graph import (
    ExportRefused,
    open_session,
    refuse_frozen,
    to_onnx,
)
from tessera_plugin.compute.worker.encoders.metadata import read_spec
from tessera_plugin.compute.worker.encoders.parity import measure
from tessera_plugin.compute.worker.encoders.releases import RULES, inputs_of
from tessera_plugin.compute.worker.encoders.spec import KEY, spec_from_text

GENERATIONS = ("1.0", "1.0-qat", "1.1", "2.0", "2.0-qk", "2.0-teacher")
SOURCES = {"1.1": "aws"}
CPU = ["CPUExecutionProvider"]
ROOT = Path(tempfile.mkdtemp())


@functools.lru_cache(None)
def exported(generation):
    """Return paths of checkpoint and ONNX file, and what the exporter said."""
    checkpoint, out = ROOT / f"{generation}.pt", ROOT / f"{generation}.onnx"
    torch.save(payload(generation, stock(generation)), checkpoint)
    source = SOURCES.get(generation, "unstated")
    return checkpoint, out, export_encoder(str(checkpoint), str(out), source, heads_of(generation))


def opened(generation):
    return ort.InferenceSession(str(exported(generation)[1]), providers=CPU)


def outputs(session, s2, s1):
    return session.run(None, {"s2_input": s2, "s1_input": s1})[0]


def refusal(work):
    try:
        work()
    except (ExportRefused, EncoderUnusable) as error:
        return str(error)
    raise AssertionError("it was not refused")


def check_the_file_says_what_the_exporter_said(_folder):
    for generation in GENERATIONS:
        checkpoint, out, spec = exported(generation)
        model = onnx.load(out)
        assert [prop.key for prop in model.metadata_props] == [KEY]
        assert spec_from_text(model.metadata_props[0].value) == spec
        assert opened(generation).get_modelmeta().custom_metadata_map == {
            KEY: model.metadata_props[0].value
        }
        assert spec.source.sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
        assert spec.source.file == checkpoint.name
        assert (spec.generation, spec.heads) == (generation.replace("-qk", ""), SMALL.heads)
        assert spec.source.sha256[:12] in spec.space, "these weights are not the released ones"
        assert spec.is_order_sensitive == (not generation.startswith("2.0"))
        assert not list(ROOT.glob("*.part"))


def check_trap_23_onnx_agrees_with_stock_layers_at_other_lengths(_folder):
    """The same answer as layers that the exporter has never seen."""
    for generation in GENERATIONS:
        session, network = opened(generation), stock(generation)
        for lengths in ((2, 8, 16), (3, 16, 8), (1, 1, 1), (2, 256, 256), (5, 13, 7)):
            inputs = observations(*lengths, seed=sum(lengths))
            np.testing.assert_allclose(outputs(session, *inputs), run(network, *inputs), atol=3e-5)


def check_the_measured_difference_is_written_and_small(_folder):
    for generation in GENERATIONS:
        parity = exported(generation)[2].parity
        assert 0 < parity.largest_difference < 1e-4 * parity.output_spread
        for words in ("one observation", "256", "no radar", "only descending"):
            assert any(words in case for case in parity.cases), words


def check_nothing_of_this_machine_is_in_the_file(_folder):
    for generation in GENERATIONS:
        whole = exported(generation)[1].read_bytes()
        for trace in (b".py", b"/tmp", b"site-packages", str(Path.cwd()).encode(), b"stack_trace"):
            assert trace not in whole, trace
        model = onnx.load_from_string(whole)
        assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
        assert not any(weight.external_data for weight in model.graph.initializer)


def check_trap_22_a_pixel_does_not_depend_on_its_batch(_folder):
    s2, s1 = observations(256, 16, 24)
    for generation in GENERATIONS:
        session = opened(generation)
        together = outputs(session, s2, s1)
        np.testing.assert_allclose(outputs(session, s2[:8], s1[:8]), together[:8], atol=1e-5)
        bright = s2[8:16] * np.array([50] * 10 + [1], np.float32)  # the day stays one
        s2_changed = np.concatenate([s2[:8], bright])
        apart = outputs(session, s2_changed, s1[:16])[:8]
        np.testing.assert_allclose(apart, together[:8], atol=1e-5)


def tile_inputs(spec, pixel, mistake=""):
    """Return a self-test pixel as inputs of the graph, in double precision, maybe with a mistake."""
    test = spec.self_test
    bands, masks = np.array(test.bands, float)[:, pixel], np.array(test.masks)[:, pixel]
    s2_days = np.array(test.doys)
    optical = spec.s2.streams[0]
    radar = list(spec.s1.streams)
    orbits = [
        (np.array(test.ascending, float)[:, pixel], np.array(test.ascending_doys)),
        (np.array(test.descending, float)[:, pixel], np.array(test.descending_doys)),
    ]
    if mistake == "bands in order of wavelength":
        bands = bands[:, [1, 2, 0, 5, 6, 7, 3, 4, 8, 9]]
    if mistake == "mask inverted":
        masks = 1 - masks
    if mistake == "offset left in":
        bands = bands + 1000
    if mistake == "days from zero":
        s2_days = s2_days - 1
    if mistake == "VV and VH swapped":
        orbits = [(values[:, ::-1], days) for values, days in orbits]
    if mistake == "10 log10":
        orbits = [((v + 10000) / 2 * (v > 0).any(1, keepdims=True), days) for v, days in orbits]
    if mistake == "orbits swapped":
        radar = radar[::-1]
    if mistake == "orbits merged by date":
        when = np.argsort(np.concatenate([days for _values, days in orbits]), kind="stable")
    if mistake == "another release's scaling":
        other_s2, other_s1 = inputs_of(RULES["1.1"].scaling["mpc"])
        optical, radar = other_s2.streams[0], other_s1.streams

    def z(stream, values, days):
        scaled = (values - np.array(stream.mean)) / (np.array(stream.std) + stream.epsilon)
        return np.concatenate([scaled, days[:, None]], 1)

    s2 = z(optical, bands[masks > 0], s2_days[masks > 0])
    every = [z(stream, *raw) for stream, raw in zip(radar, orbits)]
    seen = [(raw != 0).any(1) for raw, _days in orbits]
    if mistake == "radar judged after scaling":
        seen = [(rows[:, :2] != 0).any(1) for rows in every]
    s1 = np.concatenate([rows[is_seen] for rows, is_seen in zip(every, seen)])
    if not len(s1) and spec.sampling.all_if_none_valid:
        s1 = np.concatenate(every)
    if mistake == "orbits merged by date" and len(s1) == len(when):
        s1 = s1[when]
    if not len(s1):
        s1 = np.zeros((spec.sampling.empty_length, 3))
    shortest = spec.sampling.lengths[0]
    s2 = s2 if len(s2) != 1 else np.repeat(s2, shortest, 0)
    s2 = s2 if len(s2) else np.zeros((spec.sampling.empty_length or 1, 11))
    return s2[None].astype(np.float32), s1[None].astype(np.float32)


def self_test_error(generation, mistake=""):
    spec, session = exported(generation)[2], opened(generation)
    kept, expected = spec.output.kept_dimension, np.array(spec.self_test.expected)
    found = [
        outputs(session, *tile_inputs(spec, pixel, mistake))[0, :kept]
        for pixel in range(len(expected))
    ]
    return np.abs(np.array(found) - expected).max() / spec.self_test.tolerance


def check_the_self_test_passes_from_raw_numbers(_folder):
    for generation in GENERATIONS:
        assert self_test_error(generation) < 0.1, generation


def check_the_self_test_finds_each_silent_mistake(_folder):
    """trap_1, trap_2, trap_3, trap_5, trap_8, trap_10, trap_11, trap_12, trap_13 and, where the
    order counts, trap_16."""
    mistakes = [
        "bands in order of wavelength",
        "offset left in",
        "days from zero",
        "VV and VH swapped",
        "10 log10",
        "another release's scaling",
    ]
    for generation in GENERATIONS:
        has_orbits = not generation.startswith("1.0")
        more = ["mask inverted", "radar judged after scaling"] if has_orbits else []
        more += ["orbits swapped"] if has_orbits and generation != "2.0-teacher" else []
        more += ["orbits merged by date"] if not generation.startswith("2.0") else []
        for mistake in mistakes + more:
            assert self_test_error(generation, mistake) > 3, (generation, mistake)


def check_the_runner_takes_the_files_and_refuses_altered_ones(folder):
    """From the raw pixels, by the code that encodes scenes; one weight or one mean apart is seen."""
    for generation in GENERATIONS:
        out = exported(generation)[1]
        taken = open_encoder(str(out), CPU, threads=1)
        assert taken.spec == exported(generation)[2]
        text = onnx.load(out).metadata_props[0].value
        mean = f'"mean":[{exported(generation)[2].s2.streams[0].mean[0]}'
        assert mean in text
        for change in ("weight", "mean"):
            model = onnx.load(out)
            if change == "mean":
                model.metadata_props[0].value = text.replace(mean, '"mean":[900.0')
            else:
                (weight,) = [w for w in model.graph.initializer if w.name == "dim_reducer.0.bias"]
                values = onnx.numpy_helper.to_array(weight) + np.arange(weight.dims[0]) % 2 * 0.1
                values = values.astype(np.float32)
                weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
            altered = folder / f"{generation}-{change}.onnx"
            onnx.save(model, altered)
            reason = refusal(lambda path=altered: open_encoder(str(path), CPU, threads=1))
            assert "self-test" in reason, (generation, change, reason)


def check_trap_19_and_trap_20_v1_1_keeps_128_of_192_and_is_not_cut_further(_folder):
    spec = exported("1.1")[2]
    assert (spec.output.native_dimension, spec.output.kept_dimension) == (192, 128)
    assert spec.output.prefixes == exported("1.0")[2].output.prefixes == ()
    assert {len(row) for row in spec.self_test.expected} == {128}
    assert opened("1.1").get_outputs()[0].shape[1] == 192
    assert exported("2.0")[2].output.prefixes == (16, 32, 64, 128)
    teacher = exported("2.0-teacher")[2].output
    assert (teacher.kept_dimension, teacher.prefixes) == (96, ())


def check_trap_19_the_scale_is_that_of_the_kept_numbers(_folder):
    runner = open_encoder(str(exported("1.1")[1]), CPU, threads=1)
    s2, s1 = observations(64, 8, 8)
    native = outputs(opened("1.1"), s2, s1)
    kept = runner.run({"s2_input": s2, "s1_input": s1})
    _codes, scales = quantise(kept, runner.spec.quantisation)
    largest = np.abs(native[:, :128]).max(1)
    np.testing.assert_array_equal(scales, largest / np.float32(127))
    assert (np.abs(native).max(1) > largest).any(), "cut later, some scales would be larger"


def check_trap_11_v1_1_needs_its_data_source(_folder):
    """Nothing in the weights tells MPC from AWS."""
    checkpoint = exported("1.1")[0]
    out = str(ROOT / "refused.onnx")
    reason = refusal(lambda: export_encoder(str(checkpoint), out, heads=4))
    assert reason == "the data source of v1.1 must be aws or mpc"
    named = ROOT / "tessera_v1_1_mpc_encoder.pt"
    named.write_bytes(checkpoint.read_bytes())
    assert "is called mpc" in refusal(lambda: export_encoder(str(named), out, "aws", 4))
    assert not Path(out).exists()
    spec = export_encoder(str(named), str(ROOT / "mpc.onnx"), "mpc", 4)
    assert (spec.name, spec.data_source) == ("tessera-1.1-mpc", "mpc")
    assert spec.s2 != exported("1.1")[2].s2


def compared(generation, change):
    encoder = read_checkpoint(str(exported(generation)[0]), SMALL.heads).encoder()
    model = to_onnx(encoder)
    change(encoder, model)
    rules = RULES[generation]
    scaling = next(iter(rules.scaling.values()))
    return measure(encoder, open_session(model), inputs_of(scaling)[1], rules.sampling)


def check_a_graph_that_differs_is_refused(_folder):
    def weaken(encoder, _model):
        encoder.s1_backbone.transformer_encoder.layers[1].linear2.weight.data *= 1.01

    def other_gru(_encoder, model):
        for node in model.graph.node:
            for attribute in node.attribute:
                if attribute.name == "linear_before_reset":
                    attribute.i = 1 - attribute.i

    assert compared("2.0", lambda *_: None).largest_difference < 1e-5
    assert "differ by" in refusal(lambda: compared("2.0", weaken))
    for generation in ("1.0", "1.1"):
        assert "differ by" in refusal(lambda g=generation: compared(g, other_gru))


def check_trap_23_a_frozen_axis_is_refused(_folder):
    for axis in (0, 1):
        model = onnx.load(exported("2.0")[1])
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = 40
        reason = refusal(lambda m=model: refuse_frozen(m))
        assert reason == f"the graph takes one length only: s2_input axis {axis} = 40"
    tied = onnx.load(exported("2.0")[1])
    tied.graph.input[1].type.tensor_type.shape.dim[1].dim_param = "s2_time"
    assert "hang together" in refusal(lambda: refuse_frozen(tied))

    def frozen_inside(_encoder, model):
        for weight in model.graph.initializer:
            if weight.name.startswith("integers_0_0_"):
                shape = onnx.numpy_helper.to_array(weight).copy()
                shape[1] = 40
                weight.CopyFrom(onnx.numpy_helper.from_array(shape, weight.name))

    assert "does not run" in refusal(lambda: compared("2.0", frozen_inside))


def check_a_failed_export_leaves_no_file(folder):
    broken = torch.load(exported("2.0")[0], weights_only=True)
    broken["model"]["dim_reducer.4.weight"] *= 1e38
    torch.save(broken, folder / "huge.pt")
    out = folder / "out.onnx"
    assert refusal(lambda: export_encoder(str(folder / "huge.pt"), str(out)))
    assert [path.name for path in folder.iterdir()] == ["huge.pt"]


def check_a_full_size_nano_is_exported_under_its_name(folder):
    of = SimpleNamespace(latent=36, layers=2, heads=4, feedforward=384)
    network = stock("2.0", of)
    torch.save(payload("2.0", network, of), folder / "student_nano.pt")
    out = folder / "nano.onnx"
    spec = export_encoder(str(folder / "student_nano.pt"), str(out))
    assert (spec.name, spec.size) == ("tessera-2.0-nano", "nano")
    assert out.stat().st_size < 4.6e6
    session = ort.InferenceSession(str(out), providers=CPU)
    inputs = observations(16, 40, 64)
    np.testing.assert_allclose(outputs(session, *inputs), run(network, *inputs), atol=3e-5)
    result = outputs(session, *inputs)
    np.testing.assert_allclose(result.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(result.std(1), 1, atol=1e-3)


def check_weights_over_two_gigabytes_lie_in_a_file_beside(folder):
    """The teacher's are; here with a limit that a small one passes."""
    kept, storage.ONE_FILE_BYTES = storage.ONE_FILE_BYTES, 1000
    checkpoint, one_file, whole = exported("2.0-teacher")
    out = folder / "teacher.onnx"
    try:
        spec = export_encoder(str(checkpoint), str(out))
        cancelled = refusal(lambda: export_encoder(str(checkpoint), str(out), "mpc"))
    finally:
        storage.ONE_FILE_BYTES = kept
    assert cancelled == "the data source of v2.0-teacher must be unstated"
    assert sorted(path.name for path in folder.iterdir()) == ["teacher.onnx", "teacher.onnx.data"]
    assert out.stat().st_size < 0.5 * one_file.stat().st_size
    assert read_spec(str(out)) == spec == whole
    onnx.checker.check_model(str(out))
    inputs = observations(4, 16, 8)
    session = ort.InferenceSession(str(out), providers=CPU)
    np.testing.assert_array_equal(
        outputs(session, *inputs), outputs(opened("2.0-teacher"), *inputs)
    )
    assert open_encoder(str(out), CPU, threads=1).spec == spec
