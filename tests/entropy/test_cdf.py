import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intcodec.base.errors import ModelError
from intcodec.entropy.cdf import (
    TOTAL,
    CdfTables,
    default_scale_table,
    factorized_tables,
    gaussian_tables,
    quantize_pmf,
)


def arrays(cdf, starts, offsets):
    return {
        "cdf": np.array(cdf, np.uint32),
        "starts": np.array(starts, np.int32),
        "offsets": np.array(offsets, np.int32),
    }


GOOD = ([0, 10, 65536, 0, 1, 2, 65536], [0, 3, 7], [0, -5])


def test_tables_keep_private_read_only_arrays():
    source = arrays(*GOOD)
    tables = CdfTables.from_arrays(source)
    source["cdf"][1] = 11
    assert tables.rows == 2
    assert tables.row(0).tolist() == [0, 10, 65536]
    assert tables.row(1).tolist() == [0, 1, 2, 65536]
    for name, array in tables.to_arrays().items():
        assert not array.flags.writeable
        assert array.dtype == source[name].dtype
    again = CdfTables.from_arrays(tables.to_arrays())
    assert all(np.array_equal(again.to_arrays()[k], v) for k, v in tables.to_arrays().items())


@pytest.mark.parametrize(
    ("cdf", "starts", "offsets", "says"),
    [
        ([0, 10, 65535], [0, 3], [0], "begin at 0 and end at 65536"),
        ([1, 10, 65536], [0, 3], [0], "begin at 0 and end at 65536"),
        ([0, 10, 10, 65536], [0, 4], [0], "increase strictly"),
        ([0, 20, 10, 65536], [0, 4], [0], "increase strictly"),
        ([0, 70000, 65536], [0, 3], [0], "increase strictly"),
        ([0, 65536], [0, 2], [0], "2 to 65536 slots"),
        ([0, 10, 65536], [0, 0, 3], [0, 0], "2 to 65536 slots"),
        ([0, 10, 65536], [0, 5, 3], [0, 0], "2 to 65536 slots"),
        ([0, 10, 65536], [0, 4], [0], "from 0 to the length"),
        ([0, 10, 65536], [1, 3], [0], "from 0 to the length"),
        ([0, 10, 65536], [0, 3], [0, 0], "starts for 2 rows"),
        ([0, 10, 65536], [], [0], "starts for 1 rows"),
        ([], [0], [], "0 rows"),
        ([0, 10, 65536], [0, 3], [-32769], "int16"),
        ([0, 10, 65536], [0, 3], [32768], "int16"),
        ([0, 10, 20, 65536], [0, 4], [32767], "int16"),
    ],
)
def test_tables_refuse(cdf, starts, offsets, says):
    with pytest.raises(ModelError, match=says):
        CdfTables.from_arrays(arrays(cdf, starts, offsets))


def test_tables_accept_the_ends_of_int16():
    CdfTables.from_arrays(arrays([0, 10, 65536, 0, 10, 65536], [0, 3, 6], [-32768, 32767]))


def test_tables_refuse_other_dtypes_shapes_and_missing_arrays():
    good = arrays(*GOOD)
    for name in good:
        with pytest.raises(ModelError, match=name):
            CdfTables.from_arrays({**good, name: good[name].astype(np.float64)})
        with pytest.raises(ModelError, match=name):
            CdfTables.from_arrays({**good, name: good[name][None]})
        with pytest.raises(ModelError, match=f"{name} is missing"):
            CdfTables.from_arrays({k: v for k, v in good.items() if k != name})
    with pytest.raises(ModelError, match="no rows"):
        CdfTables.from_rows([], [])


def cost(p, freq):
    return -sum(q * math.log2(f / TOTAL) for q, f in zip(p, freq, strict=True) if q)


@given(
    pmf=st.lists(st.floats(0, 1), min_size=1, max_size=40).filter(lambda p: sum(p) > 1e-6),
    tail=st.floats(0, 1e-3),
    power=st.sampled_from([1, 8, 30]),
)
def test_quantize_pmf_is_optimal(pmf, tail, power):
    pmf = np.array(pmf) ** power
    if pmf.sum() <= 0:
        return
    cdf = quantize_pmf(pmf, tail)
    freq = np.diff(cdf.astype(np.int64))
    assert cdf[0] == 0
    assert cdf[-1] == TOTAL
    assert freq.min() >= 1
    # Moving one unit between any two slots never pays: for a convex separable cost that is the global optimum.
    p = np.append(pmf, tail)
    p = p / p.sum()
    gain = p * np.log1p(1 / freq)
    loss = [q * -math.log1p(-1 / f) if f > 1 else math.inf for q, f in zip(p, freq, strict=True)]
    assert gain.max() <= min(loss) * (1 + 1e-9)


def test_quantize_pmf_spends_every_unit_where_it_pays():
    assert quantize_pmf(np.array([0.5, 0.25]), 0.25).tolist() == [0, 32768, 49152, 65536]
    assert quantize_pmf(np.array([1.0]), 0.0).tolist() == [0, 65535, 65536]
    assert quantize_pmf(np.array([0.0, 1.0, 0.0]), 0.0).tolist() == [0, 1, 65534, 65535, 65536]
    flat = quantize_pmf(np.ones(65535), 1.0)
    assert np.array_equal(flat, np.arange(65537))


@pytest.mark.parametrize(
    ("pmf", "tail"),
    [([], 1.0), ([0.0], 0.0), ([-0.1, 1.0], 0.0), ([math.nan], 0.0), ([math.inf], 0.0), (np.ones(65536), 0.0)],
)
def test_quantize_pmf_refuses(pmf, tail):
    with pytest.raises(ModelError, match="cdf tables"):
        quantize_pmf(np.array(pmf), tail)


def gaussian_pmf(scale, reach=9.0):
    width = math.ceil(reach * scale) + 2
    symbols = np.arange(-width, width + 1)
    upper = [0.5 * math.erfc((abs(s) - 0.5) / scale / math.sqrt(2)) for s in symbols]
    beyond = [0.5 * math.erfc((abs(s) + 0.5) / scale / math.sqrt(2)) for s in symbols]
    pmf = np.array(upper) - np.array(beyond)
    pmf[width] = math.erf(0.5 / scale / math.sqrt(2))
    return symbols, pmf


def code_length(tables, row, symbols):
    """Bits of each symbol by the format's definition, from the prose: slot, then sign and Exp-Golomb."""
    cdf, offset = tables.row(row).astype(int), int(tables.offsets[row])
    slots = len(cdf) - 1
    order = max(0, slots.bit_length() - 5)
    bits = []
    for s in symbols:
        slot = int(s) - offset
        if 0 <= slot < slots - 1:
            bits.append(16 - math.log2(cdf[slot + 1] - cdf[slot]))
            continue
        excess = slot - (slots - 1) if slot >= 0 else -slot - 1
        length = (excess + (1 << order)).bit_length()
        bits.append(16 - math.log2(TOTAL - cdf[-2]) + 1 + 2 * length - 1 - order)
    return np.array(bits)


@pytest.mark.parametrize("scale", [0.4, 0.7, 1.0, 2.5, 10.0, 60.0, 256.0])
def test_gaussian_rows_lose_little_against_the_float_model(scale):
    symbols, pmf = gaussian_pmf(scale)
    entropy = -(pmf[pmf > 0] * np.log2(pmf[pmf > 0])).sum()
    lost = (pmf * code_length(gaussian_tables(np.array([scale])), 0, symbols)).sum() - entropy
    assert -1e-9 < lost < 5e-4 * entropy


def test_gaussian_rows_of_tiny_scale_lose_less_than_three_units():
    # Relative loss means nothing when nearly every symbol is 0: 1e-4 bits of entropy a symbol.
    for scale in (0.01, 0.11, 0.2):
        symbols, pmf = gaussian_pmf(scale)
        entropy = -(pmf[pmf > 0] * np.log2(pmf[pmf > 0])).sum()
        lost = (pmf * code_length(gaussian_tables(np.array([scale])), 0, symbols)).sum() - entropy
        assert 0 < lost < 3 / TOTAL * math.log2(math.e)


@pytest.mark.parametrize("scale", [0.11, 0.5, 4.0, 40.0])
def test_outliers_are_one_symbol_in_a_hundred_of_twice_the_scale(scale):
    symbols, narrow = gaussian_pmf(scale)
    wide = np.interp(symbols, *gaussian_pmf(2 * scale), left=0, right=0)
    pmf = 0.99 * narrow + 0.01 * wide
    entropy = -(pmf[pmf > 0] * np.log2(pmf[pmf > 0])).sum()
    lost = (pmf * code_length(gaussian_tables(np.array([scale]), outliers=0.01), 0, symbols)).sum() - entropy
    assert -1e-5 < lost < max(1e-3 * entropy, 5 / TOTAL * math.log2(math.e))
    without = (pmf * code_length(gaussian_tables(np.array([scale])), 0, symbols)).sum() - entropy
    assert without > lost


GOLDEN_ROW_24 = [2, 10, 55, 231, 778, 2101, 4549, 7900, 11000, 12283, 11000, 7900, 4549, 2101, 778, 231, 55, 10, 2, 1]


def test_gaussian_tables_of_the_default_scales():
    scales = default_scale_table()
    assert len(scales) == 64
    assert scales[0] == pytest.approx(0.11)
    assert scales[-1] == pytest.approx(256)
    tables = gaussian_tables(scales)
    assert tables.rows == 64
    for r in range(64):
        freq = np.diff(tables.row(r).astype(int))
        assert tables.offsets[r] == -((len(freq) - 2) // 2)  # symmetric about 0
        assert np.abs(freq[:-1] - freq[-2::-1]).max() <= 1
    assert tables.row(0).tolist() == [0, 65535, 65536]
    assert np.diff(tables.row(24).astype(int)).tolist() == GOLDEN_ROW_24


def test_gaussian_tables_respect_tail_mass_and_int16():
    assert len(gaussian_tables(np.array([4.0]), 0.3).row(0)) == 2 * 4 + 1 + 2
    wide = gaussian_tables(np.array([1e6]))
    assert wide.offsets[0] >= -32768


@pytest.mark.parametrize(
    ("scales", "tail_mass"), [([0.0], 0.1), ([-1.0], 0.1), ([math.nan], 0.1), ([math.inf], 0.1), ([], 0.1), ([1], 0)]
)
def test_gaussian_tables_refuse(scales, tail_mass):
    with pytest.raises(ModelError, match="cdf tables"):
        gaussian_tables(np.array(scales), tail_mass)
    with pytest.raises(ModelError):
        gaussian_tables(np.array([1.0]), outliers=1.0)


def logistic_channels(slopes, medians, ends=30.0):
    """One stage and no bend: the density is a logistic, whose pmf has a closed form."""
    matrices = [np.log(np.expm1(np.array(slopes)))[:, None, None]]
    biases = [(-np.array(slopes) * np.array(medians))[:, None, None]]
    quantiles = np.array([[[m - ends, m, m + ends]] for m in medians])
    return matrices, biases, [], quantiles


def test_factorized_tables_of_a_logistic():
    tables = factorized_tables(*logistic_channels([1.0, 3.0], [0.0, 5.3]))
    for c, slope in enumerate((1.0, 3.0)):
        freq = np.diff(tables.row(c).astype(int))
        first = int(tables.offsets[c])
        for s, f in enumerate(freq[:-1].tolist(), first):
            exact = 1 / (1 + math.exp(-slope * (s + 0.5))) - 1 / (1 + math.exp(-slope * (s - 0.5)))
            assert abs(f - exact * TOTAL) < 2 + 1e-3 * f
        assert first == -((len(freq) - 2) // 2)


def test_factorized_tables_bend_by_hand():
    # Two stages of widths 1 -> 2 -> 1 evaluated symbol by symbol with scalars.
    rng = np.random.default_rng(5)
    m = [rng.normal(size=(1, 2, 1)), rng.normal(size=(1, 1, 2))]
    b = [rng.normal(size=(1, 2, 1)), rng.normal(size=(1, 1, 1))]
    f = [rng.normal(size=(1, 2, 1))]

    def cumulative(x):
        hidden = []
        for i in range(2):
            h = math.log1p(math.exp(m[0][0, i, 0])) * x + b[0][0, i, 0]
            hidden.append(h + math.tanh(f[0][0, i, 0]) * math.tanh(h))
        out = sum(math.log1p(math.exp(m[1][0, 0, i])) * hidden[i] for i in range(2)) + b[1][0, 0, 0]
        return 1 / (1 + math.exp(-out))

    median = 0.37
    tables = factorized_tables(m, b, f, np.array([[[-20.0, median, 20.0]]]))
    freq = np.diff(tables.row(0).astype(int))
    for s, got in enumerate(freq[:-1].tolist(), int(tables.offsets[0])):
        exact = cumulative(median + s + 0.5) - cumulative(median + s - 0.5)
        assert abs(got - exact * TOTAL) < 2 + 1e-3 * got


def test_factorized_tables_refuse():
    matrices, biases, factors, quantiles = logistic_channels([1.0], [0.0])
    with pytest.raises(ModelError, match="shapes"):
        factorized_tables(matrices, [], factors, quantiles)
    with pytest.raises(ModelError, match="shapes"):
        factorized_tables(matrices, biases, [np.zeros((1, 1, 1))], quantiles)
    with pytest.raises(ModelError, match="shapes"):
        factorized_tables([matrices[0][0]], biases, factors, quantiles)
    with pytest.raises(ModelError, match="quantiles"):
        factorized_tables(matrices, biases, factors, quantiles[:, :, ::-1])
    with pytest.raises(ModelError, match="quantiles"):
        factorized_tables(matrices, biases, factors, quantiles * np.nan)
    with pytest.raises(ModelError, match="finite"):
        factorized_tables([matrices[0] * np.nan], biases, factors, quantiles)


def test_factorized_tables_survive_quantiles_far_beyond_int16():
    matrices, biases, factors, _ = logistic_channels([1.0], [0.0])
    tables = factorized_tables(matrices, biases, factors, np.array([[[-1e9, 0.0, 1e9]]]))
    assert -40 < tables.offsets[0] < 0
