//! Run-time choice of the CPU's vector instructions for elementwise loops.
//!
//! The macro `vectorised!` compiles one body several times, for the baseline CPU, AVX2 and AVX-512, and picks one when it is
//! called, so that one binary serves every machine. The bodies are ordinary safe loops that the compiler vectorises.
//! They never use fused multiply-add and sum in [`LANES`] fixed partial sums, so every level gives the same bits.

use std::sync::atomic::{AtomicU8, Ordering};

/// Partial sums that a reduction keeps, whatever the width of the CPU's registers.
pub const LANES: usize = 16;

/// The widest vector instructions in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// What every CPU of this architecture has (SSE2 on x86-64, NEON on AArch64).
    Baseline = 1,
    /// AVX2 and FMA, 8 floats at a time.
    Avx2 = 2,
    /// AVX-512 F, BW, DQ, VL and FMA: 16 floats at a time.
    Avx512 = 3,
}

/// Zero until the first call of [`level`].
static LEVEL: AtomicU8 = AtomicU8::new(0);

/// The level that elementwise loops run at on this machine.
#[inline]
pub fn level() -> Level {
    #[cfg(test)]
    if let Some(forced) = FORCED.get() {
        return forced;
    }
    match LEVEL.load(Ordering::Relaxed) {
        1 => Level::Baseline,
        2 => Level::Avx2,
        3 => Level::Avx512,
        _ => {
            let found = detect();
            #[cfg(test)]
            let found = found.min(tests::most());
            LEVEL.store(found as u8, Ordering::Relaxed);
            found
        }
    }
}

#[cfg(test)]
thread_local! {
    /// What [`level`] answers on this thread in place of what the machine has.
    static FORCED: std::cell::Cell<Option<Level>> = const { std::cell::Cell::new(None) };
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Level {
    if is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("fma")
    {
        Level::Avx512
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        Level::Avx2
    } else {
        Level::Baseline
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Level {
    Level::Baseline
}

/// Whether the CPU multiplies and adds bytes in one instruction, 64 at a time (AVX-512 VNNI).
#[cfg(target_arch = "x86_64")]
pub(crate) fn has_avx512_vnni() -> bool {
    level() == Level::Avx512 && is_x86_feature_detected!("avx512vnni")
}

/// Defines a function whose body is compiled for each [`Level`] and chosen at run time.
macro_rules! vectorised {
    ($(#[$meta:meta])* $visibility:vis fn $name:ident($($argument:ident: $kind:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$meta])*
        $visibility fn $name($($argument: $kind),*) $(-> $result)? {
            #[inline(always)]
            fn body($($argument: $kind),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                fn avx512($($argument: $kind),*) $(-> $result)? { body($($argument),*) }
                #[target_feature(enable = "avx2")]
                fn avx2($($argument: $kind),*) $(-> $result)? { body($($argument),*) }

                match $crate::simd::level() {
                    // SAFETY: `level` returns this only where the CPU has these instructions.
                    $crate::simd::Level::Avx512 => return unsafe { avx512($($argument),*) },
                    // SAFETY: as above.
                    $crate::simd::Level::Avx2 => return unsafe { avx2($($argument),*) },
                    $crate::simd::Level::Baseline => {}
                }
            }
            body($($argument),*)
        }
    };
}
pub(crate) use vectorised;

/// Sum over `index` of `term(index)` in [`LANES`] partial sums: lane `l` adds the indices `l, l + LANES, …` in order,
/// then the lanes are added pairwise.
#[inline(always)]
pub(crate) fn lane_sum(count: usize, term: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let whole = count / LANES * LANES;
    let mut base = 0;
    while base < whole {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += term(base + lane);
        }
        base += LANES;
    }
    for index in whole..count {
        lanes[index - whole] += term(index);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Largest element, or negative infinity of an empty slice; NaN elements are passed over.
#[inline(always)]
pub(crate) fn lane_max(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        for (lane, value) in lanes.iter_mut().zip(block) {
            *lane = if *value > *lane { *value } else { *lane };
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane = if *value > *lane { *value } else { *lane };
    }
    lanes.iter().fold(f32::NEG_INFINITY, |largest, lane| largest.max(*lane))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::{Activation, tanh_in_place};
    use crate::adamw;
    use crate::attention::{softmax_backward_rows, softmax_rows};
    use crate::dropout::{Dropout, DropoutKey};
    use crate::layer_norm::{self, LayerNormCache, LayerNormWeights};
    use crate::quantised::{self, PORTABLE, QuantisedMatrix};
    use crate::testing::Random;
    use crate::{gated, linear, residual, rotary};

    /// Numbers of any size, and what is none.
    const EXTREMES: [f32; 11] =
        [0.0, -0.0, 1e-40, -1e-40, 88.5, -104.0, 1e30, -1e30, f32::MAX, f32::INFINITY, f32::NAN];
    /// Names the level that the tests of a process run at, where it is not the machine's.
    const MOST: &str = "GRAFTER_NN_TEST_LEVEL";

    /// The highest level that the tests of this process run at.
    pub(super) fn most() -> Level {
        let levels = [Level::Baseline, Level::Avx2, Level::Avx512];
        let Some(asked) = std::env::var_os(MOST) else { return Level::Avx512 };
        levels.into_iter().find(|level| *asked == *format!("{level:?}")).expect("a level by its name")
    }

    /// What a machine with fewer instructions would be tested with: all tests of the crate once more, in a process of
    /// their own for each level below this one.
    #[test]
    fn every_test_holds_at_every_lower_level() {
        if std::env::var_os(MOST).is_some() {
            return;
        }
        for lower in [Level::Baseline, Level::Avx2].into_iter().filter(|lower| *lower < level()) {
            let tests = std::env::current_exe().unwrap();
            let ran = std::process::Command::new(tests).env(MOST, format!("{lower:?}")).output().unwrap();
            let told = String::from_utf8_lossy(&ran.stdout);
            assert!(ran.status.success(), "{lower:?}: {told}");
            assert!(
                told.contains("simd::tests::every_level_gives_the_same_bits ... ok"),
                "{lower:?}: {told}"
            );
        }
    }

    /// Runs something at a level that this machine has.
    fn at<T>(forced: Level, run: impl FnOnce() -> T) -> T {
        assert!(forced <= level(), "{forced:?}");
        FORCED.set(Some(forced));
        let result = run();
        FORCED.set(None);
        result
    }

    /// The results of every operation that is compiled for each level, by name.
    fn elementwise_operations(rows: usize, columns: usize) -> Vec<(&'static str, Vec<f32>)> {
        let mut random = Random::new(8);
        let mut x = random.normals(rows * columns);
        if rows > 1 {
            // In the last row, so that the rows before it have results of their own.
            let last = &mut x[(rows - 1) * columns..];
            last.iter_mut().zip(EXTREMES).for_each(|(x, extreme)| *x = extreme);
        }
        let d = random.normals(rows * columns);
        let (weight, bias) = (random.normals(columns), random.normals(columns));
        let mut results = Vec::new();
        let activations = Activation::ALL;
        for activation in activations {
            let (mut y, mut d_x) = (vec![0.0; x.len()], d.clone());
            activation.forward(&x, &mut y);
            activation.backward(&x, &mut d_x);
            results.extend([("activation", y), ("activation, backward", d_x)]);
        }
        let mut y = x.clone();
        tanh_in_place(&mut y);
        results.push(("tanh", y));

        let (mut normalised, mut rstd, mut y) = (vec![0.0; x.len()], vec![0.0; rows], vec![0.0; x.len()]);
        let cache = LayerNormCache { normalised: &mut normalised, rstd: &mut rstd };
        layer_norm::forward(LayerNormWeights { weight: &weight, bias: &bias }, 1e-12, &x, cache, &mut y);
        let (mut d_x, mut d_weight, mut d_bias) = (d.clone(), weight.clone(), bias.clone());
        layer_norm::backward_input(&weight, &normalised, &rstd, &mut d_x);
        layer_norm::backward_weights(&normalised, &d, &mut d_weight, &mut d_bias);
        let mut d_scale = weight.clone();
        layer_norm::backward_scale(&normalised, &d, &mut d_scale);
        results.extend([("normalised", normalised), ("rstd", rstd), ("layer normalisation", y)]);
        results.extend([("its input", d_x), ("its scale", d_weight), ("its shift", d_bias)]);
        results.push(("its scale alone", d_scale));

        let (mut probabilities, mut d_scores) = (x.clone(), d.clone());
        softmax_rows(&mut probabilities, columns, 0.3);
        softmax_backward_rows(&probabilities, &mut d_scores, columns, 0.3);
        results.extend([("softmax", probabilities), ("softmax, backward", d_scores)]);

        let (half, gates) = x.split_at(rows / 2 * columns);
        let mut product = half.to_vec();
        gated::multiply(&gates[..half.len()], &mut product);
        let mut by_position = Vec::new();
        rotary::lay_out(10_000.0, 2 * columns, rows, &mut by_position);
        let mut turned = random.normals(rows * 6 * columns);
        let rotary = rotary::Rotary { by_position: &by_position, head_dim: 2 * columns };
        rotary::forward_sequence(rotary, 2 * columns, &mut turned);
        results.extend([("product of elements", product), ("turned", turned)]);

        let (mut sums, mut added, mut dropped) = (bias.clone(), d.clone(), x.clone());
        linear::backward_bias(&x, &mut sums);
        residual::add(&x, &mut added);
        Dropout::new(0.3).apply(DropoutKey::new(1), &mut dropped);
        results.extend([("column sums", sums), ("residual", added), ("dropout", dropped)]);

        let update =
            adamw::Update { beta1: 0.9, beta2: 0.999, step: 0.01, eps: 1e-6, decay: 1e-4, scale: 0.3 };
        let (mut means, mut values) = (d.clone(), d.clone());
        let mut squares: Vec<f32> = d.iter().map(|d| d * d).collect();
        update.apply(&x, &mut means, &mut squares, &mut values);
        results.extend([("mean", means), ("mean square", squares), ("updated", values)]);

        let outputs = 17;
        let matrix = QuantisedMatrix::new(&random.normals(outputs * columns), outputs, columns);
        let bias = random.normals(outputs);
        for (name, kernel) in [("quantised product", quantised::kernel()), ("the same in any case", PORTABLE)]
        {
            let mut product = vec![0.0; rows * outputs];
            quantised::multiply(&mut product, &x, &matrix, &bias, kernel);
            results.push((name, product));
        }
        results.push(("quantised weights", matrix.dequantised()));
        results
    }

    #[test]
    fn every_level_gives_the_same_bits() {
        // What a NaN holds beside being one is left to the machine.
        let bits = |values: &[f32]| -> Vec<u32> {
            values.iter().map(|value| if value.is_nan() { u32::MAX } else { value.to_bits() }).collect()
        };
        // No rows, one row, and rows that are no multiple of a register's width, of half of it, of two or four of them.
        for columns in [1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 59] {
            for rows in [0, 1, 17] {
                let expected = at(Level::Baseline, || elementwise_operations(rows, columns));
                for forced in [Level::Avx2, Level::Avx512].into_iter().filter(|forced| *forced <= level()) {
                    let found = at(forced, || elementwise_operations(rows, columns));
                    for ((name, found), (_, expected)) in found.iter().zip(&expected) {
                        assert_eq!(bits(found), bits(expected), "{name}, {rows} x {columns}, {forced:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn sums_and_maxima_of_every_length_are_right() {
        for count in 0..70 {
            let values: Vec<f32> = (0..count).map(|index| ((index * 37) % 23) as f32 - 11.0).collect();
            let expected: f32 = values.iter().sum();
            assert_eq!(lane_sum(count, |index| values[index]), expected, "sum of {count}");
            let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(lane_max(&values), largest, "maximum of {count}");
        }
    }
}
