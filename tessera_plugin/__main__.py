# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: the engine without QGIS.

Exit status: 0 when all that is published for the extent is there, 3 when parts failed, 2 for bad
arguments, 1 otherwise.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import sys
import time
import urllib.request
from pathlib import Path
from types import FrameType
from typing import Any, Callable, Dict, List, Optional, Sequence, TextIO, Tuple
from urllib.parse import urlsplit

from . import errors, paths
from .engine import classify, embeddings, export, samples, training
from .engine.catalog import DATASETS
from .engine.embeddings import FetchSummary
from .engine.worker import WorkerClient, open_worker
from .progress import Cancelled, part
from .values import PUBLIC_ARCHIVE, Access, Extent, NetworkSettings

OK, FAILED, BAD_ARGUMENTS, PARTS_MISSING = 0, 1, 2, 3

_BAD_ARGUMENTS = (
    errors.UnknownDataset,
    errors.UnknownYear,
    errors.ExtentInvalid,
    errors.ExtentTooLarge,
    errors.FieldMissing,
)
_PROGRESS_STEP_S = 0.5
_DEFAULT_LIMIT_PX = 50_000_000


class Teller:
    """Says progress and results, as text for people or as JSON lines for programs."""

    def __init__(self, *, as_json: bool, out: TextIO, err: TextIO) -> None:
        self.as_json, self._out, self._err = as_json, out, err
        self._stopped = False
        self._last = 0.0

    def stop(self, _signal: int, _frame: Optional[FrameType]) -> None:
        """Ask the work to end; it does so at its next report."""
        self._stopped = True

    def report(self, fraction: float, message: str = "") -> None:
        """Say how far the work is, not more than twice a second."""
        if self._stopped:
            raise Cancelled
        now = time.monotonic()
        if now - self._last < _PROGRESS_STEP_S and fraction < 1:
            return
        self._last = now
        if self.as_json:
            self._line({"type": "progress", "fraction": round(fraction, 4), "message": message})
        elif self._err.isatty():
            self._err.write(f"\r{100 * fraction:3.0f} %  {message:<60.60}")
            self._err.flush()

    def result(self, facts: Dict[str, Any], sentences: Sequence[str]) -> None:
        """Say what came out."""
        if self.as_json:
            self._line({"type": "result", **facts})
            return
        if self._err.isatty():
            self._err.write("\r" + " " * 70 + "\r")
        self._out.write("".join(f"{sentence}\n" for sentence in sentences))

    def error(self, error: BaseException) -> None:
        """Say what went wrong, with its facts."""
        if self.as_json:
            facts = dataclasses.asdict(error) if isinstance(error, errors.TesseraError) else {}
            kind = type(error).__name__
            self._line({"type": "error", "error": kind, "message": str(error), "facts": facts})
        else:
            self._err.write(f"{error or type(error).__name__}\n")

    def _line(self, facts: Dict[str, Any]) -> None:
        self._out.write(json.dumps(facts, default=str) + "\n")
        self._out.flush()


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run a command and return its exit status."""
    options = parser().parse_args(
        _with_joined_bbox(sys.argv[1:] if arguments is None else arguments)
    )
    teller = Teller(as_json=options.json, out=sys.stdout, err=sys.stderr)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, teller.stop)
    run: Callable[[argparse.Namespace, Teller], int] = options.run
    try:
        return run(options, teller)
    except Cancelled:
        teller.error(RuntimeError("Stopped; what had arrived is kept in the cache."))
    except _BAD_ARGUMENTS as error:
        teller.error(error)
        return BAD_ARGUMENTS
    except errors.TesseraError as error:
        teller.error(error)
    return FAILED


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--archive",
        default=PUBLIC_ARCHIVE,
        metavar="URL",
        help="root of an archive in the published layout",
    )
    common.add_argument("--cache", default=str(paths.cache_dir()), metavar="DIR")
    common.add_argument("--offline", action="store_true", help="ask nothing of the network")
    common.add_argument("--json", action="store_true", help="progress and result as JSON lines")
    common.add_argument(
        "--limit-px",
        type=int,
        default=_DEFAULT_LIMIT_PX,
        metavar="N",
        help="refuse extents of more pixels (default %(default)s)",
    )

    top = argparse.ArgumentParser(
        prog="tessera_plugin", description="TESSERA embeddings to land-cover maps."
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    datasets = commands.add_parser("datasets", help="list the datasets")
    datasets.add_argument("--json", action="store_true")
    datasets.set_defaults(run=_datasets)

    fetch = commands.add_parser("fetch", parents=[common], help="embeddings of an extent to a file")
    _add_place(fetch)
    fetch.add_argument("--dataset", required=True, metavar="KEY")
    fetch.add_argument("--out", required=True, type=_file_of(".npz", ".tif"), metavar="FILE")
    fetch.set_defaults(run=_fetch)

    train = commands.add_parser("train", parents=[common], help="a head from labelled samples")
    train.add_argument("--dataset", required=True, metavar="KEY")
    train.add_argument("--year", required=True, type=int)
    train.add_argument("--samples", required=True, metavar="FILE")
    train.add_argument("--class-field", required=True, metavar="NAME")
    train.add_argument("--head", required=True, choices=("instant", "mlp"))
    train.add_argument("--out", required=True, metavar="HEAD")
    train.add_argument("--test-share", type=_share, default=0.3)
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--report", metavar="FILE.json")
    train.set_defaults(run=_train)

    classify = commands.add_parser("classify", parents=[common], help="a map of an extent")
    _add_place(classify)
    classify.add_argument("--head", required=True, metavar="HEAD")
    classify.add_argument("--out", required=True, type=_file_of(".tif"), metavar="MAP.tif")
    classify.add_argument("--confidence", type=_file_of(".tif"), metavar="CONF.tif")
    classify.set_defaults(run=_classify)
    return top  # fmt: skip


# --- the commands


def _datasets(options: argparse.Namespace, teller: Teller) -> int:
    rows = [
        {"key": d.key, "title": d.title, "years": list(d.years), "depth": d.depth} for d in DATASETS
    ]
    if options.json:
        sys.stdout.write(json.dumps(rows) + "\n")
        return OK
    lines = [f"{d.key:<18} {d.title:<26} {d.years[0]}-{d.years[-1]}" for d in DATASETS]
    teller.result({}, lines)
    return OK


def _fetch(options: argparse.Namespace, teller: Teller) -> int:
    request = embeddings.FetchRequest(
        dataset=options.dataset, year=options.year, extent=options.bbox,
        access=_access(options), limit_px=options.limit_px,
    )  # fmt: skip
    fetched = embeddings.fetch(request, part(teller.report, 0.0, 0.9))
    files = export.export(fetched, request.access, options.out, part(teller.report, 0.9, 1.0))
    facts = {"files": list(files), "fetched": _facts(fetched.summary)}
    teller.result(facts, [*(f"Wrote {file}" for file in files), *_fetched_lines(fetched.summary)])
    return _status(fetched.summary)


def _train(options: argparse.Namespace, teller: Teller) -> int:
    request = training.TrainRequest(
        labels=samples.load_labels(options.samples, options.class_field),
        dataset=options.dataset,
        year=options.year,
        access=_access(options),
        params=training.TrainParams(
            kind=options.head, test_share=options.test_share, seed=options.seed
        ),
        out=options.out,
    )
    with _Worker(needed=options.head == "mlp") as worker:
        trained = training.train(request, teller.report, worker)
    accuracy = trained.head.accuracy
    facts = {
        "head": trained.head_path,
        "id": trained.head.id,
        "classes": [c.name for c in trained.head.classes],
        "accuracy": accuracy.to_json() if accuracy else None,
        "training": dict(trained.head.training),
        "samples": _facts(trained.samples),
        "fetched": _facts(trained.fetched),
    }
    if options.report:
        Path(options.report).write_text(json.dumps(facts, indent=2, default=str), "utf-8")
    told = [accuracy.sentence()] if accuracy else ["There were too few labels to test the head."]
    teller.result(facts, [f"Wrote {trained.head_path}", *told, *_fetched_lines(trained.fetched)])
    return _status(trained.fetched)


def _classify(options: argparse.Namespace, teller: Teller) -> int:
    request = classify.ClassifyRequest(
        head_path=options.head, year=options.year, extent=options.bbox, access=_access(options),
        out=options.out, confidence_out=options.confidence, limit_px=options.limit_px,
    )  # fmt: skip
    result = classify.publish(classify.classify(request, teller.report))
    files = [*result.maps, *([result.mosaic] if result.mosaic else []), *result.confidences]
    lines = [f"Wrote {file}" for file in files]
    lines += [f"{c.name:<24} {c.hectares:12,.2f} ha" for c in result.classes]
    teller.result(
        {**_facts(result), "fetched": _facts(result.fetched)},
        [*lines, *_fetched_lines(result.fetched)],
    )
    return _status(result.fetched)


# --- helpers


class _Worker:
    """The private environment's worker for one command; None where it is not needed or not there."""

    def __init__(self, *, needed: bool) -> None:
        python = paths.worker_python()
        self._client = open_worker(str(python)) if needed and python.exists() else None

    def __enter__(self) -> Optional[WorkerClient]:
        return self._client

    def __exit__(self, *_error: object) -> None:
        if self._client is not None:
            self._client.stop()


def _access(options: argparse.Namespace) -> Access:
    archive = options.archive.rstrip("/")
    return Access(
        cache_dir=str(options.cache),
        archive=archive,
        offline=options.offline,
        network=NetworkSettings(proxies=_proxies(archive), ca_bundle=_authorities()),
    )


def _proxies(archive: str) -> Tuple[Tuple[str, str], ...]:
    """Return the system's proxies; the engine asks nobody but us."""
    host = urlsplit(archive).hostname or ""
    if urllib.request.proxy_bypass(host):
        return ()
    known = urllib.request.getproxies()
    return tuple((f"{scheme}://", known[scheme]) for scheme in ("http", "https") if scheme in known)


def _authorities() -> str:
    named = (os.environ.get(name, "") for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"))
    return next(filter(os.path.isfile, named), "")


def _status(summary: FetchSummary) -> int:
    return PARTS_MISSING if summary.failed else OK


def _facts(value: Any) -> Dict[str, Any]:  # noqa: ANN401 - any dataclass
    return dataclasses.asdict(value)


def _fetched_lines(summary: FetchSummary) -> List[str]:
    lines = [
        (
            f"{summary.valid_px:,} of {summary.pixels:,} pixels are valid; "
            f"{summary.bytes_fetched / 1e6:,.1f} MB were fetched in {summary.requests} requests."
        )
    ]
    if summary.absent:
        lines.append(f"Not published: {', '.join(summary.absent)}.")
    if summary.unusual:
        lines.append(f"Unusual values, kept as they are: {', '.join(summary.unusual)}.")
    lines += [f"Missing: {failure.part} ({failure.reason})." for failure in summary.failed]
    return lines


def _add_place(command: argparse.ArgumentParser) -> None:
    command.add_argument("--year", required=True, type=int)
    command.add_argument(
        "--bbox", required=True, type=_bbox, metavar="W,S,E,N", help="degrees, EPSG:4326"
    )


def _bbox(text: str) -> Extent:
    try:
        west, south, east, north = (float(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not W,S,E,N in degrees") from None
    return Extent(west, south, east, north)


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError("it must be at least 0 and less than 1")
    return share


def _file_of(*suffixes: str) -> Callable[[str], str]:
    def checked(text: str) -> str:
        if Path(text).suffix.lower() not in suffixes:
            raise argparse.ArgumentTypeError(f"{text!r} must end in {' or '.join(suffixes)}")
        return os.fspath(Path(text).absolute())

    return checked


def _with_joined_bbox(arguments: Sequence[str]) -> List[str]:
    """Return the arguments with `--bbox -0.2,…` as one: argparse takes it for an option else."""
    joined: List[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--bbox":
            joined[-1] = f"--bbox={argument}"
        else:
            joined.append(argument)
    return joined


if __name__ == "__main__":
    sys.exit(main())
