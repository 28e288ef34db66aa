//! Scalar functions written so that the compiler vectorises a loop over them: no branch, no table, no cast between
//! float and integer (such a cast kept whole loops scalar). Accuracy is tested against f64 below.

/// `e^x`; 0 below -87.3, clamped above 88.3. Relative error under 2e-7.
///
/// `x = n ln 2 + r` with `|r| <= ln 2 / 2`, a Taylor polynomial for `e^r`, and `2^n` put together from bits.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits of the mantissa.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts: the first has few bits, so that n times it is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let clamped = if x > 88.3 { 88.3 } else { x };
    let clamped = if clamped < -87.3 { -87.3 } else { clamped };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * LN_2_HIGH - n * LN_2_LOW;
    let mut p = 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    let value = p * power;
    if x < -87.3 { 0.0 } else { value }
}

/// `tanh x`, absolute error under 2e-7.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (exp(2.0 * x) + 1.0)
}

/// The Gauss error function, absolute error under 6e-7 (the rounding of the polynomials near 4).
///
/// `erf x = x P(x²) / Q(x²)` on `|x| <= 4`, where f32 cannot tell erf from 1 beyond; the coefficients are the widely
/// used minimax fit of degree (13, 8).
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let s = x * x;
    let mut p = -2.726_142_3e-10;
    p = p * s + 2.770_681_6e-8;
    p = p * s - 2.101_024e-6;
    p = p * s - 5.692_506_3e-5;
    p = p * s - 7.349_906e-4;
    p = p * s - 2.954_6e-3;
    p = p * s - 1.609_603_3e-2;
    let mut q = -1.456_607_2e-5;
    q = q * s - 2.133_740_6e-4;
    q = q * s - 1.682_827e-3;
    q = q * s - 7.373_329_4e-3;
    q = q * s - 1.426_474e-2;
    let value = x * p / q;
    // Saturate exactly, so that GELU of a very negative number is 0 and not a small fraction of that number.
    let value = if x >= 4.0 { 1.0 } else { value };
    if x <= -4.0 { -1.0 } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::erf_series;

    fn sweep(low: f32, high: f32) -> impl Iterator<Item = f32> {
        (0..=20_000).map(move |index| low + (high - low) * index as f32 / 20_000.0)
    }

    #[test]
    fn exp_is_within_its_bound() {
        for x in sweep(-87.0, 88.0).chain(sweep(-1.0, 1.0)) {
            let expected = f64::from(x).exp();
            let relative = (f64::from(exp(x)) - expected).abs() / expected;
            assert!(relative < 2e-7, "exp({x}): relative error {relative:e}");
        }
        assert_eq!(exp(-1e30), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(1e30).is_finite());
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn tanh_is_within_its_bound() {
        for x in sweep(-12.0, 12.0) {
            let error = (f64::from(tanh(x)) - f64::from(x).tanh()).abs();
            assert!(error < 2e-7, "tanh({x}): error {error:e}");
        }
        assert_eq!(tanh(1e30), 1.0);
        assert_eq!(tanh(-1e30), -1.0);
    }

    #[test]
    fn erf_is_within_its_bound() {
        for x in sweep(-4.5, 4.5) {
            let error = (f64::from(erf(x)) - erf_series(f64::from(x))).abs();
            assert!(error < 6e-7, "erf({x}): error {error:e}");
        }
        assert!(erf(f32::NAN).is_nan());
    }
}
