# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Our networks against stock ones. Runs in the private environment."""

import math

import numpy as np
import onnx
import torch
from networks import KINDS, heads_of, observations, payload, run, settings, stock

from tessera_plugin.compute.worker.encoders.architectures import expected_tensors, plain_student
from tessera_plugin.compute.worker.encoders.checkpoint import (
    _STUDENTS,
    _TEACHER,
    _V1_RELEASES,
    read_checkpoint,
)
from tessera_plugin.compute.worker.encoders.graph import to_onnx
from tessera_plugin.compute.worker.encoders.pooling import ResetFirstGru
from tessera_plugin.compute.worker.encoders.work import work_of

LENGTHS = [(3, 8, 16), (2, 40, 8), (4, 1, 1), (1, 5, 3)]


def ours(folder, generation, network):
    path = str(folder / "checkpoint.pt")
    torch.save(payload(generation, network), path)
    return read_checkpoint(path, heads_of(generation)).encoder()


def agrees(folder, generation):
    network = stock(generation)
    encoder = ours(folder, generation, network)
    for lengths in LENGTHS:
        expected = run(network, *observations(*lengths))
        np.testing.assert_allclose(run(encoder, *observations(*lengths)), expected, atol=2e-5)
        assert expected.shape == (lengths[0], KINDS[generation][1])


def check_v1_0_agrees_with_stock_layers(folder):
    agrees(folder, "1.0")


def check_v1_0_qat_agrees_with_stock_layers_and_a_recurrence_in_numpy(folder):
    agrees(folder, "1.0-qat")


def check_v1_1_agrees_with_stock_layers_and_a_recurrence_in_numpy(folder):
    agrees(folder, "1.1")


def check_v2_agrees_with_stock_layers(folder):
    agrees(folder, "2.0")


def check_qk_norm_students_and_the_teacher_agree_with_plain_layers(folder):
    agrees(folder, "2.0-qk")
    agrees(folder, "2.0-teacher")


def check_every_official_size_has_the_published_number_of_tensors_and_parameters(_folder):
    students = {
        "nano": (36, 2, 4, 384, 128, 66, 1_066_402),
        "small": (64, 4, 4, 1024, 128, 114, 7_112_322),
        "medium": (110, 4, 4, 1792, 128, 114, 21_031_506),
        "large": (160, 4, 4, 2560, 128, 114, 43_831_170),
    }
    shapes = [(plain_student(*row[:5]), row[5:]) for row in students.values()]
    shapes += [
        (_V1_RELEASES["1.0"], (214, 87_841_922)),
        (_V1_RELEASES["1.0-qat"], (132, 45_828_226)),
        (_V1_RELEASES["1.1"], (136, 57_708_738)),
        (_TEACHER, (199, 2_064_266_242)),
    ]
    for shape, (tensors, parameters) in shapes:
        found = expected_tensors(shape)
        assert (len(found), sum(math.prod(size) for _name, size in found)) == (tensors, parameters)


def check_the_recurrence_is_not_that_of_pytorch(_folder):
    """nn.GRU with the same weights loads and runs, and is something else."""
    torch.manual_seed(0)
    mine, theirs = ResetFirstGru(16), torch.nn.GRU(16, 16, batch_first=True)
    cell = mine.gru_cell
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(
            torch.cat([cell.W_ir.weight, -cell.W_iz.weight, cell.W_ih.weight])
        )
        theirs.weight_hh_l0.copy_(
            torch.cat([cell.W_hr.weight, -cell.W_hz.weight, cell.W_hh.weight])
        )
        theirs.bias_ih_l0.zero_()
        theirs.bias_hh_l0.zero_()
        x = torch.randn(2, 9, 16)
        states, others = mine(x)[0], theirs(x)[0]
    assert torch.allclose(states[:, 0], others[:, 0], atol=1e-6)
    assert (states[:, 1:] - others[:, 1:]).abs().max() > 1e-3


def check_trap_24_a_wrong_number_of_heads_loads_and_is_wrong(folder):
    """Only the settings know it."""
    network = stock("2.0")
    path = str(folder / "c.pt")
    results = []
    for heads in (4, 2):
        held = {"args": settings(nhead=heads), "model": network.state_dict()}
        torch.save(held, path)
        encoder = read_checkpoint(path).encoder()
        assert encoder.shape.heads == heads
        results.append(run(encoder, *observations(3, 8, 8)))
    assert np.abs(results[0] - results[1]).max() > 1e-3


def check_trap_16_v2_does_not_mind_order_nor_doubling_and_v1_1_does(folder):
    s2, s1 = observations(4, 16, 16)
    order = np.random.default_rng(0).permutation(16)
    v2 = ours(folder, "2.0", stock("2.0"))
    plain = run(v2, s2, s1)
    np.testing.assert_allclose(run(v2, s2[:, order], s1[:, order]), plain, atol=1e-5)
    np.testing.assert_allclose(run(v2, np.repeat(s2, 2, 1), s1), plain, atol=1e-5)
    v11 = ours(folder, "1.1", stock("1.1"))
    assert np.abs(run(v11, s2[:, order], s1) - run(v11, s2, s1)).max() > 1e-4
    assert np.abs(run(v11, s2, s1[:, order]) - run(v11, s2, s1)).max() > 1e-4


def check_the_estimate_of_work_is_a_count_over_the_graph(folder):
    """Each product of matrices counted by hand: 2 x rows x inner length x columns."""
    for generation in KINDS:
        encoder = ours(folder, generation, stock(generation))
        for lengths in ((1, 8, 16), (1, 40, 24)):
            counted = counted_gflop(to_onnx(encoder), *lengths)
            estimated = work_of(encoder.shape).of(*lengths[1:])
            assert abs(counted - estimated) < 1e-12, (generation, lengths, counted, estimated)


def counted_gflop(model, batch, s2_time, s1_time):
    sizes = {"batch": batch, "s2_time": s2_time, "s1_time": s1_time}
    for value in model.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            dim.dim_value = sizes.get(dim.dim_param) or dim.dim_value
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
              for value in (*inferred.input, *inferred.value_info, *inferred.output)}  # fmt: skip
    shapes.update({weight.name: list(weight.dims) for weight in inferred.initializer})
    total = 0
    for node in inferred.node:
        if node.op_type == "MatMul":
            total += 2 * math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]
        if node.op_type == "GRU":
            time, rows, d = shapes[node.input[0]]
            total += 2 * time * rows * 6 * d * d
    return total / 1e9


def check_published_work_of_the_sizes(_folder):
    """GFLOP per pixel at 40/40, 40/64, 64/64 and 96/128, from the reference."""
    published = {
        "nano": (0.07, 0.09, 0.12, 0.21),
        "small": (0.53, 0.69, 0.86, 1.55),
        "medium": (1.56, 2.04, 2.52, 4.49),
        "large": (3.25, 4.24, 5.23, 9.26),
    }
    shapes = {name: (_STUDENTS[name], gflops) for name, gflops in published.items()}
    shapes["1.1"] = (_V1_RELEASES["1.1"], (4.24, 5.52, 6.81, 12.0))
    for name, (shape, gflops) in shapes.items():
        found = [
            work_of(shape).of(*lengths) for lengths in ((40, 40), (40, 64), (64, 64), (96, 128))
        ]
        np.testing.assert_allclose(found, gflops, rtol=0.02, atol=0.006, err_msg=name)
