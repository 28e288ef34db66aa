//! Products with a right operand that is laid out once for the kernel: the frozen weights.
//!
//! A general GEMM lays out both operands anew in every call, since it cannot know that one of them never changes. Here
//! the right operand is stored in panels of `PANEL` columns, and the kernel reads the left one where it lies. The
//! kernel is a safe loop over arrays that fit the vector registers; the compiler turns it into fused multiply-adds at
//! the rate of the machine (`docs/engine.md`).
//!
//! **A row of the result depends on that row of the left operand alone**, to the last bit: each element is one chain of
//! multiply-adds in the order of the inner dimension, and its start is added at the end, however many rows the kernel takes
//! at a time.

use crate::gemm::Matrix;
use crate::simd::{Level, level};

/// Columns of a panel: two registers of AVX-512.
const PANEL: usize = 32;

/// Rows that the kernel takes at a time, as many as there are registers for: of the 32 of AVX-512, 24 hold sums.
const ROWS_AVX512: usize = 12;
/// Of the 16 registers of AVX2, 12 hold sums.
const ROWS_AVX2: usize = 3;
/// SSE2 has half the width of AVX2; NEON has twice the registers of SSE2.
const ROWS_BASELINE: usize = if cfg!(target_arch = "aarch64") { 3 } else { 1 };
/// Elements of the left operand, 256 KB of them, that are meant to stay in the second cache beside a panel.
const GROUP_ELEMENTS: usize = 1 << 16;
/// Whether every CPU of this architecture multiplies and adds in one instruction; elsewhere it would be a slow call.
const FUSED_BASELINE: bool = cfg!(target_arch = "aarch64");

/// A matrix `[inner, columns]` in panels: for each panel and each row, `PANEL` elements; the last panel is filled up
/// with zeros.
#[derive(Clone, Debug)]
pub struct PackedMatrix {
    inner: usize,
    columns: usize,
    panels: Vec<[f32; PANEL]>,
}

impl PackedMatrix {
    /// Lays a matrix out.
    /// # Shapes
    /// matrix `[inner, columns]`
    pub fn new(matrix: Matrix<'_>) -> Self {
        let (inner, columns) = matrix.shape();
        let mut panels = vec![[0.0; PANEL]; columns.div_ceil(PANEL) * inner];
        for (panel, rows) in panels.chunks_exact_mut(inner.max(1)).enumerate() {
            let from = panel * PANEL;
            let width = PANEL.min(columns - from);
            for (row, elements) in rows.iter_mut().enumerate() {
                for (column, element) in elements[..width].iter_mut().enumerate() {
                    *element = matrix.element(row, from + column);
                }
            }
        }
        Self { inner, columns, panels }
    }

    /// All numbers as they lie in memory, with the zeros that fill the last panel up.
    pub fn numbers(&self) -> &[f32] {
        self.panels.as_flattened()
    }
}

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

/// `result = start + left · right`
/// # Shapes
/// result `[rows, columns]`, left `[rows, inner]`, right `[inner, columns]`
/// # Panics
/// If the lengths do not fit.
pub fn matmul_packed(result: &mut [f32], left: &[f32], right: &PackedMatrix, start: Start<'_>) {
    let PackedMatrix { inner, columns, ref panels } = *right;
    assert!(inner > 0 && columns > 0, "a product over {inner} x {columns}");
    let rows = left.len() / inner;
    assert_eq!(left.len(), rows * inner, "rows of {inner}");
    assert_eq!(result.len(), rows * columns, "a result of {rows} x {columns}");
    if let Start::Row(row) = start {
        assert_eq!(row.len(), columns, "a row to start from");
    }
    let product = Product { left, panels, rows, inner, columns, start };
    match level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => product.run(ROWS_AVX512, result, compute_avx512),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => product.run(ROWS_AVX2, result, compute_avx2),
        _ => product.run(ROWS_BASELINE, result, compute_baseline),
    }
}

/// Some rows of a product and one panel.
struct Block<'a> {
    /// `[rows, inner]`
    left: &'a [f32],
    /// `[inner, PANEL]`
    panel: &'a [[f32; PANEL]],
    /// What the panel's columns are added to.
    start: Start<'a>,
    /// The panel's first column.
    from: usize,
    columns: usize,
}

/// Computes a block of so many rows: the panel's columns of `result`, `[rows, columns]`.
type Kernel = fn(rows: usize, block: &Block<'_>, result: &mut [f32]);

impl Block<'_> {
    #[inline(always)]
    fn compute<const ROWS: usize, const FUSED: bool>(&self, result: &mut [f32]) {
        let mut sums = [[0.0; PANEL]; ROWS];
        self.sums::<ROWS, FUSED>(&mut sums);
        let width = PANEL.min(self.columns - self.from);
        for (row, sums) in sums.iter().enumerate() {
            let result = &mut result[row * self.columns + self.from..][..width];
            match self.start {
                Start::Zero => result.copy_from_slice(&sums[..width]),
                Start::Row(start) => {
                    let terms = start[self.from..].iter().zip(sums);
                    result.iter_mut().zip(terms).for_each(|(result, (start, sum))| *result = start + sum);
                }
                Start::Result => result.iter_mut().zip(sums).for_each(|(result, sum)| *result += sum),
            }
        }
    }

    /// `Σ_k left[row, k] · panel[k, :]`
    ///
    /// Here the sums stay in registers, because their number is known and nothing else is done with them: with a start or
    /// a narrow last panel in the same function the compiler kept them in memory, and the loop ran twelve times slower.
    #[inline(always)]
    fn sums<const ROWS: usize, const FUSED: bool>(&self, out: &mut [[f32; PANEL]; ROWS]) {
        let inner = self.panel.len();
        let rows: [&[f32]; ROWS] = std::array::from_fn(|row| &self.left[row * inner..(row + 1) * inner]);
        let mut sums = [[0.0f32; PANEL]; ROWS];
        for (k, right) in self.panel.iter().enumerate() {
            for row in 0..ROWS {
                let left = rows[row][k];
                for column in 0..PANEL {
                    let sum = &mut sums[row][column];
                    *sum =
                        if FUSED { left.mul_add(right[column], *sum) } else { *sum + left * right[column] };
                }
            }
        }
        *out = sums;
    }
}

/// Calls the function that was compiled for a number of rows.
macro_rules! of_rows {
    ($rows:expr, $block:expr, $result:expr, $run:ident, $($number:literal)*) => {
        match $rows {
            // SAFETY: `matmul_packed` comes here only where `level` has found the instructions.
            $($number => unsafe { $run::<$number>($block, $result) },)*
            rows => unreachable!("a block of {rows} rows"),
        }
    };
}

#[cfg(target_arch = "x86_64")]
fn compute_avx512(rows: usize, block: &Block<'_>, result: &mut [f32]) {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
    fn run<const ROWS: usize>(block: &Block<'_>, result: &mut [f32]) {
        block.compute::<ROWS, true>(result);
    }
    of_rows!(rows, block, result, run, 1 2 3 4 5 6 7 8 9 10 11 12)
}

#[cfg(target_arch = "x86_64")]
fn compute_avx2(rows: usize, block: &Block<'_>, result: &mut [f32]) {
    #[target_feature(enable = "avx2,fma")]
    fn run<const ROWS: usize>(block: &Block<'_>, result: &mut [f32]) {
        block.compute::<ROWS, true>(result);
    }
    of_rows!(rows, block, result, run, 1 2 3)
}

fn compute_baseline(rows: usize, block: &Block<'_>, result: &mut [f32]) {
    match rows {
        1 => block.compute::<1, FUSED_BASELINE>(result),
        2 => block.compute::<2, FUSED_BASELINE>(result),
        3 => block.compute::<3, FUSED_BASELINE>(result),
        rows => unreachable!("a block of {rows} rows"),
    }
}

/// The operands of one product.
struct Product<'a> {
    left: &'a [f32],
    panels: &'a [[f32; PANEL]],
    rows: usize,
    inner: usize,
    columns: usize,
    start: Start<'a>,
}

impl Product<'_> {
    /// As many rows of the left operand as a core's second cache keeps, panel by panel, in blocks of nearly equal size,
    /// since a block of few rows leaves multiply-adds waiting for each other.
    fn run(&self, most_rows: usize, result: &mut [f32], kernel: Kernel) {
        let Self { left, panels, rows, inner, columns, start } = *self;
        let group_rows = (GROUP_ELEMENTS / inner).next_multiple_of(most_rows);
        for first in (0..rows).step_by(group_rows) {
            let group = group_rows.min(rows - first);
            let blocks = group.div_ceil(most_rows);
            for (index, panel) in panels.chunks_exact(inner).enumerate() {
                for block in 0..blocks {
                    let rows = first + block * group / blocks..first + (block + 1) * group / blocks;
                    let left = &left[rows.start * inner..rows.end * inner];
                    let block = Block { left, panel, start, from: index * PANEL, columns };
                    kernel(rows.len(), &block, &mut result[rows.start * columns..rows.end * columns]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, assert_close};

    /// One rounding for each term.
    const TOLERANCE: f64 = 1e-5;

    fn naive(left: &[f32], right: Matrix<'_>) -> Vec<f64> {
        let (inner, columns) = right.shape();
        left.chunks_exact(inner)
            .flat_map(|row| {
                (0..columns).map(move |column| {
                    (0..inner).map(|k| f64::from(row[k]) * f64::from(right.element(k, column))).sum()
                })
            })
            .collect()
    }

    #[test]
    fn products_of_many_shapes_and_starts_are_right() {
        let mut random = Random::new(3);
        for (rows, inner, columns) in
            [(1, 1, 1), (1, 7, 33), (2, 40, 31), (11, 3, 64), (13, 17, 65), (25, 600, 96), (40, 5, 100)]
        {
            let left = random.normals(rows * inner);
            let right = random.normals(inner * columns);
            let bias = random.normals(columns);
            let before = random.normals(rows * columns);
            let tolerance = TOLERANCE * (inner as f64).sqrt();
            for right in
                [Matrix::new(&right, inner, columns), Matrix::new(&right, columns, inner).transposed()]
            {
                let packed = PackedMatrix::new(right);
                let sums = naive(&left, right);
                let plus = |start: &dyn Fn(usize) -> f32| -> Vec<f64> {
                    sums.iter().enumerate().map(|(index, sum)| sum + f64::from(start(index))).collect()
                };
                let mut result = before.clone();
                matmul_packed(&mut result, &left, &packed, Start::Zero);
                assert_close("product", &result, &sums, tolerance, TOLERANCE);
                matmul_packed(&mut result, &left, &packed, Start::Row(&bias));
                assert_close(
                    "from a row",
                    &result,
                    &plus(&|index| bias[index % columns]),
                    tolerance,
                    TOLERANCE,
                );
                result.copy_from_slice(&before);
                matmul_packed(&mut result, &left, &packed, Start::Result);
                assert_close("added", &result, &plus(&|index| before[index]), tolerance, TOLERANCE);
            }
        }
    }

    /// The promise of the file's head, for every way that rows can be cut into blocks.
    #[test]
    fn a_row_never_depends_on_the_rows_beside_it() {
        let mut random = Random::new(4);
        for (inner, columns) in [(1, 5), (2, 32), (384, 64), (77, 100), (1536, 40)] {
            let left = random.normals(70 * inner);
            let right = random.normals(inner * columns);
            let packed = PackedMatrix::new(Matrix::new(&right, inner, columns));
            let mut whole = vec![0.0; 70 * columns];
            matmul_packed(&mut whole, &left, &packed, Start::Zero);
            for rows in 1..70 {
                let mut part = vec![0.0; rows * columns];
                matmul_packed(&mut part, &left[..rows * inner], &packed, Start::Zero);
                assert!(part == whole[..rows * columns], "{rows} rows, {inner} x {columns}");
            }
        }
    }

    #[test]
    fn every_level_of_this_machine_computes_the_same_to_rounding() {
        let mut random = Random::new(5);
        let (rows, inner, columns) = (29, 384, 70);
        let left = random.normals(rows * inner);
        let right = random.normals(inner * columns);
        let packed = PackedMatrix::new(Matrix::new(&right, inner, columns));
        let expected = naive(&left, Matrix::new(&right, inner, columns));
        let product =
            Product { left: &left, panels: &packed.panels, rows, inner, columns, start: Start::Zero };
        let mut result = vec![0.0; rows * columns];
        product.run(ROWS_BASELINE, &mut result, compute_baseline);
        assert_close("baseline", &result, &expected, 1e-4, TOLERANCE);
        #[cfg(target_arch = "x86_64")]
        if level() >= Level::Avx2 {
            product.run(ROWS_AVX2, &mut result, compute_avx2);
            assert_close("AVX2", &result, &expected, 1e-4, TOLERANCE);
            let with_avx2 = result.clone();
            matmul_packed(&mut result, &left, &packed, Start::Zero);
            assert!(result == with_avx2, "AVX2 and AVX-512 fuse the same operations in the same order");
        }
    }

    #[test]
    fn nan_goes_through_its_row_and_no_other() {
        let mut left = vec![1.0; 3 * 4];
        left[5] = f32::NAN;
        let packed = PackedMatrix::new(Matrix::new(&[1.0; 4 * 33], 4, 33));
        let mut result = vec![0.0; 3 * 33];
        matmul_packed(&mut result, &left, &packed, Start::Zero);
        for (index, value) in result.iter().enumerate() {
            assert_eq!(value.is_nan(), index / 33 == 1, "element {index}");
        }
    }
}
