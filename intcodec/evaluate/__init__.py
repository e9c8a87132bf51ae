"""Rate and distortion of models on a folder of pictures, beside other codecs. `pip install "intcodec[eval]"`.

    metrics.py        PSNR and MS-SSIM of uint8 pictures
    codecs.py    what codes a picture: integer models; JPEG, WebP and AVIF through Pillow
    floatmodel.py     a float checkpoint, really coded (the only module here that needs torch)
    store.py          results on the disk, so that an interrupted evaluation goes on
    run.py            every codec on every picture
    curves.py         means, interpolation, BD-rate, loss of conversion
    published.py      CompressAI's published curves
    report.py         tables, CSV, JSON
    plot.py           the picture

docs/eval.md says what the figures mean.
"""
