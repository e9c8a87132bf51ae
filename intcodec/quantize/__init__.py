"""The quantisation pass: a trained float model in, an integer network out. Needs torch (`intcodec[quantize]`).

lowering   float modules      -> float rows (`rows`, a module for each kind), one per row of the integer network
calibrate  rows + pictures    -> the largest magnitude of every channel
fold       rows + magnitudes  -> integer rows: scales folded into weights, shifts chosen from the accumulator's bound
export     all of it          -> a proved, self-tested model bundle
"""
