//! Products of 8-bit integers with a right operand that is quantised and laid out once: frozen weights at a quarter of
//! their size.
//!
//! A weight is quantised symmetrically for each output, `w ≈ scale · q` with q in -127 … 127, once. A row of the left
//! operand is quantised when it is used, `x ≈ scale · (q − zero)` with q in 0 … 255, so that the values after a GELU, of
//! which few are negative, use the whole range. The sums are exact integers.
//!
//! **A row of the result depends on that row of the left operand alone**, and **every CPU gives the same bits**: integers
//! have no order of summation, and what is done in f32 before and after is done element by element without fused
//! operations.

use crate::simd::{lane_max, lane_sum, vectorised};

/// Columns of a panel: two registers of AVX-512.
const PANEL: usize = 32;
/// Elements of the inner dimension that one instruction multiplies and adds.
const DEPTH: usize = 4;
/// Rows that the kernel takes at a time: of the 32 registers of AVX-512, 24 hold sums.
const ROWS: usize = 12;
/// Bytes of quantised rows that are meant to stay in the second cache beside a panel.
const GROUP_BYTES: usize = 1 << 16;
/// The largest inner dimension whose sums of `255 · 127` fit 32 bits.
const MOST_INNER: usize = i32::MAX as usize / (255 * 127);
/// Added to a number from 0 to 255, it leaves the nearest integer, ties to even, in the lowest byte: 1.5 · 2²³.
const ROUND: f32 = 12_582_912.0;
/// A row or column whose numbers lie closer to zero than this is quantised as zeros: its scale would be denormal.
const SMALLEST: f32 = 1e-30;

/// `DEPTH` elements of each column of a panel.
type Group = [[i8; DEPTH]; PANEL];

/// A matrix `[outputs, inputs]`, quantised for each output and laid out for the kernel.
#[derive(Clone, Debug)]
pub struct QuantisedMatrix {
    inputs: usize,
    outputs: usize,
    /// For each panel and each `DEPTH` inputs one group; filled up with zeros.
    groups: Vec<Group>,
    /// `[outputs]`
    scales: Vec<f32>,
    /// Sum of the quantised numbers of each output, `[outputs]`: what a zero that is not 0 adds to a product.
    sums: Vec<i32>,
}

impl QuantisedMatrix {
    /// Quantises a matrix. An output with a number that is not finite gives NaN.
    /// # Shapes
    /// weight `[outputs, inputs]`
    /// # Panics
    /// If the length does not fit, or there are more inputs than 32-bit sums can hold (66,311).
    pub fn new(weight: &[f32], outputs: usize, inputs: usize) -> Self {
        assert_eq!(weight.len(), outputs * inputs, "a weight of {outputs} x {inputs}");
        assert!((1..=MOST_INNER).contains(&inputs), "a product over {inputs}");
        let depth = inputs.div_ceil(DEPTH);
        let mut groups = vec![[[0; DEPTH]; PANEL]; outputs.div_ceil(PANEL) * depth];
        let (mut scales, mut sums) = (Vec::with_capacity(outputs), Vec::with_capacity(outputs));
        for (output, row) in weight.chunks_exact(inputs).enumerate() {
            let largest = row.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
            let not_finite = row.iter().map(|value| value * 0.0).sum::<f32>();
            let inverse = if largest < SMALLEST { 0.0 } else { 127.0 / largest };
            let mut sum = 0;
            for (input, value) in row.iter().enumerate() {
                // A cast from float saturates, and turns NaN into 0; the scale is NaN then.
                let quantised = (value * inverse).round_ties_even() as i8;
                groups[output / PANEL * depth + input / DEPTH][output % PANEL][input % DEPTH] = quantised;
                sum += i32::from(quantised);
            }
            scales.push(largest / 127.0 + not_finite);
            sums.push(sum);
        }
        Self { inputs, outputs, groups, scales, sums }
    }

    /// The numbers that the quantised ones stand for, `[outputs, inputs]`.
    pub fn dequantised(&self) -> Vec<f32> {
        let depth = self.inputs.div_ceil(DEPTH);
        (0..self.outputs * self.inputs)
            .map(|index| {
                let (output, input) = (index / self.inputs, index % self.inputs);
                let group = &self.groups[output / PANEL * depth + input / DEPTH];
                f32::from(group[output % PANEL][input % DEPTH]) * self.scales[output]
            })
            .collect()
    }

    /// All 8-bit numbers as they lie in memory, with the zeros that fill panels and groups up.
    pub fn integers(&self) -> &[i8] {
        self.groups.as_flattened().as_flattened()
    }

    /// The scale of each output, `[outputs]`.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }
}

/// How a row was quantised.
#[derive(Clone, Copy, Debug, Default)]
struct RowScale {
    /// NaN where the row has a number that is not finite.
    scale: f32,
    zero: i32,
}

/// `result = left · weightᵀ + bias`, with the rows of `left` quantised. A row with a number that is not finite gives NaN.
/// # Shapes
/// result `[rows, outputs]`, left `[rows, inputs]`, weight `[outputs, inputs]`, bias `[outputs]`
/// # Panics
/// If the lengths do not fit.
pub fn matmul_quantised(result: &mut [f32], left: &[f32], weight: &QuantisedMatrix, bias: &[f32]) {
    multiply(result, left, weight, bias, kernel());
}

/// Computes a block of rows and one panel.
type Kernel = fn(&Block<'_>, &mut [f32]);

/// The fastest kernel of this machine.
fn kernel() -> Kernel {
    #[cfg(target_arch = "x86_64")]
    if crate::simd::has_avx512_vnni() {
        return compute_vnni;
    }
    compute_portable
}

fn multiply(result: &mut [f32], left: &[f32], weight: &QuantisedMatrix, bias: &[f32], kernel: Kernel) {
    let (inputs, outputs) = (weight.inputs, weight.outputs);
    let rows = left.len() / inputs;
    assert_eq!(left.len(), rows * inputs, "rows of {inputs}");
    assert_eq!(result.len(), rows * outputs, "a result of {rows} x {outputs}");
    assert_eq!(bias.len(), outputs, "a bias");
    let depth = inputs.div_ceil(DEPTH);
    let group_rows = (GROUP_BYTES / (depth * DEPTH)).max(1).next_multiple_of(ROWS).min(rows.max(1));
    let mut bytes = vec![[0; DEPTH]; group_rows * depth];
    let mut scales = vec![RowScale::default(); group_rows];
    for (left, result) in left.chunks(group_rows * inputs).zip(result.chunks_mut(group_rows * outputs)) {
        let rows = left.len() / inputs;
        for (row, left) in left.chunks_exact(inputs).enumerate() {
            scales[row] = quantise(left, &mut bytes.as_flattened_mut()[row * depth * DEPTH..][..inputs]);
        }
        let blocks = rows.div_ceil(ROWS);
        for (panel, groups) in weight.groups.chunks_exact(depth).enumerate() {
            for block in 0..blocks {
                let rows = block * rows / blocks..(block + 1) * rows / blocks;
                let block = Block {
                    left: &bytes[rows.start * depth..rows.end * depth],
                    rows: &scales[rows.clone()],
                    groups,
                    from: panel * PANEL,
                    weight,
                    bias,
                };
                kernel(&block, &mut result[rows.start * outputs..rows.end * outputs]);
            }
        }
    }
}

vectorised! {
    /// Quantises one row. The bytes are `x / scale + zero`, rounded to the nearest integer, ties to even.
    fn quantise(row: &[f32], bytes: &mut [u8]) -> RowScale {
        let highest = lane_max(row).max(0.0);
        let lowest = -lane_max_of_negated(row).max(0.0);
        let not_finite = lane_sum(row.len(), |index| row[index] * 0.0);
        // Divided before the subtraction, which could overflow.
        let scale = highest / 255.0 - lowest / 255.0;
        let inverse = if scale < SMALLEST { 0.0 } else { 1.0 / scale };
        let zero = (-lowest * inverse).round_ties_even();
        for (byte, value) in bytes.iter_mut().zip(row) {
            let value = value * inverse + zero;
            let value = if value > 0.0 { value } else { 0.0 };
            let value = if value < 255.0 { value } else { 255.0 };
            *byte = (value + ROUND).to_bits() as u8;
        }
        RowScale { scale: scale + not_finite, zero: zero as i32 }
    }
}

/// Largest `-x`, as [`lane_max`].
#[inline(always)]
fn lane_max_of_negated(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; crate::simd::LANES];
    for block in values.chunks(crate::simd::LANES) {
        for (lane, value) in lanes.iter_mut().zip(block) {
            *lane = if -value > *lane { -value } else { *lane };
        }
    }
    lane_max(&lanes)
}

/// At most [`ROWS`] quantised rows and one panel.
struct Block<'a> {
    /// `[rows, depth]`
    left: &'a [[u8; DEPTH]],
    /// `[rows]`
    rows: &'a [RowScale],
    /// `[depth]`
    groups: &'a [Group],
    /// First output of the panel.
    from: usize,
    weight: &'a QuantisedMatrix,
    bias: &'a [f32],
}

impl Block<'_> {
    /// Turns the integer sums into the result.
    #[inline(always)]
    fn finish(&self, sums: &[[i32; PANEL]], result: &mut [f32]) {
        let outputs = self.weight.outputs;
        let columns = self.from..outputs.min(self.from + PANEL);
        let (scales, column_sums) =
            (&self.weight.scales[columns.clone()], &self.weight.sums[columns.clone()]);
        let bias = &self.bias[columns.clone()];
        for (row, (sums, RowScale { scale, zero })) in sums.iter().zip(self.rows).enumerate() {
            let result = &mut result[row * outputs..][columns.clone()];
            for column in 0..result.len() {
                let sum = sums[column].wrapping_sub(zero.wrapping_mul(column_sums[column]));
                result[column] = sum as f32 * (scale * scales[column]) + bias[column];
            }
        }
    }
}

vectorised! {
    fn compute_portable(block: &Block<'_>, result: &mut [f32]) {
        let mut sums = [[0i32; PANEL]; ROWS];
        for (sums, left) in sums.iter_mut().zip(block.left.chunks_exact(block.groups.len())) {
            for (left, group) in left.iter().zip(block.groups) {
                for (sum, right) in sums.iter_mut().zip(group) {
                    let products = left.iter().zip(right).map(|(left, right)| i32::from(*left) * i32::from(*right));
                    *sum += products.sum::<i32>();
                }
            }
        }
        block.finish(&sums, result);
    }
}

#[cfg(target_arch = "x86_64")]
fn compute_vnni(block: &Block<'_>, result: &mut [f32]) {
    use std::arch::x86_64::{
        __m512i, _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_si512,
        _mm512_storeu_si512,
    };

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn run<const ROWS: usize>(block: &Block<'_>, result: &mut [f32]) {
        let depth = block.groups.len();
        let rows: [&[[u8; DEPTH]]; ROWS] =
            std::array::from_fn(|row| &block.left[row * depth..(row + 1) * depth]);
        let mut sums = [[_mm512_setzero_si512(); 2]; ROWS];
        for (k, group) in block.groups.iter().enumerate() {
            let group: *const __m512i = group.as_ptr().cast();
            // SAFETY: a group is 128 bytes, two registers; the loads need no alignment.
            let right = unsafe { [_mm512_loadu_si512(group), _mm512_loadu_si512(group.add(1))] };
            for row in 0..ROWS {
                let left = _mm512_set1_epi32(i32::from_le_bytes(rows[row][k]));
                sums[row][0] = _mm512_dpbusd_epi32(sums[row][0], left, right[0]);
                sums[row][1] = _mm512_dpbusd_epi32(sums[row][1], left, right[1]);
            }
        }
        let mut out = [[0i32; PANEL]; ROWS];
        for (out, sums) in out.iter_mut().zip(&sums) {
            let out: *mut __m512i = out.as_mut_ptr().cast();
            // SAFETY: a row of sums is 32 numbers of 4 bytes, two registers; the stores need no alignment.
            unsafe {
                _mm512_storeu_si512(out, sums[0]);
                _mm512_storeu_si512(out.add(1), sums[1]);
            }
        }
        block.finish(&out, result);
    }
    macro_rules! of_rows {
        ($($number:literal)*) => {
            match block.rows.len() {
                // SAFETY: `kernel` gives this function only where the CPU has the instructions.
                $($number => unsafe { run::<$number>(block, result) },)*
                rows => unreachable!("a block of {rows} rows"),
            }
        };
    }
    of_rows!(1 2 3 4 5 6 7 8 9 10 11 12)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    const SHAPES: [(usize, usize, usize); 7] =
        [(1, 1, 1), (1, 7, 33), (2, 40, 31), (11, 3, 64), (13, 17, 65), (50, 1536, 40), (200, 384, 5)];

    fn quantised(rows: usize, inputs: usize, outputs: usize) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let mut random = Random::new((rows * inputs + outputs) as u64);
        (random.normals(rows * inputs), random.normals(outputs * inputs), random.normals(outputs))
    }

    /// Half a step of each operand: of a row's range over 255 and of a column's largest number over 127, and what
    /// rounding in f32 adds.
    #[test]
    fn products_differ_from_f64_by_no_more_than_half_a_step_of_each_operand() {
        for (rows, inputs, outputs) in SHAPES {
            let (left, weight, bias) = quantised(rows, inputs, outputs);
            let matrix = QuantisedMatrix::new(&weight, outputs, inputs);
            let mut result = vec![0.0; rows * outputs];
            matmul_quantised(&mut result, &left, &matrix, &bias);
            for (index, found) in result.iter().enumerate() {
                let row = &left[index / outputs * inputs..][..inputs];
                let column = &weight[index % outputs * inputs..][..inputs];
                let product: f64 = row.iter().zip(column).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                let highest = row.iter().fold(0.0f32, |a, b| a.max(*b));
                let lowest = row.iter().fold(0.0f32, |a, b| a.min(*b));
                // The zero is rounded too, which moves a number at the end of the range by up to another half.
                let step = f64::from(highest - lowest) / 255.0;
                let half = f64::from(matrix.scales[index % outputs]) / 2.0;
                let bound: f64 = row
                    .iter()
                    .zip(column)
                    .map(|(x, w)| f64::from(x.abs()) * half + f64::from(w.abs()) * step + half * step)
                    .sum();
                let expected = product + f64::from(bias[index % outputs]);
                let error = (f64::from(*found) - expected).abs();
                assert!(error <= bound + 1e-5, "{rows} x {inputs} x {outputs}, {index}: {found}, {expected}");
            }
        }
    }

    /// Against the same integers, multiplied one by one.
    #[test]
    fn sums_are_the_exact_integers_and_every_kernel_gives_the_same_bits() {
        for (rows, inputs, outputs) in SHAPES {
            let (left, weight, bias) = quantised(rows, inputs, outputs);
            let matrix = QuantisedMatrix::new(&weight, outputs, inputs);
            let weight = matrix.dequantised();
            let mut expected = vec![0.0; rows * outputs];
            for (row, left) in left.chunks_exact(inputs).enumerate() {
                let mut bytes = vec![0; inputs];
                let RowScale { scale, zero } = quantise(left, &mut bytes);
                for output in 0..outputs {
                    let sum: i64 = (0..inputs)
                        .map(|input| {
                            let integer = weight[output * inputs + input] / matrix.scales[output];
                            (i64::from(bytes[input]) - i64::from(zero)) * integer.round() as i64
                        })
                        .sum();
                    expected[row * outputs + output] =
                        sum as f32 * (scale * matrix.scales[output]) + bias[output];
                }
            }
            for (name, kernel) in [("portable", compute_portable as Kernel), ("fastest", kernel())] {
                let mut result = vec![0.0; rows * outputs];
                multiply(&mut result, &left, &matrix, &bias, kernel);
                assert!(result == expected, "{name}, {rows} x {inputs} x {outputs}");
            }
        }
    }

    #[test]
    fn a_row_never_depends_on_the_rows_beside_it() {
        for (inputs, outputs) in [(1, 5), (384, 64), (77, 100), (1536, 40)] {
            let (left, weight, bias) = quantised(70, inputs, outputs);
            let matrix = QuantisedMatrix::new(&weight, outputs, inputs);
            let mut whole = vec![0.0; 70 * outputs];
            matmul_quantised(&mut whole, &left, &matrix, &bias);
            for rows in 1..70 {
                let mut part = vec![0.0; rows * outputs];
                matmul_quantised(&mut part, &left[..rows * inputs], &matrix, &bias);
                assert!(part == whole[..rows * outputs], "{rows} rows, {inputs} x {outputs}");
            }
        }
    }

    #[test]
    fn what_is_not_finite_goes_through_its_row_or_column_and_no_other() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let (mut left, mut weight, bias) = quantised(30, 20, 40);
            left[13 * 20 + 19] = bad;
            weight[33 * 20 + 2] = bad;
            let mut result = vec![0.0; 30 * 40];
            matmul_quantised(&mut result, &left, &QuantisedMatrix::new(&weight, 40, 20), &bias);
            for (index, value) in result.iter().enumerate() {
                let expected = index / 40 == 13 || index % 40 == 33;
                assert_eq!(value.is_nan(), expected, "{bad}, element {index}");
            }
        }
    }

    #[test]
    fn zeros_and_the_largest_numbers_are_multiplied_rightly() {
        let weight = [1.0, -1.0, 0.5, 0.0, 0.0, 0.0];
        let matrix = QuantisedMatrix::new(&weight, 2, 3);
        for (row, expected) in [([0.0, 0.0, 0.0], 2.0), ([1e-40, 0.0, 0.0], 2.0), ([3e38, 0.0, 0.0], 3e38)] {
            let mut result = [0.0; 2];
            matmul_quantised(&mut result, &row, &matrix, &[2.0, 7.0]);
            assert!((result[0] - expected).abs() <= expected * 1e-5, "{row:?}: {result:?}");
            assert_eq!(result[1], 7.0, "{row:?}");
        }
        let mut result = [0.0];
        let matrix = QuantisedMatrix::new(&vec![1.0; MOST_INNER], 1, MOST_INNER);
        matmul_quantised(&mut result, &vec![1.0; MOST_INNER], &matrix, &[0.0]);
        assert!((f64::from(result[0]) / MOST_INNER as f64 - 1.0).abs() < 1e-5, "{result:?}");
    }
}
