# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Public catalogues of Sentinel images: where they are asked, and what they call things."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, Iterable, Mapping, Tuple

from ..dpixels.scenes import S2_BANDS

SCL_ASSET = "SCL"
"""Our name of the scene classes, beside those of S2_BANDS."""
VV, VH = "vv", "vh"

PLANETARY_COMPUTER = "planetary-computer"
EARTH_SEARCH = "earth-search"

_COMMON_NAMES = ("red", "blue", "green", "nir", "nir08", "rededge1", "rededge2", "rededge3",
                 "swir16", "swir22")  # fmt: skip


@dataclass(frozen=True)
class Catalogue:
    """A STAC API, and how its items are read."""

    title: str
    search: str
    """URL of its item search."""
    s2: str = ""
    """Collection of Sentinel-2 L2A; empty where it has none that can be used."""
    s1: str = ""
    """Collection of Sentinel-1 RTC (terrain-corrected gamma-nought); empty likewise."""
    assets: Mapping[str, str] = field(default_factory=dict)
    """Its names of our names: of S2_BANDS, SCL, vv and vh."""
    page: int = 100
    """How many items are asked for at once."""
    sign: str = ""
    """URL that gives a token for `/<account>/<container>`; empty where files are public."""
    signed: Tuple[str, ...] = ()
    """Ends of the hosts whose files want such a token: nobody else ever gets one."""
    stores: Tuple[str, ...] = ()
    """Where its files are known to lie: proxies depend on addresses."""


CATALOGUES: Dict[str, Catalogue] = {
    PLANETARY_COMPUTER: Catalogue(
        title="Planetary Computer",
        search="https://planetarycomputer.microsoft.com/api/stac/v1/search",
        s2="sentinel-2-l2a",
        s1="sentinel-1-rtc",
        assets={**{name: name for name in S2_BANDS}, SCL_ASSET: "SCL", VV: "vv", VH: "vh"},
        sign="https://planetarycomputer.microsoft.com/api/sas/v1/token",
        signed=(".blob.core.windows.net",),
        stores=(
            "https://sentinel2l2a01.blob.core.windows.net",
            "https://sentinel1euwestrtc.blob.core.windows.net",
        ),
    ),
    EARTH_SEARCH: Catalogue(
        title="Earth Search",
        search="https://earth-search.aws.element84.com/v1/search",
        s2="sentinel-2-l2a",
        assets={**dict(zip(S2_BANDS, _COMMON_NAMES)), SCL_ASSET: "scl"},
        stores=("https://sentinel-cogs.s3.us-west-2.amazonaws.com",),
    ),
}
"""By the names that requests use. Sentinel-1 of Earth Search is not terrain-corrected: not used."""


def addresses(catalogues: Iterable[Catalogue] = tuple(CATALOGUES.values())) -> Tuple[str, ...]:
    """Return all addresses that searching and fetching asks."""
    found = (each for one in catalogues for each in (one.search, one.sign, *one.stores))
    return tuple(dict.fromkeys(filter(None, found)))
