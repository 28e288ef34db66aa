//! Small adapters on one frozen Transformer encoder.

pub mod data;
pub mod metrics;
