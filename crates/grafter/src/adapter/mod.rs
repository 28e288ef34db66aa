//! What a task grafts onto the frozen encoder, and the sealed folder that holds it.

mod card;
mod config;
mod consistency;
mod error;
mod folder;
mod layout;
mod list;
mod manifest;
mod method;
mod parameters;
mod tuned;

pub(crate) use card::exported_card;
pub(crate) use config::is_false;
pub use config::{AdapterActivation, AdapterConfig, Bottleneck, HeadForm, Pooling, Unfit};
pub use error::AdapterError;
pub(crate) use folder::weights_digest;
pub use folder::{Adapter, CARD_FILE, Companion, MANIFEST_FILE, WEIGHTS_FILE, check_target, read_manifest};
pub use layout::TaskLayout;
pub use list::{Lowest, ParameterList, ParameterSpec, Place, Projection, Role, Site};
pub use manifest::{
    BaseDifference, BaseRecord, FORMAT_VERSION, ImportRecord, Manifest, ScoreScale, TaskRecord,
    TrainingRecord,
};
pub use method::Method;
pub use parameters::TaskParameters;
pub use tuned::{Tuned, TunedGradients};
