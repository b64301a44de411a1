# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is told of heads and of comparisons of them, in words."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Mapping, Optional, Sequence, Tuple

from qgis.PyQt.QtCore import QCoreApplication

from ..tasks import head_jobs, snapshot
from ..tasks.session import Session
from . import text

if TYPE_CHECKING:
    from ..engine.head_comparison import Reading
    from ..engine.head_library import ListedHead
    from ..engine.heads import Head
    from ..engine.learning_curve import LearningCurve

translate = QCoreApplication.translate

WIDE_SPREAD = 0.01
"""Of accuracies whose spread is wider, decimals say nothing."""

Facts = List[Tuple[str, str]]
"""Caption and value, plain text."""


def kind(name: str) -> str:
    """Return what a kind of head is called."""
    names = {
        "instant": translate("Heads", "Instant"),
        "mlp": translate("Heads", "MLP"),
        "logistic": translate("Heads", "Logistic regression"),
        "knn": translate("Heads", "5 nearest neighbours"),
        "forest": translate("Heads", "Random forest"),
    }
    return names.get(name, name)


def short_kind(name: str) -> str:
    """Return what a kind of head is called where there is little room."""
    names = {
        "logistic": translate("Heads", "Logistic"),
        "knn": translate("Heads", "5-NN"),
        "forest": translate("Heads", "Forest"),
    }
    return names.get(name) or kind(name)


def scheme(name: str) -> str:
    """Return how heads are tested, in a few words."""
    names = {
        "share": translate("Heads", "held out"),
        "random": translate("Heads", "k-fold"),
        "blocks": translate("Heads", "spatial blocks"),
        "areas": translate("Heads", "areas left out"),
        "years": translate("Heads", "years left out"),
        "file": translate("Heads", "independent labels"),
    }
    return names.get(name, name)


def short_scheme(name: str) -> str:
    """Return how heads are tested where there is little room."""
    names = {
        "blocks": translate("Heads", "by blocks"),
        "areas": translate("Heads", "by areas"),
        "years": translate("Heads", "by years"),
        "file": translate("Heads", "test labels"),
    }
    return names.get(name) or scheme(name)


def title(listed: ListedHead) -> str:
    """Return what a head is called: its name, else what kind it is and of when."""
    if listed.name:
        return listed.name
    if listed.head is None:
        return Path(listed.path).name
    return translate("Heads", "{}, {}").format(kind(listed.head.kind), text.moment(listed.made_s))


def years(head: Head) -> str:
    """Return the years a head learnt."""
    return ", ".join(str(year) for year in head.years)


def short_years(head: Head) -> str:
    """Return the years a head learnt where there is little room: `2019-2024`, `3 of 2017-2024`."""
    told = sorted(set(head.years))
    if len(told) < 3:
        return years(head)
    span = translate("Heads", "{}\u2013{}").format(told[0], told[-1])
    if told[-1] - told[0] == len(told) - 1:
        return str(span)
    return translate("Heads", "{} of {}").format(len(told), span)


def line(listed: ListedHead) -> str:
    """Return the second line of a head in the list."""
    if listed.head is None:
        return translate("Heads", "can't be used")
    parts = [kind(listed.head.kind)] if listed.name else []
    parts.append(short_years(listed.head))
    if listed.labels:
        parts.append(text.labels(listed.labels))
    return " · ".join(parts)


def accuracy(head: Head) -> str:
    """Return the accuracy with its spread, short."""
    found = head_jobs.tested(head)
    if not found.scheme:
        return translate("Heads", "not tested")
    if found.spread is None:
        return text.percent(found.overall, 1)
    return translate("Heads", "{} ± {} %").format(
        text.decimal(100 * (found.overall or 0.0), 1), text.decimal(100 * found.spread, 1)
    )


def share(listed: ListedHead) -> float:
    """Return the accuracy of a head as a number, to sort by; below 0 where it was not tested."""
    found = head_jobs.tested(listed.head) if listed.head is not None else None
    return -1.0 if found is None or found.overall is None else found.overall


def short_accuracy(head: Head) -> str:
    """Return the accuracy with its spread, with decimals only where they say something."""
    found = head_jobs.tested(head)
    if found.spread is None or found.spread < WIDE_SPREAD:
        return accuracy(head)
    return translate("Heads", "{} ± {} %").format(
        text.decimal(100 * (found.overall or 0.0), 0), text.decimal(100 * found.spread, 0)
    )


def short_test(head: Head) -> str:
    """Return how a head was tested, in a word or two; empty where it was not."""
    found = head_jobs.tested(head)
    return short_scheme(found.scheme)


def other_dataset(head: Head, session: Session) -> str:
    """Return that a head was made for another dataset than that of the Area page."""
    return translate("Heads", "for {}").format(snapshot.title_of(session.settings, head.dataset))


def facts(listed: ListedHead, session: Session) -> Facts:
    """Return what is known of a head, for a table."""
    head = listed.head
    if head is None:
        return [(translate("Heads", "Problem"), listed.problem)]
    found = head_jobs.tested(head)
    tested = translate("Heads", "nothing")
    if found.scheme:
        told = translate("Heads", "{}, {}, {} tested")
        tested = told.format(accuracy(head), scheme(found.scheme), text.labels(found.labels))
    return [
        (translate("Heads", "Kind"), kind(head.kind)),
        (
            translate("Heads", "Dataset"),
            translate("Heads", "{}, {} dimensions").format(
                snapshot.title_of(session.settings, head.dataset), head.depth
            ),
        ),
        (translate("Heads", "Years"), years(head)),
        (translate("Heads", "Areas"), ", ".join(map(str, _list(head.training.get("areas"))))),
        (translate("Heads", "Labels"), text.count(listed.labels) if listed.labels else text.NONE),
        (translate("Heads", "Accuracy"), tested),
        (translate("Heads", "Kappa"), _figure(head.accuracy.kappa if head.accuracy else None)),
        (
            translate("Heads", "Macro F1"),
            _figure(head.accuracy.macro_f1 if head.accuracy else None),
        ),
        (translate("Heads", "Calibration"), _calibration(head)),
        (translate("Heads", "Trained"), text.moment(listed.made_s)),
    ]


def details(listed: ListedHead, session: Session) -> str:
    """Return all that a head's file tells, as HTML."""
    head = listed.head
    file = (translate("Heads", "File"), listed.path)
    if head is None:
        return _table([*facts(listed, session), file])
    made = [
        (translate("Heads", "Parameters"), _pairs(head.training.get("params"))),
        (translate("Heads", "Made with"), _pairs(head.versions)),
        (translate("Heads", "Id"), head.id),
        file,
    ]
    return _table(facts(listed, session)) + _classes(head) + _table(made)


def side_by_side(several: Sequence[ListedHead], session: Session) -> str:
    """Return a table of heads beside each other as HTML, and how far it can be trusted."""
    columns = [facts(each, session) for each in several]
    heads = "".join(f"<th align='left'>{escape(title(each))}</th>" for each in several)
    rows = []
    for index, (caption, _) in enumerate(columns[0]):
        values = [column[index][1] for column in columns]
        if not any(values):
            continue
        differ = len(set(values)) > 1
        cells = "".join(
            f"<td>{'<b>' if differ else ''}{escape(value)}{'</b>' if differ else ''}</td>"
            for value in values
        )
        rows.append(f"<tr><td>{escape(caption)}</td>{cells}</tr>")
    table = f"<table cellpadding='4'><tr><th></th>{heads}</tr>{''.join(rows)}</table>"
    return f"{table}<p>{escape(_trust(several))}</p>"


def comparison(found: Optional[Reading]) -> str:
    """Return what a comparison of kinds says, read with care."""
    if found is None:
        return translate("Heads", "Only one kind could be tried, so there is nothing to compare.")
    best, other = kind(found.best), kind(found.against)
    figures = translate("Heads", "{} apart; the folds spread by {}").format(
        _points(found.gap), _points(found.spread)
    )
    if found.is_simplest:
        told = translate("Heads", "No kind is better than {0}, the simplest; next is {1} ({2}).")
    elif found.is_clear:
        told = translate("Heads", "{0} is better than {1} ({2}).")
    else:
        told = translate(
            "Heads", "{0} is not better than {1} beyond the spread of the folds ({2})."
        )
    return told.format(best, other, figures)


def verdict(curve: LearningCurve) -> str:
    """Return whether more labels would help."""
    if curve.verdict == "few":
        return translate("Heads", "There are too few labels to see whether more would help.")
    ends = {
        "would": translate("Heads", "More labels would help."),
        "may": translate("Heads", "Whether more labels would help can't be told."),
        "hardly": translate("Heads", "More labels of this kind would hardly help."),
    }
    before, last = curve.ends
    words = (
        translate(
            "Heads",
            "The change of the accuracy from {} to {} labels per class, {}, is within the spread of the "
            "repeats (± {}). Try again with more labels.",
        )
        if curve.verdict == "may"
        else translate(
            "Heads",
            "From {} to {} labels per class the accuracy changed by {} (± {} between repeats).",
        )
    )
    told = words.format(
        before.labels_per_class, last.labels_per_class,
        _points(curve.gain, signed=True), _points(curve.doubt),
    )  # fmt: skip
    return f"<b>{escape(ends[curve.verdict])}</b> {escape(told)}"


# --- inside


def _table(known: Facts) -> str:
    rows = "".join(
        f"<tr><td><b>{escape(caption)}</b></td><td>{escape(value)}</td></tr>"
        for caption, value in known
        if value
    )
    return f"<table cellpadding='3'>{rows}</table>"


def _points(share: float, *, signed: bool = False) -> str:
    """Return a difference of two shares."""
    sign = "+" if signed and share > 0 else ""
    return sign + text.percent(share, 1)


def _figure(value: Optional[float]) -> str:
    return "" if value is None else text.decimal(value)


def _calibration(head: Head) -> str:
    found = head.training.get("calibration")
    if not isinstance(found, Mapping):
        return translate("Heads", "none")
    values = [found.get(name) for name in ("temperature", "ece_before", "ece_after")]
    temperature, before, after = (_figure(value) for value in values)
    if not before or not after:
        told = translate("Heads", "error: too few labels to tell, temperature {}")
        return str(told).format(temperature)
    return translate("Heads", "error {} before, {} after, temperature {}").format(
        before, after, temperature
    )


def _pairs(values: object) -> str:
    if not isinstance(values, Mapping):
        return text.NONE
    return ", ".join(f"{name} {value}".lower() for name, value in sorted(values.items()))


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else ()


def _classes(head: Head) -> str:
    """Return a table of the classes with how many labels each had."""
    counts = {number: rest for number, *rest in head_jobs.labels_per_class(head)}
    captions = (
        translate("Heads", "Class"), translate("Heads", "Labels"), translate("Heads", "Pixels")
    )  # fmt: skip
    rows = ["<tr>" + "".join(f"<th align='left'>{escape(each)}</th>" for each in captions)]
    for each in head.classes:
        labels, pixels = counts.get(each.id, (None, None))
        told = "".join(
            f"<td align='right'>{text.NONE if number is None else text.count(number)}</td>"
            for number in (labels, pixels)
        )
        swatch = f"<span style='color:{each.color}'>■</span>"
        rows.append(f"<tr><td>{swatch} {escape(each.name)}</td>{told}")
    return f"<p></p><table cellpadding='3'>{'</tr>'.join(rows)}</tr></table><p></p>"


def _trust(several: Sequence[ListedHead]) -> str:
    """Return how far the accuracies of heads can be compared."""
    heads = [each.head for each in several if each.head is not None]
    tests = [head_jobs.tested(head) for head in heads]
    if not all(each.scheme for each in tests):
        return translate("Heads", "Not all of them were tested.")
    if len({head.dataset for head in heads}) > 1:
        return translate(
            "Heads",
            "They were made for different datasets: a map can be made with one of them only, that "
            "of the dataset on the Area page.",
        )
    if len({(each.scheme, each.parts, each.labels) for each in tests}) > 1:
        return translate(
            "Heads",
            "They were tested on different labels or in different ways, so these figures can't be "
            "compared as they are. Train them again with the same test to compare them.",
        )
    return translate(
        "Heads",
        "Each was tested on labels it had not learnt, in the same way; whether they were the same "
        "labels is not known. A difference smaller than the spread means nothing.",
    )
