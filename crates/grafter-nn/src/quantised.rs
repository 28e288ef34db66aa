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

use std::cell::RefCell;

use crate::matrix::near_equal;
use crate::packed::PANEL;
use crate::simd::{LANES, vectorised};

/// Elements of the inner dimension that one instruction multiplies and adds.
const DEPTH: usize = 4;
/// Rows that the kernel takes at a time: of the 32 registers of AVX-512, 24 hold sums.
const ROWS: usize = 12;
/// Bytes of quantised rows that are meant to stay in the second cache beside a panel.
const GROUP_BYTES: usize = 1 << 16;
/// The most inputs of a quantised matrix, 66,311: their sums of `255 · 127` fit 32 bits.
pub const MOST_INPUTS: usize = i32::MAX as usize / (255 * 127);
/// Added to a number from 0 to 255, it leaves the nearest integer, ties to even, in the lowest byte: 1.5 · 2²³.
const ROUND: f32 = 12_582_912.0;
/// A row or column whose numbers lie closer to zero than this is quantised as zeros: its scale would be denormal.
const SMALLEST: f32 = 1e-30;

thread_local! {
    /// The quantised rows of the product at hand.
    static LEFT: RefCell<QuantisedRows> = RefCell::default();
}

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
    /// If the length does not fit, or there are more inputs than [`MOST_INPUTS`].
    pub fn new(weight: &[f32], outputs: usize, inputs: usize) -> Self {
        assert_eq!(weight.len(), outputs * inputs, "a weight of {outputs} x {inputs}");
        assert!((1..=MOST_INPUTS).contains(&inputs), "a product over {inputs}");
        let depth = inputs.div_ceil(DEPTH);
        let mut groups = vec![[[0; DEPTH]; PANEL]; outputs.div_ceil(PANEL) * depth];
        let (mut scales, mut sums) = (Vec::with_capacity(outputs), Vec::with_capacity(outputs));
        let mut integers = vec![[0; DEPTH]; depth];
        for (output, row) in weight.chunks_exact(inputs).enumerate() {
            scales.push(quantise_weights(row, &mut integers.as_flattened_mut()[..inputs]));
            sums.push(integers.as_flattened().iter().map(|integer| i32::from(*integer)).sum());
            let panel = &mut groups[output / PANEL * depth..][..depth];
            panel.iter_mut().zip(&integers).for_each(|(group, integers)| group[output % PANEL] = *integers);
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
pub(crate) type Kernel = fn(&Block<'_>, &mut [f32]);

/// The kernel that every machine has.
#[cfg(test)]
pub(crate) const PORTABLE: Kernel = compute_portable;

/// The fastest kernel of this machine.
pub(crate) fn kernel() -> Kernel {
    #[cfg(target_arch = "x86_64")]
    if crate::simd::has_avx512_vnni() {
        return compute_vnni;
    }
    compute_portable
}

pub(crate) fn multiply(
    result: &mut [f32],
    left: &[f32],
    weight: &QuantisedMatrix,
    bias: &[f32],
    kernel: Kernel,
) {
    let (inputs, outputs) = (weight.inputs, weight.outputs);
    let rows = left.len() / inputs;
    assert_eq!(left.len(), rows * inputs, "rows of {inputs}");
    assert_eq!(result.len(), rows * outputs, "a result of {rows} x {outputs}");
    assert_eq!(bias.len(), outputs, "a bias");
    let depth = inputs.div_ceil(DEPTH);
    let group_rows = (GROUP_BYTES / (depth * DEPTH)).max(1).next_multiple_of(ROWS);
    LEFT.with_borrow_mut(|quantised| {
        for (left, result) in left.chunks(group_rows * inputs).zip(result.chunks_mut(group_rows * outputs)) {
            quantised.quantise(left, inputs);
            multiply_group(result, quantised, weight, bias, kernel);
        }
    });
}

/// As many rows as the second cache keeps beside a panel.
fn multiply_group(
    result: &mut [f32],
    left: &QuantisedRows,
    weight: &QuantisedMatrix,
    bias: &[f32],
    kernel: Kernel,
) {
    let (outputs, depth) = (weight.outputs, weight.inputs.div_ceil(DEPTH));
    let blocks = near_equal(0..left.scales.len(), ROWS);
    for (panel, groups) in weight.groups.chunks_exact(depth).enumerate() {
        for rows in blocks.clone() {
            let block = Block {
                left: &left.bytes[rows.start * depth..rows.end * depth],
                rows: &left.scales[rows.clone()],
                groups,
                from: panel * PANEL,
                weight,
                bias,
            };
            kernel(&block, &mut result[rows.start * outputs..rows.end * outputs]);
        }
    }
}

/// Some quantised rows, in memory that the thread keeps.
#[derive(Default)]
struct QuantisedRows {
    /// `[rows, depth]`; what fills a row up is multiplied with zeros.
    bytes: Vec<[u8; DEPTH]>,
    /// `[rows]`
    scales: Vec<RowScale>,
}

impl QuantisedRows {
    /// # Shapes
    /// left `[rows, inputs]`
    fn quantise(&mut self, left: &[f32], inputs: usize) {
        let depth = inputs.div_ceil(DEPTH);
        self.bytes.resize(left.len() / inputs * depth, [0; DEPTH]);
        self.scales.clear();
        for (left, bytes) in left.chunks_exact(inputs).zip(self.bytes.chunks_exact_mut(depth)) {
            self.scales.push(quantise(left, &mut bytes.as_flattened_mut()[..inputs]));
        }
    }
}

vectorised! {
    /// Quantises one row. The bytes are `x / scale + zero`, rounded to the nearest integer, ties to even.
    fn quantise(row: &[f32], bytes: &mut [u8]) -> RowScale {
        let Range { lowest, highest, not_finite } = range(row);
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

vectorised! {
    /// Quantises the weights of one output; returns the scale. The integers are `w / scale`, rounded as in [`quantise`].
    fn quantise_weights(row: &[f32], integers: &mut [i8]) -> f32 {
        let Range { lowest, highest, not_finite } = range(row);
        let largest = highest.max(-lowest);
        let inverse = if largest < SMALLEST { 0.0 } else { 127.0 / largest };
        for (integer, value) in integers.iter_mut().zip(row) {
            let value = value * inverse;
            // Of NaN anything would do, since the scale is NaN, but the integers' sum must fit.
            let value = if value.abs() < 127.5 { value } else { 0.0 };
            *integer = (value + ROUND).to_bits() as i8;
        }
        largest / 127.0 + not_finite
    }
}

/// The numbers of a row, with 0 beside them.
struct Range {
    lowest: f32,
    highest: f32,
    /// 0, or NaN where a number is not finite.
    not_finite: f32,
}

/// In one pass; the order does not matter to a largest number, and a sum of zeros has none.
#[inline(always)]
fn range(row: &[f32]) -> Range {
    let (mut lowest, mut highest, mut not_finite) = ([0.0f32; LANES], [0.0f32; LANES], [0.0f32; LANES]);
    let mut take = |lane: usize, value: f32| {
        lowest[lane] = if value < lowest[lane] { value } else { lowest[lane] };
        highest[lane] = if value > highest[lane] { value } else { highest[lane] };
        not_finite[lane] += value * 0.0;
    };
    let (blocks, rest) = row.as_chunks::<LANES>();
    for block in blocks {
        block.iter().enumerate().for_each(|(lane, value)| take(lane, *value));
    }
    rest.iter().enumerate().for_each(|(lane, value)| take(lane, *value));
    Range {
        lowest: lowest.into_iter().fold(0.0, f32::min),
        highest: highest.into_iter().fold(0.0, f32::max),
        not_finite: not_finite.into_iter().sum(),
    }
}

/// At most [`ROWS`] quantised rows and one panel.
pub(crate) struct Block<'a> {
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
    /// Scales, sums and bias of the panel's columns; `None` where the panel is filled up.
    #[inline(always)]
    fn whole_panel(&self) -> Option<(&[f32; PANEL], &[i32; PANEL], &[f32; PANEL])> {
        let Self { weight, from, .. } = *self;
        let scales = weight.scales[from..].first_chunk()?;
        Some((scales, weight.sums[from..].first_chunk()?, self.bias[from..].first_chunk()?))
    }

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
    macro_rules! of_rows {
        ($($number:literal)*) => {
            match block.rows.len() {
                // SAFETY: `kernel` gives this function only where the CPU has the instructions.
                $($number => unsafe { vnni::run::<$number>(block, result) },)*
                rows => unreachable!("a block of {rows} rows"),
            }
        };
    }
    of_rows!(1 2 3 4 5 6 7 8 9 10 11 12)
}

/// The kernel for AVX-512 VNNI, where two registers hold a group and 24 the sums from the first product to the result.
#[cfg(target_arch = "x86_64")]
mod vnni {
    use std::arch::x86_64::{
        __m512, __m512i, _mm512_add_ps, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_loadu_ps,
        _mm512_loadu_si512, _mm512_mul_ps, _mm512_mullo_epi32, _mm512_set1_epi32, _mm512_set1_ps,
        _mm512_setzero_si512, _mm512_storeu_ps, _mm512_storeu_si512, _mm512_sub_epi32,
    };

    use super::{Block, PANEL, RowScale};

    /// One block.
    /// # Panics
    /// If the left operand or the result ends too early.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    pub fn run<const ROWS: usize>(block: &Block<'_>, result: &mut [f32]) {
        let depth = block.groups.len();
        assert_eq!(block.left.len(), ROWS * depth, "rows of {depth} groups");
        let left: *const i32 = block.left.as_ptr().cast();
        let mut sums = [[_mm512_setzero_si512(); 2]; ROWS];
        for (k, group) in block.groups.iter().enumerate() {
            let right = integers(group);
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: an element of `left`, which has `ROWS * depth`; an unaligned read of its 4 bytes.
                let left = _mm512_set1_epi32(unsafe { left.add(row * depth + k).read_unaligned() });
                sums[0] = _mm512_dpbusd_epi32(sums[0], left, right[0]);
                sums[1] = _mm512_dpbusd_epi32(sums[1], left, right[1]);
            }
        }
        finish(block, sums, result);
    }

    /// [`Block::finish`] from the registers, where the panel is not filled up.
    #[target_feature(enable = "avx512f,avx512dq")]
    fn finish<const ROWS: usize>(block: &Block<'_>, sums: [[__m512i; 2]; ROWS], result: &mut [f32]) {
        let Some((scales, column_sums, bias)) = block.whole_panel() else {
            let mut out = [[0i32; PANEL]; ROWS];
            for (out, sums) in out.iter_mut().zip(sums) {
                let out: *mut __m512i = out.as_mut_ptr().cast();
                // SAFETY: a row of sums is 32 numbers of 4 bytes, two registers; the stores need no alignment.
                unsafe {
                    _mm512_storeu_si512(out, sums[0]);
                    _mm512_storeu_si512(out.add(1), sums[1]);
                }
            }
            return block.finish(&out, result);
        };
        let (scales, column_sums, bias) = (floats(scales), integers(column_sums), floats(bias));
        for (row, (sums, RowScale { scale, zero })) in sums.into_iter().zip(block.rows).enumerate() {
            let (scale, zero) = (_mm512_set1_ps(*scale), _mm512_set1_epi32(*zero));
            let result = &mut result[row * block.weight.outputs + block.from..][..PANEL];
            for half in 0..2 {
                let sum = _mm512_sub_epi32(sums[half], _mm512_mullo_epi32(zero, column_sums[half]));
                let scale = _mm512_mul_ps(scale, scales[half]);
                let value = _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale), bias[half]);
                // SAFETY: one of the two halves of a panel's row.
                unsafe { _mm512_storeu_ps(result.as_mut_ptr().add(half * PANEL / 2), value) };
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    fn floats(row: &[f32; PANEL]) -> [__m512; 2] {
        // SAFETY: two halves of a panel's row.
        unsafe { [_mm512_loadu_ps(row.as_ptr()), _mm512_loadu_ps(row.as_ptr().add(PANEL / 2))] }
    }

    /// A panel's row of elements of 4 bytes: integers, or a group.
    #[target_feature(enable = "avx512f")]
    fn integers<T>(row: &[T; PANEL]) -> [__m512i; 2] {
        const { assert!(size_of::<T>() == 4) };
        let row: *const __m512i = row.as_ptr().cast();
        // SAFETY: the row is 128 bytes, two registers; the loads need no alignment.
        unsafe { [_mm512_loadu_si512(row), _mm512_loadu_si512(row.add(1))] }
    }
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
            for (name, kernel) in [("portable", PORTABLE), ("fastest", kernel())] {
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
        let matrix = QuantisedMatrix::new(&vec![1.0; MOST_INPUTS], 1, MOST_INPUTS);
        matmul_quantised(&mut result, &vec![1.0; MOST_INPUTS], &matrix, &[0.0]);
        assert!((f64::from(result[0]) / MOST_INPUTS as f64 - 1.0).abs() < 1e-5, "{result:?}");
    }
}
