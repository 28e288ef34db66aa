//! Small adapters on one frozen Transformer encoder.

pub mod adapter;
pub mod batch;
pub mod checkpoint;
pub mod data;
pub mod digest;
pub mod encoder;
mod error;
pub mod eval;
pub mod gradient;
pub mod graft;
pub mod head;
pub mod hub;
pub mod metrics;
pub mod model;
pub mod optim;
pub mod predict;
pub mod random;
pub mod tokenizer;
pub mod train;

pub use error::Error;
