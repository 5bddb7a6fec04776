"""The compiled core: optional, since every part of it has a pure-Python twin."""

import sys

from setuptools import Extension, setup

openmp = ["-fopenmp"] if sys.platform.startswith("linux") else []

setup(
    ext_modules=[
        Extension(
            "espalier._core",
            sources=["src/espalier/_core.c"],
            extra_compile_args=["-O3", "-std=c11", "-ffp-contract=off", "-fno-math-errno", *openmp],
            extra_link_args=openmp,
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            py_limited_api=True,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
