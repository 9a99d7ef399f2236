"""Settings files: overrides on top of TOML, and every mistake in one line that says what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field, field_validator

from agewise.data.settings import Settings, SettingsError, read_settings


class Engine(Settings):
    power: int = Field(default=3, ge=1)
    fuel: str = "sun"

    @field_validator("fuel")
    @classmethod
    def _clean(cls, fuel: str) -> str:
        if fuel == "coal":
            raise ValueError("no coal; there are sun, wind")
        return fuel


class Ship(Settings):
    name: str
    engine: Engine = Engine()
    sizes: tuple[float, ...] = ()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "ship.toml"
    path.write_text('name = "a"\n[engine]\npower = 5\n')
    return path


def line(path: Path, *overrides: str) -> str:
    with pytest.raises(SettingsError) as caught:
        read_settings(path, Ship, overrides)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_the_file_then_the_overrides(file: Path) -> None:
    assert read_settings(file, Ship) == Ship(name="a", engine=Engine(power=5))
    ship = read_settings(file, Ship, ["engine.power=7", "name=b=c", "engine.fuel='sun wind'", "sizes=[1, 2.5]"])
    assert ship == Ship(name="b=c", engine=Engine(power=7, fuel="sun wind"), sizes=(1.0, 2.5))


def test_an_override_may_open_a_table(tmp_path: Path) -> None:
    path = tmp_path / "bare.toml"
    path.write_text("")
    assert read_settings(path, Ship, ["name=x", "engine.power=2"]).engine.power == 2


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ("sails=3", "no setting sails; there are name, engine, sizes"),
        ("engine.sails=3", "no setting engine.sails; there are power, fuel"),
        ("engine.power=0", "engine.power: Input should be greater than or equal to 1 (given: 0)"),
        ("engine.power=much", "(given: 'much')"),
        ("name=3", "name: Input should be a valid string (given: 3)"),
        ("engine.fuel=coal", "engine.fuel: no coal; there are sun, wind"),
        ("name.first=a", "'name.first=a': name is a value, not a table"),
        ("engine.power", "'engine.power' is no override; write name=value"),
        ("=3", "'=3' is no override"),
    ],
)
def test_an_override_that_cannot_be(file: Path, override: str, wanted: str) -> None:
    assert wanted in line(file, override)


def test_files_that_cannot_be(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    assert line(broken) == f"{broken}: No such file or directory"
    broken.write_text("name = \n")
    assert f"{broken}: not a TOML file (" in line(broken)
    broken.write_bytes(b"\xff\xfe\x00")
    assert f"{broken}: not a TOML file (" in line(broken)
    broken.write_text("[engine]\n")
    assert line(broken) == f"{broken}: name: Field required"
    assert "Is a directory" in line(tmp_path)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Engine().power = 4  # type: ignore[misc]
