"""What a run is trained on: batches by step, and what is held out."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.utils.data import Dataset

from intcodec.train.clips import ClipBatches, Clips, held_out_clips, split_clips
from intcodec.train.data import Batches, Pictures, held_out_crops
from intcodec.train.settings import Settings


@dataclass(frozen=True)
class TrainingSet:
    """Item k of `source` is the batch of step k; `held_out` has the same axes; `summary` tells the user how much."""

    source: Dataset[Tensor]
    held_out: Tensor  # uint8[n, 3, crop, crop], of clips uint8[n, T, 3, crop, crop]
    summary: str


def dataset_for(settings: Settings) -> TrainingSet:
    """Find the data of a run.

    Raises:
        InputError: it is not there, or too little.
    """
    return _clips(settings) if settings.clips else _pictures(settings)


def _pictures(settings: Settings) -> TrainingSet:
    pictures = Pictures(settings.data)
    names, out = pictures.split(settings.held_out)
    source = Batches(pictures, names, settings.batch_size, settings.crop, settings.seed)
    held_out = held_out_crops(pictures, out, settings.crop)
    pictures.close()
    return TrainingSet(source, held_out, f"{len(names)} pictures to train on, {len(held_out)} held out")


def _clips(settings: Settings) -> TrainingSet:
    clips = Clips(settings.data, settings.frames)
    names, out = split_clips(clips, settings.held_out)
    stills = None
    summary = f"{len(names)} clips to train on"
    if settings.stills is not None:
        pictures = Pictures(settings.stills)
        stills = pictures, pictures.names
        summary += f", {len(pictures.names)} pictures to set in motion"
    source = ClipBatches(clips, names, stills, settings.batch_size, settings.crop, settings.seed)
    held_out = held_out_clips(clips, out, settings.crop)
    return TrainingSet(source, held_out, f"{summary}, {len(held_out)} clips held out")
