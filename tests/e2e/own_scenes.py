# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Own scenes by hand: dated rasters of two areas, encoded, labelled, mapped. Runs inside QGIS."""

from dock_steps import AREA, MAP, Dock
from main_job import idle, memory
from person import Person, Steps
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QAction, QApplication, QFileDialog

MODEL, INPUT, START = range(3)


def own_scenes(plan):
    person = Person(plan["pictures"])
    dock, dialog = Dock(person), EncodeDialog(person)
    timed = Steps(person, dialog)
    first, *others = plan["areas"]
    person.new_project()
    person.zoom_to(*first["bbox"])
    timed("idle", lambda: idle(person))
    timed("open", dock.open)
    dialog.open()
    timed("model", lambda: dialog.model(plan["encoder"]))
    for area in plan["areas"]:
        name = area["name"]
        timed(f"inputs {name}", lambda area=area: dialog.inputs(area["images"]))
        timed(f"estimate {name}", lambda name=name: dialog.estimate(name))
        timed(f"encode {name}", dialog.encode)
        dialog.close()
        timed.look(f"encoded {name}")
        dialog.open()
    dialog.close()
    person.zoom_to(*first["bbox"])
    timed("label", lambda: dock.label(plan["classes"]))
    timed("train", lambda: dock.train(plan["head"]))
    timed(f"classify {first['name']}", dock.classify)
    for area in others:
        person.zoom_to(*area["bbox"])
        timed(f"classify {area['name']}", lambda area=area: classify_as(dock, area["map"]))
    return {"steps": timed.done, "memory": memory(), "files": dock.files()}


def classify_as(dock, path):
    """Write a map of another place under a name of its own."""
    dock.page(AREA)
    QTest.qWait(300)
    dock.page(MAP)
    dock.person.find("outputPath").lineEdit().setText(path)
    QApplication.processEvents()
    return dock.classify()


class EncodeDialog:
    """The dialog as a person uses it; what the system's file dialogs give is put in their place."""

    def __init__(self, person):
        self.person = person
        self._tabs = None

    def look(self, name):
        """Take a picture of it, where it is open."""
        if self.person.pictures and self._tabs is not None and self._tabs.isVisible():
            self._tabs.window().grab().save(str(self.person.pictures / f"{name}.png"))

    def open(self):
        actions = self.person.window.findChildren(QAction)
        next(each for each in actions if each.text() == "Encode own scenes…").trigger()
        self._tabs = self.person.find("encodeTabs")
        self.person.wait(self._tabs.isVisible, 10, "the Encode dialog to open")

    def close(self):
        self.person.click("encodeCloseButton")
        self._tabs = None

    def model(self, path):
        """Add an encoder file."""
        QFileDialog.getOpenFileName = lambda *_, **__: (path, "")
        self.person.click("addEncoderButton")
        space = self.person.find("spaceValue")
        self.person.wait(lambda: space.text().strip(), 60, "the encoder to be known")
        return [space.text(), self.told()]

    def inputs(self, folder):
        """Add a folder of images and say what no file tells."""
        self.person.find("encodeTabs").setCurrentIndex(INPUT)
        clear = self.person.find("clearInputsButton")
        if clear.isEnabled():
            self.person.click("clearInputsButton")
        QFileDialog.getExistingDirectory = lambda *_, **__: folder
        self.person.click("addFolderButton")
        summary = self.person.find("datedSummary")
        self.person.wait(lambda: "Sentinel-2:" in summary.text(), 60, "images to be recognised")
        unit = self.person.find("s2UnitCombo")
        if unit.isVisible():
            self.person.choose("s2UnitCombo", "from 26 January 2022")
        self.person.wait(lambda: self.told().startswith("Next"), 20, f"“Next”, not {self.told()}")
        return [summary.text(), self.person.find("encodeAreaLabel").text()]

    def estimate(self, name):
        self.person.click("encodeMainButton")
        edit = self.person.find("sceneNameEdit")
        edit.selectAll()
        QTest.keyClicks(edit, name)
        estimate = self.person.find("estimateLabel")
        self.person.wait(lambda: "embeddings" in estimate.text(), 60, "an estimate")
        return estimate.text()

    def encode(self, seconds=180):
        self.person.click("encodeMainButton")
        frame = self.person.find("encodeJobFrame")
        QTest.qWait(200)
        self.person.wait(
            lambda: not frame.isVisible() and self.told().startswith("Done"), seconds, "Done"
        )
        return self.told()

    def told(self):
        return self.person.find("nextLabel").text()
