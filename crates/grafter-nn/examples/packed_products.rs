//! GFLOP/s of one thread on the products of a MiniLM encoder: by the GEMM crate with the weight in either orientation, and
//! with the weight packed once.
//!
//!     cargo run --release -p grafter-nn --example packed_products

use std::time::Instant;

use grafter_nn::gemm::{Matrix, MatrixMut, Write, matmul};
use grafter_nn::packed::{PackedMatrix, Start, matmul_packed};

/// Rounds of one product; the median is shown.
const ROUNDS: usize = 61;

fn main() {
    println!("tokens  inputs  outputs   [outputs, inputs]   [inputs, outputs]   packed");
    for tokens in [12, 48, 96, 192, 512] {
        for (inputs, outputs) in [(384, 384), (384, 1152), (384, 1536), (1536, 384)] {
            let x = vec![0.5; tokens * inputs];
            let weight = vec![0.5; inputs * outputs];
            let mut y = vec![0.0; tokens * outputs];
            let left = Matrix::new(&x, tokens, inputs);
            let as_stored = Matrix::new(&weight, outputs, inputs).transposed();
            let transposed = Matrix::new(&weight, inputs, outputs);
            let packed = PackedMatrix::new(transposed);
            let rate = |seconds: f64| 2.0 * (tokens * inputs * outputs) as f64 / seconds / 1e9;
            println!(
                "{tokens:6}  {inputs:6}  {outputs:7}   {:17.1}   {:17.1}   {:6.1}",
                rate(median(|| matmul(
                    MatrixMut::new(&mut y, tokens, outputs),
                    left,
                    as_stored,
                    Write::Replace
                ))),
                rate(median(|| matmul(
                    MatrixMut::new(&mut y, tokens, outputs),
                    left,
                    transposed,
                    Write::Replace
                ))),
                rate(median(|| matmul_packed(&mut y, &x, &packed, Start::Zero))),
            );
        }
    }
}

/// Seconds of one call.
fn median(mut work: impl FnMut()) -> f64 {
    let mut seconds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[ROUNDS / 2]
}
