# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What answers and broken connections mean: good, final, or worth another try; and in which words."""

from __future__ import annotations

import email.utils
import http.client
import re
import socket
import ssl
import time
from typing import Iterator, Optional, Tuple
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from ..errors import AccessRefused, NetworkFailed
from ..values import NetworkSettings
from .http_proxies import LOGIN, login_needed, proxy_name
from .objects import GET_LIMIT_BYTES, NotFound, NotModified, ObjectChanged, ObjectUnusable

REFUSED = (401, 403, 451)
GONE = (404, 410)
BUSY = (408, 425, 429)
MOVED = (301, 302, 303, 307, 308)

TOO_SLOW = "it comes too slowly"

BROKEN = (
    requests.exceptions.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
)
"""All that can be raised while a server is asked."""

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")
_NO_ADDRESS = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidHeader,
)
_SILENT = (
    requests.exceptions.ReadTimeout,
    urllib3.exceptions.ReadTimeoutError,
    socket.timeout,
)
_CUT = (http.client.IncompleteRead, urllib3.exceptions.IncompleteRead)

# OpenSSL's numbers of what can be wrong with a certificate; its words differ between versions
_NOT_YET, _EXPIRED = 9, 10
_OTHER_NAME = (62, 64)


class Retry(Exception):  # noqa: N818 - never leaves the HTTP client
    """A try that failed in a way another may not."""

    def __init__(
        self,
        reason: str,
        *,
        wait_s: float = 0.0,
        changed: str = "",
        is_silent: bool = False,
        is_busy: bool = False,
        is_slow: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait_s = wait_s
        """What the server asks for before another try."""
        self.changed = changed
        """The ETag found instead of the expected one."""
        self.is_silent = is_silent
        """Whether nothing was heard from the server."""
        self.is_busy = is_busy
        """Whether the server said that it can't answer now."""
        self.is_slow = is_slow
        """Whether what it sent came too slowly."""


# --- answers


def check_status(url: str, response: requests.Response, proxy: str) -> None:
    """Raise what a status means that is not an object or a part of one."""
    status = int(response.status_code)
    if status in (200, 206):
        return
    if status in GONE:
        raise NotFound(url)
    if status == 304:
        raise NotModified(url)
    if status == 412:
        raise ObjectChanged(url)
    if status == LOGIN:
        raise login_needed(url, proxy)
    if status in REFUSED:
        raise AccessRefused(url, status)
    if status == 416:
        raise ObjectUnusable(url, "it is shorter than expected")
    if status in BUSY or status >= 500:
        wait = retry_after(response.headers.get("Retry-After"))
        raise Retry(f"the server answers with status {status}", wait_s=wait, is_busy=True)
    raise NetworkFailed(url, f"unexpected status {status}")


def checked_range(url: str, response: requests.Response, start: int, stop: int) -> int:
    """Check that an answer is the asked range; return the length of the whole object."""
    first, last, total = _content_range(response)
    if first == start and last + 1 == total < stop:
        raise ObjectUnusable(url, f"it has only {total:,} bytes")
    if (first, last + 1) != (start, stop) or total < stop:
        raise Retry(f"bytes {first}-{last} were sent instead of {start}-{stop - 1}")
    return total


def checked_tail(url: str, response: requests.Response, size: int) -> int:
    """Check that an answer is the end of an object; return the length of the whole object."""
    first, last, total = _content_range(response)
    if first == 0 and last + 1 == total < size:
        raise ObjectUnusable(url, f"it has only {total:,} bytes")
    if (first, last + 1) != (total - size, total):
        raise Retry(f"bytes {first}-{last} were sent instead of the last {size}")
    return total


def checked_whole(url: str, response: requests.Response) -> Optional[int]:
    """Check that an answer is a whole object; return its length, None where its end is marked."""
    length = content_length(response)
    is_marked = str(response.headers.get("Transfer-Encoding", "")).lower() == "chunked"
    if response.status_code != 200 or (length is None and not is_marked):
        raise Retry("the answer is not a whole object")
    if length is not None and length > GET_LIMIT_BYTES:
        raise ObjectUnusable(url, f"it has {length:,} bytes, more than expected")
    return None if is_marked else length


def content_length(response: requests.Response) -> Optional[int]:
    """Return the length of the body as the server tells it; None if it doesn't."""
    text = str(response.headers.get("Content-Length", ""))
    return int(text) if text.isascii() and text.isdigit() else None


def retry_after(text: Optional[str]) -> float:
    """Return the seconds that a Retry-After header asks for; 0 if it can't be read."""
    if not text:
        return 0.0
    if text.strip().isdigit():
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError):
        return 0.0
    return max(moment.timestamp() - time.time(), 0.0)


def redirected(asked: str, url: str, location: str) -> str:
    """Return where a redirect points. Raises NetworkFailed if nobody should go there."""
    target = urljoin(url, location)
    scheme = urlsplit(target).scheme
    if not location or scheme not in ("http", "https"):
        raise NetworkFailed(asked, "it redirects to something that is not HTTP")
    if urlsplit(url).scheme == "https" and scheme != "https":
        raise NetworkFailed(asked, "it redirects from a secure address to an insecure one")
    return target


def _content_range(response: requests.Response) -> Tuple[int, int, int]:
    """Return the first and the last byte of a part, and the length of the whole."""
    if response.status_code != 206:
        raise Retry("the whole object was sent instead of a part")
    match = _CONTENT_RANGE.fullmatch(str(response.headers.get("Content-Range", "")))
    if match is None:
        raise Retry("the answer does not say which part it is")
    first, last, total = (int(text) for text in match.groups())
    return first, last, total


# --- broken connections


def problem_of(
    url: str, error: BaseException, settings: NetworkSettings, *, proxy: str, has_answered: bool
) -> Exception:
    """Return what a broken connection means, in words without credentials.

    `proxy` is the URL of the proxy on the way, empty for none; `has_answered` tells whether the
    head of an answer had come before it broke.
    """
    tunnel = _TUNNEL.search(str(error))
    if tunnel:
        return _refused_tunnel(url, int(tunnel.group(1)), proxy)
    final = _final_reason(error, settings)
    if final:
        return NetworkFailed(url, final)
    chain = tuple(_chain(error))
    is_timeout = any(isinstance(each, _SILENT) for each in chain)
    reason = _reason(error, chain, settings, proxy)
    return Retry(reason, is_silent=is_timeout or not has_answered)


def _refused_tunnel(url: str, status: int, proxy: str) -> Exception:
    """Return what a proxy means that does not let a secure connection through."""
    if status == LOGIN:
        return login_needed(url, proxy)
    said = f"the proxy {proxy_name(proxy)} answers with status {status}"
    if status in BUSY or status >= 500:
        return Retry(said, is_busy=True)
    return NetworkFailed(url, said)


def _final_reason(error: BaseException, settings: NetworkSettings) -> str:
    """Return why another try would be in vain; empty if it may help."""
    if isinstance(error, _NO_ADDRESS):
        if "SOCKS" in str(error):
            return "its proxy is a SOCKS proxy, for which this QGIS lacks a module (PySocks)"
        return "its address or its proxy's can't be used"
    if isinstance(error, requests.exceptions.SSLError):
        return _certificate_reason(error)
    if type(error) is OSError and "TLS CA certificate" in str(error):
        return f"there are no certificate authorities in {settings.ca_bundle}"
    return ""


def _certificate_reason(error: BaseException) -> str:
    """Return what is wrong with a certificate; empty if that is not what went wrong."""
    for each in _chain(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            if each.verify_code in _OTHER_NAME:
                return "its certificate is for another name"
            if each.verify_code == _EXPIRED:
                return "its certificate has expired, or this computer's clock is wrong"
            if each.verify_code == _NOT_YET:
                return "its certificate is not valid yet, or this computer's clock is wrong"
            return "its certificate is not trusted: nobody whom QGIS trusts has signed it"
    if "doesn't match" in str(error):  # urllib3 compares names by itself where OpenSSL does not
        return "its certificate is for another name"
    return ""


def _reason(
    error: BaseException,
    chain: Tuple[BaseException, ...],
    settings: NetworkSettings,
    proxy: str,
) -> str:
    if isinstance(error, requests.exceptions.ProxyError):
        return f"the proxy {proxy_name(proxy)} can't be reached"
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return f"no connection within {settings.connect_timeout_s:g} s"
    if any(isinstance(each, urllib3.exceptions.NewConnectionError) for each in chain):
        is_unknown = any(isinstance(each, socket.gaierror) for each in chain)
        return "no connection: its name is not known" if is_unknown else "no connection"
    if any(isinstance(each, _SILENT) for each in chain):
        return f"nothing came for {settings.read_timeout_s:g} s"
    if isinstance(error, requests.exceptions.SSLError):
        return "no secure connection could be made"
    is_cut = any(isinstance(each, _CUT) for each in chain)
    return "the connection broke, only a part came" if is_cut else "the connection broke"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that it was made from; libraries wrap them in several ways."""
    found = [error]
    seen = set()
    while found:
        each = found.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        inner = (getattr(each, "reason", None), each.__cause__, each.__context__, *each.args)
        found += [one for one in inner if isinstance(one, BaseException)]
