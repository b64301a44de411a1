# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Images of an area and a time, asked of catalogues page by page, and told before any is fetched."""

from __future__ import annotations

import json
import time
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, TypeVar
from urllib.parse import urlencode, urljoin, urlsplit

import numpy as np
from osgeo import gdal, ogr

from ...errors import AccessRefused, ExtentTooLarge, NetworkFailed, NoScenes
from ...progress import Report, silent
from ...values import Window
from ..http import HttpClient
from ..objects import NotFound, RangeReply
from ..sources.crew import Crew
from .catalogues import Catalogue
from .estimate import Costs, costs_of
from .items import S1Item, S2Item, Unfit, s1_item, s2_item, without_doubles
from .plan import Item, StacPlan, StacRequest, bands_of, mask_of
from .signing import SignedClient, open_signed
from .windows import outline_of

LIMIT_PX = 25_000_000
"""Of a window: 50 by 50 km. One image of it is held in memory per connection."""

PAGES = 200
REFUSALS = 3
"""Catalogues that anybody may ask say 403 when they are asked too much."""

AROUND_DEG = 0.02
"""Footprints in catalogues are simplified by less."""

_ITEM_BYTES = 132

_Item = TypeVar("_Item", S2Item, S1Item)
_Read = Callable[[Mapping[str, Any], Catalogue, str], _Item]


def search(request: StacRequest, report: Report = silent) -> StacPlan:
    """Return what catalogues have, and what fetching it takes; a few headers of images are read.

    Raises: NoScenes, ExtentTooLarge, NetworkFailed, AccessRefused, Cancelled.
    """
    pixels = request.window.pixels
    if pixels > LIMIT_PX:
        raise ExtentTooLarge(pixels, pixels * _ITEM_BYTES, LIMIT_PX)
    client, asker = open_signed(request.asked, request.network)
    try:
        return _Search(request, client, asker, report).run()
    finally:
        client.close()


class _Search:
    """One search."""

    def __init__(
        self, request: StacRequest, client: HttpClient, asker: SignedClient, report: Report
    ) -> None:
        self._request = request
        self._client = client
        self._asker = asker
        self._report = report
        self._skipped: Dict[str, str] = {}
        self._found = 0

    def run(self) -> StacPlan:
        request = self._request
        s2: List[S2Item] = []
        s1: List[S1Item] = []
        jobs: List[Callable[[], None]] = [lambda: s2.extend(self._items(request.s2, "s2", s2_item))]
        if request.s1:
            jobs.append(lambda: s1.extend(self._items(request.s1, "s1", s1_item)))
        Crew(len(jobs), self._client.cancel).run(jobs, self._tell)
        clear = [item for item in s2 if item.cloud is None or item.cloud <= request.max_cloud]
        used, older = without_doubles(clear)
        radar = [item for item in s1 if item.orbit in request.orbits]
        if not used:
            raise NoScenes(request.catalogues[request.s2].title, self._why_none(len(s2)))
        ordered = _by_time(used), _by_time(radar)
        costs = self._costs(*ordered)
        return StacPlan(
            request,
            *ordered,
            tuple(sorted(self._skipped.items())),
            costs.bytes,
            costs.seconds,
            costs.requests,
            costs.files_here,
            costs.files,
            tuple(self._sentences(*ordered, len(s2) - len(clear), len(older), costs)),
        )

    def _tell(self) -> None:
        count = f": {self._found} found" if self._found else ""
        self._report(0.0, f"Searching images{count}")

    # --- pages

    def _items(self, key: str, sensor: str, read: _Read[_Item]) -> List[_Item]:
        """Return the items of a sensor that meet the window and can be used."""
        catalogue = self._request.catalogues[key]
        collection = catalogue.s2 if sensor == "s2" else catalogue.s1
        if not collection:
            raise NoScenes(catalogue.title, "it has no such images that an encoder could use")
        found: Dict[str, _Item] = {}
        for bbox in boxes_of(self._request.window):
            for feature in self._features(catalogue, collection, bbox):
                item = self._fit(feature, catalogue, key, read)
                if item is not None:
                    found.setdefault(item.id, item)
        return list(found.values())

    def _fit(
        self, feature: Mapping[str, Any], catalogue: Catalogue, key: str, read: _Read[_Item]
    ) -> Optional[_Item]:
        try:
            item = read(feature, catalogue, key)
        except Unfit as reason:
            self._skipped[str(feature.get("id") or "an item without a name")] = str(reason)
            return None
        is_then = self._request.first <= item.moment.date() <= self._request.last
        return item if is_then and _may_meet(item.footprint, self._request.window) else None

    def _features(
        self, catalogue: Catalogue, collection: str, bbox: Sequence[float]
    ) -> List[Dict[str, Any]]:
        """Return all items of a search, as the catalogue has them."""
        asked = {
            "collections": collection,
            "bbox": ",".join(f"{each:.6f}" for each in bbox),
            "datetime": f"{self._request.first}T00:00:00Z/{self._request.last}T23:59:59Z",
            "limit": str(catalogue.page),
        }
        url = f"{catalogue.search}?{urlencode(asked, safe=',:/')}"
        features: List[Dict[str, Any]] = []
        seen = {url}
        while url:
            page = _page(url, self._patient(url).data)
            features += page["features"]
            self._found += len(page["features"])
            url = _next(url, page)
            if url in seen or len(seen) >= PAGES:
                raise NetworkFailed(catalogue.search, "its pages have no end")
            seen.add(url)
        return features

    def _patient(self, url: str) -> RangeReply:
        """Return a page; a refusal may only mean that others ask as well."""
        for tried in range(1, REFUSALS + 1):
            try:
                return self._client.get(url)
            except AccessRefused as error:
                if error.status != 403 or tried == REFUSALS:
                    raise
            except NotFound:
                raise NetworkFailed(url, "there is no such catalogue") from None
            self._rest(self._request.network.backoff_s * 2**tried)
        raise AssertionError

    def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._client.check_cancelled()
            time.sleep(min(left, 0.1))

    # --- what it takes

    def _costs(self, s2: Sequence[S2Item], s1: Sequence[S1Item]) -> Costs:
        found: List[Costs] = []
        pieces = [mask_of(item) for item in s2]
        wanted: Sequence[Item] = (*s2, *s1)
        pieces += [piece for item in wanted for piece in bands_of(item)]
        jobs = [lambda: found.append(costs_of(self._request, pieces, self._asker))]
        Crew(1, self._client.cancel).run(
            jobs, lambda: self._report(0.5, "Looking how large the images are")
        )
        return found[0]

    def _sentences(
        self, s2: Sequence[S2Item], s1: Sequence[S1Item], cloudy: int, older: int, costs: Costs
    ) -> List[str]:
        request = self._request
        dates = len({item.moment.date() for item in s2})
        images = f"{_count(len(s2), 'Sentinel-2 image')} of {_count(dates, 'day')}"
        title = request.catalogues[request.s2].title
        said = [f"{images} from {title}, {request.first} to {request.last}."]
        left = [f"{cloudy} cloudier than {request.max_cloud:g} %"] if cloudy else []
        left += [f"{older} older processings of the same"] if older else []
        if left:
            said.append(f"Not counted: {' and '.join(left)}.")
        if request.s1:
            said.append(_radar(s1, request))
        said += [f"{name} can't be used: {why}." for name, why in sorted(self._skipped.items())[:5]]
        if len(self._skipped) > 5:
            said.append(f"{len(self._skipped) - 5} more images can't be used.")
        return [*said, costs.sentence]

    def _why_none(self, found: int) -> str:
        request = self._request
        when = f"from {request.first} to {request.last}"
        if found:
            return f"all {found} Sentinel-2 images {when} are cloudier than {request.max_cloud:g} %"
        if self._skipped:
            name, why = sorted(self._skipped.items())[0]
            return f"none of the images {when} can be used ({name}: {why})"
        return f"no Sentinel-2 image of this area {when}"


# --- areas


def boxes_of(window: Window) -> Tuple[Tuple[float, float, float, float], ...]:
    """Return west, south, east, north in degrees; two boxes where the antimeridian divides."""
    points = outline_of(window)
    lon = np.unwrap(points[:, 0], period=360.0)
    # unwrapping goes along the edges, and starts where the outline does
    lon -= 360.0 * np.round((lon.mean()) / 360.0)
    west, east = float(lon.min()), float(lon.max())
    south, north = float(points[:, 1].min()), float(points[:, 1].max())
    if west < -180.0:
        return (west + 360.0, south, 180.0, north), (-180.0, south, east, north)
    if east > 180.0:
        return (west, south, 180.0, north), (-180.0, south, east - 360.0, north)
    return ((west, south, east, north),)


def _may_meet(footprint: Optional[Mapping[str, Any]], window: Window) -> bool:
    """Whether a footprint comes near a window; yes wherever that can't be told."""
    boxes = boxes_of(window)
    if footprint is None or len(boxes) > 1:
        return True
    shape = _shape_of(footprint)
    if shape is None or abs(shape.GetEnvelope()[0]) > 179 or abs(shape.GetEnvelope()[1]) > 179:
        return True
    west, south, east, north = boxes[0]
    around = ogr.Geometry(ogr.wkbLinearRing)
    for lon, lat in ((west, south), (east, south), (east, north), (west, north), (west, south)):
        around.AddPoint_2D(lon, lat)
    area = ogr.Geometry(ogr.wkbPolygon)
    area.AddGeometry(around)
    return bool(shape.Intersects(area.Buffer(AROUND_DEG)))


def _shape_of(footprint: Mapping[str, Any]) -> Optional[ogr.Geometry]:
    """Return GDAL's object of GeoJSON; None where it is none, in either of GDAL's modes."""
    gdal.PushErrorHandler("CPLQuietErrorHandler")
    try:
        return ogr.CreateGeometryFromJson(json.dumps(footprint))
    except RuntimeError:
        return None
    finally:
        gdal.PopErrorHandler()


# --- answers


def _page(url: str, data: bytes) -> Dict[str, Any]:
    """Return a page of items. Raises: NetworkFailed."""
    try:
        page = json.loads(data)
    except ValueError:
        page = None
    features = page.get("features") if isinstance(page, dict) else None
    if not isinstance(features, list) or not all(isinstance(each, dict) for each in features):
        raise NetworkFailed(url, "the answer is not a list of images")
    return dict(page)


def _next(url: str, page: Mapping[str, Any]) -> str:
    """Return the address of the next page, empty for none. Raises: NetworkFailed."""
    links = page.get("links")
    for link in links if isinstance(links, list) else ():
        if not isinstance(link, dict) or link.get("rel") != "next":
            continue
        target = urljoin(url, str(link.get("href", "")))
        is_get = str(link.get("method", "GET")).upper() == "GET"
        if not is_get or urlsplit(target).scheme not in ("http", "https"):
            raise NetworkFailed(url, "where its next page lies is not understood")
        if urlsplit(url).scheme == "https":  # servers behind others at times don't know of it
            target = urlsplit(target)._replace(scheme="https").geturl()
        return target if page["features"] else ""
    return ""


# --- words


def _by_time(items: Sequence[_Item]) -> Tuple[_Item, ...]:
    return tuple(sorted(items, key=lambda item: (item.moment, item.id)))


def _radar(items: Sequence[S1Item], request: StacRequest) -> str:
    title = request.catalogues[request.s1].title
    if not items:
        return f"There is no Sentinel-1 image of this area from {title}."
    each = [f"{sum(item.orbit == orbit for item in items)} {orbit}" for orbit in request.orbits]
    return f"{_count(len(items), 'Sentinel-1 image')} from {title}: {', '.join(each)}."


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
