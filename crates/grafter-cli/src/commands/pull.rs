//! `grafter pull`: fetches a pretrained model into the cache and says where it is.

use grafter::hub;

use super::print;
use crate::Outcome;
use crate::args::Pull;
use crate::failure::Failure;
use crate::progress::PullBar;

pub fn run(arguments: &Pull) -> Result<Outcome, Failure> {
    let folder = hub::pull(&arguments.model, arguments.force, &mut PullBar::default())?;
    print(&format!("{}\n", folder.display()))?;
    Ok(Outcome::Done)
}
