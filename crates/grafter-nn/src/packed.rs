//! The right operand of a product, laid out for the kernel: in panels of as many columns as the kernel takes at a time.
//!
//! A frozen weight is laid out once for each pass; a general GEMM does it in every call, since it cannot know
//! that one of its operands never changes. Other operands are laid out for the product at hand ([`crate::gemm`]).

use crate::matrix::{Lines, Matrix};

/// Columns of a panel: two registers of AVX-512.
pub(crate) const PANEL: usize = 32;

/// Columns are copied in pieces of this length, so that the rows they are spread over stay in the first cache.
const PIECE: usize = 64;

/// A matrix `[inner, columns]` in panels: for each panel and each row, 32 elements; the last panel is filled up with
/// zeros.
#[derive(Clone, Debug, Default)]
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
        let mut packed = Self::default();
        packed.pack(matrix);
        packed
    }

    /// Lays another matrix out, in the memory that is there.
    pub fn pack(&mut self, matrix: Matrix<'_>) {
        (self.inner, self.columns) = matrix.shape();
        self.panels.resize(self.columns.div_ceil(PANEL) * self.inner, [0.0; PANEL]);
        for (index, panel) in self.panels.chunks_exact_mut(self.inner.max(1)).enumerate() {
            let from = index * PANEL;
            let width = PANEL.min(self.columns - from);
            match matrix.lines() {
                Lines::Rows { data, stride } => {
                    for (k, row) in panel.iter_mut().enumerate() {
                        copy_row(&data[k * stride + from..][..width], row);
                    }
                }
                Lines::Columns { data, stride } => pack_columns(&data[from * stride..], stride, width, panel),
            }
        }
    }

    /// The same matrix with rows and columns exchanged, laid out anew.
    pub fn transposed(&self) -> Self {
        let (inner, columns) = (self.columns, self.inner);
        let mut panels = vec![[0.0; PANEL]; columns.div_ceil(PANEL) * inner];
        for (panel, lines) in panels.chunks_exact_mut(inner.max(1)).enumerate() {
            let from = panel * PANEL;
            let width = PANEL.min(columns - from);
            for (source, lines) in self.panels().zip(lines.chunks_mut(PANEL)) {
                for (column, row) in source[from..][..width].iter().enumerate() {
                    for (line, value) in lines.iter_mut().zip(row) {
                        line[column] = *value;
                    }
                }
            }
        }
        Self { inner, columns, panels }
    }

    /// The numbers column by column, `[columns, inner]`, as they were before they were laid out.
    pub fn columns(&self) -> Vec<f32> {
        let mut numbers = Vec::with_capacity(self.inner * self.columns);
        for column in 0..self.columns {
            let panel = &self.panels[column / PANEL * self.inner..][..self.inner];
            numbers.extend(panel.iter().map(|row| row[column % PANEL]));
        }
        numbers
    }

    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        (self.inner, self.columns)
    }

    /// How many numbers a matrix `[inner, columns]` has as it lies in memory.
    pub fn numbers_of(inner: usize, columns: usize) -> usize {
        columns.div_ceil(PANEL) * PANEL * inner
    }

    /// All numbers as they lie in memory, with the zeros that fill the last panel up.
    pub fn numbers(&self) -> &[f32] {
        self.panels.as_flattened()
    }

    /// Each `[inner, PANEL]`.
    pub(crate) fn panels(&self) -> std::slice::ChunksExact<'_, [f32; PANEL]> {
        self.panels.chunks_exact(self.inner)
    }
}

fn copy_row(source: &[f32], row: &mut [f32; PANEL]) {
    match source.first_chunk::<PANEL>() {
        Some(whole) => *row = *whole,
        None => {
            row[..source.len()].copy_from_slice(source);
            row[source.len()..].fill(0.0);
        }
    }
}

fn pack_columns(data: &[f32], stride: usize, width: usize, panel: &mut [[f32; PANEL]]) {
    for (piece, rows) in panel.chunks_mut(PIECE).enumerate() {
        for column in 0..width {
            let source = &data[column * stride + piece * PIECE..][..rows.len()];
            for (row, value) in rows.iter_mut().zip(source) {
                row[column] = *value;
            }
        }
        for row in rows {
            row[width..].fill(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    #[test]
    fn every_element_lies_where_its_panel_has_it() {
        let mut random = Random::new(12);
        let mut packed = PackedMatrix::default();
        for (inner, columns) in [(1, 1), (130, 70), (3, 32), (64, 33), (7, 5)] {
            let numbers = random.normals(inner * columns);
            for matrix in
                [Matrix::new(&numbers, inner, columns), Matrix::new(&numbers, columns, inner).transposed()]
            {
                packed.pack(matrix);
                assert_eq!(packed.shape(), (inner, columns));
                let transposed = packed.transposed();
                assert_eq!(transposed.shape(), (columns, inner));
                assert_eq!(transposed.numbers(), PackedMatrix::new(matrix.transposed()).numbers());
                let by_columns = (0..columns).flat_map(|j| (0..inner).map(move |i| (i, j)));
                let expected: Vec<f32> = by_columns.map(|(i, j)| matrix.element(i, j)).collect();
                assert_eq!(packed.columns(), expected);
                for (index, value) in packed.numbers().iter().enumerate() {
                    let row = index / PANEL % inner;
                    let column = index / PANEL / inner * PANEL + index % PANEL;
                    let expected = if column < columns { matrix.element(row, column) } else { 0.0 };
                    assert_eq!(*value, expected, "row {row}, column {column} of {inner} x {columns}");
                }
            }
        }
    }
}
