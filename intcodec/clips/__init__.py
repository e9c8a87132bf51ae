"""Clips: a container of coded frames, and where frames come from and go to.

container.py   bytes of a clip: docs/video.md, written and read; knows no codec and no pixels
clip.py        frames to clips and back, with seek and ranges
colour.py      YUV and RGB in integers: docs/video.md
y4m.py folders.py videofiles.py      three kinds of clips outside: y4m, pictures in a folder, files through PyAV
sources.py     a name to one of the three
"""
