"""The three profiles in a browser by onnxruntime-web, and the example page that classifies."""

import io
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from tests.export.networks import NETWORKS, inputs_for

from espalier.export.graph import Graph
from espalier.export.onnx import write_onnx
from espalier.export.reference import run

EXAMPLE = Path(__file__).parents[3] / "examples" / "browser"
RUNTIME = EXAMPLE / "node_modules" / "onnxruntime-web"
CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PROFILES = ("float", "packed", "int8")
CLASSES = ("cat", "dog", "frog", "ship", "naïve")
RUN = """async ([url, values, shape]) => {
  const { open } = await import("/classify.js");
  const network = await open(url);
  const size = shape.slice(1).reduce((a, b) => a * b, 1);
  const found = [];
  for (let at = 0; at < values.length; at += size)
    found.push(await network.run(Float32Array.from(values.slice(at, at + size))));
  return found;
}"""
pytestmark = pytest.mark.slow


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder, quietly, with the types that browsers insist on."""

    extensions_map: ClassVar[dict[str, str]] = {
        **SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".js": "text/javascript",
        ".wasm": "application/wasm",
    }

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def labelled(name: str) -> Graph:
    """Return one of the networks with names of classes and a normalization."""
    bare = NETWORKS[name]()
    classes = CLASSES[: bare.output.shape[0]]
    mean, std = (0.4, 0.5, 0.6, 0.5)[: bare.input.shape[0]], (0.2, 0.25, 0.3, 0.2)
    return Graph(
        input=bare.input,
        nodes=bare.nodes,
        output=bare.output,
        mean=mean,
        std=std[: len(mean)],
        classes=classes,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the example, its runtime, and a network in every profile."""
    if not RUNTIME.is_dir():
        pytest.skip(f"onnxruntime-web not found at {RUNTIME}: make ci-deps installs it")
    made = tmp_path_factory.mktemp("browser")
    for name in ("index.html", "page.js", "classify.js", "node_modules"):
        (made / name).symlink_to(EXAMPLE / name)
    graph = labelled("plain")
    for profile in PROFILES:
        data = inputs_for(graph, 64, seed=9) if profile == "int8" else None
        write_onnx(graph, made / f"{profile}.onnx", profile=profile, calibration=data)  # type: ignore[arg-type]
    (made / "net.onnx").symlink_to(made / "packed.onnx")
    (made / "broken.onnx").write_bytes(b"\x08\x07 this is no network")
    return made


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """Serve the folder on a free port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return Chromium; skip where it is missing."""
    if not CHROMIUM.exists():
        pytest.skip(f"chromium not found at {CHROMIUM}: make ci-deps installs it")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """Return a new page; it may ask nobody but the server, and must log nothing."""
    opened = browser.new_page()
    asked: list[str] = []
    logged: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("console", lambda message: logged.append(message.text))
    opened.on("pageerror", lambda error: logged.append(str(error)))
    yield opened
    opened.close()
    assert [url for url in asked if not url.startswith((address, "blob:", "data:"))] == []
    assert [line for line in logged if "favicon" not in line and "404" not in line] == []


def picture() -> Image.Image:
    """Draw an image of the network's size."""
    pixels = np.random.default_rng(5).integers(0, 256, (14, 14, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def png(image: Image.Image) -> dict[str, Any]:
    """Return a file to choose."""
    content = io.BytesIO()
    image.save(content, "PNG")
    return {"name": "image.png", "mimeType": "image/png", "buffer": content.getvalue()}


def test_all_profiles_agree_with_the_oracle(page: Any, address: str, folder: Path) -> None:
    """Floats within 1e-5, packed equal to float bit for bit, integers as on this machine."""
    graph = labelled("plain")
    inputs = inputs_for(graph, 3)
    page.goto(f"{address}/index.html")
    found = {
        profile: np.array(
            page.evaluate(RUN, [f"/{profile}.onnx", inputs.ravel().tolist(), list(inputs.shape)])
        )
        for profile in PROFILES
    }
    expected = run(graph, inputs)
    largest = np.abs(expected).max()
    assert np.abs(found["float"] - expected).max() <= 1e-5 * largest
    assert np.array_equal(found["packed"], found["float"])
    here = onnxruntime.InferenceSession(folder / "int8.onnx", providers=["CPUExecutionProvider"])
    assert np.abs(found["int8"] - here.run(None, {"input": inputs})[0]).max() <= 0.01 * largest


@pytest.mark.parametrize("profile", ["packed", "int8"])
def test_the_page_classifies_an_image(page: Any, address: str, folder: Path, profile: str) -> None:
    """A chosen image is normalized as the file says, and its classes are named by their share."""
    graph, image = labelled("plain"), picture()
    page.goto(f"{address}/index.html?model={profile}.onnx")
    page.wait_for_selector("#image:enabled")
    size = f"{(folder / f'{profile}.onnx').stat().st_size:,} bytes"
    assert size in page.text_content("#network")
    page.set_input_files("#image", png(image))
    page.wait_for_selector("#answer tr")
    rows = page.eval_on_selector_all(
        "#answer tr", "rows => rows.map(r => r.innerText.split('\\t'))"
    )
    pixels = np.asarray(image, np.float64).transpose(2, 0, 1)[None] / 255
    normalized = (pixels - np.reshape(graph.mean, (3, 1, 1))) / np.reshape(graph.std, (3, 1, 1))
    powers = np.exp(run(graph, normalized)[0])
    shares = dict(zip(CLASSES, powers / powers.sum() * 100, strict=True))
    shown = {name: float(share.removesuffix(" %")) for name, share in rows[:-1]}
    tolerance = 0.06 if profile == "packed" else 5.0
    assert shown == {name: pytest.approx(share, abs=tolerance) for name, share in shares.items()}
    assert list(shown.values()) == sorted(shown.values(), reverse=True)
    assert rows[-1][0] == "time"


def test_an_image_of_another_size_is_scaled(page: Any, address: str) -> None:
    """A photograph is drawn in the network's size."""
    page.goto(f"{address}/index.html")
    page.wait_for_selector("#image:enabled")
    page.set_input_files("#image", png(picture().resize((300, 200))))
    page.wait_for_selector("#answer tr")
    assert page.evaluate("[seen.width, seen.height]") == [14, 14]


def test_what_is_no_image_is_said(page: Any, address: str) -> None:
    """The page stays usable after a wrong file."""
    page.goto(f"{address}/index.html")
    page.wait_for_selector("#image:enabled")
    page.set_input_files(
        "#image", {"name": "a.png", "mimeType": "image/png", "buffer": b"not a picture"}
    )
    page.wait_for_selector("#error:not(:empty)")
    assert "can't classify this file" in page.text_content("#error")
    page.set_input_files("#image", png(picture()))
    page.wait_for_selector("#answer tr")
    assert page.text_content("#error") == ""


@pytest.mark.parametrize(("model", "message"), [("missing", "404"), ("broken", "can't open")])
def test_a_network_that_can_not_be_opened_is_said(
    browser: Any, address: str, model: str, message: str
) -> None:
    """The page says which file and why."""
    opened = browser.new_page()
    opened.goto(f"{address}/index.html?model={model}.onnx")
    opened.wait_for_selector("#error:not(:empty)")
    assert message in opened.text_content("#error")
    assert opened.is_disabled("#image")
    opened.close()
