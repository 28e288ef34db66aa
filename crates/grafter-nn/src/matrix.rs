//! Borrowed matrices: how numbers in a slice are read as rows and columns.

use std::ops::Range;

/// A borrowed matrix with contiguous rows or, transposed, contiguous columns.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    /// Distance between the lines that are contiguous.
    stride: usize,
    /// Whether the columns are the contiguous lines.
    by_columns: bool,
}

/// How the numbers of a [`Matrix`] lie, for the code that reads them in order.
pub(crate) enum Lines<'a> {
    /// Row `i` begins at `i · stride`.
    Rows { data: &'a [f32], stride: usize },
    /// Column `j` begins at `j · stride`.
    Columns { data: &'a [f32], stride: usize },
}

impl<'a> Matrix<'a> {
    /// A dense row-major matrix.
    /// # Panics
    /// If `data` does not hold `rows * columns` elements.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(Some(data.len()), rows.checked_mul(columns), "a matrix of {rows} x {columns}");
        Self { data, rows, columns, stride: columns, by_columns: false }
    }

    /// Rows of `columns` consecutive elements that start `stride` elements apart.
    /// # Panics
    /// If `data` ends before the last row does.
    pub fn strided(data: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        check_extent(data.len(), rows, columns, stride);
        Self { data, rows, columns, stride, by_columns: false }
    }

    /// The same elements with rows and columns exchanged; nothing is moved.
    pub fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, by_columns: !self.by_columns, ..self }
    }

    /// Rows and columns.
    pub fn shape(self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    /// One element.
    /// # Panics
    /// If it lies outside.
    pub fn element(self, row: usize, column: usize) -> f32 {
        let Self { rows, columns, .. } = self;
        assert!(row < rows && column < columns, "element {row}, {column} of {rows} x {columns}");
        match self.lines() {
            Lines::Rows { data, stride } => data[row * stride + column],
            Lines::Columns { data, stride } => data[column * stride + row],
        }
    }

    pub(crate) fn lines(self) -> Lines<'a> {
        let Self { data, stride, .. } = self;
        if self.by_columns { Lines::Columns { data, stride } } else { Lines::Rows { data, stride } }
    }
}

/// A mutable matrix whose rows are contiguous.
#[derive(Debug)]
pub struct MatrixMut<'a> {
    pub(crate) data: &'a mut [f32],
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// Distance between the starts of two rows.
    pub(crate) stride: usize,
}

impl<'a> MatrixMut<'a> {
    /// A dense row-major matrix.
    /// # Panics
    /// If `data` does not hold `rows * columns` elements.
    pub fn new(data: &'a mut [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(Some(data.len()), rows.checked_mul(columns), "a matrix of {rows} x {columns}");
        Self { data, rows, columns, stride: columns }
    }

    /// Rows of `columns` consecutive elements that start `stride` elements apart.
    /// # Panics
    /// If `data` ends before the last row does.
    pub fn strided(data: &'a mut [f32], rows: usize, columns: usize, stride: usize) -> Self {
        check_extent(data.len(), rows, columns, stride);
        Self { data, rows, columns, stride }
    }
}

/// Cuts rows into ranges of nearly equal size and of at most so many.
pub(crate) fn near_equal(rows: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let count = rows.len().div_ceil(most);
    let limit = move |part: usize| rows.start + part * rows.len() / count;
    (0..count).map(move |part| limit(part)..limit(part + 1))
}

fn check_extent(len: usize, rows: usize, columns: usize, stride: usize) {
    assert!(columns <= stride, "rows of {columns} overlap at a stride of {stride}");
    if rows > 0 {
        let extent = (rows - 1).checked_mul(stride).and_then(|start| start.checked_add(columns));
        assert!(extent.is_some_and(|extent| extent <= len), "{rows} rows at a stride of {stride} in {len}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic = "element 0, 2 of 2 x 2"]
    fn an_element_outside_is_none_of_the_next_row() {
        Matrix::strided(&[1.0, 2.0, 3.0, 4.0, 5.0], 2, 2, 3).element(0, 2);
    }

    #[test]
    #[should_panic = "element 2, 0 of 2 x 2"]
    fn an_element_outside_a_transposed_matrix_is_none_of_the_next_column() {
        Matrix::strided(&[1.0, 2.0, 3.0, 4.0, 5.0], 2, 2, 3).transposed().element(2, 0);
    }
}
