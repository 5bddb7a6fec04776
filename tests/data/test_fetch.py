"""Downloads from a server on this machine: checked, retried, kept."""

import hashlib
import http.server
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from espalier.data.cifar10 import OFFICIAL_HASH, OFFICIAL_URL, cifar10
from espalier.data.fetch import RETRIES, fetch
from espalier.errors import DataError


class Server(http.server.ThreadingHTTPServer):
    """Serves one content after refusing, or cutting off, the first few requests."""

    content = b"content"
    refuse = 0
    cut_off = 0
    asked = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/files/archive.tar.gz?version=1"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked += 1
        if self.server.asked <= self.server.refuse:
            self.send_error(503)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        cut = self.server.asked <= self.server.cut_off
        self.wfile.write(self.server.content[: 3 if cut else None])

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Run a server, reached without proxies; retries don't wait."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    with Server(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def md5(content: bytes) -> str:
    return f"md5:{hashlib.md5(content).hexdigest()}"


def test_downloaded_once(server: Server, tmp_path: Path) -> None:
    """The file is kept under its name and not asked for again."""
    path = fetch(server.url, md5(b"content"), tmp_path / "cache")
    assert path == tmp_path / "cache" / "archive.tar.gz"
    assert path.read_bytes() == b"content"
    assert fetch(server.url, md5(b"content"), tmp_path / "cache") == path
    assert server.asked == 1


def test_damaged_download_is_fetched_again(server: Server, tmp_path: Path) -> None:
    """A kept file with another checksum is replaced."""
    path = fetch(server.url, md5(b"content"), tmp_path)
    path.write_bytes(b"damaged")
    assert fetch(server.url, md5(b"content"), tmp_path).read_bytes() == b"content"
    assert server.asked == 2


@pytest.mark.parametrize("fault", ["refuse", "cut_off"])
def test_retries(server: Server, tmp_path: Path, fault: str) -> None:
    """A server that fails a few times, or cuts off, is asked again."""
    setattr(server, fault, RETRIES)
    assert fetch(server.url, md5(b"content"), tmp_path).read_bytes() == b"content"
    assert server.asked == 1 + RETRIES


def test_server_error(server: Server, tmp_path: Path) -> None:
    """A server that keeps failing is given up, with a way around it; nothing is left behind."""
    server.refuse = 100
    with pytest.raises(
        DataError, match=r"can't download http://127.*503.*tried 4 times.*by hand.*ESPALIER_DATA"
    ):
        fetch(server.url, md5(b"content"), tmp_path)
    assert server.asked == 1 + RETRIES
    assert list(tmp_path.iterdir()) == []


def test_wrong_checksum(server: Server, tmp_path: Path) -> None:
    """A file with another checksum never gets its name."""
    with pytest.raises(
        DataError, match=r"sent has another checksum than md5:0+, tried 4 times. Try again later"
    ):
        fetch(server.url, "md5:" + 32 * "0", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nobody_there(server: Server, tmp_path: Path) -> None:
    """A server that can't be reached is the same as one that fails."""
    url = server.url
    server.server_close()
    with pytest.raises(DataError, match=r"can't download http://127.0.0.1"):
        fetch(url, md5(b"content"), tmp_path)


def test_unwritable_folder(server: Server, tmp_path: Path) -> None:
    """A folder that can't be written is named."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"can't keep the download in .*file \(.*ESPALIER_CACHE"):
        fetch(server.url, md5(b"content"), tmp_path / "file")


def test_cifar10_is_downloaded(
    server: Server, binary_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a folder the archive is downloaded, decoded, and both only once."""
    monkeypatch.delenv("ESPALIER_DATA", raising=False)
    with tarfile.open(tmp_path / "made.tar.gz", "w:gz") as tar:
        tar.add(binary_folder, binary_folder.name)
    server.content = (tmp_path / "made.tar.gz").read_bytes()
    options = {"url": server.url, "known_hash": md5(server.content), "cache_dir": tmp_path / "c"}
    dataset = cifar10(**options)
    assert dataset.source == "CIFAR-10 (official)"
    assert len(dataset.train) == 90
    cifar10(**options)
    (tmp_path / "c" / "archive.tar.gz").unlink()
    cifar10(**options)
    assert server.asked == 1


def test_a_folder_is_never_replaced_by_a_download(server: Server, tmp_path: Path) -> None:
    """Where a folder is named, nothing is downloaded, even if the folder is of no use."""
    with pytest.raises(DataError, match="found nothing"):
        cifar10(data_dir=tmp_path, cache_dir=tmp_path, url=server.url)
    assert server.asked == 0


def test_the_official_address() -> None:
    """Address and checksum are those that the data set's page gives."""
    assert OFFICIAL_URL == "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    assert OFFICIAL_HASH == "md5:c32a1d4ab5d03f1284b67883e8d87530"
