use crate::Outcome;
use crate::args::CheckData;
use crate::failure::Failure;

pub fn run(_: &CheckData) -> Result<Outcome, Failure> {
    Ok(Outcome::Done)
}
