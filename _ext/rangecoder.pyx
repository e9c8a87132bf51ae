# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Give the C core of rangecoder_core.h its memory, and nothing else.

What may live here: buffers that outlive a call, the chunks that bound them, and the release of the GIL. Arguments
were checked by intcodec/rangecoder.py; what fails here returns the core's status, which that module turns into an
error. Indexes and payloads are private copies, so that no other thread changes them between check and use.
"""
import numpy as np

from cpython.mem cimport PyMem_RawFree, PyMem_RawRealloc
from libc.stddef cimport size_t
from libc.stdint cimport int16_t, int32_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "rangecoder_core.h" nogil:
    enum:
        RC_OK, RC_PAST_END, RC_BAD_CODE, RC_BAD_ESCAPE, RC_NOT_CANONICAL, RC_BAD_HEADER, RC_BAD_INDEX
        RC_CAPACITY, RC_BAD_TABLE, RC_MAX_LANES, RC_SYMBOL_BYTES

    ctypedef struct rc_row:
        pass

    ctypedef struct rc_tables:
        const uint32_t *slots
        const uint16_t *lookup
        const rc_row *rows
        uint32_t n_rows

    ctypedef struct rc_encoder_lane:
        uint8_t *bytes
        size_t length, capacity

    ctypedef struct rc_encoder:
        rc_encoder_lane lane[4]
        unsigned lanes

    ctypedef struct rc_decoder_lane:
        pass

    ctypedef struct rc_decoder:
        rc_decoder_lane lane[4]
        const uint8_t *payload
        unsigned lanes

    int rc_check_tables(const uint32_t *cdf, size_t total, const int32_t *starts, const int32_t *offsets,
                        size_t n_rows, size_t *n_lookup)
    void rc_build_tables(const uint32_t *cdf, const int32_t *starts, const int32_t *offsets, size_t n_rows,
                         uint32_t *slots, uint16_t *lookup, rc_row *rows)
    int rc_check_indexes(const uint16_t *indexes, size_t n, uint32_t n_rows)
    void rc_encoder_init(rc_encoder *enc, unsigned lanes)
    size_t rc_room(size_t n, unsigned lanes)
    int rc_encode(rc_encoder *enc, const rc_tables *t, const int16_t *symbols, const uint16_t *indexes, size_t n)
    void rc_flush(rc_encoder_lane *lane)
    int rc_decoder_init(rc_decoder *dec, unsigned lanes, const uint8_t *payload, size_t size)
    int rc_decode(rc_decoder *dec, const rc_tables *t, const uint16_t *indexes, int16_t *symbols, size_t n)
    int rc_finish(const uint8_t *payload, const rc_decoder_lane *lane)


PAST_END = RC_PAST_END
BAD_CODE = RC_BAD_CODE
BAD_ESCAPE = RC_BAD_ESCAPE
NOT_CANONICAL = RC_NOT_CANONICAL
BAD_HEADER = RC_BAD_HEADER
BAD_INDEX = RC_BAD_INDEX
MAX_LANES = RC_MAX_LANES

# Symbols per call of the core while encoding: what a lane's buffer must have free stays below 200 KB.
cdef enum:
    CHUNK = 16384


cdef class Tables:
    """Hold the rows of a CdfTables in the layout that the core reads."""

    cdef rc_tables tables
    cdef object owners

    def __cinit__(self, const uint32_t[::1] cdf, const int32_t[::1] starts, const int32_t[::1] offsets):
        cdef size_t n_rows = offsets.shape[0], n_lookup = 0
        cdef uint32_t[::1] slots
        cdef uint16_t[::1] lookup
        cdef uint8_t[::1] rows
        if n_rows == 0 or <size_t>starts.shape[0] != n_rows + 1 or cdf.shape[0] == 0:
            raise ValueError("tables: empty, or starts and offsets disagree")
        if rc_check_tables(&cdf[0], cdf.shape[0], &starts[0], &offsets[0], n_rows, &n_lookup) != RC_OK:
            raise ValueError("tables: a row is not a strictly increasing cdf")
        slots = np.empty(cdf.shape[0] - n_rows + 1, np.uint32)
        lookup = np.empty(n_lookup, np.uint16)
        rows = np.empty(n_rows * sizeof(rc_row), np.uint8)
        rc_build_tables(&cdf[0], &starts[0], &offsets[0], n_rows, &slots[0], &lookup[0], <rc_row *>&rows[0])
        self.owners = (slots, lookup, rows)
        self.tables.slots = &slots[0]
        self.tables.lookup = &lookup[0]
        self.tables.rows = <const rc_row *>&rows[0]
        self.tables.n_rows = <uint32_t>n_rows


cdef class Encoder:
    """Encode into one growing buffer per lane."""

    cdef rc_encoder core
    cdef Tables tables
    cdef bint busy

    def __cinit__(self, Tables tables not None, unsigned lanes):
        if not 1 <= lanes <= RC_MAX_LANES:
            raise ValueError("lanes out of range")
        rc_encoder_init(&self.core, lanes)
        self.tables = tables

    def __dealloc__(self):
        for k in range(RC_MAX_LANES):
            PyMem_RawFree(self.core.lane[k].bytes)

    cdef int reserve(self, size_t n) except -1:
        """Make room for n symbols in every lane; buffers at least double, so that growth is linear in all."""
        cdef size_t need
        cdef void *grown
        cdef unsigned k
        for k in range(self.core.lanes):
            need = self.core.lane[k].length + rc_room(n, self.core.lanes)
            if need > self.core.lane[k].capacity:
                need = max(need, 2 * self.core.lane[k].capacity)
                grown = PyMem_RawRealloc(self.core.lane[k].bytes, need)
                if grown == NULL:
                    raise MemoryError
                self.core.lane[k].bytes = <uint8_t *>grown
                self.core.lane[k].capacity = need
        return 0

    def encode(self, const int16_t[::1] symbols, const uint16_t[::1] indexes):
        """Append symbols; return the core's status."""
        cdef size_t n = indexes.shape[0], at = 0, take
        cdef int status
        if <size_t>symbols.shape[0] != n:
            raise ValueError("symbols and indexes differ in length")
        if self.busy:
            raise RuntimeError("an encoder was used by two threads at once")
        if n == 0:
            return RC_OK
        status = rc_check_indexes(&indexes[0], n, self.tables.tables.n_rows)
        self.busy = True
        try:
            while status == RC_OK and at < n:
                take = min(n - at, <size_t>CHUNK)
                self.reserve(take)
                with nogil:
                    status = rc_encode(&self.core, &self.tables.tables, &symbols[at], &indexes[at], take)
                at += take
        finally:
            self.busy = False
        return status

    def finish(self):
        """Flush; return the bytes of every lane."""
        if self.busy:
            raise RuntimeError("an encoder was used by two threads at once")
        self.reserve(1)
        parts = []
        for k in range(self.core.lanes):
            rc_flush(&self.core.lane[k])
            parts.append((<char *>self.core.lane[k].bytes)[:self.core.lane[k].length])
        return parts


cdef class Decoder:
    """Decode from a payload, which is kept alive."""

    cdef rc_decoder core
    cdef Tables tables
    cdef bytes payload
    cdef readonly int status
    cdef bint busy

    def __cinit__(self, bytes payload not None, Tables tables not None, unsigned lanes):
        self.payload = payload
        self.tables = tables
        self.status = rc_decoder_init(&self.core, lanes, <const uint8_t *><const char *>payload, len(payload))

    def decode(self, const uint16_t[::1] indexes, int16_t[::1] symbols):
        """Fill symbols; return the core's status."""
        cdef size_t n = indexes.shape[0]
        cdef int status
        if <size_t>symbols.shape[0] != n:
            raise ValueError("symbols and indexes differ in length")
        if self.busy:
            raise RuntimeError("a decoder was used by two threads at once")
        if n == 0:
            return self.status
        status = rc_check_indexes(&indexes[0], n, self.tables.tables.n_rows)
        if status == RC_OK:
            self.busy = True
            with nogil:
                status = rc_decode(&self.core, &self.tables.tables, &indexes[0], &symbols[0], n)
            self.busy = False
            self.status = status
        return status

    def finish(self):
        """Check that every lane was consumed exactly; return the core's status."""
        if self.busy:
            raise RuntimeError("a decoder was used by two threads at once")
        if self.status != RC_OK:
            return self.status
        for k in range(self.core.lanes):
            if rc_finish(self.core.payload, &self.core.lane[k]) != RC_OK:
                return RC_NOT_CANONICAL
        return RC_OK
