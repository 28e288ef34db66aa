//! What a task grafts onto the frozen encoder, and the sealed folder that holds it.

mod card;
mod config;
mod error;
mod folder;
mod manifest;
mod parameters;

pub use config::{AdapterActivation, AdapterConfig, Method, Pooling};
pub use error::AdapterError;
pub(crate) use folder::weights_digest;
pub use folder::{
    Adapter, CARD_FILE, Companion, MANIFEST_FILE, WEIGHTS_FILE, check_target, parent_of, read_manifest,
};
pub use manifest::{BaseRecord, FORMAT_VERSION, Manifest, ScoreScale, TaskRecord, TrainingRecord};
pub use parameters::{Lowest, ParameterList, ParameterSpec, Role, Site, TaskLayout, TaskParameters};
