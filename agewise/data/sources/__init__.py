"""Readers of public age data sets, each in its owners' own layout (docs/sources.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from agewise.data.sources.adience import read as read_adience
from agewise.data.sources.afad import read as read_afad
from agewise.data.sources.agedb import read as read_agedb
from agewise.data.sources.all_age_faces import read as read_all_age_faces
from agewise.data.sources.appa_real import read as read_appa_real
from agewise.data.sources.cacd import read as read_cacd
from agewise.data.sources.entry import Entry
from agewise.data.sources.fairface import read as read_fairface
from agewise.data.sources.fgnet import read as read_fgnet
from agewise.data.sources.folder import read as read_folder
from agewise.data.sources.huggingface import read as read_huggingface
from agewise.data.sources.imdb_clean import read as read_imdb_clean
from agewise.data.sources.imdb_wiki import read as read_imdb_wiki
from agewise.data.sources.lap2015 import read as read_lap2015
from agewise.data.sources.lfw import read as read_lfw
from agewise.data.sources.lfw_plus import read as read_lfw_plus
from agewise.data.sources.megaage import read as read_megaage
from agewise.data.sources.morph2 import read as read_morph2
from agewise.data.sources.utkface import read as read_utkface
from agewise.data.sources.vggface2 import read as read_vggface2

SOURCES: dict[str, Callable[..., Iterator[Entry]]] = {
    "adience": read_adience,
    "afad": read_afad,
    "agedb": read_agedb,
    "all_age_faces": read_all_age_faces,
    "appa_real": read_appa_real,
    "cacd": read_cacd,
    "fairface": read_fairface,
    "fgnet": read_fgnet,
    "folder": read_folder,
    "huggingface": read_huggingface,
    "imdb_clean": read_imdb_clean,
    "imdb_wiki": read_imdb_wiki,
    "lap2015": read_lap2015,
    "lfw": read_lfw,
    "lfw_plus": read_lfw_plus,
    "megaage": read_megaage,
    "morph2": read_morph2,
    "utkface": read_utkface,
    "vggface2": read_vggface2,
}
"""One reader a data set: (tree, options as keyword arguments) -> rows, skipped pictures, remarks."""
