//! What the tests of the operations share: seeded numbers, comparison with f64, central differences.

/// A small seeded generator (SplitMix64) for test data.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal values (Box-Muller).
    pub(crate) fn normals(&mut self, count: usize) -> Vec<f32> {
        (0..count)
            .map(|_| {
                let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
                (radius * (std::f64::consts::TAU * self.uniform()).cos()) as f32
            })
            .collect()
    }
}

pub(crate) fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

/// Fails, naming the worst element, unless `|actual - expected| <= absolute + relative |expected|` everywhere.
pub(crate) fn assert_close(what: &str, actual: &[f32], expected: &[f64], absolute: f64, relative: f64) {
    assert_eq!(actual.len(), expected.len(), "{what}: length");
    let mut worst = (0.0, 0);
    for (index, (a, e)) in actual.iter().zip(expected).enumerate() {
        let excess = (f64::from(*a) - e).abs() / (absolute + relative * e.abs());
        if excess.is_nan() || excess > worst.0 {
            worst = (if excess.is_nan() { f64::INFINITY } else { excess }, index);
        }
    }
    assert!(
        worst.0 <= 1.0,
        "{what}: element {} is {}, expected {} ({} times the tolerance)",
        worst.1,
        actual[worst.1],
        expected[worst.1],
        worst.0
    );
}

/// Central differences of a scalar function of f64 values, one element at a time.
pub(crate) fn central_differences(values: &[f64], function: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let step = 1e-5;
    let mut moved = values.to_vec();
    (0..values.len())
        .map(|index| {
            moved[index] = values[index] + step;
            let above = function(&moved);
            moved[index] = values[index] - step;
            let below = function(&moved);
            moved[index] = values[index];
            (above - below) / (2.0 * step)
        })
        .collect()
}

/// `Σ weights · values`: turns an operation's output into a scalar whose gradient by the output is `weights`.
pub(crate) fn weighted_sum(values: &[f64], weights: &[f32]) -> f64 {
    values.iter().zip(weights).map(|(value, weight)| value * f64::from(*weight)).sum()
}

/// erf in f64 by its Taylor series, which converges for every x; accurate to 1e-11 for |x| <= 4.5.
pub(crate) fn erf_series(x: f64) -> f64 {
    let mut term = x;
    let mut sum = x;
    for n in 1..200 {
        term *= -x * x / n as f64;
        sum += term / (2 * n + 1) as f64;
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}
