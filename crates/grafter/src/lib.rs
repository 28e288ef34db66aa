//! Small adapters on one frozen Transformer encoder.

pub mod adapter;
pub mod batch;
pub mod checkpoint;
pub mod digest;
pub mod encoder;
pub mod gradient;
pub mod head;
pub mod hub;
pub mod model;
pub mod optim;
pub mod predict;
pub mod random;
pub mod tokenizer;
pub mod train;
