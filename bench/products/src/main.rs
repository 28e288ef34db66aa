//! GFLOP/s of one thread on the products of a MiniLM encoder, `x · weightᵀ`: with the weight laid out for the kernel once,
//! anew in every product, or quantised once to 8 bits, and by the `gemm` crate for comparison.
//!
//!     cargo run --release --manifest-path bench/products/Cargo.toml

use std::hint::black_box;
use std::time::Instant;

use grafter_nn::gemm::{Matrix, MatrixMut, Start, matmul, matmul_packed};
use grafter_nn::packed::PackedMatrix;
use grafter_nn::quantised::{QuantisedMatrix, matmul_quantised};

/// Rounds of one product; the median is shown.
const ROUNDS: usize = 61;

fn main() {
    println!("tokens  inputs  outputs     packed once   packed anew   gemm crate   in 8 bits");
    for tokens in [12, 48, 96, 192, 512] {
        for (inputs, outputs) in [(384, 64), (384, 384), (384, 1152), (384, 1536), (1536, 384)] {
            let x = vec![0.5; tokens * inputs];
            let weight = vec![0.5; inputs * outputs];
            let mut y = vec![0.0; tokens * outputs];
            let left = Matrix::new(&x, tokens, inputs);
            let right = Matrix::new(&weight, outputs, inputs).transposed();
            let packed = PackedMatrix::new(right);
            let quantised = QuantisedMatrix::new(&weight, outputs, inputs);
            let bias = vec![0.5; outputs];
            let rate = |seconds: f64| 2.0 * (tokens * inputs * outputs) as f64 / seconds / 1e9;
            let once = median(|| {
                matmul_packed(MatrixMut::new(&mut y, tokens, outputs), left, &packed, Start::Zero);
            });
            let anew = median(|| matmul(MatrixMut::new(&mut y, tokens, outputs), left, right, Start::Zero));
            let of_crate = median(|| by_crate(&x, &weight, &mut y, [tokens, inputs, outputs]));
            let in_8_bits = median(|| matmul_quantised(&mut y, &x, &quantised, &bias));
            println!(
                "{tokens:6}  {inputs:6}  {outputs:7}   {:13.1} {:13.1} {:12.1} {:11.1}",
                rate(once),
                rate(anew),
                rate(of_crate),
                rate(in_8_bits)
            );
            black_box(&y);
        }
    }
}

fn by_crate(x: &[f32], weight: &[f32], y: &mut [f32], [tokens, inputs, outputs]: [usize; 3]) {
    // SAFETY: the three slices are dense matrices of these sizes, and `y` overlaps neither operand.
    unsafe {
        gemm::gemm(
            tokens,
            outputs,
            inputs,
            y.as_mut_ptr(),
            1,
            outputs as isize,
            false,
            x.as_ptr(),
            1,
            inputs as isize,
            weight.as_ptr(),
            inputs as isize,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
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
