//! The kernel of all products: some rows of the left operand times one panel of the right one.
//!
//! For AVX-512 it is written with intrinsics; for all else it is a safe loop over arrays that fit the vector registers, which
//! the compiler turns into multiply-adds at the rate of the machine (`docs/engine.md`). Each element of a result is one chain of multiply-adds in the order of the inner
//! dimension, and its start is added at the end, however many rows the kernel takes at a time.

use crate::packed::PANEL;
use crate::simd::{Level, level};

/// Rows that the kernel takes at a time, as many as there are registers for: of the 32 of AVX-512, 24 hold sums.
const ROWS_AVX512: usize = 12;
/// Of the 16 registers of AVX2, 12 hold sums.
const ROWS_AVX2: usize = 3;
/// SSE2 has half the width of AVX2; NEON has twice the registers of SSE2.
const ROWS_BASELINE: usize = if cfg!(target_arch = "aarch64") { 3 } else { 1 };
/// Whether every CPU of this architecture multiplies and adds in one instruction; elsewhere it would be a slow call.
const FUSED_BASELINE: bool = cfg!(target_arch = "aarch64");

/// What the sums of a product are added to.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a> {
    /// Nothing: `result = left · right`.
    Zero,
    /// The same row everywhere, `[columns]`: `result = row + left · right`.
    Row(&'a [f32]),
    /// What the result holds: `result += left · right`.
    Result,
}

/// Some rows of a product and one panel.
pub(crate) struct Block<'a> {
    /// The left operand from its first element of these rows on.
    pub left: &'a [f32],
    /// Distance between the left operand's rows, or between its columns where those are contiguous.
    pub stride: usize,
    /// `[inner, PANEL]`
    pub panel: &'a [[f32; PANEL]],
    /// What the panel's columns are added to.
    pub start: Start<'a>,
    /// The panel's first column.
    pub from: usize,
    /// Columns of the panel that are columns of the result.
    pub width: usize,
    /// Distance between the result's rows.
    pub result_stride: usize,
}

/// Computes a block of so many rows: the panel's columns of `result`, which begins with the block's first row.
pub(crate) type Compute = fn(rows: usize, block: &Block<'_>, result: &mut [f32]);

/// A way to compute blocks.
#[derive(Clone, Copy)]
pub(crate) struct Kernel {
    /// Most rows of a block.
    pub rows: usize,
    /// For left operands with contiguous rows.
    pub by_rows: Compute,
    /// For left operands with contiguous columns.
    pub by_columns: Compute,
}

impl Kernel {
    const BASELINE: Self =
        Self { rows: ROWS_BASELINE, by_rows: baseline::<false>, by_columns: baseline::<true> };
    #[cfg(target_arch = "x86_64")]
    const AVX2: Self = Self { rows: ROWS_AVX2, by_rows: avx2::<false>, by_columns: avx2::<true> };
    #[cfg(target_arch = "x86_64")]
    const AVX512: Self = Self { rows: ROWS_AVX512, by_rows: avx512::<false>, by_columns: avx512::<true> };

    /// The best that this machine has.
    pub fn of_this_machine() -> Self {
        Self::of(level())
    }

    fn of(level: Level) -> Self {
        match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => Self::AVX512,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => Self::AVX2,
            _ => Self::BASELINE,
        }
    }

    /// All that this machine can run.
    #[cfg(test)]
    pub fn all() -> Vec<Self> {
        let levels = [Level::Baseline, Level::Avx2, Level::Avx512];
        levels.into_iter().filter(|of| *of <= level()).map(Self::of).collect()
    }
}

impl Block<'_> {
    #[inline(always)]
    fn compute<const ROWS: usize, const BY_COLUMNS: bool, const FUSED: bool>(&self, result: &mut [f32]) {
        let mut sums = [[0.0; PANEL]; ROWS];
        if BY_COLUMNS {
            self.sums_by_columns::<ROWS, FUSED>(&mut sums);
        } else {
            self.sums_by_rows::<ROWS, FUSED>(&mut sums);
        }
        for (row, sums) in sums.iter().enumerate() {
            let result = &mut result[row * self.result_stride + self.from..][..self.width];
            match (self.start, result.first_chunk_mut::<PANEL>()) {
                (Start::Zero, Some(result)) => *result = *sums,
                (Start::Zero, None) => result.copy_from_slice(&sums[..self.width]),
                (Start::Row(start), _) => {
                    let terms = start[self.from..].iter().zip(sums);
                    result.iter_mut().zip(terms).for_each(|(result, (start, sum))| *result = start + sum);
                }
                (Start::Result, _) => result.iter_mut().zip(sums).for_each(|(result, sum)| *result += sum),
            }
        }
    }

    /// `Σ_k left[row, k] · panel[k, :]`
    ///
    /// Here the sums stay in registers, because their number is known and nothing else is done with them: with a start or
    /// a narrow last panel in the same function the compiler kept them in memory, and the loop ran twelve times slower.
    #[inline(always)]
    fn sums_by_rows<const ROWS: usize, const FUSED: bool>(&self, out: &mut [[f32; PANEL]; ROWS]) {
        let inner = self.panel.len();
        let rows: [&[f32]; ROWS] = std::array::from_fn(|row| &self.left[row * self.stride..][..inner]);
        let mut sums = [[0.0f32; PANEL]; ROWS];
        for (k, right) in self.panel.iter().enumerate() {
            for row in 0..ROWS {
                add_products::<FUSED>(rows[row][k], right, &mut sums[row]);
            }
        }
        *out = sums;
    }

    /// The same where the left operand's columns are contiguous.
    #[inline(always)]
    fn sums_by_columns<const ROWS: usize, const FUSED: bool>(&self, out: &mut [[f32; PANEL]; ROWS]) {
        let mut sums = [[0.0f32; PANEL]; ROWS];
        for (k, right) in self.panel.iter().enumerate() {
            let column = &self.left[k * self.stride..][..ROWS];
            for row in 0..ROWS {
                add_products::<FUSED>(column[row], right, &mut sums[row]);
            }
        }
        *out = sums;
    }
}

#[inline(always)]
fn add_products<const FUSED: bool>(left: f32, right: &[f32; PANEL], sums: &mut [f32; PANEL]) {
    for column in 0..PANEL {
        let sum = &mut sums[column];
        *sum = if FUSED { left.mul_add(right[column], *sum) } else { *sum + left * right[column] };
    }
}

/// Calls the function that was compiled for a number of rows.
macro_rules! of_rows {
    ($rows:expr, $block:expr, $result:expr, $run:ident, $by_columns:ident, $($number:literal)*) => {
        match $rows {
            // SAFETY: `Kernel::of` chooses this only where `level` has found the instructions.
            $($number => unsafe { $run::<$number, $by_columns>($block, $result) },)*
            rows => unreachable!("a block of {rows} rows"),
        }
    };
}

#[cfg(target_arch = "x86_64")]
fn avx512<const BY_COLUMNS: bool>(rows: usize, block: &Block<'_>, result: &mut [f32]) {
    use avx512::run;
    of_rows!(rows, block, result, run, BY_COLUMNS, 1 2 3 4 5 6 7 8 9 10 11 12)
}

#[cfg(target_arch = "x86_64")]
fn avx2<const BY_COLUMNS: bool>(rows: usize, block: &Block<'_>, result: &mut [f32]) {
    #[target_feature(enable = "avx2,fma")]
    fn run<const ROWS: usize, const BY_COLUMNS: bool>(block: &Block<'_>, result: &mut [f32]) {
        block.compute::<ROWS, BY_COLUMNS, true>(result);
    }
    of_rows!(rows, block, result, run, BY_COLUMNS, 1 2 3)
}

fn baseline<const BY_COLUMNS: bool>(rows: usize, block: &Block<'_>, result: &mut [f32]) {
    match rows {
        1 => block.compute::<1, BY_COLUMNS, FUSED_BASELINE>(result),
        2 => block.compute::<2, BY_COLUMNS, FUSED_BASELINE>(result),
        3 => block.compute::<3, BY_COLUMNS, FUSED_BASELINE>(result),
        rows => unreachable!("a block of {rows} rows"),
    }
}

/// The kernel for AVX-512, where two registers hold a panel's row and 24 hold the sums from the first product to the
/// result. It is written with intrinsics, since the compiler takes the sums of a loop over arrays through memory once
/// more before they reach the result, which cost 1 to 3 % of a pass.
#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{
        __m512, __mmask16, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mask_storeu_ps,
        _mm512_maskz_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
    };

    use super::{Block, PANEL, Start};

    /// Floats of a register; a panel's row is two of them.
    const REGISTER: usize = PANEL / 2;

    /// One block.
    /// # Panics
    /// If the left operand or the result ends too early.
    #[target_feature(enable = "avx512f")]
    pub fn run<const ROWS: usize, const BY_COLUMNS: bool>(block: &Block<'_>, result: &mut [f32]) {
        let Block { left, stride, panel, start, from, width, result_stride } = *block;
        let (row_step, inner_step) = if BY_COLUMNS { (1, stride) } else { (stride, 1) };
        let last = (ROWS - 1) * row_step + (panel.len() - 1) * inner_step;
        assert!(last < left.len(), "a left operand of {} elements", left.len());
        let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
        for (k, right) in panel.iter().enumerate() {
            // SAFETY: two halves of a row of a panel.
            let right = unsafe { [load(right.as_ptr()), load(right.as_ptr().add(REGISTER))] };
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: at most `last`, which lies inside `left`.
                let left = _mm512_set1_ps(unsafe { *left.as_ptr().add(row * row_step + k * inner_step) });
                sums[0] = _mm512_fmadd_ps(left, right[0], sums[0]);
                sums[1] = _mm512_fmadd_ps(left, right[1], sums[1]);
            }
        }
        for (row, sums) in sums.into_iter().enumerate() {
            let result = &mut result[row * result_stride + from..][..width];
            let start = match start {
                Start::Zero => None,
                Start::Row(start) => Some(&start[from..][..width]),
                Start::Result => Some(&*result),
            };
            let values = match start {
                None => sums,
                Some(start) => {
                    let start = read(start);
                    [_mm512_add_ps(start[0], sums[0]), _mm512_add_ps(start[1], sums[1])]
                }
            };
            write(values, result);
        }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn load(from: *const f32) -> __m512 {
        // SAFETY: the caller gives the address of as many floats as a register has.
        unsafe { _mm512_loadu_ps(from) }
    }

    /// Which of the floats of a panel's row are among the first `width`.
    fn masks(width: usize) -> [__mmask16; 2] {
        let all = (1u64 << width.min(PANEL)) - 1;
        [all as u16, (all >> REGISTER) as u16]
    }

    /// At most a panel's row; zeros follow where it is shorter.
    #[target_feature(enable = "avx512f")]
    fn read(row: &[f32]) -> [__m512; 2] {
        if let Some(row) = row.first_chunk::<PANEL>() {
            // SAFETY: two halves of a panel's row.
            return unsafe { [load(row.as_ptr()), load(row.as_ptr().add(REGISTER))] };
        }
        let [low, high] = masks(row.len());
        // SAFETY: the masks keep to the elements of the row.
        unsafe {
            [
                _mm512_maskz_loadu_ps(low, row.as_ptr()),
                _mm512_maskz_loadu_ps(high, row.as_ptr().wrapping_add(REGISTER)),
            ]
        }
    }

    /// As many values as the row has.
    #[target_feature(enable = "avx512f")]
    fn write(values: [__m512; 2], row: &mut [f32]) {
        if let Some(row) = row.first_chunk_mut::<PANEL>() {
            // SAFETY: two halves of a panel's row.
            return unsafe {
                _mm512_storeu_ps(row.as_mut_ptr(), values[0]);
                _mm512_storeu_ps(row.as_mut_ptr().add(REGISTER), values[1]);
            };
        }
        let [low, high] = masks(row.len());
        // SAFETY: the masks keep to the elements of the row.
        unsafe {
            _mm512_mask_storeu_ps(row.as_mut_ptr(), low, values[0]);
            _mm512_mask_storeu_ps(row.as_mut_ptr().wrapping_add(REGISTER), high, values[1]);
        }
    }
}
