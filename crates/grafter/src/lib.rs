//! Small adapters on one frozen Transformer encoder.

pub mod digest;
pub mod hub;
