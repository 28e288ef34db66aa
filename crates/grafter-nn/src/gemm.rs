//! Matrix products of two operands that both change: the only file that names the GEMM crate. Products with a frozen
//! operand are in [`crate::packed`].
//!
//! `gemm` 0.19 with its `x86-v4` feature was chosen by measurement (see `docs/engine.md`). It picks its kernel at run
//! time. Calls here are single-threaded; the encoder shares work between threads by whole sequences instead.
//!
//! [`matmul`] promises more than the crate does: **a row of the result depends on that row of the left operand alone**,
//! to the last bit, however many rows stand beside it. That is what makes a text in a batch get the logits that it gets
//! alone. The crate sums in another order for one row, for very small products, and for blocks of the inner dimension
//! whose size it derives from the caches; `matmul` steers around all three.

use std::cell::RefCell;

/// The inner dimension is summed in blocks of at most this many terms, each block added to the result in turn.
///
/// Up to 512 the crate uses one block whatever the shape; above, its choice depends on shape and caches.
const INNER_BLOCK: usize = 512;

/// Results of at most this many elements make the crate take a kernel with another order of summation.
const SMALL_RESULT: usize = 256;

/// A borrowed matrix of any strides.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A dense row-major matrix.
    /// # Panics
    /// If `data` does not hold `rows * columns` elements.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(Some(data.len()), rows.checked_mul(columns), "a matrix of {rows} x {columns}");
        Self { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// Rows of `columns` consecutive elements that start `row_stride` elements apart.
    /// # Panics
    /// If `data` ends before the last row does.
    pub fn strided(data: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        check_extent(data.len(), rows, columns, row_stride);
        Self { data, rows, columns, row_stride, column_stride: 1 }
    }

    /// The same elements with rows and columns exchanged; nothing is moved.
    pub fn transposed(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }

    /// Rows and columns.
    pub fn shape(self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    /// One element.
    /// # Panics
    /// If it lies outside.
    pub fn element(self, row: usize, column: usize) -> f32 {
        self.data[row * self.row_stride + column * self.column_stride]
    }

    /// Columns `from..from + count` (an inner block of the left operand).
    fn columns_block(self, from: usize, count: usize) -> Self {
        Self { data: &self.data[from * self.column_stride..], columns: count, ..self }
    }

    /// Rows `from..from + count` (an inner block of the right operand).
    fn rows_block(self, from: usize, count: usize) -> Self {
        Self { data: &self.data[from * self.row_stride..], rows: count, ..self }
    }
}

/// A mutable matrix whose rows are contiguous.
#[derive(Debug)]
pub struct MatrixMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
}

impl<'a> MatrixMut<'a> {
    /// A dense row-major matrix.
    /// # Panics
    /// If `data` does not hold `rows * columns` elements.
    pub fn new(data: &'a mut [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(Some(data.len()), rows.checked_mul(columns), "a matrix of {rows} x {columns}");
        Self { data, rows, columns, row_stride: columns }
    }

    /// Rows of `columns` consecutive elements that start `row_stride` elements apart.
    /// # Panics
    /// If `data` ends before the last row does.
    pub fn strided(data: &'a mut [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        check_extent(data.len(), rows, columns, row_stride);
        Self { data, rows, columns, row_stride }
    }
}

fn check_extent(len: usize, rows: usize, columns: usize, row_stride: usize) {
    assert!(columns <= row_stride, "rows of {columns} overlap at a stride of {row_stride}");
    if rows > 0 {
        let extent = (rows - 1).checked_mul(row_stride).and_then(|start| start.checked_add(columns));
        assert!(
            extent.is_some_and(|extent| extent <= len),
            "{rows} rows at a stride of {row_stride} in {len}"
        );
    }
}

/// Whether the result replaces what the destination holds or is added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// `result = left · right`
    Replace,
    /// `result += left · right`
    Add,
}

/// `result = left · right` or `result += left · right`, each row independent of the other rows to the last bit.
/// # Shapes
/// result `[m, n]`, left `[m, k]`, right `[k, n]`
/// # Panics
/// If the shapes do not fit.
pub fn matmul(mut result: MatrixMut<'_>, left: Matrix<'_>, right: Matrix<'_>, write: Write) {
    check_shapes(&result, left, right);
    if result.columns == 1 {
        return column_product(result, left, right, write);
    }
    if result.rows == 1 {
        return SCRATCH.with_borrow_mut(|scratch| single_row(result, left, right, write, scratch));
    }
    let inner = left.columns;
    let small = result.rows * result.columns <= SMALL_RESULT;
    if small && left.column_stride == 1 && right.row_stride == 1 {
        // A right operand with contiguous columns makes the crate take its kernel for small results.
        let mut rows = vec![0.0; right.rows * right.columns];
        copy_rows(right, &mut rows);
        let right = Matrix::new(&rows, right.rows, right.columns);
        return blocks(&mut result, left, right, write, inner);
    }
    blocks(&mut result, left, right, write, inner);
}

/// `result = scale · left · right`, with whichever kernel is fastest for the shape.
///
/// For products inside one sequence, whose shapes never depend on what else is in a batch.
/// # Shapes
/// result `[m, n]`, left `[m, k]`, right `[k, n]`
/// # Panics
/// If the shapes do not fit.
pub fn matmul_within_sequence(mut result: MatrixMut<'_>, left: Matrix<'_>, right: Matrix<'_>, scale: f32) {
    check_shapes(&result, left, right);
    call(&mut result, left, right, Write::Replace, scale);
}

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

fn check_shapes(result: &MatrixMut<'_>, left: Matrix<'_>, right: Matrix<'_>) {
    assert_eq!(left.columns, right.rows, "inner dimensions of a product");
    assert_eq!((result.rows, result.columns), (left.rows, right.columns), "shape of a product");
}

fn blocks(result: &mut MatrixMut<'_>, left: Matrix<'_>, right: Matrix<'_>, write: Write, inner: usize) {
    let mut from = 0;
    let mut write = write;
    loop {
        let count = (inner - from).min(INNER_BLOCK);
        call(result, left.columns_block(from, count), right.rows_block(from, count), write, 1.0);
        from += count;
        write = Write::Add;
        if from == inner {
            return;
        }
    }
}

/// One row is computed as the first of two equal ones, since the crate sums a single row in another order.
fn single_row(
    result: MatrixMut<'_>,
    left: Matrix<'_>,
    right: Matrix<'_>,
    write: Write,
    scratch: &mut Vec<f32>,
) {
    let (columns, inner) = (result.columns, left.columns);
    scratch.clear();
    scratch.resize(2 * (inner + columns), 0.0);
    let (rows, sums) = scratch.split_at_mut(2 * inner);
    copy_rows(left, &mut rows[..inner]);
    rows.copy_within(..inner, inner);
    if write == Write::Add {
        sums[..columns].copy_from_slice(&result.data[..columns]);
    }
    matmul(MatrixMut::new(sums, 2, columns), Matrix::new(rows, 2, inner), right, write);
    result.data[..columns].copy_from_slice(&sums[..columns]);
}

/// A result of one column: plain dot products in the order of the inner dimension.
fn column_product(result: MatrixMut<'_>, left: Matrix<'_>, right: Matrix<'_>, write: Write) {
    for row in 0..result.rows {
        let mut sum = 0.0;
        for k in 0..left.columns {
            sum +=
                left.data[row * left.row_stride + k * left.column_stride] * right.data[k * right.row_stride];
        }
        let target = &mut result.data[row * result.row_stride];
        *target = if write == Write::Add { *target + sum } else { sum };
    }
}

fn copy_rows(source: Matrix<'_>, target: &mut [f32]) {
    for row in 0..source.rows {
        for column in 0..source.columns {
            target[row * source.columns + column] =
                source.data[row * source.row_stride + column * source.column_stride];
        }
    }
}

fn call(result: &mut MatrixMut<'_>, left: Matrix<'_>, right: Matrix<'_>, write: Write, scale: f32) {
    if result.rows == 0 || result.columns == 0 {
        return;
    }
    // SAFETY: each matrix was checked on construction to lie inside its slice, the shapes were compared by
    // `check_shapes`, and the result is a unique borrow that overlaps neither operand.
    unsafe {
        gemm::gemm(
            result.rows,
            result.columns,
            left.columns,
            result.data.as_mut_ptr(),
            1,
            result.row_stride as isize,
            write == Write::Add,
            left.data.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.data.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0,
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, assert_close};

    fn naive(left: Matrix<'_>, right: Matrix<'_>) -> Vec<f64> {
        let mut result = Vec::new();
        for row in 0..left.rows {
            for column in 0..right.columns {
                result.push(
                    (0..left.columns)
                        .map(|k| {
                            f64::from(left.data[row * left.row_stride + k * left.column_stride])
                                * f64::from(right.data[k * right.row_stride + column * right.column_stride])
                        })
                        .sum(),
                );
            }
        }
        result
    }

    #[test]
    fn products_of_many_shapes_are_right() {
        let mut random = Random::new(1);
        for (m, n, k) in [
            (1, 1, 1),
            (1, 7, 5),
            (3, 1, 9),
            (2, 2, 2),
            (5, 3, 17),
            (16, 16, 40),
            (33, 70, 600),
            (65, 96, 1025),
        ] {
            let left = random.normals(m * k);
            let right = random.normals(n * k);
            let left = Matrix::new(&left, m, k);
            for right in [Matrix::new(&right, k, n), Matrix::new(&right, n, k).transposed()] {
                let mut result = vec![0.5; m * n];
                matmul(MatrixMut::new(&mut result, m, n), left, right, Write::Add);
                let expected: Vec<f64> = naive(left, right).iter().map(|value| value + 0.5).collect();
                assert_close("product", &result, &expected, 1e-5 * (k as f64).sqrt(), 1e-5);
                matmul(MatrixMut::new(&mut result, m, n), left, right, Write::Replace);
                assert_close("product", &result, &naive(left, right), 1e-5 * (k as f64).sqrt(), 1e-5);
                matmul_within_sequence(MatrixMut::new(&mut result, m, n), left, right, 2.0);
                let doubled: Vec<f64> = naive(left, right).iter().map(|value| value * 2.0).collect();
                assert_close("scaled product", &result, &doubled, 2e-5 * (k as f64).sqrt(), 1e-5);
            }
        }
    }

    #[test]
    fn strided_operands_leave_their_neighbours_alone() {
        let data: Vec<f32> = (0..40).map(|value| value as f32).collect();
        let left = Matrix::strided(&data[2..], 3, 4, 8);
        let right = Matrix::new(&data[..8], 4, 2);
        let mut result = [-1.0; 15];
        matmul(MatrixMut::strided(&mut result[1..], 3, 2, 5), left, right, Write::Replace);
        let expected = naive(left, right);
        for (index, value) in result.iter().enumerate() {
            let (row, column) = (index / 5, index % 5);
            let inside = (1..3).contains(&column);
            let wanted = if inside { expected[row * 2 + column - 1] as f32 } else { -1.0 };
            assert_eq!(*value, wanted, "element {index}");
        }
    }

    /// The promise of the file's head: the first rows of a tall product are the rows of short ones, bit for bit.
    #[test]
    fn a_row_never_depends_on_the_rows_beside_it() {
        let mut random = Random::new(2);
        for (n, k) in [
            (1, 64),
            (2, 384),
            (3, 7),
            (8, 384),
            (16, 96),
            (64, 384),
            (64, 768),
            (77, 1536),
            (384, 64),
            (384, 1536),
            (1152, 384),
            (768, 3072),
        ] {
            let tall = 200;
            let left = random.normals(tall * k);
            let weights = random.normals(n * k);
            for transposed in [false, true] {
                let right = if transposed {
                    Matrix::new(&weights, n, k).transposed()
                } else {
                    Matrix::new(&weights, k, n)
                };
                let mut whole = vec![0.25; tall * n];
                matmul(MatrixMut::new(&mut whole, tall, n), Matrix::new(&left, tall, k), right, Write::Add);
                for rows in [1, 2, 3, 5, 8, 13, 31, 65, 129] {
                    let mut part = vec![0.25; rows * n];
                    matmul(
                        MatrixMut::new(&mut part, rows, n),
                        Matrix::new(&left[..rows * k], rows, k),
                        right,
                        Write::Add,
                    );
                    let same = part.iter().zip(&whole).all(|(a, b)| a.to_bits() == b.to_bits());
                    assert!(same, "{rows} rows of {tall}, n {n}, k {k}, transposed {transposed}");
                }
            }
        }
    }
}
