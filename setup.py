"""The compiled core: optional, since every part of it has a pure-Python twin."""

import sys

from setuptools import Extension, setup

linux = sys.platform.startswith("linux")
openmp = ["-fopenmp"] if linux else []  # the thread pool that torch has loaded already
quiet = [] if linux else ["-Wno-unknown-pragmas"]
# The same bits on every machine (no contraction into fused multiply-adds), loops as vectors.
exact = ["-O3", "-std=c11", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]

sources = ["_core", "_core_rows", "_core_sets", "_core_ranks", "_core_scores", "_core_kernels"]
sources += ["_core_selections", "_core_pictures", "_core_norm"]
sources += ["_coder", "_coder_cells", "_coder_static", "_coder_calls"]
headers = ["_core", "_core_rows", "_core_selections", "_core_loops", "_core_pictures"]
headers += ["_core_norm", "_coder", "_coder_cells", "_coder_range", "_coder_calls"]

setup(
    ext_modules=[
        Extension(
            "espalier._core",
            sources=[f"src/espalier/{name}.c" for name in sources],
            depends=[f"src/espalier/{name}.h" for name in headers],
            extra_compile_args=[*exact, "-Wall", "-Wextra", "-fvisibility=hidden", *openmp, *quiet],
            extra_link_args=openmp,
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            py_limited_api=True,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
