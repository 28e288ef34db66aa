//! What the code with `unsafe` does at its edges: every kernel of products that this machine has, on every size of block and
//! every width of a last panel, in memory whose neighbours are known.
//!
//! A number that is read from outside an operand is NaN and would show in the result; one that is written outside the result is
//! not what was there before. What even that does not show, a read that nothing comes of, AddressSanitizer reports
//! (`.ci/sanitizer`): the second round lays each operand out in an allocation that ends where it does.

use crate::gemm::{Matrix, MatrixMut, Start, multiply};
use crate::kernel::Kernel;
use crate::packed::PackedMatrix;
use crate::quantised::{self, PORTABLE, QuantisedMatrix};
use crate::testing::Random;

/// Around every operand where there is a guard: more than a row of a panel.
const GUARD: usize = 40;
/// What is around a result: no result of these numbers.
const UNTOUCHED: f32 = 12_345.5;
/// No row; one to one more than the most that a kernel takes at a time.
const ROWS: std::ops::Range<usize> = 0..14;
/// Around one and two registers of each width, around one and two panels.
const COLUMNS: [usize; 14] = [1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 63, 65];

/// Numbers with a guard on both sides, or none.
struct Guarded {
    numbers: Box<[f32]>,
    guard: usize,
}

impl Guarded {
    fn new(numbers: &[f32], around: f32, guard: usize) -> Self {
        let mut all = vec![around; numbers.len() + 2 * guard];
        all[guard..][..numbers.len()].copy_from_slice(numbers);
        Self { numbers: all.into_boxed_slice(), guard }
    }

    fn get(&self) -> &[f32] {
        &self.numbers[self.guard..self.numbers.len() - self.guard]
    }

    fn get_mut(&mut self) -> &mut [f32] {
        let end = self.numbers.len() - self.guard;
        &mut self.numbers[self.guard..end]
    }

    fn check_guards(&self, what: &str) {
        let outside =
            self.numbers[..self.guard].iter().chain(&self.numbers[self.numbers.len() - self.guard..]);
        outside.for_each(|value| assert_eq!(*value, UNTOUCHED, "{what}: written outside"));
    }
}

/// Lines of numbers that lie `gap` further apart than they are long, with `between` between them and none after the last one.
fn lines(numbers: &[f32], length: usize, gap: usize, between: f32) -> Vec<f32> {
    let mut all = Vec::new();
    for line in numbers.chunks_exact(length) {
        if !all.is_empty() {
            all.extend(vec![between; gap]);
        }
        all.extend_from_slice(line);
    }
    all
}

/// One product on one kernel: how its operands lie.
#[derive(Clone, Copy, Debug)]
struct Case {
    rows: usize,
    inner: usize,
    columns: usize,
    by_columns: bool,
    gap: usize,
    guard: usize,
}

/// The most that rounding may change a sum of products, as a share of the sum of their absolute values: one rounding for each
/// product and each addition that are not fused, `γ` of `terms + 1` of Higham, *Accuracy and Stability of Numerical Algorithms*,
/// section 3.1. The start is one term more.
fn rounding(terms: usize) -> f64 {
    let unit = f64::from(f32::EPSILON) / 2.0;
    let roundings = (terms + 1) as f64 * unit;
    roundings / (1.0 - roundings)
}

impl Case {
    /// Runs a kernel, and holds what it gives against f64.
    fn check(self, kernel: Kernel, random: &mut Random) {
        let Self { rows, inner, columns, by_columns, gap, guard } = self;
        let (left, right) = (random.normals(rows * inner), random.normals(inner * columns));
        let (row, before) = (random.normals(columns), random.normals(rows * columns));
        let packed = PackedMatrix::new(Matrix::new(&right, inner, columns));
        let row = Guarded::new(&row, f32::NAN, guard);
        // The left operand is `[inner, rows]` where its columns are contiguous.
        let (length, count) = if by_columns { (rows, inner) } else { (inner, rows) };
        let of_left =
            |row: usize, k: usize| if by_columns { left[k * rows + row] } else { left[row * inner + k] };
        let operand = if length == 0 { Vec::new() } else { lines(&left, length, gap, f32::NAN) };
        let operand = Guarded::new(&operand, f32::NAN, guard);
        let operand = match length {
            0 => Matrix::new(&[], count, length),
            _ => Matrix::strided(operand.get(), count, length, length + gap),
        };
        let operand = if by_columns { operand.transposed() } else { operand };
        for start in [Start::Zero, Start::Row(row.get()), Start::Result] {
            let what = format!("{self:?}, {start:?}");
            let mut result = Guarded::new(&lines(&before, columns, gap, UNTOUCHED), UNTOUCHED, guard);
            let of = MatrixMut::strided(result.get_mut(), rows, columns, columns + gap);
            multiply(kernel, of, operand, &packed, start);
            result.check_guards(&what);
            for (index, found) in result.get().iter().enumerate() {
                let (place, column) = (index / (columns + gap), index % (columns + gap));
                if column >= columns {
                    assert_eq!(*found, UNTOUCHED, "{what}: written between rows");
                    continue;
                }
                let start = match start {
                    Start::Zero => 0.0,
                    Start::Row(row) => f64::from(row[column]),
                    Start::Result => f64::from(before[place * columns + column]),
                };
                let term = |k: usize| f64::from(of_left(place, k)) * f64::from(right[k * columns + column]);
                let expected = start + (0..inner).map(term).sum::<f64>();
                let size = start.abs() + (0..inner).map(|k| term(k).abs()).sum::<f64>();
                let error = (f64::from(*found) - expected).abs();
                assert!(error <= rounding(inner) * size, "{what}, {place}, {column}: {found}, {expected}");
            }
        }
    }
}

#[test]
fn products_read_and_write_their_operands_alone() {
    let mut random = Random::new(21);
    for (guard, gap) in [(GUARD, 0), (GUARD, 3), (0, 0), (0, 5)] {
        for (rows, columns) in ROWS.flat_map(|rows| COLUMNS.map(|columns| (rows, columns))) {
            for (inner, by_columns) in [(1, false), (1, true), (5, false), (5, true)] {
                let case = Case { rows, inner, columns, by_columns, gap, guard };
                Kernel::all().into_iter().for_each(|kernel| case.check(kernel, &mut random));
            }
        }
    }
}

/// The bound that is promised between kinds of CPU (ARCHITECTURE.md) on sums that are long enough to round: each kernel is within
/// it of the exact sum, those that fuse give the same bits, and one that does not fuse gives others.
#[test]
fn kernels_differ_by_rounding_alone() {
    let mut random = Random::new(22);
    for inner in [1, 2, 64, 384, 3000] {
        let (rows, columns) = (13, 33);
        let (left, right) = (random.normals(rows * inner), random.normals(inner * columns));
        let packed = PackedMatrix::new(Matrix::new(&right, inner, columns));
        let mut results = Vec::new();
        for kernel in Kernel::all() {
            let mut result = vec![0.0; rows * columns];
            let of = MatrixMut::new(&mut result, rows, columns);
            multiply(kernel, of, Matrix::new(&left, rows, inner), &packed, Start::Zero);
            for (index, found) in result.iter().enumerate() {
                let term = |k: usize| {
                    f64::from(left[index / columns * inner + k])
                        * f64::from(right[k * columns + index % columns])
                };
                let (expected, size): (f64, f64) = (0..inner)
                    .map(term)
                    .fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()));
                let error = (f64::from(*found) - expected).abs();
                assert!(error <= rounding(inner - 1) * size, "{inner} terms, {index}: {found}, {expected}");
            }
            results.push(result);
        }
        if let [baseline, fused @ ..] = &results[..] {
            assert!(fused.iter().all(|result| *result == fused[0]), "{inner} terms");
            let differs = fused.first().is_some_and(|fused| fused != baseline);
            assert!(!differs || cfg!(target_arch = "x86_64"), "{inner} terms: the baseline fuses as well");
            assert!(differs || fused.is_empty() || inner == 1, "{inner} terms: nothing was rounded twice");
        }
    }
}

#[test]
fn quantised_products_read_and_write_their_operands_alone() {
    let mut random = Random::new(23);
    for guard in [GUARD, 0] {
        for (rows, outputs) in ROWS.flat_map(|rows| COLUMNS.map(|columns| (rows, columns))) {
            for inputs in [1, 3, 4, 5, 9] {
                let weight = random.normals(outputs * inputs);
                let matrix = QuantisedMatrix::new(&weight, outputs, inputs);
                let left = Guarded::new(&random.normals(rows * inputs), f32::NAN, guard);
                let bias = Guarded::new(&random.normals(outputs), f32::NAN, guard);
                let mut found = Vec::new();
                for kernel in [PORTABLE, quantised::kernel()] {
                    let mut result = Guarded::new(&vec![f32::NAN; rows * outputs], UNTOUCHED, guard);
                    // A thread keeps the memory of its quantised rows; that of a new one is no larger than they are.
                    std::thread::scope(|scope| {
                        let run =
                            || quantised::multiply(result.get_mut(), left.get(), &matrix, bias.get(), kernel);
                        scope.spawn(run).join().unwrap();
                    });
                    result.check_guards(&format!("{rows} x {inputs} x {outputs}"));
                    found.push(result.get().to_vec());
                }
                assert!(found[0] == found[1], "{rows} x {inputs} x {outputs}");
                assert!(found[0].iter().all(|value| value.is_finite()), "{rows} x {inputs} x {outputs}");
            }
        }
    }
}
