"""Training of the zoo's float models, by the recipe that CompressAI documents for its own. Needs torch and tqdm.

    settings.py     what a run is: architecture, lambda, data, budget
    data.py         random crops of a folder or archive of pictures; a batch is a function of (seed, step)
    clips.py        random pieces of clips, and still pictures set in motion
    dataset.py     which of the two a run takes, and what it holds out
    objective.py    what is minimised, an object for each kind of model
    warmstart.py    weights of another architecture or quality, as far as shapes match
    tables.py       quantiles and CDF tables of a finished checkpoint
    state.py        files: the checkpoint, the state to resume from, the log
    progress.py     what the user sees
    loop.py         the loop

The public door of training:

    train(Settings(arch="mbt2018_mean", data=Path("photos"), lmbda=0.013, steps=9000, output=Path("mine.pth.tar")))
"""

from __future__ import annotations

from intcodec.train.loop import Result, train
from intcodec.train.progress import Progress
from intcodec.train.settings import LAMBDAS, Settings
from intcodec.train.warmstart import choose_channels

__all__ = ["LAMBDAS", "Progress", "Result", "Settings", "choose_channels", "train"]
