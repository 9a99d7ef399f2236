"""`agewise heads` and `agewise models`: everything that a recipe may name is listed, with what it takes."""

from __future__ import annotations

import json

import pytest

from agewise.apps.catalogue import heads, models
from agewise.model.heads import HEADS
from agewise.training.losses import LOSSES


def test_every_head_and_loss_is_listed_on_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    heads()
    lines = capsys.readouterr().out.splitlines()
    for name in (*HEADS, *LOSSES):
        assert sum(line.split()[:1] == [name] and len(line) > 40 for line in lines) >= 1, name
    forest = next(line for line in lines if line.split()[:1] == ["forest"])
    assert "Its own losses: tree-squares, tree-likelihood. Options: trees, depth," in forest


def test_heads_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    heads(as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert set(found["heads"]) == set(HEADS)
    assert found["losses"]["ordinal"]["reads"] == "ranks"
    assert found["losses"]["ordinal"]["options"] == ["importance"]  # and not what the module hands over
    assert found["heads"]["groups"]["options"] == ["scheme"]


def test_timms_networks_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    models("test_resnet", as_json=True)
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["name"], row["pixels"]) == ("test_resnet", 160)
    assert 3e5 < row["parameters"] < 6e5
    models("mivolo_tiny")
    assert "Kuprashevich and Tolstykh 2023" in capsys.readouterr().out
    models("test_resnet")
    assert "of timm, without a classifier" in capsys.readouterr().out


NO = "there is no network like .nothing"


@pytest.mark.parametrize(("pattern", "said"), [("nothing*", NO), ("*", "40 are counted at the most")])
def test_patterns_that_are_no_use(pattern: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        models(pattern)
