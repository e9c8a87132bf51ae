"""Build the compiled core: the range coder and the integer network, both from _ext/."""

from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, setup

FOLDERS = ("core", "isa", "rows", "run")
CORE = sorted(path for folder in FOLDERS for path in glob(f"_ext/{folder}/*.c"))
FLAGS = ["-std=c11", "-O3", "-fno-fast-math", "-ffp-contract=off"]

extensions = [
    Extension(
        "intcodec._rangecoder",
        ["_ext/rangecoder.pyx"],
        include_dirs=["_ext"],
        depends=glob("_ext/*.h"),
        extra_compile_args=FLAGS,
    ),
    Extension(
        "intcodec._native",
        ["_ext/native.pyx", *CORE],
        include_dirs=["_ext"],
        depends=[path for folder in FOLDERS for path in glob(f"_ext/{folder}/*.h")],
        extra_compile_args=[*FLAGS, "-pthread"],
        extra_link_args=["-pthread"],
    ),
]

modules = cythonize(extensions, language_level=3, build_dir="build/cython")  # type: ignore[no-untyped-call]
setup(ext_modules=modules)
