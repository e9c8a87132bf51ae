# cython: language_level=3, boundscheck=False, wraparound=False
"""Checked wrapper over the C kernels in _ext/kernels: every size is checked here, C trusts its arguments.

One `NativeGraph` holds the packed rows of one graph; `run` releases the GIL and may be called from several threads at
once, each call with a workspace of its own from the graph's pool.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int16_t, int32_t, uint8_t
from libc.stdlib cimport free, malloc

cdef extern from "kernels.h" nogil:
    ctypedef struct IcIsa:
        const char *name
        int (*supported)()
        const void *flow
    const IcIsa *ic_isa_find(const char *name)
    const IcIsa *ic_isa_at(int i)

cdef extern from "graph.h" nogil:
    ctypedef enum IcType:
        IC_U8
        IC_I16
        IC_I32
    ctypedef struct IcGraph:
        pass
    ctypedef struct IcWorkspace:
        pass
    IcGraph *ic_graph_new(const IcIsa *isa, int inputs, int rows)
    void ic_graph_free(IcGraph *g)
    void ic_graph_input(IcGraph *g, int index, int channels, IcType type)
    int ic_graph_conv(IcGraph *g, int src, IcType type, int out, int kh, int kw, const int16_t *weight,
                      const int32_t *bias, const uint8_t *shift, const int *pad, int stride, int upsample, int slope,
                      int lo, int hi, int reach)
    int ic_graph_gdn(IcGraph *g, int src, IcType type, const int16_t *gamma, const int32_t *beta,
                     const int32_t *numerator, const uint8_t *shift, int square_shift, int inverse, int lo, int hi)
    int ic_graph_rescale(IcGraph *g, int src, IcType type, const uint8_t *shift, int magnitude, int lo, int hi)
    int ic_graph_index(IcGraph *g, int src, IcType type, const int32_t *threshold, int count)
    int ic_graph_concat(IcGraph *g, int src, int other, IcType type)
    int ic_graph_add(IcGraph *g, int src, int other, IcType type, const uint8_t *in_shift, const uint8_t *other_shift,
                     const uint8_t *shift, int lo, int hi)
    int ic_graph_gate(IcGraph *g, int src, int other, IcType type, const int16_t *table, int count, int table_lo,
                      const uint8_t *shift, int lo, int hi)
    IcWorkspace *ic_workspace_new()
    void ic_workspace_free(IcWorkspace *w)
    int ic_graph_run(const IcGraph *g, IcWorkspace *w, int height, int width, void *const *data, size_t budget,
                     int threads, size_t *used)

cdef extern from "flow.h" nogil:
    enum:
        IC_LEVELS
    int ic_scale_space(const IcIsa *isa, const int16_t *x, int h, int w, int16_t *volume, int threads)
    void ic_warp(const IcIsa *isa, const int16_t *volume, const int32_t *motion, int h, int w, int16_t *out,
                 int threads)


cdef dict TYPES = {"uint8": IC_U8, "int16": IC_I16, "int32": IC_I32}
cdef int MAX_SIDE = 1 << 24
cdef int MAX_CHANNELS = 1 << 16
cdef int MAX_WARPED = 1 << 16
cdef int MAX_KNOWN = 64


def isa_levels():
    """Return [(name, available on this machine)] of every compiled instruction set, fastest first."""
    levels = []
    cdef int i = 0
    while ic_isa_at(i) != NULL:
        levels.append((ic_isa_at(i).name.decode(), bool(ic_isa_at(i).supported())))
        i += 1
    return levels


ctypedef fused Value:
    uint8_t
    int16_t
    int32_t


cdef bint _within(const Value *x, Py_ssize_t count, Value lo, Value hi) noexcept nogil:
    cdef Value low = x[0], high = x[0]
    cdef Py_ssize_t i
    for i in range(count):
        low = x[i] if x[i] < low else low
        high = x[i] if x[i] > high else high
    return lo <= low and high <= hi


def in_range(array, int lo, int hi):
    """Is every value of a C-contiguous array [H, W, C], not empty, in [lo, hi], which its dtype holds?"""
    cdef const uint8_t[:, :, ::1] a8
    cdef const int16_t[:, :, ::1] a16
    cdef const int32_t[:, :, ::1] a32
    cdef Py_ssize_t count = array.size
    _require(count > 0, "an empty array")
    if array.itemsize == 1:
        a8 = array
        return _within[uint8_t](&a8[0, 0, 0], count, lo, hi)
    if array.itemsize == 2:
        a16 = array
        return _within[int16_t](&a16[0, 0, 0], count, lo, hi)
    a32 = array
    return _within[int32_t](&a32[0, 0, 0], count, lo, hi)


cdef const IcIsa *_isa(str name) except NULL:
    cdef bytes encoded = name.encode()
    cdef const IcIsa *isa = ic_isa_find(encoded)
    _require(isa != NULL and isa.flow != NULL, "instruction set not available")
    return isa


def scale_space(str isa, const int16_t[:, :, ::1] x, int16_t[:, :, ::1] volume, int threads):
    """Fill `volume` [H, W, 6 * 3] with the scale space of x [H, W, 3]."""
    cdef const IcIsa *chosen = _isa(isa)
    cdef int h = x.shape[0], w = x.shape[1], status
    _require(0 < h <= MAX_WARPED and 0 < w <= MAX_WARPED and h % 16 == 0 and w % 16 == 0, "bad size")
    _require(x.shape[2] == 3 and volume.shape[2] == 3 * IC_LEVELS, "bad number of channels")
    _require(volume.shape[0] == h and volume.shape[1] == w and 1 <= threads <= 256, "bad shape or number of threads")
    with nogil:
        status = ic_scale_space(chosen, &x[0, 0, 0], h, w, &volume[0, 0, 0], threads)
    if status:
        raise MemoryError("not enough memory for a scale space")


def warp(str isa, const int16_t[:, :, ::1] volume, const int32_t[:, :, ::1] motion, int16_t[:, :, ::1] out,
         int threads):
    """Fill `out` [H, W, 3] with the samples of a scale space where `motion` [H, W, 3], below 2**18, points to."""
    cdef const IcIsa *chosen = _isa(isa)
    cdef int h = out.shape[0], w = out.shape[1]
    _require(0 < h <= MAX_WARPED and 0 < w <= MAX_WARPED and 1 <= threads <= 256, "bad size or number of threads")
    _require(volume.shape[0] == h and volume.shape[1] == w and volume.shape[2] == 3 * IC_LEVELS, "bad scale space")
    _require(motion.shape[0] == h and motion.shape[1] == w and motion.shape[2] == 3, "bad motion")
    _require(out.shape[2] == 3, "bad number of channels")
    with nogil:
        ic_warp(chosen, &volume[0, 0, 0], &motion[0, 0, 0], h, w, &out[0, 0, 0], threads)


cdef class Workspace:
    """Memory of one call at a time."""

    cdef IcWorkspace *w

    def __cinit__(self):
        self.w = ic_workspace_new()
        if self.w == NULL:
            raise MemoryError

    def __dealloc__(self):
        ic_workspace_free(self.w)


cdef int _require(bint ok, str what) except -1:
    if not ok:
        raise ValueError(what)
    return 0


cdef class NativeGraph:
    """Rows of one graph, packed for one instruction set."""

    cdef IcGraph *g
    cdef list types, channels, sizes  # dtype name and channels by tensor; per row (input, how its size follows)
    cdef list pool
    cdef dict known  # sizes of all tensors by the inputs' size, for sizes seen lately
    cdef int inputs, rows, limit
    cdef readonly size_t last_bytes, last_steps

    def __cinit__(self, str isa, list inputs, int rows):
        """Start a graph. `inputs` are (channels, dtype name); `rows` is how many rows will be added."""
        name = isa.encode()
        cdef const IcIsa *table = ic_isa_find(name)
        _require(table != NULL, f"instruction set {isa!r} is not available")
        _require(len(inputs) > 0 and 0 <= rows < 4096, "bad number of tensors")
        self.types, self.channels, self.sizes, self.pool, self.known = [], [], [], [], {}
        self.inputs, self.rows, self.limit = len(inputs), 0, rows
        self.g = ic_graph_new(table, self.inputs, rows)
        if self.g == NULL:
            raise MemoryError
        for i, (channels, dtype) in enumerate(inputs):
            _require(1 <= channels <= MAX_CHANNELS, "bad number of channels")
            ic_graph_input(self.g, i, channels, TYPES[dtype])
            self.types.append(dtype)
            self.channels.append(channels)

    def __dealloc__(self):
        ic_graph_free(self.g)

    cdef int _source(self, int src, bint int16) except -1:
        """Check that the next row may read tensor `src`."""
        _require(self.rows < self.limit, "more rows than announced")
        _require(0 <= src < len(self.types), "a row reads a tensor that is not written before")
        _require(not int16 or self.types[src] != "int32", "this row reads int16")
        return 0

    cdef int _added(self, int status, str dtype, int channels, tuple size) except -1:
        if status:
            raise MemoryError
        self.types.append(dtype)
        self.channels.append(channels)
        self.sizes.append(size)
        self.rows += 1
        return 0

    def add_conv(self, int src, str dtype, const int16_t[:, :, :, ::1] weight, const int32_t[::1] bias,
                 const uint8_t[::1] shift, tuple pad, int stride, int upsample, int slope, int lo, int hi,
                 int reach):
        """Add a convolution row; `reach` is the largest magnitude of its input."""
        cdef int p[4]
        cdef int o = weight.shape[0], kh = weight.shape[1], kw = weight.shape[2], i
        self._source(src, True)
        _require(1 <= kh <= 15 and 1 <= kw <= 15 and weight.shape[3] == self.channels[src], "bad weight shape")
        _require(stride in (1, 2) and upsample in (1, 2), "bad stride or upsample")
        _require(1 <= o <= 4 * MAX_CHANNELS and o % (upsample * upsample) == 0, "bad number of channels")
        _require(bias.shape[0] == o and shift.shape[0] == o, "bad bias or shift")
        _require(len(pad) == 4 and 0 <= slope < 65536 and lo <= hi and 0 <= reach <= 32768, "bad pad, slope or range")
        for i in range(4):
            _require(0 <= pad[i] <= 14, "bad pad")
            p[i] = pad[i]
        for i in range(o):
            _require(shift[i] <= 30, "bad shift")
        cdef int status = ic_graph_conv(self.g, src, TYPES[dtype], o, kh, kw, &weight[0, 0, 0, 0], &bias[0], &shift[0],
                                        p, stride, upsample, slope, lo, hi, reach)
        self._added(status, dtype, o // (upsample * upsample), (src, pad, kh, kw, stride, upsample))

    def add_gdn(self, int src, str dtype, const int16_t[:, ::1] gamma, const int32_t[::1] beta,
                const int32_t[::1] numerator, const uint8_t[::1] shift, int square_shift, bint inverse, int lo, int hi):
        """Add a GDN row."""
        self._source(src, True)
        cdef int c = self.channels[src], i
        _require(gamma.shape[0] == c and gamma.shape[1] == c and beta.shape[0] == c, "bad gamma or beta")
        _require(numerator.shape[0] == c and shift.shape[0] == c, "bad numerator or shift")
        _require(0 <= square_shift <= 15 and lo <= hi, "bad square shift or range")
        for i in range(c):
            _require(1 <= shift[i] <= 30 and beta[i] >= 1 and numerator[i] >= 0, "bad shift, beta or numerator")
        cdef int status = ic_graph_gdn(self.g, src, TYPES[dtype], &gamma[0, 0], &beta[0], &numerator[0], &shift[0],
                                       square_shift, inverse, lo, hi)
        self._added(status, dtype, c, (src,))

    def add_rescale(self, int src, str dtype, const uint8_t[::1] shift, bint magnitude, int lo, int hi):
        """Add a rescale row."""
        self._source(src, False)
        cdef int c = self.channels[src], i
        _require(shift.shape[0] == c and lo <= hi, "bad shift or range")
        for i in range(c):
            _require(shift[i] <= 30, "bad shift")
        self._added(ic_graph_rescale(self.g, src, TYPES[dtype], &shift[0], magnitude, lo, hi), dtype, c, (src,))

    def add_index(self, int src, str dtype, const int32_t[::1] thresholds):
        """Add a scale index row."""
        self._source(src, False)
        cdef int k = thresholds.shape[0]
        cdef int32_t none = 0
        cdef const int32_t *first = &none
        _require(k <= 255, "too many thresholds")
        if k:
            first = &thresholds[0]
        self._added(ic_graph_index(self.g, src, TYPES[dtype], first, k), dtype, self.channels[src], (src,))

    cdef int _pair(self, int src, int other, const uint8_t[::1] shift, int lo, int hi) except -1:
        """Check a row of two tensors of as many channels each."""
        cdef int c, i
        self._source(src, True)
        self._source(other, True)
        c = self.channels[src]
        _require(self.channels[other] == c and shift.shape[0] == c and lo <= hi, "bad channels, shift or range")
        for i in range(c):
            _require(shift[i] <= 30, "bad shift")
        return c

    def add_concat(self, int src, int other, str dtype):
        """Add a row that puts the channels of `other` behind those of `src`."""
        self._source(src, True)
        self._source(other, True)
        _require(self.types[src] == self.types[other] == dtype == "int16", "a concatenation is of int16 tensors")
        cdef int c = self.channels[src] + self.channels[other]
        _require(c <= MAX_CHANNELS, "bad number of channels")
        self._added(ic_graph_concat(self.g, src, other, TYPES[dtype]), dtype, c, (src, other))

    def add_add(self, int src, int other, str dtype, const uint8_t[::1] src_shift, const uint8_t[::1] other_shift,
                const uint8_t[::1] shift, int lo, int hi):
        """Add a sum row."""
        cdef int c = self._pair(src, other, shift, lo, hi), i
        _require(src_shift.shape[0] == c and other_shift.shape[0] == c, "bad shift")
        for i in range(c):
            _require(src_shift[i] <= 15 and other_shift[i] <= 15, "bad shift")
        cdef int status = ic_graph_add(self.g, src, other, TYPES[dtype], &src_shift[0], &other_shift[0], &shift[0], lo,
                                       hi)
        self._added(status, dtype, c, (src, other))

    def add_gate(self, int src, int other, str dtype, const int16_t[::1] table, int table_lo, const uint8_t[::1] shift,
                 int lo, int hi):
        """Add a gate row; table[i] belongs to the value table_lo + i of `other`."""
        cdef int c = self._pair(src, other, shift, lo, hi), count = table.shape[0]
        _require(1 <= count <= 65536 and -32768 <= table_lo <= 32768 - count, "bad table")
        cdef int status = ic_graph_gate(self.g, src, other, TYPES[dtype], &table[0], count, table_lo, &shift[0], lo, hi)
        self._added(status, dtype, c, (src, other))

    def out_sizes(self, int height, int width):
        """Return [(height, width)] of every tensor for inputs of (height, width).

        Raises:
            ValueError: a side is smaller than a kernel, or too large.
        """
        cdef list sizes = self.known.get((height, width))
        if sizes is not None:
            return sizes
        _require(1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE, "bad size")
        sizes = [(height, width)] * self.inputs
        for rule in self.sizes:
            h, w = sizes[rule[0]]
            if len(rule) == 2:
                _require(sizes[rule[1]] == (h, w), f"{h}x{w} and {'x'.join(map(str, sizes[rule[1]]))} do not go together")
            elif len(rule) > 1:
                _, (top, left, bottom, right), kh, kw, stride, up = rule
                h, w = h + top + bottom - kh, w + left + right - kw
                _require(h >= 0 and w >= 0, "smaller than a kernel")
                h, w = (h // stride + 1) * up, (w // stride + 1) * up
                _require(h <= MAX_SIDE and w <= MAX_SIDE, "too large")
            sizes.append((h, w))
        if len(self.known) >= MAX_KNOWN:
            self.known.clear()
        self.known[height, width] = sizes
        return sizes

    def run(self, list arrays, size_t budget, int threads):
        """Run the graph.

        Args:
            arrays: one per tensor in order, C-contiguous [H, W, C]: given for every input, and for every row whose
                tensor is wanted (it is filled), else None.
            budget: wished size of the row windows in bytes.
            threads: 1..256.
        """
        _require(self.rows == self.limit and len(arrays) == len(self.types), "one entry per tensor is needed")
        _require(1 <= threads <= 256, "bad number of threads")
        _require(arrays[0] is not None, "an input is missing")
        cdef int height = arrays[0].shape[0], width = arrays[0].shape[1], t
        sizes = self.out_sizes(height, width)
        cdef void **data = <void **>malloc(len(arrays) * sizeof(void *))
        if data == NULL:
            raise MemoryError
        cdef Workspace workspace
        cdef size_t used[2]
        cdef int status
        try:
            workspace = self.pool.pop()
        except IndexError:
            workspace = Workspace()
        try:
            for t in range(len(arrays)):
                data[t] = NULL
                if arrays[t] is None:
                    _require(t >= self.inputs, "an input is missing")
                    continue
                data[t] = self._address(arrays[t], t, sizes[t])
            with nogil:
                status = ic_graph_run(self.g, workspace.w, height, width, data, budget, threads, used)
        finally:
            free(data)
            self.pool.append(workspace)
        if status:
            raise MemoryError("not enough memory for the native engine's workspace")
        self.last_bytes, self.last_steps = used[0], used[1]

    cdef void *_address(self, array, int t, tuple size) except NULL:
        """Return the data of array t after checking its dtype, shape and layout."""
        cdef const uint8_t[:, :, ::1] a8
        cdef const int16_t[:, :, ::1] a16
        cdef const int32_t[:, :, ::1] a32
        _require(array.shape == (*size, self.channels[t]), f"tensor {t} has the wrong shape")
        _require(t < self.inputs or array.flags.writeable, f"tensor {t} is read-only")
        if self.types[t] == "uint8":
            a8 = array
            return <void *>&a8[0, 0, 0]
        if self.types[t] == "int16":
            a16 = array
            return <void *>&a16[0, 0, 0]
        a32 = array
        return <void *>&a32[0, 0, 0]
