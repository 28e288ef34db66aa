//! What a task grafts onto the frozen encoder, and the sealed folder that holds it.

mod config;
mod parameters;

pub use config::{AdapterActivation, AdapterConfig, Method, Pooling};
pub use parameters::{Lowest, ParameterList, ParameterSpec, Role, Site, TaskLayout, TaskParameters};
