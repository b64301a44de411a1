# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""An encoder file opened on the best device that computes it rightly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Sequence, Tuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ..encoders.spec import KEY, EncoderSpec, Input, SelfTest, spec_from_text
from ..onnx_safety import ModelUnusable, check_model
from .dpixel import Pixels
from .errors import EncoderUnusable
from .prepare import Inputs, Prepared
from .providers import CPU, options_of, reason_of, threads_of, to_try
from .sampling import Ints, keys_of


@dataclass(frozen=True)
class Encoder:
    """An encoder that has shown on its device that it gives what its file promises."""

    spec: EncoderSpec
    provider: str
    refused: Tuple[Tuple[str, str], ...]
    """Better devices that are there, and why each was not taken."""
    session: Any

    def run(self, inputs: Inputs) -> NDArray[np.float32]:
        """Return the kept part of the output: (pixels, kept_dimension)."""
        output = self.spec.output
        count = len(inputs[self.spec.s2.name])
        if count == 1:  # onnxruntime then adds up in another order, and the last bits differ
            inputs = {name: np.repeat(array, 2, axis=0) for name, array in inputs.items()}
        (found,) = self.session.run([output.name], inputs)
        kept: NDArray[np.float32] = found[:count, : output.kept_dimension]
        return kept

    def embed(self, prepared: Prepared, px: Ints) -> NDArray[np.float32]:
        """Return the embeddings of pixels that are equally long, the mean of all draws."""
        draws = self.spec.sampling.draws
        total = self.run(prepared.inputs(px))
        for draw in range(1, draws):
            total = total + self.run(prepared.inputs(px, draw))
        return total / np.float32(draws)


def open_encoder(path: str, providers: Sequence[str] = (), threads: int = 0) -> Encoder:
    """Return the encoder of an ONNX file on the first provider that passes its self-test.

    `providers` are tried in this order, those of PROVIDERS where none is given, and the processor
    in any case; `threads` 0 takes all processors.
    Raises: EncoderUnusable if the file is none, or passes nowhere.
    """
    try:
        check_model(path)
    except ModelUnusable as error:
        raise EncoderUnusable(path, error.reason) from error
    chosen, refused = to_try(providers, onnxruntime.get_available_providers())
    for provider in chosen:
        try:
            session = _session(path, provider, threads)
            encoder = Encoder(_spec(session), provider, tuple(refused), session)
            _check_axes(encoder)
            _probe(encoder)
            _self_test(encoder)
        except Exception as error:  # noqa: BLE001 - whatever a driver does, the next one is tried
            refused.append((provider, reason_of(error)))
            continue
        return encoder
    raise EncoderUnusable(path, "; ".join(f"{provider}: {why}" for provider, why in refused))


def _session(path: str, provider: str, threads: int) -> Any:  # noqa: ANN401
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads_of(threads)
    options.inter_op_num_threads = 1
    # Threads that wait in a loop would take the processors from QGIS.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    if provider == "DmlExecutionProvider":
        options.enable_mem_pattern = False  # DirectML can't
    chosen = [(name, options_of(name)) for name in dict.fromkeys((provider, CPU))]
    session = onnxruntime.InferenceSession(path, options, providers=chosen)
    if provider not in session.get_providers():  # it takes the CPU instead, and says nothing
        raise RuntimeError("its libraries or its driver could not be loaded")
    return session


def _spec(session: Any) -> EncoderSpec:  # noqa: ANN401
    said: Dict[str, str] = session.get_modelmeta().custom_metadata_map
    if KEY not in said:
        raise ValueError("the file does not say how to run it")
    return spec_from_text(said[KEY])


def _check_axes(encoder: Encoder) -> None:
    """Raise ValueError unless the graph's inputs are those of the spec, of any number of pixels."""
    spec = encoder.spec
    declared = {node.name: node for node in encoder.session.get_inputs()}
    if set(declared) != {spec.s2.name, spec.s1.name}:
        raise ValueError(f"the graph's inputs are {sorted(declared)}")
    for entry in (spec.s2, spec.s1):
        node = declared[entry.name]
        shape = list(node.shape)
        if node.type != "tensor(float)" or len(shape) != 3 or shape[2] != entry.channels:
            raise ValueError(f"{entry.name} is {node.type} {shape}")
        is_length_fixed = isinstance(shape[1], int) and spec.sampling.lengths != (shape[1],)
        if isinstance(shape[0], int) or is_length_fixed:
            raise ValueError(f"{entry.name} takes {shape} only: an axis is frozen")


def _probe(encoder: Encoder) -> None:
    """Raise unless the graph takes several numbers of pixels and lengths: some files only say so."""
    spec = encoder.spec
    first, second = spec.sampling.lengths[0], spec.sampling.lengths[:2][-1]
    empty = spec.sampling.empty_length or first
    for count, s2, s1 in ((2, first, second), (3, second, first), (1, first, empty)):
        (found,) = encoder.session.run([spec.output.name], zeros(spec, count, s2, s1))
        if found.shape != (count, spec.output.native_dimension):
            raise ValueError(f"{count} pixels became an output of shape {found.shape}")


def zeros(spec: EncoderSpec, count: int, s2: int, s1: int) -> Inputs:
    """Return inputs of these lengths, to try or to measure with."""

    def of(entry: Input, length: int) -> NDArray[np.float32]:
        return np.zeros((count, length, entry.channels), np.float32)

    return {spec.s2.name: of(spec.s2, s2), spec.s1.name: of(spec.s1, s1)}


def _self_test(encoder: Encoder) -> None:
    """Raise ValueError unless the file's pixels become the embeddings that it holds.

    Alone and together: what a pixel becomes must not depend on the others of its batch.
    """
    test = encoder.spec.self_test
    pixels = _pixels(test)
    zero = np.zeros(pixels.count, np.intp)
    prepared = Prepared(pixels, encoder.spec, keys_of(0, zero, zero))
    wanted = np.array(test.expected, np.float32)
    tried = 0
    for px in prepared.alike():
        together = encoder.embed(prepared, px)
        alone = np.concatenate([encoder.embed(prepared, px[i : i + 1]) for i in range(len(px))])
        for found, way in ((together, "together"), (alone, "alone")):
            off = float(np.abs(found - wanted[px]).max())
            if not off <= test.tolerance:
                raise ValueError(
                    f"its self-test ({way}) is off by {off:.2g} ({test.tolerance:.2g})"
                )
        tried += len(px)
    if not tried:
        raise ValueError("its self-test has no pixel that can be encoded")


def _pixels(test: SelfTest) -> Pixels:
    count = len(test.expected)

    def sar(codes: object, doys: Tuple[int, ...]) -> NDArray[np.int16]:
        return np.array(codes, np.int16).reshape(len(doys), count, 2)

    return Pixels(
        bands=np.array(test.bands, np.uint16).reshape(len(test.doys), count, -1),
        is_clear=np.array(test.masks).reshape(len(test.doys), count) != 0,
        s2_doys=np.array(test.doys, np.int32),
        ascending=sar(test.ascending, test.ascending_doys),
        ascending_doys=np.array(test.ascending_doys, np.int32),
        descending=sar(test.descending, test.descending_doys),
        descending_doys=np.array(test.descending_doys, np.int32),
    )
