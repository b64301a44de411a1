# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Our networks against stock ones. Runs in the private environment."""

import math

import numpy as np
import torch
from networks import KINDS, SMALL, observations, payload, run, settings, stock

from tessera_plugin.compute.worker.encoders.architectures import expected_tensors, plain_student
from tessera_plugin.compute.worker.encoders.checkpoint import _V1_RELEASES, read_checkpoint
from tessera_plugin.compute.worker.encoders.pooling import ResetFirstGru

LENGTHS = [(3, 8, 16), (2, 40, 8), (4, 1, 1), (1, 5, 3)]


def ours(folder, generation, network):
    path = str(folder / "checkpoint.pt")
    torch.save(payload(generation, network), path)
    return read_checkpoint(path, None if generation == "2.0" else SMALL.heads).encoder()


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
    ]
    for shape, (tensors, parameters) in shapes:
        found = expected_tensors(shape)
        assert (len(found), sum(math.prod(size) for _name, size in found)) == (tensors, parameters)


def check_the_recurrence_is_not_that_of_pytorch(_folder):
    """Trap: nn.GRU with the same weights loads and runs, and is something else."""
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


def check_a_wrong_number_of_heads_loads_and_is_wrong(folder):
    """Trap 24: only the settings know it."""
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


def check_v2_does_not_mind_order_nor_doubling_and_v1_1_does(folder):
    """Trap 16."""
    s2, s1 = observations(4, 16, 16)
    order = np.random.default_rng(0).permutation(16)
    v2 = ours(folder, "2.0", stock("2.0"))
    plain = run(v2, s2, s1)
    np.testing.assert_allclose(run(v2, s2[:, order], s1[:, order]), plain, atol=1e-5)
    np.testing.assert_allclose(run(v2, np.repeat(s2, 2, 1), s1), plain, atol=1e-5)
    v11 = ours(folder, "1.1", stock("1.1"))
    assert np.abs(run(v11, s2[:, order], s1) - run(v11, s2, s1)).max() > 1e-4
    assert np.abs(run(v11, s2, s1[:, order]) - run(v11, s2, s1)).max() > 1e-4
