//! Adapters of AdapterHub's library `adapters` (Poth et al. 2023), read and written: bottleneck adapters in the configurations
//! of Houlsby and of Pfeiffer, with their classification heads.
//!
//! ```text
//! adapter_config.json ─ config ─┐
//! head_config.json ─ head ──────┼─ names ─▶ AdapterConfig, tensors ─▶ import ─▶ Adapter
//! adapter.safetensors or .bin ──┘                         Adapter ─▶ export ─▶ the same files
//! ```
//!
//! What the files name and this program does not compute is refused, never guessed; a tensor that is not the adapter's or its
//! head's is refused, so that nothing of the base can be overwritten. The other way, what the format cannot hold is named
//! ([`Loss`]), and the caller decides.

mod config;
mod error;
mod export;
mod fields;
mod head;
mod import;
mod names;
mod tensors;

pub use error::AdapterHubError;
pub use export::{Exported, Loss, export};
pub use import::{ImportOptions, import};

/// The version of the format that is written.
pub const FORMAT: &str = "adapters.1.3.0";

/// The description of an adapter.
pub const CONFIG_FILE: &str = "adapter_config.json";
/// The description of a head.
pub const HEAD_CONFIG_FILE: &str = "head_config.json";
/// The numbers of an adapter.
pub const WEIGHTS_FILE: &str = "adapter.safetensors";
/// The numbers of a head.
pub const HEAD_WEIGHTS_FILE: &str = "model_head.safetensors";
/// The numbers of an adapter as PyTorch writes them.
const BIN_FILE: &str = "pytorch_adapter.bin";
/// The numbers of a head as PyTorch writes them.
const HEAD_BIN_FILE: &str = "pytorch_model_head.bin";
