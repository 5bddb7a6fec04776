"""Downloads: checked, tried again, and kept."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from espalier.data.progress import Watch
from espalier.errors import DataError

__all__ = ["RETRIES", "fetch"]

RETRIES = 3
"""How often a failed download is tried again."""


def fetch(url: str, known_hash: str, folder: Path) -> Path:
    """Return the file behind ``url``, downloaded unless ``folder`` has it with this checksum.

    A download reaches its name only whole and checked.

    Args:
        url: http or https.
        known_hash: ``algorithm:hexadecimal``.
        folder: where the file is kept.

    Raises:
        DataError: the server can't be reached, answers with an error, or sends something with
            another checksum, each after three more tries.
    """
    import pooch
    import requests

    name = Path(urlsplit(url).path).name
    store = pooch.create(
        path=folder,
        base_url="",
        registry={name: known_hash},
        urls={name: url},
        retry_if_failed=RETRIES,
    )
    with _quiet(pooch.get_logger()), Watch(f"downloading {name}", total=0) as watch:
        download = pooch.HTTPDownloader(progressbar=watch, chunk_size=2**18, timeout=30)
        try:
            return Path(store.fetch(name, downloader=download))
        except requests.RequestException as error:
            raise DataError(
                f"can't download {url} ({error}), tried {1 + RETRIES} times. Check the connection, "
                "or fetch it by hand and name its folder with data_dir or ESPALIER_DATA."
            ) from error
        except ValueError as error:
            raise DataError(
                f"what {url} sent has another checksum than {known_hash}, tried {1 + RETRIES} "
                "times. Try again later, or fetch it elsewhere and name its folder with data_dir "
                "or ESPALIER_DATA."
            ) from error
        except OSError as error:
            raise DataError(
                f"can't keep the download in {folder} ({error}). Name a folder that can be written "
                "with cache_dir or ESPALIER_CACHE."
            ) from error


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Keep a logger's everyday lines off standard error."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
