//! Reports as pages in one file: what a run did, for people.
//!
//! [`page`] holds sections, [`chart`] draws plots and heat maps as inline SVG, [`table`] and [`number`] set numbers, [`html`]
//! escapes whatever is not a constant. [`train`] is the report of one training run, [`compare`] that of a comparison,
//! [`ablation`] that of an ablation, [`forgetting`] that of tasks trained in a sequence. Nothing here reads a clock or a model,
//! and the same input gives the same bytes.

pub mod ablation;
pub mod chart;
pub mod compare;
pub mod forgetting;
pub mod html;
pub mod number;
pub mod page;
pub mod table;
pub mod train;
