//! Pure f32 operations of a Transformer encoder with adapters, forward and backward side by side.
//!
//! Each file is one operation. Everything here works on plain slices of `f32` in row-major order and runs on the
//! calling thread; how work is shared between threads is decided by the caller. This crate does no input or output,
//! reads no clock, holds no random state and knows nothing of files, names or tasks.
//!
//! A network is built from these operations as in Devlin et al. 2018 (BERT) with the bottleneck adapters of
//! Houlsby et al. 2019:
//!
//! ```text
//! embedding ─ layer_norm ─ dropout ─┬─ linear (q,k,v) ─ attention ─ linear ─ dropout ─ adapter ─ residual ─ layer_norm ─┐
//!                                   └───────────────────────────────── skip ─────────────────────┘                     │
//!   ┌──────────────────────────────────────────────────────────────────────────────────────────────────────────────────┘
//!   ├─ linear ─ activation ─ linear ─ dropout ─ adapter ─ residual ─ layer_norm ─▶ next layer … pooling ─ linear ─ loss
//!   └──────────────────────── skip ───────────────────────┘
//! ```

pub mod activation;
pub mod adamw;
pub mod adapter;
pub mod attention;
pub mod disentangled;
pub mod dropout;
#[cfg(test)]
mod edges;
pub mod embedding;
pub mod gated;
pub mod gemm;
mod kernel;
pub mod layer_norm;
pub mod linear;
pub mod loss;
mod matrix;
pub mod packed;
pub mod pooling;
pub mod quantised;
pub mod relative_position;
pub mod residual;
pub mod rotary;
mod scalar;
pub mod simd;
#[cfg(test)]
mod testing;
