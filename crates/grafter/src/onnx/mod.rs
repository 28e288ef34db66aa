//! An adapter and its base as one model of ONNX, which other programs run: ONNX Runtime, in a browser, on a phone.
//!
//! ```text
//! Adapter, Model ─ network ─ head ─▶ graph (operations, fixed tensors) ─ export ─▶ messages of protobuf ─▶ a file
//! ```
//!
//! The graph is the forward pass of [`crate::encoder`] and [`crate::head`] in single precision over padded rows; nothing reads
//! their padding. `network` calls what the families differ in: layers (`post_norm`, `pre_norm`), and in their attention what
//! positions do (`relative_position`, `rotary`, `disentangled`), each in a file that is called as the passes or the operation are. Nothing is executed here and no file but the target is touched: the numbers come from memory.

mod attention;
mod disentangled;
mod embeddings;
mod error;
mod export;
mod graph;
mod head;
mod network;
mod places;
mod post_norm;
mod pre_norm;
pub mod proto;
mod relative_position;
mod rotary;

pub use error::OnnxError;
pub use export::{OPSET, OnnxModel, check_target, export};
