"""Models and manifests as a command line names them: `NAME=PATH`, a path alone, one a fold, or earlier predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from agewise.apps.models import open_model

if TYPE_CHECKING:
    from agewise.evaluation.paper.measuring import Entrant
    from agewise.evaluation.protocols.settings import Protocol
    from agewise.evaluation.protocols.sources import Source

FOLD = "{fold}"
"""In a model's path: one model a fold, with the fold's name in this place."""


@dataclass(frozen=True, slots=True)
class Word:
    """What `NAME@SET=PATH` says; data_set is "" for any."""

    name: str
    path: str
    data_set: str = ""


def words_of(given: Sequence[str]) -> list[Word]:
    """The words of --model or --manifest; one without a name is called after its file or folder.

    >>> words_of(["small=runs/a", "runs/b.onnx", "senet-vmage@adience=runs/{fold}", "runs/rate=0.1"])[:3]
    [Word(name='small', path='runs/a', data_set=''), Word(name='b', path='runs/b.onnx', data_set=''), \
Word(name='senet-vmage', path='runs/{fold}', data_set='adience')]
    """
    found = []
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or "/" in name:
            name, path = "", text
        name, _, data_set = name.partition("@")
        if not path or (equals and "/" not in text.partition("=")[0] and not name):
            raise ValueError(f"{text!r} names nothing; write NAME=PATH, or a path alone")
        found.append(Word(name or Path(path).stem.replace(FOLD, "").strip("-_."), path, data_set))
    return found


def manifests_of(words: Sequence[Word]) -> dict[str, Path]:
    """Manifests by name. Raises ValueError on two of one name."""
    return {word.name: Path(word.path) for word in _single(words, "manifests")}


def models_of(
    protocol: Protocol, words: Sequence[Word], manifests: Mapping[str, Path], threads: int
) -> dict[str, Source]:
    """Models by name, of a pattern one a fold. Raises ValueError on two of one name, or a pattern without folds."""
    if any(word.data_set for word in words):
        raise ValueError(f"NAME@SET=MODEL is for paper-tables; {protocol.name} has one set of models")
    if not any(FOLD in word.path for word in words):
        return {word.name: source_of(word.path, threads) for word in _single(words, "models")}
    if protocol.kind != "folds" or len(words) > 1 or len(manifests) != 1:
        raise ValueError(f"{FOLD} in a model's path is for a protocol of folds, one such model and one manifest")
    return _by_fold(protocol, words[0].path, next(iter(manifests.values())), threads)


def entrants_of(words: Sequence[Word], manifests: Mapping[str, Path], threads: int) -> dict[str, Entrant]:
    """Models of the paper's tables by name; the words of one name are one model on different data sets."""
    from agewise.evaluation.paper.measuring import Entrant
    from agewise.evaluation.protocols.settings import read_protocol
    from agewise.evaluation.published import read_published

    said = read_published()
    found: dict[str, Entrant] = {}
    for word in words:
        data_set = said.data_set(word.data_set)
        if word.data_set and data_set is None and word.data_set not in manifests:
            there = ", ".join(dict.fromkeys([*(one.name for one in said.sets), *manifests]))
            raise ValueError(f"{word.name}@{word.data_set}: no set {word.data_set!r}; there are {there}")
        one = found.get(word.name, Entrant())
        if not word.data_set:
            if FOLD in word.path:
                raise ValueError(f"{word.path}: {FOLD} is for one data set of folds; write {word.name}@adience=MODEL")
            found[word.name] = Entrant((*one.sources, source_of(word.path, threads)), one.own)
            continue
        own = {word.name: source_of(word.path, threads)} if FOLD not in word.path else {}
        if FOLD in word.path and word.data_set in manifests:
            rules = read_protocol(data_set.protocol if data_set else "cross-dataset")
            own = _by_fold(rules, word.path, manifests[word.data_set], threads)
        found[word.name] = Entrant(one.sources, {**one.own, word.data_set: own})
    return found


def source_of(path: str, threads: int) -> Source:
    """A model, opened when it is needed, or what one predicted before: a file or folder of evaluate or robustness."""
    from agewise.evaluation.protocols.sources import Model, said_of

    place = Path(path)
    if not place.exists() and (place.suffix or "/" in path):
        raise ValueError(f"{path}: no such model: neither an ONNX file, a run folder, a contract nor predictions")
    if place.exists() and place.suffix not in (".onnx", ".toml") and said_of(place):
        return place
    return Model(partial(open_model, path, threads))


def _by_fold(protocol: Protocol, path: str, manifest: Path, threads: int) -> dict[str, Source]:
    from agewise.evaluation.protocols.parts import folds_of

    if protocol.kind != "folds":
        raise ValueError(f"{path}: {protocol.name} has no folds; give one model")
    return {fold: source_of(path.replace(FOLD, fold), threads) for fold in folds_of(protocol, manifest)}


def _single(words: Sequence[Word], what: str) -> Sequence[Word]:
    names = [word.name for word in words]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"two {what} are called {twice[0]}; give each a name of its own, NAME=PATH")
    return words
