# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Encoder files in float16 and int8: what they cost, and when they are refused or marked.

Runs in the private environment.
"""

import collections
import functools
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from checks_export import CPU, exported, outputs, refusal
from networks import heads_of, observations

from tessera_plugin.compute.worker.encode.session import open_encoder
from tessera_plugin.compute.worker.encoders import calibration, reduced
from tessera_plugin.compute.worker.encoders.architectures import Encoder
from tessera_plugin.compute.worker.encoders.calibration import calibration_of
from tessera_plugin.compute.worker.encoders.checkpoint import read_checkpoint
from tessera_plugin.compute.worker.encoders.export import export_encoder
from tessera_plugin.compute.worker.encoders.graph import open_session, to_onnx
from tessera_plugin.compute.worker.encoders.int8 import Int8Graph
from tessera_plugin.compute.worker.encoders.metadata import read_spec

calibration.PIXELS = 40  # enough for networks as small as these

SOURCES = {"1.1": "aws"}
BOTH = ("1.1", "2.0")
ROOT = Path(tempfile.mkdtemp())


@functools.lru_cache(None)
def fewer(generation, precision, folder=""):
    """Return path and description of a file with fewer bits."""
    out = ROOT / f"{generation}-{precision}-{Path(folder).name}.onnx"
    source = SOURCES.get(generation, "unstated")
    spec = export_encoder(str(exported(generation)[0]), str(out), source, heads_of(generation),
                          precision=precision, calibration=folder)  # fmt: skip
    return out, spec


def encoder_of(generation):
    return read_checkpoint(str(exported(generation)[0]), heads_of(generation)).encoder()


def opened(path):
    return ort.InferenceSession(str(path), providers=CPU)


def cosines(a, b):
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def check_float16_is_near_and_says_how_near(_folder):
    path, spec = fewer("1.1", "float16")
    whole = exported("1.1")[2]
    assert spec.parity.largest_difference <= 0.03 * spec.parity.output_spread
    assert spec.parity.allowed_difference == 0.03 * spec.parity.output_spread
    assert spec.loss.cosine_min > 0.9999
    assert (spec.space, spec.is_fast_preview) == (whole.space, False)
    assert spec.name == f"{whole.name}-float16"
    assert read_spec(str(path)) == spec
    inputs = observations(8, 40, 24)
    near = outputs(opened(path), *inputs) - outputs(opened(exported("1.1")[1]), *inputs)
    assert 0 < np.abs(near).max() < 0.03 * spec.parity.output_spread


def check_float16_keeps_float32_where_it_matters(_folder):
    """Inputs, season, softmax, sums of norms, pooling, recurrence, reducer and output."""
    model = onnx.load(fewer("1.1", "float16")[0])
    kinds = {weight.name: weight.data_type for weight in model.graph.initializer}
    half, whole = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    layers = [name for name in kinds if ".transformer_encoder." in name]
    assert layers
    assert {kinds[name] for name in layers} == {half}
    assert {kind for name, kind in kinds.items() if name not in layers} <= {
        whole,
        onnx.TensorProto.INT64,
    }
    made_by = {node.output[0]: node for node in model.graph.node}
    for node in model.graph.node:
        if node.op_type == "Softmax" and "transformer" not in node.name:
            cast = made_by[node.input[0]]
            is_pooling = cast.op_type == "Add"
            assert is_pooling or cast.attribute[0].i == whole
        if node.op_type == "LayerNormalization" and kinds[node.input[1]] == half:
            stash = [a.i for a in node.attribute if a.name == "stash_type"]
            assert stash == [whole]
    io = (*model.graph.input, *model.graph.output)
    assert {value.type.tensor_type.elem_type for value in io} == {whole}


def check_float16_that_does_not_hold_a_weight_is_refused(folder):
    held = torch.load(exported("2.0")[0], weights_only=True)
    name = "s1_backbone.transformer_encoder.layers.0.linear1.weight"
    held["model"][name][0, 0] = 1e5
    torch.save(held, folder / "large.pt")
    out = folder / "out.onnx"
    reason = refusal(
        lambda: export_encoder(str(folder / "large.pt"), str(out), precision="float16")
    )
    assert reason == f"{name} does not fit into float16"
    assert not out.exists()


def check_int8_is_near_and_names_its_calibration(_folder):
    for generation in BOTH:
        path, spec = fewer(generation, "int8")
        whole = exported(generation)[2]
        assert spec.loss.cosine_min >= 0.999
        assert 0 < spec.loss.error_of_spread < 0.1
        assert spec.loss.calibration == "made-up observations that follow the training statistics"
        assert (spec.space, spec.is_fast_preview) == (whole.space, False)
        assert read_spec(str(path)) == spec
        inputs = observations(16, 40, 24, seed=77)  # of another kind than those of the calibration
        pair = [outputs(opened(one), *inputs) for one in (path, exported(generation)[1])]
        assert cosines(*pair).min() > 0.999


def check_trap_22_int8_does_not_depend_on_its_batch(_folder):
    """Neither on a saturated neighbour nor on being alone; by the code that encodes scenes."""
    for generation in BOTH:
        path, spec = fewer(generation, "int8")
        assert spec.loss.batch_difference <= 1e-5
        runner = open_encoder(str(path), CPU, threads=1)
        assert runner.spec == spec
        s2, s1 = observations(9, 16, 24)
        s2[8, :, :10], s1[8, :, :2] = 60.0, 30.0
        together = runner.run({"s2_input": s2, "s1_input": s1})
        for px in range(3):
            alone = runner.run({"s2_input": s2[px : px + 1], "s1_input": s1[px : px + 1]})
            np.testing.assert_allclose(alone[0], together[px], rtol=0, atol=1e-5)


class Dynamic(Int8Graph):
    """Ranges are those of each batch, as plain dynamic quantisation has them."""

    def _coded(self, x, name):
        x = self.add("Relu", [x]) if name.endswith("linear2") else x
        number = len(self._nodes)
        names = [f"{name}.{part}_{number}" for part in ("codes", "scale", "zero")]
        self._nodes.append(onnx.helper.make_node("DynamicQuantizeLinear", [x], names))
        return self.add("DequantizeLinear", names)


def check_trap_22_ranges_of_the_batch_make_a_fast_preview(_folder):
    spec, encoder = exported("2.0")[2], encoder_of("2.0")
    data = calibration_of("", spec)
    ranges = reduced._ranges(encoder, data.ranges, lambda *_: None)[0]
    reference = open_session(to_onnx(encoder))
    dynamic = open_session(to_onnx(encoder, Dynamic(ranges)))
    loss = reduced.loss_of(dynamic, reference, spec, data)
    assert loss.cosine_min > 0.999
    assert loss.batch_difference > 1e-3
    assert not loss.is_faithful


def check_int8_with_ranges_that_are_too_small_is_marked_or_refused(_folder):
    spec, encoder = exported("2.0")[2], encoder_of("2.0")
    data = calibration_of("", spec)
    ranges = reduced._ranges(encoder, data.ranges, lambda *_: None)[0]
    reference = open_session(to_onnx(encoder))

    def lost(share):
        small = {name: (share * low, share * high) for name, (low, high) in ranges.items()}
        session = open_session(to_onnx(encoder, Int8Graph(small)))
        return reduced.loss_of(session, reference, spec, data)

    assert lost(1.0).is_faithful
    marked = lost(0.25)
    assert not marked.is_faithful
    assert marked.cosine_mean > reduced.WORST_COSINE
    other = open_session(to_onnx(Encoder(encoder.shape).eval()))
    reason = refusal(lambda: reduced.loss_of(other, reference, spec, data))
    assert "too far from float32" in reason


def check_int8_is_computed_with_integers(folder):
    """Else it would be slower than float32 and nobody would see why."""
    path, _spec = fewer("2.0", "int8")
    model = onnx.load(path)
    weights = {
        weight.name: onnx.numpy_helper.to_array(weight) for weight in model.graph.initializer
    }
    products = [
        name for name, array in weights.items() if array.dtype == np.int8 and array.ndim == 2
    ]
    assert len(products) == 2 * 2 * 6, "q, k, v, out and both of the FFN, of 2 layers of 2 sensors"
    # Two products of codes up to 255 must fit into 16 bits on older processors.
    assert max(int(np.abs(weights[name].astype(int)).max()) for name in products) == 63
    assert {node.domain for node in model.graph.node} == {""}, "ONNX's own operators only"
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    ort.InferenceSession(str(path), options, providers=CPU)
    optimised = onnx.load(folder / "optimised.onnx")
    used = collections.Counter(node.op_type for node in optimised.graph.node)
    assert used["QGemm"] == len(products), used
    assert not used["DequantizeLinear"], used


def check_int8_weights_are_rounded_by_column_and_biases_kept(_folder):
    """x in codes times w in codes is x times w, to half a step of each; also with a tiny column."""
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(16, 4)), rng.normal(size=4)
    weight[:, 1] *= 1e-3
    weight[:, 2] = 0
    bias[2] = 7.0
    x = rng.uniform(-2, 3, (5, 16))
    graph = Int8Graph({"a": (-2.0, 3.0)})
    graph.store("x", x.astype(np.float32))
    graph.add("Identity", [graph._gemm(graph._coded("x", "a"), "a", weight, bias)], "output")
    model = onnx.helper.make_model(
        graph.proto(4), opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8
    )
    feeds = dict(zip(("s2_input", "s1_input"), observations(5, 1, 1)))
    found = open_session(model).run(None, feeds)[0]
    step_x, steps_w = 5 / 255, np.abs(weight).max(0) / 63
    most = 16 * (step_x / 2 * np.abs(weight).max(0) + steps_w / 2 * 3 + step_x * steps_w / 4)
    assert (np.abs(found - (x @ weight + bias)) <= most + 1e-5).all()
    np.testing.assert_allclose(found[:, 2], 7.0, rtol=1e-6)


def tile(folder, spec, dates=(6, 3, 2), size=(40, 24), clouds=0.3):
    """Write a d-pixel folder whose numbers are like those the encoder was trained with."""
    rng = np.random.default_rng(3)
    folder.mkdir()

    def drawn(stream, count):
        z = rng.normal(0, 0.7, (count, *size, len(stream.bands)))
        return np.clip(np.array(stream.mean) + np.array(stream.std) * z, 1, 20000)

    (s2,), orbits = spec.s2.streams, spec.s1.streams
    np.save(folder / "bands.npy", drawn(s2, dates[0]).astype(np.uint16))
    np.save(folder / "masks.npy", (rng.random((dates[0], *size)) > clouds).astype(np.uint8))
    np.save(folder / "doys.npy", np.linspace(5, 360, dates[0]).astype(np.uint16))
    for stream, count in zip(orbits, dates[1:]):
        name = stream.name.replace("s1", "sar")
        np.save(folder / f"{name}.npy", drawn(stream, count).astype(np.int16))
        np.save(folder / f"{name}_doy.npy", np.linspace(9, 350, count).astype(np.int16))
    return str(folder)


def check_int8_is_calibrated_on_a_scene_that_is_named(folder):
    _path, spec = fewer("2.0", "int8", tile(folder / "my tile", exported("2.0")[2]))
    assert spec.loss.calibration == "the d-pixel folder my tile"
    assert spec.loss.pixels > 400
    assert spec.loss.is_faithful
    assert str(folder) not in fewer("2.0", "int8", str(folder / "my tile"))[0].read_bytes().decode(
        "latin1"
    )


def check_a_scene_that_can_not_calibrate_is_refused(folder):
    checkpoint, out = str(exported("2.0")[0]), folder / "out.onnx"

    def reason(path):
        return refusal(
            lambda: export_encoder(checkpoint, str(out), precision="int8", calibration=path)
        )

    assert "can't be used" in reason(str(folder / "nowhere"))
    cloudy = tile(folder / "cloudy", exported("2.0")[2], clouds=1.1)
    assert reason(cloudy) == "the calibration data has 0 pixels that can be encoded"
    assert not out.exists()


def check_the_self_test_of_few_bits_finds_an_altered_file(folder):
    for precision in ("float16", "int8"):
        path, spec = fewer("1.1" if precision == "float16" else "2.0", precision)
        assert open_encoder(str(path), CPU, threads=1).spec == spec
        model = onnx.load(path)
        (weight,) = [w for w in model.graph.initializer if w.name == "dim_reducer.0.bias"]
        values = onnx.numpy_helper.to_array(weight) + np.arange(weight.dims[0]) % 2 * 0.3
        values = values.astype(np.float32)
        weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
        onnx.save(model, folder / f"{precision}.onnx")
        reason = refusal(lambda p=precision: open_encoder(str(folder / f"{p}.onnx"), CPU))
        assert "self-test" in reason, reason


def check_a_precision_that_is_unknown_is_refused(folder):
    checkpoint = str(exported("2.0")[0])
    reason = refusal(lambda: export_encoder(checkpoint, str(folder / "a"), precision="int4"))
    assert reason == "precision must be float32 or float16 or int8"


def check_a_preview_has_a_space_of_its_own(_folder):
    """So that no head takes its embeddings for those of float32."""
    spec = fewer("2.0", "int8")[1]
    kept, reduced.Int8Graph = reduced.Int8Graph, Dynamic
    try:
        out = ROOT / "preview.onnx"
        preview = export_encoder(str(exported("2.0")[0]), str(out), precision="int8")
    finally:
        reduced.Int8Graph = kept
    assert preview.is_fast_preview
    assert preview.space == f"{spec.space}-int8-preview"
