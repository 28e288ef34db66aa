//! Matrix products: `result = start + left · right`, on the calling thread.
//!
//! The right operand is read in panels (`packed.rs`), the left one where it lies, and the kernel (`kernel.rs`) does the
//! multiplying. A frozen right operand is laid out once for all products; any other is laid out here, in memory that the
//! thread keeps.
//!
//! **A row of the result depends on that row of the left operand alone**, to the last bit, however many rows stand beside
//! it. That is what makes a text in a batch get the logits that it gets alone.

use std::cell::RefCell;

pub use crate::kernel::Start;
use crate::kernel::{Block, Compute, Kernel};
use crate::matrix::{Lines, near_equal};
pub use crate::matrix::{Matrix, MatrixMut};
use crate::packed::{PANEL, PackedMatrix};

/// Elements of the left operand, 256 KB of them, that are meant to stay in the second cache beside a panel.
const GROUP_ELEMENTS: usize = 1 << 16;

thread_local! {
    /// The right operand of the product at hand.
    static RIGHT: RefCell<PackedMatrix> = RefCell::default();
}

/// `result = start + left · right`
/// # Shapes
/// result `[m, n]`, left `[m, k]`, right `[k, n]`
/// # Panics
/// If the shapes do not fit.
pub fn matmul(result: MatrixMut<'_>, left: Matrix<'_>, right: Matrix<'_>, start: Start<'_>) {
    RIGHT.with_borrow_mut(|packed| {
        packed.pack(right);
        matmul_packed(result, left, packed, start);
    });
}

/// [`matmul`] with a right operand that was laid out before.
/// # Panics
/// If the shapes do not fit.
pub fn matmul_packed(result: MatrixMut<'_>, left: Matrix<'_>, right: &PackedMatrix, start: Start<'_>) {
    multiply(Kernel::of_this_machine(), result, left, right, start);
}

pub(crate) fn multiply(
    kernel: Kernel,
    result: MatrixMut<'_>,
    left: Matrix<'_>,
    right: &PackedMatrix,
    start: Start<'_>,
) {
    let (rows, inner) = left.shape();
    let (right_inner, columns) = right.shape();
    assert_eq!(inner, right_inner, "inner dimensions of a product");
    assert_eq!((result.rows, result.columns), (rows, columns), "shape of a product");
    assert!(inner > 0 && columns > 0, "a product over {inner} x {columns}");
    if let Start::Row(row) = start {
        assert_eq!(row.len(), columns, "a row to start from");
    }
    let (data, stride, step, compute): (_, _, _, Compute) = match left.lines() {
        Lines::Rows { data, stride } => (data, stride, stride, kernel.by_rows),
        Lines::Columns { data, stride } => (data, stride, 1, kernel.by_columns),
    };
    // As many rows of the left operand as the second cache keeps, panel by panel, in blocks of as many as the kernel takes.
    // Groups and blocks are of nearly equal size: a group of few rows waits for the panels, a block of few rows leaves
    // multiply-adds waiting for each other.
    for group in near_equal(0..rows, (GROUP_ELEMENTS / inner).max(kernel.rows)) {
        let blocks = near_equal(group, kernel.rows);
        for (index, panel) in right.panels().enumerate() {
            let from = index * PANEL;
            for rows in blocks.clone() {
                let block = Block {
                    left: &data[rows.start * step..],
                    stride,
                    panel,
                    start,
                    from,
                    width: PANEL.min(columns - from),
                    result_stride: result.stride,
                };
                compute(rows.len(), &block, &mut result.data[rows.start * result.stride..]);
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

    fn naive(left: Matrix<'_>, right: Matrix<'_>) -> Vec<f64> {
        let (rows, inner) = left.shape();
        let (_, columns) = right.shape();
        let element = |row, column| {
            let term = |k| f64::from(left.element(row, k)) * f64::from(right.element(k, column));
            (0..inner).map(term).sum::<f64>()
        };
        (0..rows).flat_map(|row| (0..columns).map(move |column| element(row, column))).collect()
    }

    /// Both ways in which a matrix of this shape can lie.
    fn both_ways(numbers: &[f32], rows: usize, columns: usize) -> [Matrix<'_>; 2] {
        [Matrix::new(numbers, rows, columns), Matrix::new(numbers, columns, rows).transposed()]
    }

    #[test]
    fn products_of_many_shapes_orientations_and_starts_are_right() {
        let mut random = Random::new(3);
        for (rows, inner, columns) in [
            (1, 1, 1),
            (1, 7, 33),
            (2, 40, 31),
            (11, 3, 64),
            (13, 17, 65),
            (25, 600, 96),
            (40, 5, 100),
            (3, 9, 1),
        ] {
            let (left, right) = (random.normals(rows * inner), random.normals(inner * columns));
            let bias = random.normals(columns);
            let before = random.normals(rows * columns);
            let tolerance = TOLERANCE * (inner as f64).sqrt();
            for (left, right) in both_ways(&left, rows, inner)
                .into_iter()
                .flat_map(|left| both_ways(&right, inner, columns).map(|right| (left, right)))
            {
                let sums = naive(left, right);
                let plus = |start: &dyn Fn(usize) -> f32| -> Vec<f64> {
                    sums.iter().enumerate().map(|(index, sum)| sum + f64::from(start(index))).collect()
                };
                let product = |start: Start<'_>| {
                    let mut result = before.clone();
                    matmul(MatrixMut::new(&mut result, rows, columns), left, right, start);
                    result
                };
                assert_close("product", &product(Start::Zero), &sums, tolerance, TOLERANCE);
                let expected = plus(&|index| bias[index % columns]);
                assert_close("from a row", &product(Start::Row(&bias)), &expected, tolerance, TOLERANCE);
                let expected = plus(&|index| before[index]);
                assert_close("added", &product(Start::Result), &expected, tolerance, TOLERANCE);
            }
        }
    }

    #[test]
    fn strided_operands_leave_their_neighbours_alone() {
        let data: Vec<f32> = (0..40).map(|value| value as f32).collect();
        let left = Matrix::strided(&data[2..], 3, 4, 8);
        let right = Matrix::new(&data[..8], 4, 2);
        let mut result = [-1.0; 15];
        matmul(MatrixMut::strided(&mut result[1..], 3, 2, 5), left, right, Start::Zero);
        let expected = naive(left, right);
        for (index, value) in result.iter().enumerate() {
            let (row, column) = (index / 5, index % 5);
            let inside = (1..3).contains(&column);
            let wanted = if inside { expected[row * 2 + column - 1] as f32 } else { -1.0 };
            assert_eq!(*value, wanted, "element {index}");
        }
    }

    /// The promise of the file's head, for every way that rows can be cut into blocks and groups.
    #[test]
    fn a_row_never_depends_on_the_rows_beside_it() {
        let mut random = Random::new(4);
        for (inner, columns) in [(1, 5), (2, 32), (384, 64), (77, 100), (1536, 40), (70_000, 1)] {
            let tall = 80;
            let left = random.normals(tall * inner);
            let right = random.normals(inner * columns);
            let packed = PackedMatrix::new(Matrix::new(&right, inner, columns));
            let product = |rows: usize| {
                let mut result = vec![0.25; rows * columns];
                let left = Matrix::new(&left[..rows * inner], rows, inner);
                matmul_packed(MatrixMut::new(&mut result, rows, columns), left, &packed, Start::Result);
                result
            };
            let whole = product(tall);
            for rows in 1..tall {
                assert!(product(rows) == whole[..rows * columns], "{rows} rows, {inner} x {columns}");
            }
        }
    }

    #[test]
    fn every_kernel_of_this_machine_computes_the_same_to_rounding() {
        let mut random = Random::new(5);
        let (rows, inner, columns) = (29, 384, 70);
        let (left, right) = (random.normals(rows * inner), random.normals(inner * columns));
        let right = Matrix::new(&right, inner, columns);
        let packed = PackedMatrix::new(right);
        let expected = naive(Matrix::new(&left, rows, inner), right);
        let mut fused: Option<Vec<f32>> = None;
        for (index, kernel) in Kernel::all().into_iter().enumerate() {
            let mut result = vec![0.0; rows * columns];
            let left = Matrix::new(&left, rows, inner);
            multiply(kernel, MatrixMut::new(&mut result, rows, columns), left, &packed, Start::Zero);
            assert_close(&format!("kernel {index}"), &result, &expected, 1e-4, TOLERANCE);
            if index > 0 {
                let same = fused.get_or_insert_with(|| result.clone());
                assert!(*same == result, "AVX2 and AVX-512 fuse the same operations in the same order");
            }
        }
    }

    #[test]
    fn nan_goes_through_its_row_and_no_other() {
        let mut left = vec![1.0; 3 * 4];
        left[5] = f32::NAN;
        let mut result = vec![0.0; 3 * 33];
        let right = [1.0; 4 * 33];
        matmul(
            MatrixMut::new(&mut result, 3, 33),
            Matrix::new(&left, 3, 4),
            Matrix::new(&right, 4, 33),
            Start::Zero,
        );
        for (index, value) in result.iter().enumerate() {
            assert_eq!(value.is_nan(), index / 33 == 1, "element {index}");
        }
    }
}
