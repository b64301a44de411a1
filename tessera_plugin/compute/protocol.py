# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the client and its worker say to each other: one JSON object per line.

The client sends `request`, `cancel` and `dump`; the worker sends `hello` once, then `loading`,
`progress`, `event`, `heartbeat`, one `result` or `error` per request, and `dump` back. A cancelled
request is answered by an `error` of kind `Cancelled`, unless its result was already on the way. No
arrays travel here: they are .npy files, and messages hold their paths.

`hello` tells versions, which cost nothing to find. The devices are asked for by the request
`devices`, as torch and onnxruntime have to be imported to know them.
"""

from __future__ import annotations

import json
import os
from typing import Any, BinaryIO, Dict, Iterator, Mapping, Optional, Tuple

PROTOCOL = 2
"""Raised by one whenever an older client or worker would misread a newer one."""

MAX_LINE = 1 << 20
"""Bytes of the longest line, its end included."""

HEARTBEAT_S = 1.0
"""How often the worker shows that it is alive, also in the middle of a job."""

FOLDER_PREFIX = "tessera-worker-"
"""What the name of a client's private folder begins with."""

CANCELLED = "Cancelled"
"""Kind of the `error` that acknowledges a `cancel`."""

DISK_FULL = "DiskFull"
"""Kind of the `error` of a job whose files had no room: the path, and in details the bytes."""

HELLO = "hello"
REQUEST = "request"
LOADING = "loading"
PROGRESS = "progress"
EVENT = "event"
RESULT = "result"
ERROR = "error"
CANCEL = "cancel"
HEARTBEAT = "heartbeat"
DUMP = "dump"

Message = Dict[str, Any]

_FIELDS: Mapping[str, Mapping[str, Tuple[type, ...]]] = {
    HELLO: {"protocol": (int,)},  # the rest may differ in another version of the protocol
    REQUEST: {"id": (int,), "method": (str,), "params": (dict,)},
    LOADING: {"id": (int,), "is_done": (bool,)},
    PROGRESS: {"id": (int,), "fraction": (int, float), "message": (str,)},
    EVENT: {"id": (int,), "facts": (dict,)},
    RESULT: {"id": (int,), "value": (dict,)},
    ERROR: {"id": (int,), "kind": (str,), "message": (str,), "details": (str,)},
    CANCEL: {"id": (int,)},
    HEARTBEAT: {"id": (int,), "steps": (int,), "cpu_s": (int, float)},
    DUMP: {},
}


def hello(pid: int, packages: Mapping[str, str], protocol: int = PROTOCOL) -> Message:
    """Return the worker's first message; `packages` are names and versions, Python's included."""
    return {"type": HELLO, "protocol": protocol, "pid": pid, "packages": dict(packages)}


def request(call_id: int, method: str, params: Mapping[str, object]) -> Message:
    """Ask for one job. `params` may hold paths, never arrays."""
    return {"type": REQUEST, "id": call_id, "method": method, "params": dict(params)}


def loading(call_id: int, *, is_done: bool) -> Message:
    """Tell that a job begins, or has done, to import its libraries: that may take minutes."""
    return {"type": LOADING, "id": call_id, "is_done": is_done}


def progress(call_id: int, fraction: float, message: str) -> Message:
    """Tell how much of a job is done, 0 to 1."""
    return {"type": PROGRESS, "id": call_id, "fraction": fraction, "message": message}


def event(call_id: int, facts: Mapping[str, object]) -> Message:
    """Tell something that happened during a job, such as the end of an epoch."""
    return {"type": EVENT, "id": call_id, "facts": dict(facts)}


def result(call_id: int, value: Mapping[str, object]) -> Message:
    """Answer a request."""
    return {"type": RESULT, "id": call_id, "value": dict(value)}


def error(call_id: int, kind: str, message: str, details: str = "") -> Message:
    """Answer a request that failed: class of the error, its message, the traceback.

    Long texts are cut so that the line stays under its cap; a traceback keeps both its ends.
    """
    if len(details) > 20_000:
        details = f"{details[:10_000]}\n[…]\n{details[-10_000:]}"
    return {
        "type": ERROR,
        "id": call_id,
        "kind": kind,
        "message": message[:2_000],
        "details": details,
    }


def cancel(call_id: int) -> Message:
    """Ask that a job ends."""
    return {"type": CANCEL, "id": call_id}


def heartbeat(call_id: int = 0, steps: int = 0, cpu_s: float = 0.0) -> Message:
    """Show that the worker is alive, and whether its job gets on.

    `call_id` is the job at hand, 0 for none; `steps` how often it has passed a check; `cpu_s` the
    processor time of the worker, all its threads together.
    """
    return {"type": HEARTBEAT, "id": call_id, "steps": steps, "cpu_s": cpu_s}


def dump() -> Message:
    """Ask that the worker writes into its log what each thread is at; sent back when it has."""
    return {"type": DUMP}


def encode(message: Mapping[str, object]) -> bytes:
    """Return a message as its line. Paths become text.

    Raises: TypeError for anything JSON does not hold, arrays among them; ValueError for a line over
    the cap.
    """
    line = json.dumps(message, separators=(",", ":"), default=os.fspath).encode("ascii") + b"\n"
    if len(line) > MAX_LINE:
        raise ValueError(f"a message of {len(line):,} bytes; arrays go into .npy files")
    return line


def decode(line: bytes) -> Optional[Message]:
    """Return the message of a line, or None for anything else (a library that prints)."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict):
        return None
    kind = message.get("type")
    fields = _FIELDS.get(kind) if isinstance(kind, str) else None
    if fields is None:
        return None
    whole = all(isinstance(message.get(name), types) for name, types in fields.items())
    return message if whole else None


def read_messages(stream: BinaryIO) -> Iterator[Message]:
    """Yield the messages of a stream until its end, skipping lines that are none."""
    in_long_line = False
    while True:
        line = stream.readline(MAX_LINE)
        if not line:
            return
        is_end = line.endswith(b"\n")
        message = None if in_long_line else decode(line)
        in_long_line = not is_end
        if message is not None and is_end:
            yield message
