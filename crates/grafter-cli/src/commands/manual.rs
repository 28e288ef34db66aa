//! `grafter completions` and `grafter man`: what is known of the command line, for shells and for `man`.

use clap::CommandFactory;

use super::print;
use crate::Outcome;
use crate::args::{Arguments, Completions, Man};
use crate::failure::Failure;

pub fn completions(arguments: &Completions) -> Result<Outcome, Failure> {
    let mut command = Arguments::command();
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "grafter", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Outcome::Done)
}

pub fn pages(arguments: &Man) -> Result<Outcome, Failure> {
    let failed = |source| Failure::Write { path: arguments.out.clone(), source };
    std::fs::create_dir_all(&arguments.out).map_err(failed)?;
    // The pages of commands that have commands of their own are among them.
    clap_mangen::generate_to(Arguments::command(), &arguments.out).map_err(failed)?;
    print(&format!("pages    {}\n", arguments.out.display()))?;
    Ok(Outcome::Done)
}
