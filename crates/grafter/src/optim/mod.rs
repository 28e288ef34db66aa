//! From gradients to new parameters: the learning rate of each step and the AdamW update.

mod adamw;
mod schedule;

pub use adamw::{AdamW, Moments, clip_to_norm};
pub use schedule::LinearSchedule;
