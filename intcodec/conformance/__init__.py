"""Replaying the conformance vectors of tests/conformance on this machine.

    vectors    the files: where they are, how they are read
    trace      an engine that notes a digest of every tensor that it computes
    cases      what the cases of every kind share
    replay     cases against one engine, the first difference named; those of clips are in `clips`
    report     all engines and instruction sets of this machine; a screen of text, or JSON

docs/conformance.md describes the files and says how to test another implementation with them.
"""
