"""The pictures of docs/method.md: each is there, and is made by the command that the page names."""

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "method.md").read_text(encoding="utf-8")
NAMES = re.findall(r"!\[[^\]]+\]\(images/(\w+)\.svg\)", PAGE)


def test_the_page_has_its_pictures() -> None:
    """The loop, the histograms, the barrier, the density, the frozen updates."""
    assert NAMES == ["loop", "histograms", "barrier", "density", "frozen"]


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_there_with_its_command(name: str) -> None:
    """It is small and well-formed, and the page names the script that draws it."""
    picture = DOCS / "images" / f"{name}.svg"

    assert ElementTree.parse(picture).getroot().tag.endswith("svg")
    assert picture.stat().st_size < 200_000
    assert f"    python docs/pictures/{name}.py\n" in PAGE
    assert (DOCS / "pictures" / f"{name}.py").is_file()


def _draw(name: str, out: Path) -> None:
    script = DOCS / "pictures" / f"{name}.py"
    subprocess.run([sys.executable, script, "--out", out], check=True, timeout=300)
    assert ElementTree.parse(out / f"{name}.svg").getroot().tag.endswith("svg")


def test_the_diagram_can_be_drawn_again(tmp_path: Path) -> None:
    """Into another folder, without training."""
    _draw("loop", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["histograms", "barrier"])
def test_pictures_of_a_training_can_be_drawn_again(name: str, tmp_path: Path) -> None:
    """Those that take seconds."""
    _draw(name, tmp_path)
