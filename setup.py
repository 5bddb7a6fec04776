"""The compiled core: optional, since every part of it has a pure-Python twin."""

import sys

from setuptools import Extension, setup

openmp = ["-fopenmp"] if sys.platform.startswith("linux") else []
# The same bits on every machine (no contraction into fused multiply-adds), loops as vectors.
exact = ["-O3", "-std=c11", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]

setup(
    ext_modules=[
        Extension(
            "espalier._core",
            sources=[f"src/espalier/{name}.c" for name in ("_core", "_core_sets", "_core_kernels")],
            depends=["src/espalier/_core.h", "src/espalier/_core_loops.h"],
            extra_compile_args=[*exact, "-Wall", "-Wextra", "-fvisibility=hidden", *openmp],
            extra_link_args=openmp,
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            py_limited_api=True,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
