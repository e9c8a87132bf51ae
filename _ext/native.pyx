# cython: language_level=3, boundscheck=False, wraparound=False
"""Wrapper over the compiled core (_ext/core, isa, rows, run): sizes and types of arrays are checked here.

One `NativeGraph` holds the packed rows of one graph; `run` releases the GIL and may be called from several threads at
once, each call with a workspace of its own from the graph's pool. No kind of row is known by name: the core's table says
what each has.
"""

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stddef cimport size_t
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc

cdef extern from "run/graph.h" nogil:
    ctypedef enum IcType:
        IC_U8
        IC_I16
        IC_I32
    ctypedef enum IcFieldType:
        IC_INTEGER
        IC_BOOLEAN
        IC_FOUR_INTEGERS
    enum:
        IC_MAX_INPUTS
        IC_MAX_ARRAYS
        IC_MAX_FIELDS
        IC_MAX_NUMBERS
        IC_MAX_RANK
        IC_MAX_THREADS
    ctypedef struct IcIsa:
        const char *name
        int (*supported)()
    ctypedef struct IcTensor:
        int32_t channels, lo, hi
    ctypedef struct IcSize:
        int height, width
    ctypedef struct IcArray:
        IcType type
        int32_t rank
        int32_t size[4]
        const void *data
    ctypedef struct IcArrayField:
        const char *name
        IcType type
        int rank
    ctypedef struct IcField:
        const char *name
        IcFieldType type
    ctypedef struct IcParams:
        IcTensor *in_ "in"
        const int32_t *number
        const IcArray *array
    ctypedef struct IcBound:
        int64_t value, limit
        const char *what
    ctypedef struct IcCost:
        int64_t weights, products
    ctypedef struct IcRowKind:
        const char *name
        const char **input
        IcArrayField *array
        IcField *field
        IcTensor (*out)(const IcParams *p)
        IcBound (*bound)(const IcParams *p)
        IcCost (*cost)(const IcParams *p)
    ctypedef struct IcGraph:
        int inputs, rows, row_limit
        IcTensor *tensor
    ctypedef struct IcWorkspace:
        pass
    ctypedef struct IcRun:
        size_t budget
        int threads
        void (*progress)(void *context, int done, int steps)
        size_t bytes
        int steps
    const char *ic_no_memory
    IcType ic_type(IcTensor t)
    bint ic_tensor_fits(IcTensor t)
    int ic_proved(IcBound b)
    int ic_row_inputs(const IcRowKind *kind)
    int ic_row_arrays(const IcRowKind *kind)
    const char *ic_row_check(const IcRowKind *kind, const IcParams *p)
    IcGraph *ic_graph_new(const IcIsa *isa, const IcTensor *inputs, int count, int rows)
    void ic_graph_free(IcGraph *g)
    const char *ic_graph_add(IcGraph *g, const IcRowKind *kind, const int *inputs, const int32_t *numbers,
                             const IcArray *arrays)
    const char *ic_graph_sizes(const IcGraph *g, int height, int width, IcSize *size)
    IcWorkspace *ic_workspace_new()
    void ic_workspace_free(IcWorkspace *w)
    const char *ic_graph_run(const IcGraph *g, IcWorkspace *w, int height, int width, void *const *data, IcRun *run)

cdef extern from "isa/sets.h" nogil:
    const IcIsa *ic_isa_find(const char *name)
    const IcIsa *ic_isa_at(int i)

cdef extern from "rows/table.h" nogil:
    const IcRowKind *ic_row_at(int i)
    const IcRowKind *ic_row_find(const char *name)


cdef tuple TYPES = ("uint8", "int16", "int32")
cdef int MAX_KNOWN = 64


def isa_levels():
    """Return [(name, available on this machine)] of every compiled instruction set, fastest first."""
    levels = []
    cdef int i = 0
    while ic_isa_at(i) != NULL:
        levels.append((ic_isa_at(i).name.decode(), bool(ic_isa_at(i).supported())))
        i += 1
    return levels


def row_kinds():
    """Return {name: (inputs, arrays, fields)} of every kind of row, all by name, arrays as (name, dtype, rank)."""
    kinds = {}
    cdef int i = 0
    cdef const IcRowKind *kind = ic_row_at(0)
    while kind != NULL:
        inputs = tuple(kind.input[k].decode() for k in range(ic_row_inputs(kind)))
        arrays = tuple((kind.array[k].name.decode(), TYPES[<int>kind.array[k].type], kind.array[k].rank)
                       for k in range(ic_row_arrays(kind)))
        fields = tuple(kind.field[k].name.decode() for k in range(IC_MAX_FIELDS) if kind.field[k].name != NULL)
        kinds[kind.name.decode()] = (inputs, arrays, fields)
        i += 1
        kind = ic_row_at(i)
    return kinds


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
    cdef Array view = Array(array, False)
    cdef Py_ssize_t count = view.buffer.len // view.buffer.itemsize
    _require(count > 0, "an empty array")
    if view.array.type == IC_U8:
        return _within[uint8_t](<const uint8_t *>view.array.data, count, lo, hi)
    if view.array.type == IC_I16:
        return _within[int16_t](<const int16_t *>view.array.data, count, lo, hi)
    return _within[int32_t](<const int32_t *>view.array.data, count, lo, hi)


cdef int _require(bint ok, str what) except -1:
    if not ok:
        raise ValueError(what)
    return 0


cdef int _checked(const char *wrong) except -1:
    """Raise what the core says is wrong."""
    if wrong == ic_no_memory:
        raise MemoryError("not enough memory for the native engine")
    _require(wrong == NULL, wrong.decode() if wrong != NULL else "")
    return 0


cdef class Array:
    """A C-contiguous array of uint8, int16 or int32 as the core sees it; it holds the buffer as long as it lives."""

    cdef Py_buffer buffer
    cdef IcArray array

    def __cinit__(self, array, bint writable):
        PyObject_GetBuffer(array, &self.buffer, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (PyBUF_WRITABLE if writable else 0))
        cdef int i
        cdef bytes code = self.buffer.format
        cdef Py_ssize_t size = self.buffer.itemsize
        _require((code, size) in ((b"B", 1), (b"h", 2), (b"i", 4), (b"l", 4)), "an array must be uint8, int16 or int32")
        _require(self.buffer.ndim <= IC_MAX_RANK, "an array has too many dimensions")
        self.array.type = IC_U8 if size == 1 else IC_I16 if size == 2 else IC_I32
        self.array.rank = self.buffer.ndim
        self.array.data = self.buffer.buf
        for i in range(IC_MAX_RANK):
            size = self.buffer.shape[i] if i < self.buffer.ndim else 1
            _require(size < 1 << 31, "an array is too large")
            self.array.size[i] = <int32_t>size

    def __dealloc__(self):
        PyBuffer_Release(&self.buffer)


cdef class Row:
    """A row's numbers and arrays in the core's order."""

    cdef const IcRowKind *kind
    cdef int32_t number[IC_MAX_NUMBERS]
    cdef IcArray array[IC_MAX_ARRAYS]
    cdef list held

    def __cinit__(self, str kind, dict numbers, dict arrays):
        cdef bytes name = kind.encode()
        cdef int i, n = 0
        cdef Array array
        self.kind = ic_row_find(name)
        _require(self.kind != NULL, f"the native engine has no row {kind!r}")
        self.held = []
        for i in range(ic_row_arrays(self.kind)):
            array = Array(arrays[self.kind.array[i].name.decode()], False)
            self.held.append(array)
            self.array[i] = array.array
        for i in range(IC_MAX_FIELDS):
            if self.kind.field[i].name == NULL:
                break
            value = numbers[self.kind.field[i].name.decode()]
            for part in value if self.kind.field[i].type == IC_FOUR_INTEGERS else (value,):
                self.number[n] = int(part)
                n += 1


def row_facts(str kind, list sources, dict numbers, dict arrays):
    """Return what the core knows of a row: (channels, lo, hi) of its output, bound or None, packed weights, products.

    Args:
        kind: name of the kind.
        sources: (channels, lo, hi) of each tensor that it reads.
        numbers: its fields by name.
        arrays: its arrays by name, C-contiguous.

    Raises:
        ValueError: the row is not allowed.
    """
    cdef Row row = Row(kind, numbers, arrays)
    cdef IcParams p
    cdef int i
    cdef IcCost cost = IcCost(0, 0)
    _require(len(sources) == ic_row_inputs(row.kind), "a row of another number of inputs")
    for i in range(len(sources)):
        p.in_[i].channels, p.in_[i].lo, p.in_[i].hi = sources[i]
    p.number, p.array = row.number, row.array
    _checked(ic_row_check(row.kind, &p))
    cdef IcTensor out = row.kind.out(&p)
    cdef IcBound bound = row.kind.bound(&p)
    if row.kind.cost != NULL:
        cost = row.kind.cost(&p)
    worst = bound.value if ic_proved(bound) else None
    return (out.channels, out.lo, out.hi), worst, cost.weights, cost.products


cdef class Workspace:
    """Memory of one call at a time."""

    cdef IcWorkspace *w

    def __cinit__(self):
        self.w = ic_workspace_new()
        if self.w == NULL:
            raise MemoryError

    def __dealloc__(self):
        ic_workspace_free(self.w)


cdef class NativeGraph:
    """Rows of one graph, packed for one instruction set."""

    cdef IcGraph *g
    cdef list pool
    cdef dict known  # sizes of all tensors by the inputs' size, for sizes seen lately
    cdef readonly size_t last_bytes, last_steps

    def __cinit__(self, str isa, list inputs, int rows):
        """Start a graph. `inputs` are (channels, lo, hi); `rows` is how many rows will be added."""
        cdef bytes name = isa.encode()
        cdef const IcIsa *table = ic_isa_find(name)
        cdef IcTensor tensors[64]
        cdef int i
        _require(table != NULL, f"instruction set {isa!r} is not available")
        _require(0 < len(inputs) <= 64 and 0 <= rows < 4096, "bad number of tensors")
        for i in range(len(inputs)):
            tensors[i].channels, tensors[i].lo, tensors[i].hi = inputs[i]
            _require(ic_tensor_fits(tensors[i]), "bad channels or range of an input")
        self.pool, self.known = [], {}
        self.g = ic_graph_new(table, tensors, len(inputs), rows)
        if self.g == NULL:
            raise MemoryError

    def __dealloc__(self):
        ic_graph_free(self.g)

    def add(self, str kind, list inputs, dict numbers, dict arrays):
        """Add the next row.

        Args:
            kind: name of the kind, as in a model.
            inputs: numbers of the tensors that it reads: the graph's inputs in order, then a tensor for each row.
            numbers: its fields by name: integers, booleans, tuples of four.
            arrays: its arrays by name, C-contiguous. They are copied.

        Raises:
            ValueError: the row is not allowed.
        """
        cdef Row row = Row(kind, numbers, arrays)
        cdef int numbers_of[IC_MAX_INPUTS]
        cdef int i
        _require(len(inputs) == ic_row_inputs(row.kind), "a row of another number of inputs")
        for i in range(len(inputs)):
            numbers_of[i] = inputs[i]
        _checked(ic_graph_add(self.g, row.kind, numbers_of, row.number, row.array))

    def out_sizes(self, int height, int width):
        """Return [(height, width)] of every tensor for inputs of (height, width).

        Raises:
            ValueError: a row does not take inputs of this size.
        """
        cdef list sizes = self.known.get((height, width))
        if sizes is not None:
            return sizes
        cdef int tensors = self.g.inputs + self.g.rows, t
        cdef IcSize *size = <IcSize *>malloc(tensors * sizeof(IcSize))
        if size == NULL:
            raise MemoryError
        try:
            _checked(ic_graph_sizes(self.g, height, width, size))
            sizes = [(size[t].height, size[t].width) for t in range(tensors)]
        finally:
            free(size)
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
        cdef int tensors = self.g.inputs + self.g.rows, t
        _require(self.g.rows == self.g.row_limit and len(arrays) == tensors, "one entry per tensor is needed")
        _require(1 <= threads <= IC_MAX_THREADS, "bad number of threads")
        _require(all(array is not None for array in arrays[: self.g.inputs]), "an input is missing")
        cdef int height = arrays[0].shape[0], width = arrays[0].shape[1]
        cdef list sizes = self.out_sizes(height, width), held = []
        cdef void **data = <void **>malloc(tensors * sizeof(void *))
        if data == NULL:
            raise MemoryError
        cdef Array array
        cdef Workspace workspace
        cdef IcRun call
        cdef const char *wrong
        call.budget, call.threads, call.progress = budget, threads, NULL
        try:
            workspace = self.pool.pop()
        except IndexError:
            workspace = Workspace()
        try:
            for t in range(tensors):
                data[t] = NULL
                if arrays[t] is not None:
                    array = self._array(arrays[t], t, sizes[t])
                    held.append(array)
                    data[t] = <void *>array.array.data
            with nogil:
                wrong = ic_graph_run(self.g, workspace.w, height, width, data, &call)
        finally:
            free(data)
            self.pool.append(workspace)
        _checked(wrong)
        self.last_bytes, self.last_steps = call.bytes, call.steps

    cdef Array _array(self, array, int t, tuple size):
        """Return array t after checking its dtype, shape and layout."""
        cdef Array view = Array(array, t >= self.g.inputs)
        cdef IcTensor tensor = self.g.tensor[t]
        _require(array.shape == (*size, tensor.channels), f"tensor {t} has the wrong shape")
        _require(view.array.type == ic_type(tensor), f"tensor {t} has the wrong dtype")
        return view
