//! Dropout (Srivastava et al. 2014) from a counter-based generator.
//!
//! Whether an element is dropped is a pure function of a key and the element's index; nothing is stored or advanced.
//! So the mask is the same whatever the number of threads and however a batch is cut, the backward pass computes it
//! again instead of keeping it, and a resumed run draws what the interrupted one would have drawn.

use crate::simd::vectorised;

/// Names one mask: derived step by step from the seed, the training step, the layer, the place and the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropoutKey(u64);

impl DropoutKey {
    /// The root of all keys of one run.
    pub fn new(seed: u64) -> Self {
        Self(mix(seed ^ 0x6772_6166_7465_7221))
    }

    /// The key of the part `word` of what this key names.
    #[must_use]
    pub fn derive(self, word: u64) -> Self {
        Self(mix(self.0 ^ mix(word.wrapping_add(0x9E37_79B9_7F4A_7C15))))
    }
}

/// One output of SplitMix64 from a state.
fn mix(state: u64) -> u64 {
    finalise(state.wrapping_add(0x9E37_79B9_7F4A_7C15))
}

/// The finaliser of SplitMix64 (Steele, Lea & Flood 2014).
pub fn finalise(value: u64) -> u64 {
    let mut z = value;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A dropout rate, ready for use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// An element is dropped when its 32 random bits are below this.
    threshold: u32,
    /// What a kept element is multiplied with, `1 / (1 - rate)`.
    scale: f32,
}

impl Dropout {
    /// Dropout that keeps everything, for evaluation and inference.
    pub const NONE: Self = Self { threshold: 0, scale: 1.0 };

    /// Drops a share `rate` of the elements.
    /// # Panics
    /// If `rate` is not in `0.0..1.0`.
    pub fn new(rate: f32) -> Self {
        assert!((0.0..1.0).contains(&rate), "a dropout rate of {rate}");
        Self { threshold: (f64::from(rate) * 4_294_967_296.0) as u32, scale: 1.0 / (1.0 - rate) }
    }

    /// Whether nothing is ever dropped.
    pub fn is_none(self) -> bool {
        self.threshold == 0
    }

    /// `x = x · mask / (1 - rate)` in place. The same call on a gradient is the backward pass.
    pub fn apply(self, key: DropoutKey, x: &mut [f32]) {
        if !self.is_none() {
            let key = [key.0 as u32, (key.0 >> 32) as u32];
            apply_all(self.threshold, self.scale, key, x);
        }
    }
}

/// 32 random bits of one element: two rounds of a multiply-xorshift hash, with half of the key mixed in before each.
#[inline(always)]
fn bits(key: [u32; 2], index: u32) -> u32 {
    let mut x = index ^ key[0];
    x ^= x >> 16;
    x = x.wrapping_mul(0x7FEB_352D);
    x ^= x >> 15;
    x = x.wrapping_add(key[1]);
    x = x.wrapping_mul(0x846C_A68B);
    x ^ (x >> 16)
}

vectorised! {
    fn apply_all(threshold: u32, scale: f32, key: [u32; 2], x: &mut [f32]) {
        for (index, x) in x.iter_mut().enumerate() {
            *x = if bits(key, index as u32) < threshold { 0.0 } else { *x * scale };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(dropout: Dropout, key: DropoutKey, count: usize) -> Vec<bool> {
        let mut x = vec![1.0; count];
        dropout.apply(key, &mut x);
        x.iter().map(|x| *x == 0.0).collect()
    }

    /// Five standard deviations of a binomial share.
    fn bound(rate: f64, count: usize) -> f64 {
        5.0 * (rate * (1.0 - rate) / count as f64).sqrt()
    }

    #[test]
    fn the_share_and_the_scale_are_right() {
        const COUNT: usize = 200_000;
        for rate in [0.1, 0.5, 0.9] {
            let dropped = mask(Dropout::new(rate), DropoutKey::new(1), COUNT);
            let share = dropped.iter().filter(|dropped| **dropped).count() as f64 / COUNT as f64;
            assert!((share - f64::from(rate)).abs() < bound(f64::from(rate), COUNT), "{share} at {rate}");
            let mut x = vec![2.0; 100];
            Dropout::new(rate).apply(DropoutKey::new(1), &mut x);
            assert!(x.iter().all(|x| *x == 0.0 || *x == 2.0 * (1.0 / (1.0 - rate))));
        }
        let mut x = vec![3.0; 10];
        Dropout::NONE.apply(DropoutKey::new(1), &mut x);
        assert_eq!(x, vec![3.0; 10]);
        assert!(Dropout::new(0.0).is_none());
    }

    #[test]
    fn neighbours_and_masks_of_neighbouring_keys_are_independent() {
        const COUNT: usize = 100_000;
        let root = DropoutKey::new(7);
        let expected = 0.3 * 0.3;
        let share = |a: &[bool], b: &[bool]| {
            a.iter().zip(b).filter(|(a, b)| **a && **b).count() as f64 / a.len().min(b.len()) as f64
        };
        let base = mask(Dropout::new(0.3), root, COUNT);
        for lag in [1, 2, 16, 384] {
            let both = share(&base, &base[lag..]);
            assert!((both - expected).abs() < bound(expected, COUNT), "lag {lag}: {both}");
        }
        let keys = [
            root.derive(0),
            root.derive(1),
            root.derive(0).derive(0),
            DropoutKey::new(8),
            root.derive(1 << 32),
        ];
        for key in keys {
            let both = share(&base, &mask(Dropout::new(0.3), key, COUNT));
            assert!((both - expected).abs() < bound(expected, COUNT), "{key:?}: {both}");
        }
    }
}
