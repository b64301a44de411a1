# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What really came of what a person did: the label file by OGR, the land, pixels of map and screen.

Runs inside QGIS, with what QGIS ships.
"""

import math
from collections import Counter

import numpy as np
from osgeo import gdal, ogr, osr
from qgis.core import QgsProject
from qgis.PyQt.QtCore import QPoint
from qgis.PyQt.QtGui import QColor
from ticks import not_felt

TABLES = ("label_points", "label_polygons")


class LabelFile:
    """A label file as any other program sees it."""

    def __init__(self, path):
        self.path = path

    @not_felt()
    def rows(self):
        """Return all labels: class, year, note, confidence, geometry as OGR has it."""
        source = ogr.Open(self.path)
        found = []
        for table in TABLES:
            layer = source.GetLayerByName(table)
            for each in layer:
                fields = ("key", "class_name", "year", "note", "confidence")
                row = {name: each.GetField(name) for name in fields}
                found.append({**row, "geometry": each.GetGeometryRef().Clone(), "table": table})
        return found

    def counts(self):
        return dict(Counter(each["class_name"] for each in self.rows()))

    @not_felt()
    def classes(self):
        """Return names and colours in the person's order."""
        source = ogr.Open(self.path)
        layer = source.ExecuteSQL("SELECT name, color FROM classes ORDER BY position")
        found = [(each.GetField(0), each.GetField(1)) for each in layer]
        source.ReleaseResultSet(layer)
        return found

    def near(self, lon, lat, within_deg=1e-4):
        """Return the labelled points at a place."""
        return [each for each in self.rows()
                if each["table"] == TABLES[0]
                and abs(each["geometry"].GetX() - lon) < within_deg
                and abs(each["geometry"].GetY() - lat) < within_deg]  # fmt: skip


class Land:
    """The true classes: a raster of numbers in a UTM zone."""

    def __init__(self, path, names):
        """`names`: class names by number."""
        self._names = {int(number): name for number, name in names.items()}
        raster = gdal.Open(path)
        self._west, self._size, _, self._north, _, _ = raster.GetGeoTransform()
        self._numbers = raster.ReadAsArray()
        utm = osr.SpatialReference(raster.GetProjection())
        lonlat = osr.SpatialReference()
        lonlat.ImportFromEPSG(4326)
        for each in (utm, lonlat):
            each.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
        self._to_utm = osr.CoordinateTransformation(lonlat, utm)

    def at(self, lon, lat):
        """Return the name of the class at a place."""
        x, y, _ = self._to_utm.TransformPoint(lon, lat)
        row = math.floor((self._north - y) / self._size)
        return self._names[int(self._numbers[row, math.floor((x - self._west) / self._size)])]

    @not_felt()
    def agreement(self, path):
        """Return the share of a class map's pixels that are right, and how many have a class.

        Those that are of a class that the land does not have (“Uncertain”) do not count.
        """
        mapped, names, (west, size, _, north, _, _) = class_map(path)
        row, col = round((self._north - north) / size), round((west - self._west) / size)
        height, width = mapped.shape
        true = self._numbers[row : row + height, col : col + width]
        numbers = {name: number for number, name in self._names.items()}
        found = np.array([numbers.get(name, 0) for name in names], np.uint8)[mapped]
        known = found > 0
        return round(float((found == true)[known].mean()), 3), int(known.sum())


@not_felt()
def class_map(path):
    """Return pixels, class names by value, and geotransform of a class map."""
    raster = gdal.Open(path)
    place = raster.GetGeoTransform()  # GDAL 3.6 has no names before it has looked at its side file
    band = raster.GetRasterBand(1)
    return band.ReadAsArray(), band.GetCategoryNames(), place


@not_felt()
def screen_agreement(person, places, colors):
    """Return at how many of the places the screen has the class's colour, as a share.

    Places: longitude, latitude and class name. Of a pixel, the class is that of the nearest colour.
    """
    picture = person.canvas.grab().toImage()
    wanted = {name: _rgb(QColor(color)) for name, color in colors.items()}
    right = 0
    for lon, lat, name in places:
        pixel = picture.pixelColor(person._pixel(lon, lat))
        seen = _rgb(pixel)
        nearest = min(wanted, key=lambda each: math.dist(wanted[each], seen))
        right += nearest == name
    return round(right / len(places), 3)


@not_felt()
def difference(before, after, step=7):
    """Return the share of the screen's pixels that differ between two pictures."""
    size = before.size()
    places = [QPoint(x, y) for x in range(0, size.width(), step)
              for y in range(0, size.height(), step)]  # fmt: skip
    other = sum(before.pixel(each) != after.pixel(each) for each in places)
    return round(other / len(places), 3)


def layer(words):
    """Return the project's layer with these words in its name, or None."""
    layers = QgsProject.instance().mapLayers().values()
    return next((each for each in layers if words in each.name()), None)


def _rgb(color):
    return color.red(), color.green(), color.blue()
