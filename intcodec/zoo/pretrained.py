"""The published CompressAI checkpoints: their addresses, and a download that checks the hash in the file's name.

What may live here: names, hashes and fetching. Files land in torch.hub's checkpoint folder, which CompressAI uses too.
The weights are InterDigital's (BSD-3-Clause-Clear); this project ships none of them.
"""

from __future__ import annotations

import hashlib
import re
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

import torch

from intcodec.base.errors import InputError

ROOT_URL = "https://compressai.s3.amazonaws.com/models/v1"

#: (architecture, metric) -> file name up to the quality, then the first 8 hex digits of the SHA-256 by quality.
FILES: dict[tuple[str, str], tuple[str, str]] = {
    ("bmshj2018_factorized", "mse"): (
        "bmshj2018-factorized-prior",
        "446d5c7f 87279a02 5c6f152b 1ed4405a 866ba797 9b02ea3a 6dfd6734 5232faa3",
    ),
    ("bmshj2018_factorized", "ms-ssim"): (
        "bmshj2018-factorized-ms-ssim",
        "9781d705 4a584386 5352f123 4f91b847 b3a88897 ee028763 8c265a29 8811bd14",
    ),
    ("bmshj2018_hyperprior", "mse"): (
        "bmshj2018-hyperprior",
        "7eb97409 93677231 6d87be32 de1b779c f8b614e1 1ab9c41e 3804dcbd a583f0cf",
    ),
    ("bmshj2018_hyperprior", "ms-ssim"): (
        "bmshj2018-hyperprior-ms-ssim",
        "5cf249be 1ff60d1f 92dd7878 4377354e c34afc8d 3a6d8229 8747d3bc cc15b5f3",
    ),
    ("mbt2018_mean", "mse"): (
        "mbt2018-mean",
        "e522738d e54a039d 723404a8 6dba02a3 d504e8eb a19628ab d5d441d1 8089ae3e",
    ),
    ("mbt2018_mean", "ms-ssim"): (
        "mbt2018-mean-ms-ssim",
        "5bf9c0b6 e2a1bf3f 640ce819 12626c13 1be7f059 b83bf379 ddf9644c 0cc7b94f",
    ),
    ("mbt2018", "mse"): (
        "mbt2018",
        "3f36cd77 43b70cdd 22901978 456e2af9 b4a046dd 7052e5ea 8ba2bf82 dd0097aa",
    ),
    ("mbt2018", "ms-ssim"): (
        "mbt2018-ms-ssim",
        "2878436b c41cb208 d0dd64e8 a120e037 9b30e3b7 f8b3626f 16e6ff50 0cb49d43",
    ),
    ("cheng2020_anchor", "mse"): (
        "cheng2020-anchor",
        "dad2ebff a29008eb e49be189 98b0b468 23852949 4c052b1a",
    ),
    ("cheng2020_anchor", "ms-ssim"): (
        "cheng2020_anchor-ms-ssim",
        "20f521db c7ff5812 c23e22d5 0e658304 c0a95e77 f2dc1913",
    ),
    ("cheng2020_attn", "mse"): (
        "cheng2020_attn-mse",
        "465f2b64 e0805385 2d07bbdf f7b0ccf2 26c8920e 730501f2",
    ),
    ("ssf2020", "mse"): (
        "ssf2020-mse",
        "c1ac1a47 79ed4e19 9c8b998d 577c1eda 1dd7d574 59dfb6f9 4d867411 26439e20 e89345c4",
    ),
    ("cheng2020_attn", "ms-ssim"): (
        "cheng2020_attn-ms-ssim",
        "c5381d91 5dad201d 5c9be841 8b2f647e 5ca1f34c 216423ec",
    ),
}


def checkpoint_url(arch: str, metric: str, quality: int) -> str:
    """Return the address of a published checkpoint.

    Args:
        arch: architecture name with underscores.
        metric: "mse" or "ms-ssim".
        quality: from 1.

    Raises:
        InputError: nothing was published for these.
    """
    stem, hashes = FILES.get((arch, metric), ("", ""))
    published = hashes.split()
    if not 1 <= quality <= len(published):
        raise InputError(f"no published checkpoint for {arch}, {metric}, quality {quality}; train one or load a file")
    return f"{ROOT_URL}/{stem}-{quality}-{published[quality - 1]}.pth.tar"


def fetch(url: str, progress: bool = True, folder: Path | None = None) -> Path:
    """Download a checkpoint, unless it is there already, and verify it against the hash in its name.

    Args:
        url: address ending in `-<hash>.pth.tar`, the hash being the first hex digits of the file's SHA-256.
        progress: draw a progress bar on stderr.
        folder: where to keep the file; torch.hub's checkpoint folder by default.

    Returns:
        The file's path.

    Raises:
        InputError: the address names no hash, the download failed, or the file's hash is another.
    """
    name = urlsplit(url).path.rpartition("/")[2]
    match = re.search(r"-([0-9a-f]{8,64})\.", name)
    if match is None:
        raise InputError(f"{url}: the file's name has no hash to check; expected <name>-<8 hex digits>.pth.tar")
    folder = Path(torch.hub.get_dir()) / "checkpoints" if folder is None else folder
    path = folder / name
    if not path.exists():
        _download(url, path, match[1], progress)
    elif not _sha256(path).startswith(match[1]):
        raise InputError(f"{path}: does not have the hash in its name; delete it and run again")
    return path


def _download(url: str, path: Path, sha_prefix: str, progress: bool) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=sha_prefix, progress=progress)
    except RuntimeError:  # how torch.hub reports a hash mismatch
        raise InputError(f"{url}: the download does not have the hash in its name; try again") from None
    except (OSError, ValueError, HTTPException) as error:  # URLError and HTTPError are OSErrors
        advice = "check the connection, or download it elsewhere and use load_checkpoint"
        raise InputError(f"{url}: download failed ({error}); {advice}") from None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
