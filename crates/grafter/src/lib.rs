//! Small adapters on one frozen Transformer encoder: adapter tuning (Houlsby et al. 2019).
//!
//! A pretrained encoder is frozen. Each task trains two bottleneck adapters a layer, the layer normalisations and a
//! head: a few percent of the encoder's numbers, in a file of their own. Tasks are trained one after another, never
//! disturb each other, and are answered together.
//!
//! ```text
//! text file ─ data ─▶ rows ─ tokenizer ─▶ token ids ─ batch ─▶ packed batch ─ encoder + adapter ─▶ hidden states
//!     ─ head ─▶ logits ─ gradient ─▶ gradients of the trained parameters ─ optim, train ─▶ adapter folder
//!                  └─▶ eval · predict
//! ```
//!
//! # Train, save, load and predict
//!
//! ```
//! use std::path::Path;
//!
//! use grafter::adapter::Adapter;
//! use grafter::data::{Dataset, Row, Source, TaskKind};
//! use grafter::graft::{GraftOptions, graft};
//! use grafter::model::Model;
//! use grafter::predict::{Prediction, predict};
//!
//! # fn main() -> Result<(), grafter::Error> {
//! # let scratch = tempfile::tempdir().expect("a temporary folder");
//! # let folder = scratch.path();
//! # let rows: String = (0..40).map(|i| if i % 2 == 0 { "a good day\tyes\n" } else { "a bad day\tno\n" }).collect();
//! # std::fs::write(folder.join("train.tsv"), format!("text\tlabel\n{rows}")).expect("a file");
//! # std::fs::write(folder.join("dev.tsv"), format!("text\tlabel\n{rows}")).expect("a file");
//! // `grafter::hub::resolve("minilm", &mut ())?` gives the folder of a real model, fetched if it is missing.
//! let model = Model::read(Path::new("tests/fixtures/tiny-bert"), "tiny-bert")?;
//!
//! let train = Dataset::read_train(&Source::new(folder.join("train.tsv")), TaskKind::Classification)?;
//! let dev = Dataset::read_eval(&Source::new(folder.join("dev.tsv")), &train.task)?;
//! let mut options = GraftOptions { bottleneck: 8, max_length: 32, ..GraftOptions::default() };
//! options.train.epochs = Some(20);
//! let grafted = graft(&model, &train, &dev, &options, &mut ())?;
//! grafted.adapter.save(&folder.join("adapter"), false)?;
//!
//! let adapter = Adapter::load(&folder.join("adapter"), &model)?;
//! for answer in predict(&model, &adapter, &[Row::single("a good day"), Row::single("a bad day")])? {
//!     let Prediction::Class { label, score, .. } = answer else { unreachable!("the task has classes") };
//!     println!("{label} {score:.3}");
//! #   assert!(["yes", "no"].contains(&label.as_str()) && score >= 0.5);
//! }
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod ablation;
pub mod adapter;
pub mod adapterhub;
pub mod answers;
pub mod bank;
pub mod batch;
pub mod calibration;
mod caught;
pub mod checkpoint;
pub mod compare;
pub mod data;
pub mod difference;
pub mod digest;
pub mod durable;
pub mod encoded;
pub mod encoder;
pub mod entities;
mod error;
pub mod eval;
mod fitted;
pub mod forgetting;
pub mod gradient;
pub mod graft;
pub mod head;
pub mod hub;
pub mod lock;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod onnx;
pub mod optim;
pub mod panel;
pub mod predict;
pub mod prefix;
pub mod question_answering;
pub mod random;
mod regular;
pub mod report;
pub mod review;
pub mod row_encoding;
pub mod store;
pub mod tensors;
pub mod text;
pub mod thresholds;
pub mod tokenizer;
pub mod train;

pub use caught::panic_is_caught;
pub use error::Error;
