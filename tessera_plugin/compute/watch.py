# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a worker may do: how long be silent or stand still, and how much memory hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from . import protocol
from .system import machine_memory, memory_ceiling

_LONGEST_S = 1.0
"""A computer that slept, or a QGIS that was frozen, has not listened: a pause counts so much."""

_IDLE_SHARE = 0.02
"""A worker that uses less of one processor than this does nothing but beat."""


@dataclass(frozen=True)
class Limits:
    """What a worker may do before it is ended."""

    silence_s: float = 60.0
    """Without any sign of life: as a whole it is frozen, or native code lets nothing else run."""
    loading_s: float = 600.0
    """The same while it imports libraries, which from a slow disk can take minutes."""
    stall_s: float = 300.0
    """A job that passed checks has passed none since, and no processor time was used: a deadlock.
    Work that is only slow uses the processor, and is never ended."""
    idle_s: float = 600.0
    """Without a request: it leaves, and the next request starts a new one."""
    memory_bytes: int = field(default_factory=lambda: memory_ceiling(machine_memory()))
    """Main memory it may hold, 0 for any. It is watched: a limit on address space breaks GPUs."""


class Watch:
    """Judges one worker from what is heard of it. Time is told to it, in seconds."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._heard = 0
        self._silence_s = 0.0
        self._is_loading = False
        self._steps = (0, 0)
        self._cpu_s = 0.0
        self._beat: Optional[protocol.Message] = None
        self._since_beat_s = 0.0
        self._still_s = 0.0

    def begin(self) -> None:
        """Set the clocks for a new job."""
        self._silence_s = self._since_beat_s = self._still_s = 0.0
        self._is_loading = False
        self._steps = (0, 0)

    def listen(self, seconds: float, heard: int, beat: Optional[protocol.Message]) -> None:
        """Take in that time has passed, how many messages have come in all, and the last beat."""
        seconds = min(seconds, _LONGEST_S)
        self._silence_s += seconds
        self._since_beat_s += seconds
        if heard != self._heard:
            self._heard, self._silence_s = heard, 0.0
        if beat is not None and beat is not self._beat:
            self._beat = beat
            self._compare(beat)

    def hear(self, message: protocol.Message) -> None:
        """Take in a message of the job."""
        if message["type"] == protocol.LOADING:
            self._is_loading = not message["is_done"]

    @property
    def is_silent(self) -> bool:
        """Whether it has given no sign of life for too long."""
        return self._silence_s > self.silence_limit_s

    @property
    def silence_limit_s(self) -> float:
        """How long it may be silent now."""
        limits = self._limits
        return max(limits.silence_s, limits.loading_s) if self._is_loading else limits.silence_s

    @property
    def is_still(self) -> bool:
        """Whether its job does not get on, and does nothing for it."""
        return self._still_s > self._limits.stall_s

    def _compare(self, beat: protocol.Message) -> None:
        """Count the time up to a new beat as standing still, or start anew where it shows work.

        Only beats count: on a crowded computer one comes late, and then so did the work.
        """
        steps = (beat["id"], beat["steps"])
        used_s = beat["cpu_s"] - self._cpu_s
        is_at_work = used_s > _IDLE_SHARE * self._limits.stall_s
        has_promised = beat["steps"] > 0
        if steps != self._steps or is_at_work or not has_promised or self._is_loading:
            self._steps, self._cpu_s, self._still_s = steps, beat["cpu_s"], 0.0
        else:
            self._still_s += min(self._since_beat_s, _LONGEST_S)
        self._since_beat_s = 0.0
