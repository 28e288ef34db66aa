//! Seeded numbers for initialisation and shuffling: SplitMix64 (Steele, Lea & Flood 2014), written out so that a seed
//! gives the same bytes on every machine and in every later version. Dropout draws from its own counter-based
//! generator in [`grafter_nn::dropout`].

use grafter_nn::dropout::finalise;

/// A stream of numbers that a seed decides.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

impl Random {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self { state: finalise(seed ^ GAMMA) }
    }

    /// An independent stream named by `index`, whatever was drawn from this one before it was cloned.
    #[must_use]
    pub fn stream(&self, index: u64) -> Self {
        Self { state: finalise(self.state ^ finalise(index.wrapping_add(GAMMA))) }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        finalise(self.state)
    }

    /// Uniform in `0.0..1.0`.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal, drawn again while it is more than two standard deviations from zero.
    pub fn truncated_normal(&mut self) -> f32 {
        loop {
            // Box-Muller; `1 - uniform` is never zero.
            let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
            let value = radius * (std::f64::consts::TAU * self.uniform()).cos();
            if value.abs() <= 2.0 {
                return value as f32;
            }
        }
    }

    /// Shuffles in place (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            // The bias of the remainder is below 2^-40 for any list that fits into memory.
            items.swap(last, (self.bits() % (last as u64 + 1)) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_splitmix64() {
        // The published test vector: the first outputs from state 1234567.
        let mut random = Random { state: 1_234_567 };
        let outputs = [random.bits(), random.bits(), random.bits()];
        assert_eq!(
            outputs,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn truncated_normals_have_the_right_moments() {
        let mut random = Random::new(3);
        let values: Vec<f64> = (0..100_000).map(|_| f64::from(random.truncated_normal())).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
        assert!(values.iter().all(|value| value.abs() <= 2.0));
        assert!(mean.abs() < 0.015, "mean {mean}");
        // The variance of a standard normal cut at two is 1 - 4 φ(2) / (2 Φ(2) - 1) = 0.7737.
        assert!((variance - 0.7737).abs() < 0.015, "variance {variance}");
    }

    #[test]
    fn a_shuffle_is_a_permutation_and_streams_differ() {
        let mut items: Vec<usize> = (0..100).collect();
        Random::new(1).stream(0).shuffle(&mut items);
        let mut other: Vec<usize> = (0..100).collect();
        Random::new(1).stream(1).shuffle(&mut other);
        assert_ne!(items, other);
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
