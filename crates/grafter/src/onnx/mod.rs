//! An adapter and its base as one model of ONNX, which other programs run: ONNX Runtime, in a browser, on a phone.
//!
//! ```text
//! Adapter, Model ─ network ─ head ─▶ graph (operations, fixed tensors) ─ export ─▶ messages of protobuf ─▶ a file
//! ```
//!
//! The graph is the forward pass of [`crate::encoder`] and [`crate::head`] in single precision over padded rows; nothing reads
//! their padding. Nothing is executed here and no file but the target is touched: the numbers come from memory.

mod error;
mod export;
mod graph;
mod head;
mod network;
pub mod proto;

pub use error::OnnxError;
pub use export::{OPSET, OnnxModel, check_target, export};
