//! From gradients to new parameters: the learning rate of each step and the AdamW update.

mod adamw;
mod schedule;

pub use adamw::{AdamW, Moments, clipping, norm};
pub use schedule::LinearSchedule;
