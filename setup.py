"""Build the compiled core: the range coder and the int16 kernels, both from _ext/."""

from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, setup

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
        ["_ext/native.pyx", *sorted(glob("_ext/kernels/*.c"))],
        include_dirs=["_ext", "_ext/kernels"],
        depends=glob("_ext/kernels/*.h"),
        extra_compile_args=[*FLAGS, "-pthread"],
        extra_link_args=["-pthread"],
    ),
]

modules = cythonize(extensions, language_level=3, build_dir="build/cython")  # type: ignore[no-untyped-call]
setup(ext_modules=modules)
