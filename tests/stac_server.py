# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Catalogues of Sentinel images on 127.0.0.1: item search with pages, signing, and real COGs.

    world = World()
    world.s2("A", "2023-05-01T10:50:31Z", tile="31UFT", baseline="05.09")
    with world.serving() as service:
        request = service.request(window, folder)

Two servers, as in reality: the API (search and tokens) and the store of the files. The store of the
`planetary-computer` wants a token; without one it answers 409, as Azure does, with a stale one 403.
Files are written by GDAL; a pixel tells which image, band and place it is (`value_at`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import itertools
import json
import threading
import uuid
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple
from urllib.parse import parse_qs, urlencode, urlsplit

import numpy as np
from osgeo import gdal, osr

from tessera_plugin.io.dpixels.scenes import S2_BANDS
from tessera_plugin.io.projection import transform_points
from tessera_plugin.io.stac.catalogues import CATALOGUES, EARTH_SEARCH, PLANETARY_COMPUTER
from tessera_plugin.io.stac.plan import StacRequest
from tessera_plugin.values import NetworkSettings, Window
from tests.servers import DictProvider, RangeServer, Request

QUICK = NetworkSettings(backoff_s=0.01, attempts=3, connect_timeout_s=5, read_timeout_s=5)

FINE = ("B02", "B03", "B04", "B08")
EXTENT_PX = 600
"""Edge of an image in 10 m pixels."""
WEST, NORTH = 600_000.0, 5_700_000.0
"""Upper left corner of images in EPSG:32631."""

VEGETATION, CLOUD = 4, 9
STORE_S2 = "sentinel2-l2"
STORE_S1 = "sentinel1-grd-rtc"


# ------------------------------------------------------------------------------------------ COGs
@dataclasses.dataclass(frozen=True)
class Made:
    """How a file is written."""

    driver: str = "COG"
    block: int = 128
    options: Tuple[str, ...] = ("COMPRESS=DEFLATE",)
    epsg: int = 32631
    west: float = WEST
    north: float = NORTH
    nodata: Optional[float] = 0


def tiff_of(pixels: np.ndarray, size_m: float, made: Made = Made()) -> bytes:
    """Return a GeoTIFF with these pixels."""
    kinds = {"uint8": gdal.GDT_Byte, "uint16": gdal.GDT_UInt16, "float32": gdal.GDT_Float32}
    height, width = pixels.shape
    plain = gdal.GetDriverByName("MEM").Create("", width, height, 1, kinds[pixels.dtype.name])
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(made.epsg)
    plain.SetSpatialRef(reference)
    plain.SetGeoTransform((made.west, size_m, 0, made.north, 0, -size_m))
    if made.nodata is not None:
        plain.GetRasterBand(1).SetNoDataValue(made.nodata)
    plain.GetRasterBand(1).WriteRaster(0, 0, width, height, pixels.tobytes())
    blocks = [f"BLOCKSIZE={made.block}"] if made.driver == "COG" else []
    if made.driver == "GTiff" and made.block:
        blocks = ["TILED=YES", f"BLOCKXSIZE={made.block}", f"BLOCKYSIZE={made.block}"]
    name = f"/vsimem/test-{uuid.uuid4().hex}.tif"
    gdal.GetDriverByName(made.driver).CreateCopy(
        name, plain, options=[*blocks, *made.options]
    ).FlushCache()
    size = gdal.VSIStatL(name).size
    file = gdal.VSIFOpenL(name, "rb")
    data = bytes(gdal.VSIFReadL(1, size, file))
    gdal.VSIFCloseL(file)
    gdal.Unlink(name)
    return data


def value_at(seed: int, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Return the pixel of an image at a place: never 0, different for every seed."""
    return (1 + (seed * 7919 + rows * 131 + cols * 17) % 9000).astype(np.int64)


def pixels_of(seed: int, edge_px: int) -> np.ndarray:
    """Return all pixels of a square image."""
    rows, cols = np.mgrid[:edge_px, :edge_px]
    return value_at(seed, rows, cols)


def size_of(asset: str) -> float:
    """Return the pixel size of one of our assets."""
    return 10.0 if asset in (*FINE, "vv", "vh") else 20.0


# ----------------------------------------------------------------------------------------- items
class World:
    """The images that there are. Items of both catalogues may be added; ids must differ."""

    def __init__(self, made: Optional[Made] = None) -> None:
        self.made = made or Made()
        self.items: Dict[str, List[Dict[str, Any]]] = {}
        """By catalogue and collection."""
        self.files = DictProvider()
        self.seeds: Dict[Tuple[str, str], int] = {}
        """Of each file, by id and our name of the asset."""
        self._seeds = itertools.count(1)

    def s2(
        self,
        name: str,
        moment: str,
        *,
        catalogue: str = PLANETARY_COMPUTER,
        tile: str = "31UFT",
        baseline: str = "05.09",
        datatake: Optional[str] = None,
        strip: str = "20230501T105029",
        clear: float = 1.0,
        cloud: float = 10.0,
        bucket: str = "",
        made: Optional[Made] = None,
        like: str = "",
        **facts: Any,
    ) -> Dict[str, Any]:
        """Add an image; `clear` is the share of its rows, from the north, without cloud.

        One that is `like` another has its files, which makes it cheap.
        """
        if datatake is None:
            datatake = f"GS2A_{moment[:10].replace('-', '')}T105031_012345"
        is_public = catalogue == EARTH_SEARCH
        bucket = bucket or ("sentinel-cogs" if is_public else STORE_S2)
        properties = {
            "datetime": moment,
            "eo:cloud_cover": cloud,
            "s2:datatake_id": f"{datatake}_N{baseline}",
            "s2:datastrip_id": f"S2A_OPER_MSI_L2A_DS_2APS_20230501T200058_S{strip}_N{baseline}",
            "s2:generation_time": "2023-05-01T20:00:58Z",
            "s2:processing_baseline": baseline,
            **({"grid:code": f"MGRS-{tile}"} if is_public else {"s2:mgrs_tile": tile}),
            **({"earthsearch:boa_offset_applied": False} if is_public else {}),
            **facts,
        }
        names = CATALOGUES[catalogue].assets
        made = made or self.made
        files = {}
        for asset in ("SCL", *S2_BANDS):
            path = f"{bucket}/{like or name}/{asset}.tif"
            if not like:
                self.files.put(path, self._image(name, asset, made, clear))
            files[names[asset]] = path
        return self._add(catalogue, "sentinel-2-l2a", name, properties, files, made)

    def s1(
        self, name: str, moment: str, orbit: str = "ascending", *, pols: Sequence[str] = ("vv", "vh"),
        made: Optional[Made] = None, like: str = "",
    ) -> Dict[str, Any]:  # fmt: skip
        """Add a radar image."""
        made = dataclasses.replace(made or self.made, nodata=-32768.0)
        files = {}
        for asset in pols:
            path = f"{STORE_S1}/{like or name}/iw-{asset}.rtc.tiff"
            if not like:
                self.files.put(path, self._image(name, asset, made, 1.0))
            files[asset] = path
        properties = {"datetime": moment, "sat:orbit_state": orbit}
        return self._add(PLANETARY_COMPUTER, "sentinel-1-rtc", name, properties, files, made)

    def _image(self, name: str, asset: str, made: Made, clear: float) -> bytes:
        seed = self.seeds[name, asset] = next(self._seeds)
        size_m = size_of(asset)
        edge = int(EXTENT_PX * 10 / size_m)
        if asset == "SCL":
            pixels = np.full((edge, edge), CLOUD, np.uint8)
            pixels[: round(clear * edge)] = VEGETATION
        elif asset in ("vv", "vh"):
            pixels = (pixels_of(seed, edge) / 10_000).astype(np.float32)
        else:
            pixels = pixels_of(seed, edge).astype(np.uint16)
        return tiff_of(pixels, size_m, made)

    def _add(
        self, catalogue: str, collection: str, name: str, properties: Mapping[str, Any],
        files: Mapping[str, str], made: Made,
    ) -> Dict[str, Any]:  # fmt: skip
        reach = EXTENT_PX * 10
        corners = [(0, 0), (reach, 0), (reach, -reach), (0, -reach), (0, 0)]
        points = np.array([(made.west + x, made.north + y) for x, y in corners], float)
        ring = transform_points(points, f"EPSG:{made.epsg}", "EPSG:4326").tolist()
        lons, lats = zip(*ring)
        item = {
            "type": "Feature",
            "id": name,
            "collection": collection,
            "bbox": [min(lons), min(lats), max(lons), max(lats)],
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": dict(properties),
            "assets": {asset: {"href": path} for asset, path in files.items()},
            "links": [],
        }
        self.items.setdefault(f"{catalogue}/{collection}", []).append(item)
        return item

    @contextlib.contextmanager
    def serving(self, **options: Any) -> Iterator[Service]:
        """Serve them for as long as the `with` block lasts."""
        store = RangeServer(_Store(self.files))
        api = RangeServer(_Api(self, store, **options))
        store.provider.tokens = api.provider
        with store, api:
            yield Service(self, api, store)


@dataclasses.dataclass(frozen=True)
class Service:
    """What is served, and how it is asked."""

    world: World
    api: RangeServer
    store: RangeServer

    def request(self, window: Window, folder: object, **changes: Any) -> StacRequest:
        """Return a request for images of 2023 whose catalogues are these."""
        catalogues = {
            name: dataclasses.replace(
                known,
                search=f"{self.api.url}/{name}/search",
                page=self.api.provider.page,
                sign=f"{self.api.url}/sas/v1/token" if known.sign else "",
                signed=(f"127.0.0.1:{self.store.port}",) if known.sign else (),
            )
            for name, known in CATALOGUES.items()
        }
        asked = {
            "window": window,
            "first": dt.date(2023, 1, 1),
            "last": dt.date(2023, 12, 31),
            "folder": str(folder),
            "s1": "",
            "catalogues": catalogues,
            "network": QUICK,
        }
        return StacRequest(**{**asked, **changes})

    def asked(self, pattern: str = "*") -> List[Request]:
        """Return the requests for files."""
        return self.store.requests(pattern)


# ---------------------------------------------------------------------------------------- servers
class _Api:
    """Item search by GET, and tokens."""

    def __init__(
        self, world: World, store: RangeServer, page: int = 100, token_s: float = 3600.0
    ) -> None:
        self.world = world
        self.page = page
        self.token_s = token_s
        """How long tokens are good."""
        self.refuses_tokens = False
        self.searches: List[Dict[str, str]] = []
        self._store = store
        self._lock = threading.Lock()
        self.tokens: Dict[str, str] = {}
        """The signatures that are good, and for which container."""
        self.every_token: List[str] = []

    def find(self, path: str) -> None:
        return None

    def expire(self) -> None:
        """Take every token back."""
        with self._lock:
            self.tokens.clear()

    def respond(self, request: Request) -> Optional[Tuple[int, Dict[str, str], bytes]]:
        if request.path.startswith("sas/v1/token/"):
            return self._token(request.path.split("/")[-1])
        if request.path.endswith("/search") and request.method == "GET":
            return self._search(request)
        return None

    def _token(self, container: str) -> Tuple[int, Dict[str, str], bytes]:
        if self.refuses_tokens:
            return 403, {}, b"{}"
        with self._lock:
            signature = f"secret{len(self.every_token)}{uuid.uuid4().hex}"
            self.tokens[signature] = container
            self.every_token.append(signature)
        until = dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=self.token_s)
        token = f"sv=2021-06-08&sr=c&sp=rl&se=x%3A1&sig={signature}%3D"
        body = {"msft:expiry": until.strftime("%Y-%m-%dT%H:%M:%SZ"), "token": token}
        return 200, {}, json.dumps(body).encode()

    def _search(self, request: Request) -> Tuple[int, Dict[str, str], bytes]:
        """Answer as the two catalogues do: both page by a link, each with a token of its own."""
        parts = urlsplit(request.target)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.searches.append(asked)
        catalogue = request.path.split("/")[0]
        items = self.world.items.get(f"{catalogue}/{asked['collections']}", [])
        found = [item for item in items if _meets(item, asked)]
        found.sort(key=lambda item: item["properties"]["datetime"], reverse=True)
        start = int(asked.get("token", asked.get("next", "next:0")).split(":")[-1])
        stop = start + min(int(asked["limit"]), self.page)
        links = [{"rel": "self", "href": request.target}]
        if stop < len(found):
            name = "token" if catalogue == PLANETARY_COMPUTER else "next"
            more = urlencode({**asked, name: f"next:{stop}"})
            href = f"http://{request.headers['host']}/{request.path}?{more}"
            links.append({"rel": "next", "method": "GET", "href": href, "merge": False})
        page = {
            "type": "FeatureCollection",
            "features": [self._with_urls(item) for item in found[start:stop]],
            "links": links,
        }
        return 200, {}, json.dumps(page).encode()

    def _with_urls(self, item: Mapping[str, Any]) -> Dict[str, Any]:
        assets = {
            name: {**asset, "href": f"{self._store.url}/{asset['href']}"}
            if "://" not in asset["href"]
            else asset
            for name, asset in item["assets"].items()
        }
        return {**item, "assets": assets}


class _Store:
    """Files, some of which want a token."""

    def __init__(self, files: DictProvider) -> None:
        self._files = files
        self.tokens: Optional[_Api] = None

    def respond(self, request: Request) -> Optional[Tuple[int, Dict[str, str], bytes]]:
        container = request.path.split("/")[0]
        if container not in (STORE_S2, STORE_S1):
            return None
        given = parse_qs(urlsplit(request.target).query).get("sig", [""])[0].rstrip("=")
        if not given:
            return 409, {}, b"Public access is not permitted on this storage account."
        if self.tokens.tokens.get(given) != container:
            return 403, {}, b"AuthenticationFailed"
        return None

    def find(self, path: str) -> Any:
        return self._files.find(path)


def _meets(item: Mapping[str, Any], asked: Mapping[str, str]) -> bool:
    west, south, east, north = map(float, asked["bbox"].split(","))
    box = item["bbox"]
    first, last = asked["datetime"].split("/")
    moment = item["properties"]["datetime"]
    is_then = moment is None or first[:19] <= moment[:19] <= last[:19]
    return is_then and box[0] <= east and box[2] >= west and box[1] <= north and box[3] >= south
