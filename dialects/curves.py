"""Nonlinear functions that have the same bits wherever they are computed.

Each is a fixed sequence of IEEE 754 binary64 operations, each rounded to nearest even, none fused
with another, and one rounding to float32 at the end. The sequence is written once, over an
`Arithmetic`: NumPy's is here, the compiler's emits one `arith` or `math` operation for each. The
float64 value is within 1e-12 of the true one, relative, so the float32 result is the correctly
rounded one but for about one argument in 2^15. docs/numerics.md, unary.

Subnormal float32 arguments and results are zero, of the same sign: IREE's threads flush them.
Polynomials are Taylor's; range reductions follow Cody and Waite 1980, chapters 6 and 8.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import e, factorial, inf, log, log2, nan, pi, sqrt
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Real = Any
"""A float64 number of an `Arithmetic`: it has +, -, *, / and <, and mixes with Python's floats."""

SMALLEST = 2.0**-126
"""Smallest normal float32."""
LARGEST_ANGLE = 2.0**24
"""From here on neighbouring float32 are more than a radian apart: sine and cosine take 0 for it."""


class Arithmetic(Protocol):
    """What a curve needs beside the operators; ``select`` takes what < yields."""

    def select(self, condition: Any, chosen: Real, other: Real) -> Real:
        """``chosen if condition else other``."""
        ...

    def round(self, x: Real) -> Real:
        """Nearest integer, ties to even."""
        ...

    def floor(self, x: Real) -> Real:
        """Largest integer that is not above."""
        ...

    def sqrt(self, x: Real) -> Real:
        """Square root, correctly rounded."""
        ...

    def power_of_two(self, exponent: Real) -> Real:
        """``2^exponent`` of an integer in -1022 .. 1023, exactly; anything for not-a-number."""
        ...

    def split(self, x: Real) -> tuple[Real, Real]:
        """``(m, e)`` with ``x = m 2^e`` and m in [1, 2), for normal positive x."""
        ...


class NumpyArithmetic:
    """`Arithmetic` on NumPy arrays of float64."""

    def select(self, condition: Array, chosen: Array, other: Array) -> Array:
        """See `Arithmetic`."""
        return np.where(condition, chosen, other)

    def round(self, x: Array) -> Array:
        """See `Arithmetic`."""
        return np.rint(x)

    def floor(self, x: Array) -> Array:
        """See `Arithmetic`."""
        return np.floor(x)

    def sqrt(self, x: Array) -> Array:
        """See `Arithmetic`."""
        return np.sqrt(x)

    def power_of_two(self, exponent: Array) -> Array:
        """See `Arithmetic`."""
        number = np.where(exponent == exponent, exponent, 0).astype(np.int64)
        return ((number + 1023) << 52).view(np.float64)

    def split(self, x: Array) -> tuple[Array, Array]:
        """See `Arithmetic`."""
        bits = np.ascontiguousarray(x).view(np.int64)
        mantissa = (bits & ((1 << 52) - 1)) | (1023 << 52)
        return mantissa.view(np.float64), ((bits >> 52) - 1023).astype(np.float64)


def flush(ops: Arithmetic, x: Real) -> Real:
    """Zero of the same sign for what is no normal float32."""
    return ops.select(_absolute(ops, x) < SMALLEST, x * 0.0, x)


def exponential(ops: Arithmetic, x: Real) -> Real:
    """``e^x = 2^n e^r`` with |r| <= ln 2 / 2; x counts as -256 below that and as 256 above."""
    x = ops.select(x < -256.0, -256.0, ops.select(256.0 < x, 256.0, x))
    n = ops.round(x * log2(e))
    for part in _LN_2:
        x = x - n * part
    return _polynomial(x, _EXPONENTIAL) * ops.power_of_two(n)


def logarithm(ops: Arithmetic, x: Real) -> Real:
    """``ln x = n ln 2 + 2 artanh((m - 1) / (m + 1))`` with m in [sqrt 1/2, sqrt 2)."""
    mantissa, exponent = ops.split(x)
    large = sqrt(2) < mantissa
    mantissa = ops.select(large, mantissa * 0.5, mantissa)
    exponent = ops.select(large, exponent + 1.0, exponent)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    value = exponent * log(2) + s * _polynomial(s * s, _LOGARITHM)
    value = ops.select(x < inf, value, x)
    # Zero gives minus infinity; negative numbers and not-a-number give not-a-number.
    return ops.select(0.0 < x, value, ops.select(x < 0.0, nan, x - inf))


def sigmoid(ops: Arithmetic, x: Real) -> Real:
    """``1 / (1 + e^-x)``."""
    return 1.0 / (exponential(ops, 0.0 - x) + 1.0)


def silu(ops: Arithmetic, x: Real, slope: float = 1.0) -> Real:
    """``x sigmoid(slope x)``; minus infinity gives 0, the limit."""
    x = ops.select(x < -128.0, -128.0, x)
    return x * sigmoid(ops, x * slope)


def quick_gelu(ops: Arithmetic, x: Real) -> Real:
    """``x sigmoid(1.702 x)``."""
    return silu(ops, x, 1.702)


def tanh(ops: Arithmetic, x: Real) -> Real:
    """``(1 - t) / (1 + t)`` with ``t = e^-2|x|``, of x's sign; ``x - x^3 / 3`` near 0."""
    t = exponential(ops, _absolute(ops, x) * -2.0)
    value = (1.0 - t) / (t + 1.0)
    value = ops.select(x < 0.0, 0.0 - value, value)
    return ops.select(_absolute(ops, x) < 2.0**-10, x * (1.0 - x * x * (1 / 3)), value)


def softplus(ops: Arithmetic, x: Real) -> Real:
    """``ln(1 + e^x) = max(x, 0) + ln(1 + t)`` with ``t = e^-|x|``; ``t - t^2 / 2`` near 0."""
    t = exponential(ops, 0.0 - _absolute(ops, x))
    value = ops.select(t < 2.0**-20, t * (1.0 - t * 0.5), logarithm(ops, t + 1.0))
    return ops.select(0.0 < x, x + value, value)


def elu(ops: Arithmetic, x: Real) -> Real:
    """``x`` above 0, ``e^x - 1`` below; ``x + x^2 / 2`` near 0."""
    below = ops.select(-(2.0**-20) < x, x * (x * 0.5 + 1.0), exponential(ops, x) - 1.0)
    return ops.select(x < 0.0, below, x)


def sine(ops: Arithmetic, x: Real) -> Real:
    """A polynomial over the quadrant's middle half, |r| <= pi / 4."""
    return _circular(ops, x, 0.0)


def cosine(ops: Arithmetic, x: Real) -> Real:
    """Sine, a quadrant further."""
    return _circular(ops, x, 1.0)


def square_root(ops: Arithmetic, x: Real) -> Real:
    """``sqrt(x)``."""
    return ops.sqrt(x)


def reciprocal_square_root(ops: Arithmetic, x: Real) -> Real:
    """``1 / sqrt(x)``."""
    return 1.0 / ops.sqrt(x)


def reciprocal(ops: Arithmetic, x: Real) -> Real:
    """``1 / x``."""
    return 1.0 / x


def hard_sigmoid(ops: Arithmetic, x: Real) -> Real:
    """``clamp(x + 3, 0, 6) / 6``."""
    x = x + 3.0
    return ops.select(x < 0.0, 0.0, ops.select(6.0 < x, 6.0, x)) / 6.0


def hard_swish(ops: Arithmetic, x: Real) -> Real:
    """``x clamp(x + 3, 0, 6) / 6``; minus infinity gives 0, the limit."""
    x = ops.select(x < -3.0, -3.0, x)
    return x * hard_sigmoid(ops, x)


def floor(ops: Arithmetic, x: Real) -> Real:
    """Largest integer that is not above."""
    return ops.floor(x)


def ceiling(ops: Arithmetic, x: Real) -> Real:
    """Smallest integer that is not below."""
    return 0.0 - ops.floor(0.0 - x)


def nearest(ops: Arithmetic, x: Real) -> Real:
    """Nearest integer, ties to even."""
    return ops.round(x)


CURVES: dict[str, Callable[[Any, Real], Real]] = {
    "ceil": ceiling,
    "cosine": cosine,
    "elu": elu,
    "exp": exponential,
    "floor": floor,
    "hard_sigmoid": hard_sigmoid,
    "hard_swish": hard_swish,
    "log": logarithm,
    "quick_gelu": quick_gelu,
    "reciprocal": reciprocal,
    "round": nearest,
    "rsqrt": reciprocal_square_root,
    "sigmoid": sigmoid,
    "silu": silu,
    "sine": sine,
    "softplus": softplus,
    "sqrt": square_root,
    "tanh": tanh,
}


def evaluate(name: str, x: Array) -> Array:
    """A curve at float32 arguments, rounded to float32."""
    ops = NumpyArithmetic()
    with np.errstate(all="ignore"):
        wide = flush(ops, x.astype(np.float64))
        return flush(ops, CURVES[name](ops, wide)).astype(np.float32)


def _absolute(ops: Arithmetic, x: Real) -> Real:
    return ops.select(x < 0.0, 0.0 - x, x)


def _polynomial(x: Real, coefficients: Sequence[float]) -> Real:
    """Horner's scheme, lowest coefficient first."""
    value = x * coefficients[-1] + coefficients[-2]
    for coefficient in reversed(coefficients[:-2]):
        value = value * x + coefficient
    return value


def _circular(ops: Arithmetic, x: Real, quadrants: float) -> Real:
    size = _absolute(ops, x)
    # Infinity and not-a-number give not-a-number: they are the only x that differ from x - 0 x.
    x = ops.select(size < LARGEST_ANGLE, x, x * 0.0)
    n = ops.round(x * (2 / pi))
    for part in _HALF_PI:
        x = x - n * part
    n = n + quadrants
    quadrant = n - ops.floor(n * 0.25) * 4.0
    square = x * x
    even = _polynomial(square, _COSINE)
    odd = x * _polynomial(square, _SINE)
    half_turn = quadrant - ops.floor(quadrant * 0.5) * 2.0
    value = ops.select(half_turn < 0.5, odd, even)
    return ops.select(quadrant < 1.5, value, 0.0 - value)


def _parts(digits: str, bits: int, count: int) -> list[float]:
    """A number below 2 as a sum of floats of so many bits each.

    Their products with integers of 53 - bits bits are exact.
    """
    rest, parts = Fraction(digits), list[float]()
    for position in range(1, count + 1):
        unit = Fraction(1, 1 << (bits * position))
        part = rest // unit * unit
        parts.append(float(part))
        rest -= part
    return parts


_LN_2 = _parts("0.693147180559945309417232121458176568075500134360255254120680009", 40, 2)
_HALF_PI = _parts("1.57079632679489661923132169163975144209858469968755291048747230", 28, 4)
_EXPONENTIAL = [1 / factorial(k) for k in range(14)]
_LOGARITHM = [2 / k for k in range(1, 22, 2)]
_SINE = [(-1) ** k / factorial(2 * k + 1) for k in range(9)]
_COSINE = [(-1) ** k / factorial(2 * k) for k in range(9)]
