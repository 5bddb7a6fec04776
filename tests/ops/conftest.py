"""What the tests of operators share: the same tests for the compiled core and for torch."""

from collections.abc import Iterator

import pytest
import torch

from espalier.ops import kernels


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Keep torch and the core on one thread: the tensors are small and processors may be busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def compiled() -> None:
    """Skip where there is no compiled core."""
    if kernels.core is None:
        pytest.skip(
            "the compiled core is not built: it needs a C compiler (gcc or clang) at installation, "
            "and ESPALIER_NO_CORE unset"
        )


@pytest.fixture(params=["compiled", "torch"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test twice: with the compiled core, and with its twin in torch."""
    if request.param == "compiled":
        request.getfixturevalue("compiled")
    else:
        monkeypatch.setattr(kernels, "core", None)
    return request.param
