"""The compiled core: optional, since every part of it has a pure-Python twin."""

import sys

from setuptools import Extension, setup

linux = sys.platform.startswith("linux")
openmp = ["-fopenmp"] if linux else []  # the thread pool that torch has loaded already
quiet = [] if linux else ["-Wno-unknown-pragmas"]
# The same bits on every machine (no contraction into fused multiply-adds), loops as vectors.
exact = ["-O3", "-std=c11", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]

setup(
    ext_modules=[
        Extension(
            "espalier._core",
            sources=[f"src/espalier/_core{part}.c" for part in ("", "_rows", "_sets", "_kernels")],
            depends=[f"src/espalier/_core{part}.h" for part in ("", "_rows", "_loops")],
            extra_compile_args=[*exact, "-Wall", "-Wextra", "-fvisibility=hidden", *openmp, *quiet],
            extra_link_args=openmp,
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            py_limited_api=True,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
