//! GFLOP/s of one thread on the products of a MiniLM encoder, by the orientation in which the weight is stored.
//!
//!     cargo run --release -p grafter-nn --example gemm_orientation

use std::time::Instant;

use grafter_nn::gemm::{Matrix, MatrixMut, Write, matmul};

/// Rounds of one product; the median is shown.
const ROUNDS: usize = 61;

fn main() {
    println!("tokens  inputs  outputs   [outputs, inputs]   [inputs, outputs]");
    for tokens in [48, 96, 192, 512] {
        for (inputs, outputs) in [(384, 384), (384, 1152), (384, 1536), (1536, 384)] {
            let x = vec![0.5; tokens * inputs];
            let weight = vec![0.5; inputs * outputs];
            let mut y = vec![0.0; tokens * outputs];
            let rates =
                [Matrix::new(&weight, outputs, inputs).transposed(), Matrix::new(&weight, inputs, outputs)]
                    .map(|weight| {
                        let mut seconds: Vec<f64> = (0..ROUNDS)
                            .map(|_| {
                                let start = Instant::now();
                                let y = MatrixMut::new(&mut y, tokens, outputs);
                                matmul(y, Matrix::new(&x, tokens, inputs), weight, Write::Replace);
                                start.elapsed().as_secs_f64()
                            })
                            .collect();
                        seconds.sort_by(f64::total_cmp);
                        2.0 * (tokens * inputs * outputs) as f64 / seconds[ROUNDS / 2] / 1e9
                    });
            println!("{tokens:6}  {inputs:6}  {outputs:7}   {:17.1}   {:17.1}", rates[0], rates[1]);
        }
    }
}
