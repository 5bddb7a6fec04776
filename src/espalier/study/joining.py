"""Joins a Ray cluster within bounded time, if it asks for a token.

Ray is imported only when somebody asks for a cluster.
"""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from espalier.errors import ConfigError

__all__ = ["first_sentence", "join_cluster"]

CONNECT_S = 30.0
"""How long a cluster may take to answer."""
AUTH_MODE = "RAY_AUTH_MODE"
AUTH_MODES = ("token", "k8s")
"""Ways in which Ray asks who somebody is."""
REFUSED = b"InvalidAuthToken"
"""What Ray's messages of a wrong token have in common."""

TRY = """
import json, sys
try:
    import ray
    ray.init(address=sys.argv[1], log_to_driver=False, configure_logging=False)
except BaseException as error:
    print(json.dumps([type(error).__name__, str(error)]))
else:
    print(json.dumps(None))
"""
"""Is run beside, since Ray itself may try for a quarter of an hour."""


def join_cluster(address: str) -> Any:
    """Import Ray, with a token asked for and nothing reported to anybody; join the cluster.

    Raises:
        ConfigError: Ray isn't installed, nobody answers in time, or there is no token or a wrong
            one.
    """
    mode = os.environ.setdefault(AUTH_MODE, AUTH_MODES[0])
    if mode not in AUTH_MODES:
        raise ConfigError(
            f"{AUTH_MODE}={mode}: a cluster without a token runs what anybody sends it. Unset it, "
            "and start the cluster with a token; docs/studies.md says how."
        )
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            "--engine ray: Ray is not installed. Install it with pip install 'espalier[ray]', on "
            "every machine of the cluster."
        ) from error
    _try(address)
    ray.init(address=address, log_to_driver=False, configure_logging=False)
    return ray


def _try(address: str) -> None:
    """Join the cluster from other processes: with the token, and with a wrong one.

    Raises:
        ConfigError: the first didn't work, or the second did; says why.
    """
    trouble = _join(address, {"RAY_NUM_REDIS_GET_RETRIES": "3"})
    if trouble:
        raise ConfigError(
            f"--address {address}: {trouble}. docs/studies.md says how to start a cluster and "
            "where its token belongs."
        )
    wrong = {"RAY_NUM_REDIS_GET_RETRIES": "1", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    if os.environ[AUTH_MODE] == AUTH_MODES[0] and not _join(address, wrong):
        raise ConfigError(
            f"--address {address}: this cluster runs what anybody sends it, since it was started "
            f"without a token. Start it again with {AUTH_MODE}=token; docs/studies.md says how."
        )


def _join(address: str, environment: Mapping[str, str]) -> str:
    """Join the cluster in a process that is ended when it takes too long; return what went wrong.

    ``""`` if nothing did.
    """
    try:
        done = subprocess.run(  # noqa: S603 - our own words
            [sys.executable, "-c", TRY, address],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=CONNECT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no Ray cluster answered within {CONNECT_S:g} s"
    if REFUSED in done.stderr:
        return "the cluster refuses the token of this machine"
    try:
        found = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        return f"Ray ended with code {done.returncode} while it joined the cluster"
    return "" if found is None else f"{found[0]}: {first_sentence(found[1])}"


def first_sentence(words: str) -> str:
    """Return the first sentence of a message that goes on and on."""
    line = next((line.strip() for line in words.splitlines() if line.strip()), "no reason given")
    return line.split(". ")[0].removesuffix(".")
