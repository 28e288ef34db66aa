//! `grafter pull`: fetches a pretrained model into the cache and says where it is.

use grafter::hub;

use serde_json::json;

use super::{print, print_json};
use crate::Outcome;
use crate::args::Pull;
use crate::failure::Failure;
use crate::progress::PullBar;

pub fn run(arguments: &Pull) -> Result<Outcome, Failure> {
    let folder = hub::pull(&arguments.model, arguments.force, &mut PullBar::default())?;
    if arguments.json {
        print_json(&json!({ "model": arguments.model, "folder": folder }))?;
    } else {
        print(&format!("{}\n", folder.display()))?;
    }
    Ok(Outcome::Done)
}
