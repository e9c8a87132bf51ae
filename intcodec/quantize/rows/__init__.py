"""The rows of a lowered model, a module for each kind: the row of `intcodec.rows` of that name with real numbers in it.

A kind says what it computes in float, what calibration measures of it, and which integers it becomes. `calibrate` and
`fold` walk rows and know no kind by name, so there is no table: a lowering makes the rows that it needs.
"""
