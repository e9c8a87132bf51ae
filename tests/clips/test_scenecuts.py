"""Where key frames come: at cuts and an interval after the last one."""

from __future__ import annotations

import io

import numpy as np
import tinyvideo
from test_clip import codec

from intcodec.clips.clip import ClipWriter
from intcodec.clips.container import ChunkReader
from intcodec.clips.frames import FrameFormat
from intcodec.clips.scenecuts import SceneCuts


def scenes(*seeds: int, length: int = 7, size: tuple[int, int] = (40, 60)) -> list[np.ndarray]:
    """Scenes that move, one after another: grey levels around 60, 180, 60, ..."""
    out: list[np.ndarray] = []
    for k, seed in enumerate(seeds):
        frames = tinyvideo.clip(length, *size, seed=seed)
        out += [(frame // 4 + (30 if k % 2 == 0 else 150)).astype(np.uint8) for frame in frames]
    return out


def cuts(frames: list[np.ndarray]) -> list[int]:
    decide = SceneCuts()
    return [k for k, frame in enumerate(frames) if decide.begins(frame)]


def test_scenes_begin_where_they_were_put_together() -> None:
    for size in ((40, 60), (1, 1), (3, 700), (700, 3), (600, 520)):
        assert cuts(scenes(1, 2, 3, size=size, length=4)) == [4, 8]


def test_no_scene_begins_in_a_pan_a_fade_noise_or_a_strobe() -> None:
    chance = np.random.default_rng(5)
    still = tinyvideo.clip(1, 64, 64)[0].astype(float)
    wide = np.repeat(np.repeat(chance.integers(0, 256, (8, 64, 3)), 8, axis=0), 8, axis=1).astype(np.uint8)
    pan = [np.ascontiguousarray(wide[:, 5 * k : 5 * k + 64]) for k in range(30)]
    fade = [(still * k / 20).astype(np.uint8) for k in range(21)]
    noise = [chance.integers(0, 256, (64, 64, 3)).astype(np.uint8) for _ in range(9)]
    strobe = [np.full((8, 8, 3), 255 * (k % 2), np.uint8) for k in range(20)]
    assert cuts(pan) == cuts(fade) == cuts(noise) == cuts(strobe) == []


def test_key_frames_come_at_cuts_and_an_interval_after_the_last_one() -> None:
    def keys(interval: int, **options: bool) -> list[int]:
        file = io.BytesIO()
        made = FrameFormat(60, 40)
        writer = ClipWriter(codec(), file, made, interval, **options)
        for frame in scenes(1, 2):
            writer.write(frame)
        writer.close()
        index = ChunkReader(file).again().load_index() if file.seek(0) == 0 else None
        assert index is not None
        return list(index.keys)

    assert keys(0) == [0, 7]
    assert keys(4) == [0, 4, 7, 11]
    assert keys(0, scene_cuts=False) == [0]
    assert keys(4, scene_cuts=False) == [0, 4, 8, 12]
