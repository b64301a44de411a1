# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A real worker under test, and samples to give it."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional

import numpy as np
from numpy.typing import NDArray

from tessera_plugin.compute.client import Limits, WorkerClient
from tessera_plugin.progress import Cancelled

ROOT = Path(__file__).resolve().parents[2]
NAUGHTY_MAIN = Path(__file__).with_name("naughty_worker.py")
PARENT_MAIN = Path(__file__).with_name("parent.py")
MB = 1 << 20


def worker_python() -> str:
    """Return the interpreter of the private environment; its absence is a failure, not a skip."""
    default = ROOT / "build" / "private" / "environment" / "bin" / "python"
    python = Path(os.environ.get("TESSERA_WORKER_PYTHON", default))
    if not python.exists():
        raise RuntimeError(
            f"{python} is not there: `./dev` makes it, or set TESSERA_WORKER_PYTHON to a Python "
            "that has torch"
        )
    return str(python)


def is_running(pid: int) -> bool:
    """Whether a process exists and is more than a zombie that nobody has reaped yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def group_of(leader: int) -> List[int]:
    """Return the processes of a group that run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            facts = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(facts[2]) == leader and facts[0] not in "ZX":
                found.append(int(folder.name))
    return found


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Return whether it became true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


@contextlib.contextmanager
def opened(
    log_dir: Optional[str] = None, main: Path = NAUGHTY_MAIN, **limits: float
) -> Iterator[WorkerClient]:
    """Give a client that is stopped in the end."""
    client = WorkerClient(worker_python(), log_dir, main=main, limits=Limits(**limits))  # type: ignore[arg-type]
    try:
        yield client
    finally:
        client.stop()


def works(client: WorkerClient) -> bool:
    return client.call("echo", {"a": 1})["params"] == {"a": 1}


def log_of(folder: Path) -> str:
    (path,) = folder.iterdir()
    return path.read_text("utf-8")


class Stopper:
    """A report that cancels once it is told to, and notes when it was called."""

    def __init__(self) -> None:
        self.pressed: Optional[float] = None
        self.calls: List[float] = []
        self.last = (0.0, "")

    def press(self) -> None:
        self.pressed = time.monotonic()

    def press_in(self, seconds: float) -> None:
        threading.Timer(seconds, self.press).start()

    def __call__(self, fraction: float, message: str = "") -> None:
        self.calls.append(time.monotonic())
        self.last = (fraction, message)
        if self.pressed is not None:
            raise Cancelled

    @property
    def longest_gap_s(self) -> float:
        return max(b - a for a, b in zip(self.calls, self.calls[1:]))


class Blobs(NamedTuple):
    """Quantised embeddings around one centre per class."""

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    labels: NDArray[np.int64]

    @property
    def embeddings(self) -> NDArray[np.float32]:
        return self.codes * self.scales[:, None]


def blobs(n: int, classes: int = 6, noise: float = 1.0, seed: int = 0, depth: int = 128) -> Blobs:
    """Return n samples; the centres depend on `classes` and `depth` alone, the samples on `seed`."""
    centres = np.random.default_rng(7).normal(size=(classes, depth))
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    values = centres[labels] + noise * rng.normal(size=(n, depth))
    values *= rng.uniform(0.05, 0.2, size=(n, 1)) / 10 + 0.05
    scales = (np.abs(values).max(axis=1) / 127).astype(np.float32)
    return Blobs(np.rint(values / scales[:, None]).astype(np.int8), scales, labels)


def write_samples(folder: Path, data: Blobs, held_out: float = 0.25) -> Dict[str, object]:
    """Write the .npy files and return the parameters of `train_mlp`, with its defaults."""
    n = len(data.labels)
    order = np.random.default_rng(1).permutation(n)
    cut = int(n * held_out)
    embeddings = data.embeddings
    arrays = {
        "codes": data.codes,
        "scales": data.scales,
        "labels": data.labels,
        "train_index": np.sort(order[cut:]),
        "validation_index": np.sort(order[:cut]),
        "mean": embeddings.mean(axis=0),
        "std": embeddings.std(axis=0) + 1e-6,
    }
    paths: Dict[str, object] = {}
    for name, array in arrays.items():
        path = folder / f"{name}.npy"
        np.save(path, array.astype(np.float32) if name in {"mean", "std"} else array)
        paths[name] = str(path)
    classes = int(data.labels.max()) + 1
    return {**paths, "classes": classes, "out": str(folder / "weights.npz")}


def forward(
    weights: Path, mean: Path, std: Path, codes: NDArray[np.int8], scales: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return class probabilities the plain way, in double precision."""
    x = (codes * scales[:, None].astype(np.float64) - np.load(mean)) / np.load(std)
    with np.load(weights) as archive:
        layers = [
            (archive[f"W{i}"], archive[f"b{i}"]) for i in range(1, len(archive.files) // 2 + 1)
        ]
    for weight, bias in layers[:-1]:
        x = np.maximum(x @ weight.astype(np.float64) + bias, 0)
    logits = x @ layers[-1][0].astype(np.float64) + layers[-1][1]
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)
