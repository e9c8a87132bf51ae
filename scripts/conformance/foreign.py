"""Devices of other architectures: Debian's packages for them, unpacked, run by qemu-user, with our C cross-compiled.

Nothing foreign is installed: a root is extracted packages, without chroot or binfmt. What runs in it is the project's
own Python code and its own extension, for that architecture.

What may live here: roots, cross compilation, and the traps of both.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from environment import HOME, ROOT, Command, Missing, digest, do, fresh, need, once

FLAGS = ("-std=c11", "-O2", "-fno-fast-math", "-ffp-contract=off", "-shared", "-fPIC", "-pthread")
SOURCES = Path("/etc/apt/sources.list.d/debian.sources")


@dataclass(frozen=True)
class Arch:
    """An architecture of Debian: names of its libraries' folder, of its compiler and of its emulator."""

    triple: str
    compiler: str
    emulator: str


ARCHS = {
    "arm64": Arch("aarch64-linux-gnu", "aarch64-linux-gnu-gcc", "qemu-aarch64-static"),
    "s390x": Arch("s390x-linux-gnu", "s390x-linux-gnu-gcc", "qemu-s390x-static"),
    "armhf": Arch("arm-linux-gnueabihf", "arm-linux-gnueabihf-gcc", "qemu-arm-static"),
    "i386": Arch("i386-linux-gnu", "i686-linux-gnu-gcc", "qemu-i386-static"),
}

_OLD = "fp asimd evtstrm aes pmull sha1 sha2 crc32"
_NEW = f"{_OLD} atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
#: What /proc/cpuinfo says of a core: part, variant, features. onnxruntime believes it rather than the processor:
#: without one that fits qemu's -cpu its import crashes. "max" calls itself a Neoverse V2.
CORES = {
    "cortex-a53": ("0xd03", "0x0", _OLD),
    "neoverse-n1": ("0xd0c", "0x3", _NEW),
    "max": ("0xd4f", "0x0", f"{_NEW} sve sve2 i8mm bf16"),
}


@once
def root(name: str) -> Path:
    """Return the root of an architecture with Python, and Debian's numpy where PyPI has no wheels.

    Raises:
        Missing: the emulator, mmdebstrap or the packages cannot be had.
    """
    need(ARCHS[name].emulator, "mmdebstrap")
    suite = _release()
    packages = "python3,libpython3-dev,libstdc++6,libgomp1" + ("" if name == "arm64" else ",python3-numpy")

    def make(folder: Path) -> None:
        # The security archive's indexes of foreign architectures are left out: they have failed their hash check.
        text = SOURCES.read_text().split("\n\n")
        sources = folder / "debian.sources"
        sources.write_text("\n\n".join(stanza for stanza in text if "security" not in stanza))
        options = ["--variant=extract", f"--arch={name}", f"--include={packages}"]
        do(["mmdebstrap", *options, suite, folder / "root", sources], f"mmdebstrap {name}", TMPDIR=str(HOME))

    return fresh(f"{name}/debian", f"{suite} {packages}", make) / "root"


def _release() -> str:
    """Return the codename of this Debian."""
    if not SOURCES.is_file():
        raise Missing(f"needs Debian: no {SOURCES}")
    words = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    return words.get("VERSION_CODENAME", "stable").strip('"')


@once
def c_sources() -> Path:
    """Return a folder with the extension's C, as Cython writes it."""

    def make(folder: Path) -> None:
        do([sys.executable, "-m", "pip", "--quiet", "install", "--target", folder / "tools", "Cython>=3.1"], "pip")
        for name in ("rangecoder", "native"):
            argv = [sys.executable, "-m", "cython", "-3", "--module-name", f"intcodec._{name}"]
            source, out = ROOT / "_ext" / f"{name}.pyx", folder / f"{name}.c"
            do([*argv, source, "-o", out], f"cython {name}.pyx", PYTHONPATH=str(folder / "tools"))

    return fresh("c", digest((ROOT / "_ext").glob("*.pyx"), sys.version), make)


@once
def extension(name: str) -> Path:
    """Return a folder with the compiled extension for an architecture.

    Raises:
        Missing: there is no cross compiler, or it fails.
    """
    arch, base, sources = ARCHS[name], root(name), c_sources()
    need(arch.compiler)
    python = _python(base)
    suffix = next((base / "usr/lib" / python / "lib-dynload").glob("*.so")).name.split(".", 1)[1]
    usr = base / "usr/include"
    include = [f"-I{usr / python}", f"-I{usr}", "-isystem", usr / arch.triple, f"-I{ROOT / '_ext'}"]
    core = [path for folder in ("core", "isa", "rows", "run") for path in sorted((ROOT / "_ext" / folder).glob("*.c"))]

    def make(folder: Path) -> None:
        command = [arch.compiler, *FLAGS, *include]
        do([*command, sources / "rangecoder.c", "-o", folder / f"_rangecoder.{suffix}"], arch.compiler)
        do([*command, sources / "native.c", *core, "-lm", "-o", folder / f"_native.{suffix}"], arch.compiler)

    files = [*(ROOT / "_ext").rglob("*.[ch]"), *sources.glob("*.c")]
    return fresh(f"{name}/extension", digest(files, suffix, *FLAGS), make)


@once
def package(name: str) -> Path:
    """Return a folder to import intcodec from: its Python files as they are now, and the extension.

    The embedded models stay away: vectors bring their own.
    """
    built = extension(name)
    folder = HOME / name / "package"
    shutil.rmtree(folder / "intcodec", ignore_errors=True)
    shutil.copytree(
        ROOT / "intcodec", folder / "intcodec", ignore=shutil.ignore_patterns("*.so", "*.intm", "__pycache__")
    )
    for library in built.glob("*.so"):
        shutil.copy(library, folder / "intcodec")
    return folder


@once
def wheels() -> Path:
    """Return a folder with onnxruntime and numpy for aarch64, from PyPI.

    Raises:
        Missing: pip finds none.
    """
    version = _python(root("arm64")).removeprefix("python")
    platforms = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
    options = [word for tag in platforms for word in ("--platform", tag)]
    options += ["--implementation", "cp", "--python-version", version, "--only-binary=:all:", "--no-deps"]

    def make(folder: Path) -> None:
        argv = [sys.executable, "-m", "pip", "--quiet", "install", *options, "--target", folder / "site"]
        do([*argv, "onnxruntime", "numpy<2.3"], "pip install for aarch64")

    return fresh("arm64/wheels", " ".join(options), make) / "site"


@once
def aarch64(core: str) -> Command:
    """Return Python for aarch64 on an emulated core, with onnxruntime."""
    base, code, site = root("arm64"), package("arm64"), wheels()
    own = HOME / "arm64" / core  # the root with a /proc/cpuinfo of its own
    shutil.rmtree(own, ignore_errors=True)
    (own / "proc").mkdir(parents=True)
    for entry in base.iterdir():
        if entry.name != "proc":
            os.symlink(os.readlink(entry) if entry.is_symlink() else entry, own / entry.name)
    part, variant, features = CORES[core]
    lines = f"BogoMIPS\t: 50.00\nFeatures\t: {features}\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
    lines += f"CPU variant\t: {variant}\nCPU part\t: {part}\nCPU revision\t: 1\n\n"
    (own / "proc" / "cpuinfo").write_text("".join(f"processor\t: {i}\n{lines}" for i in range(2)))
    return _emulated("arm64", own, f"{code}:{site}", "-cpu", core)


@once
def debian(name: str) -> Command:
    """Return Debian's Python and numpy of an architecture, with our extension."""
    lib = root(name) / "usr/lib" / ARCHS[name].triple
    # Debian chooses its BLAS by links that installing would make; an extracted root has none.
    return _emulated(name, root(name), str(package(name)), "-E", f"LD_LIBRARY_PATH={lib / 'blas'}:{lib / 'lapack'}")


def _emulated(name: str, base: Path, path: str, *options: str) -> Command:
    env = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    env["PYTHONPYCACHEPREFIX"] = str(HOME / name / "bytecode")  # else the guest would write it into the host's folders
    argv = (ARCHS[name].emulator, *options, "-L", str(base), str(base / "usr/bin" / _python(base)))
    return Command((*argv, "-m", "intcodec"), env)


def _python(base: Path) -> str:
    """Return "python3.11", or whatever a root has."""
    found = sorted(p.name for p in (base / "usr/bin").glob("python3.*") if p.name[8:].isdigit())
    if not found:
        raise Missing(f"{base} has no Python")
    return found[-1]
