# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the private environment's Python runs to prove that what it holds really computes.

    python -I verify_script.py BUNDLE VARIANT SENTINEL

Prints one line, the sentinel and JSON: versions, devices, seconds; or the error. Standard
library first, so that what is missing can be said.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from typing import Any, Dict, Union

SIZE = 64
"""Edge of the matrices."""

Told = Dict[str, Any]


def field(number: int, payload: Union[int, str, bytes]) -> bytes:
    """Return one length-delimited field of a protocol buffer."""
    if isinstance(payload, int):
        return varint(number << 3) + varint(payload)
    data = payload.encode() if isinstance(payload, str) else payload
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    """Return a number as a protocol buffer holds it."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def value_info(name: str, rows: int, columns: int) -> bytes:
    """Return the description of a float tensor of two dimensions."""
    shape = b"".join(field(1, field(1, size)) for size in (rows, columns))
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, shape)))


def onnx_model() -> bytes:
    """Return y = relu(x · w) as ONNX, opset 13, made by hand: no package is needed for it."""
    first = field(1, "x") + field(1, "w") + field(2, "h") + field(4, "MatMul")
    second = field(1, "h") + field(2, "y") + field(4, "Relu")
    inputs = value_info("x", 4, SIZE), value_info("w", SIZE, SIZE)
    graph = field(1, first) + field(1, second) + field(2, "check")
    graph += b"".join(field(11, each) for each in inputs) + field(12, value_info("y", 4, SIZE))
    return field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 13))


def check_onnx(variant: str, told: Told) -> None:
    """Run a real model on each provider that counts here."""
    import numpy as np
    import onnxruntime

    told["versions"]["onnxruntime"] = onnxruntime.__version__
    random = np.random.default_rng(0)
    x = random.standard_normal((4, SIZE)).astype(np.float32)
    w = random.standard_normal((SIZE, SIZE)).astype(np.float32)
    there = onnxruntime.get_available_providers()
    wanted = {"cuda": "CUDAExecutionProvider", "directml": "DmlExecutionProvider"}.get(variant)
    if wanted is None and "CoreMLExecutionProvider" in there:
        wanted = "CoreMLExecutionProvider"
    for provider in [wanted, "CPUExecutionProvider"]:
        if provider is None:
            continue
        try:
            session = onnxruntime.InferenceSession(onnx_model(), providers=[provider])
            if provider not in session.get_providers():
                raise RuntimeError(f"{provider} could not be used")
            y = session.run(None, {"x": x, "w": w})[0]
            if not np.allclose(y, np.maximum(x @ w, 0), atol=1e-2 * SIZE**0.5):
                raise RuntimeError(f"{provider} computes something else")
        except Exception as error:
            if provider == "CPUExecutionProvider":
                raise
            told["notes"].append(f"{provider}: {error}")
        else:
            told["onnx_providers"].append(provider)


def check_torch(variant: str, told: Told) -> None:
    """Train on each device that counts here."""
    import numpy as np
    import torch

    told["versions"]["torch"] = torch.__version__
    devices = ["cpu"]
    if variant == "cuda":
        devices.insert(0, "cuda")
    for device in devices:
        try:
            told["torch_devices"].append(trained_on(torch, np, device))
        except Exception as error:
            if device == "cpu":
                raise
            told["notes"].append(f"torch on {device}: {error}")


def trained_on(torch: Any, np: Any, device: str) -> str:
    """Train three steps on a device; return the device's name."""
    torch.manual_seed(0)
    model = torch.nn.Linear(SIZE, 2).to(device)
    x, y = torch.randn(32, SIZE, device=device), torch.randint(2, (32,), device=device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    losses = []
    for _ in range(3):
        loss = torch.nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    if not losses[-1] < losses[0]:
        raise RuntimeError(f"training does not learn: {losses}")
    if not np.isfinite(model.weight.detach().cpu().numpy()).all():
        raise RuntimeError("training gives numbers that are not finite")
    return device


def check_numcodecs(told: Told) -> None:
    """Pack and unpack as the published stores are packed."""
    import numcodecs
    import numpy as np

    told["versions"]["numcodecs"] = numcodecs.__version__
    data = np.arange(4096, dtype=np.uint8)
    codec = numcodecs.Blosc(cname="zstd", clevel=3, shuffle=numcodecs.Blosc.BITSHUFFLE)
    if bytes(codec.decode(codec.encode(data))) != data.tobytes():
        raise RuntimeError("numcodecs gives back something else")


def check_sklearn(told: Told) -> None:
    """Fit a classifier."""
    import sklearn
    from sklearn.linear_model import LogisticRegression

    told["versions"]["scikit-learn"] = sklearn.__version__
    x = [[0.0], [1.0], [2.0], [3.0]]
    if list(LogisticRegression().fit(x, [0, 0, 1, 1]).predict(x)) != [0, 0, 1, 1]:
        raise RuntimeError("scikit-learn can't tell two classes apart")


def main(bundle: str, variant: str, sentinel: str) -> int:
    """Check all that a bundle is for, and say what came out."""
    began = time.monotonic()
    told: Told = {
        "python": sys.version.split()[0],
        "versions": {},
        "onnx_providers": [],
        "torch_devices": [],
        "notes": [],
    }
    try:
        import numpy as np

        told["versions"]["numpy"] = np.__version__
        check_numcodecs(told)
        check_onnx(variant, told)
        if bundle == "training":
            check_torch(variant, told)
            check_sklearn(told)
    except BaseException as error:
        traceback.print_exc()
        told["error"] = f"{type(error).__name__}: {error}"
    told["seconds"] = round(time.monotonic() - began, 2)
    sys.stdout.write(f"\n{sentinel}{json.dumps(told)}\n")
    return 1 if "error" in told else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
