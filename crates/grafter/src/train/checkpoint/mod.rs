//! Checkpoints of a run: its whole state in a file, so that a run that ended at any instant goes on from there and ends in
//! the same bytes as one that never did.
//!
//! ```text
//! step-0000000400.<SHA-256 of the file>.safetensors    the state after 400 steps
//! step-0000000200.<SHA-256 of the file>.safetensors    the one before, should the newest be broken
//! ```
//!
//! A file comes into its place whole, by one rename, before an older one goes. There is no lock here: that no other run
//! writes to the folder is the caller's to know.

mod file;

use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;
use thiserror::Error;

pub(super) use self::file::{Bounds, Saved, SavedBest};
use self::file::{FORMAT_VERSION, Unusable};
use super::{History, TrainObserver, TrainState};
use crate::adapter::TaskLayout;
use crate::difference::{Difference, differ};
use crate::durable::{clear_temporary, disk};
use crate::text::escape;

/// Files that are kept: the newest, and the one before it.
const KEPT: usize = 2;

/// Where a run writes its checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointFolder {
    /// The folder; it is made with the first checkpoint and holds nothing else.
    pub path: PathBuf,
    /// Whether the run goes on from the newest checkpoint that is there, if there is one.
    pub resume: bool,
}

impl CheckpointFolder {
    /// Whether a checkpoint is there, be it whole or broken.
    /// # Errors
    /// If the folder cannot be read.
    pub fn is_used(&self) -> io::Result<bool> {
        Ok(!found(&self.path)?.is_empty())
    }

    /// Takes the checkpoints away, once the run has ended and they serve nobody any more. What else lies there stays, and
    /// then the folder too.
    /// # Errors
    /// What the system says.
    pub fn clear(&self) -> io::Result<()> {
        if !self.path.is_dir() {
            return Ok(());
        }
        clear_temporary(&self.path)?;
        for found in found(&self.path)? {
            disk::remove_file(&found.path)?;
        }
        match disk::remove_empty_folder(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            removed => removed,
        }
    }
}

/// Why a run cannot go on from where it was.
#[derive(Debug, Error)]
pub enum ResumeError {
    /// The checkpoint is of a run with other rows, settings, model or program.
    #[error("`{}` is of another run: {what} was {expected}, now it is {found}", path.display())]
    OtherRun {
        /// The checkpoint.
        path: PathBuf,
        /// What differs.
        what: String,
        /// As it was.
        expected: String,
        /// As it is.
        found: String,
    },
    /// The checkpoint is of another version of the program.
    #[error("`{}` has layout {found}, this version of grafter reads {expected}", path.display())]
    Layout {
        /// The checkpoint.
        path: PathBuf,
        /// The layout that is known.
        expected: u32,
        /// That of the file.
        found: u32,
    },
    /// The folder or the checkpoint cannot be read: what is in it may be good.
    #[error("cannot read `{}`: {source}", path.display())]
    Io {
        /// The folder or the file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What an observer is told of checkpoints.
#[derive(Debug)]
pub enum CheckpointReport<'a> {
    /// The run was to be resumed, and no checkpoint is there that can be used: it begins with its first step.
    Missing {
        /// Where one was looked for.
        folder: &'a Path,
    },
    /// The run goes on from a checkpoint.
    Resumed {
        /// Steps that are done.
        step: u64,
        /// What the run did until then.
        history: &'a History,
    },
    /// A checkpoint is broken; the one before it is looked at.
    Unusable {
        /// The file.
        path: &'a Path,
        /// What is wrong with it.
        reason: &'a str,
    },
    /// A checkpoint was written.
    Written {
        /// Steps that are done.
        step: u64,
    },
    /// A checkpoint could not be written; the run goes on, and those before it are as they were.
    Failed {
        /// Where it was to be.
        folder: &'a Path,
        /// What the system said.
        error: &'a io::Error,
    },
    /// The state is written, and checkpoints that serve nobody any more cannot be taken away.
    Kept {
        /// Where they are.
        folder: &'a Path,
        /// What the system said.
        error: &'a io::Error,
    },
}

/// The checkpoints of one run.
#[derive(Debug)]
pub struct Checkpoints<'a> {
    folder: &'a CheckpointFolder,
    /// All that decides what the run computes.
    run: Value,
}

impl<'a> Checkpoints<'a> {
    /// `run` is all that decides what the run computes, by name: of another run no checkpoint is read.
    pub fn new(folder: &'a CheckpointFolder, run: Value) -> Self {
        Self { folder, run }
    }

    /// The state to go on from: that of the newest checkpoint that is whole, if the run is to be resumed and there is one.
    /// # Errors
    /// If the folder or a checkpoint cannot be read, or the checkpoint is of another run or of another layout.
    pub(super) fn newest(
        &self,
        layout: &TaskLayout,
        bounds: &Bounds,
        observer: &mut dyn TrainObserver,
    ) -> Result<Option<Saved>, ResumeError> {
        if !self.folder.resume {
            return Ok(None);
        }
        let io = |source| ResumeError::Io { path: self.folder.path.clone(), source };
        for found in found(&self.folder.path).map_err(io)? {
            let path = found.path.clone();
            let reason = match self.read(&found, layout, bounds)? {
                Ok(saved) => {
                    let Saved { state, .. } = &saved;
                    let (step, history) = (state.step, &state.history);
                    observer.checkpoint(&CheckpointReport::Resumed { step, history });
                    return Ok(Some(saved));
                }
                Err(Unusable::Broken(reason)) => reason,
                Err(Unusable::Layout(found)) => {
                    return Err(ResumeError::Layout { path, expected: FORMAT_VERSION, found });
                }
                Err(Unusable::Long { found, most }) => {
                    let (what, expected) = ("the length of the header".to_owned(), found.to_string());
                    let found = format!("at most {most}");
                    return Err(ResumeError::OtherRun { path, what, expected, found });
                }
                Err(Unusable::Unread(source)) => return Err(ResumeError::Io { path, source }),
            };
            let reason = escape(&reason, 200);
            observer.checkpoint(&CheckpointReport::Unusable { path: &path, reason: &reason });
        }
        observer.checkpoint(&CheckpointReport::Missing { folder: &self.folder.path });
        Ok(None)
    }

    /// A checkpoint's state, or why it cannot be used.
    /// # Errors
    /// If it is of another run.
    fn read(
        &self,
        found: &Found,
        layout: &TaskLayout,
        bounds: &Bounds,
    ) -> Result<Result<Saved, Unusable>, ResumeError> {
        let (run, rest) = match file::open(&found.path, &found.sha256, &self.run) {
            Ok(opened) => opened,
            Err(unusable) => return Ok(Err(unusable)),
        };
        match differ("", &run, &self.run) {
            Err(Difference { what, expected, found: now }) => {
                Err(ResumeError::OtherRun { path: found.path.clone(), what, expected, found: now })
            }
            Ok(()) => Ok(rest.read(layout, bounds)),
        }
    }

    /// Writes the state; says whether it could.
    pub(super) fn write(&self, state: &TrainState, observer: &mut dyn TrainObserver) -> bool {
        let folder = &self.folder.path;
        let written = file::write(folder, &self.run, state);
        observer.checkpoint(&match &written {
            Ok(()) => CheckpointReport::Written { step: state.step },
            Err(error) => CheckpointReport::Failed { folder, error },
        });
        if written.is_ok()
            && let Err(error) = prune(folder, state.step)
        {
            observer.checkpoint(&CheckpointReport::Kept { folder, error: &error });
        }
        written.is_ok()
    }
}

/// A file that has the name of a checkpoint.
struct Found {
    path: PathBuf,
    step: u64,
    sha256: String,
}

/// The checkpoints of a folder, the newest first; none if it is not there.
fn found(folder: &Path) -> io::Result<Vec<Found>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some((step, sha256)) = file::parse_name(&name) {
            found.push(Found { step, sha256: sha256.to_owned(), path });
        }
    }
    // Of one step there may be two where the runs had other settings: any order will do, if it is always the same.
    found.sort_unstable_by(|a, b| b.step.cmp(&a.step).then_with(|| a.sha256.cmp(&b.sha256)));
    Ok(found)
}

/// Takes away all but the newest, and what a process left that was killed in writing. What claims to be further than this step is
/// broken, or this run would have gone on from it.
fn prune(folder: &Path, step: u64) -> io::Result<()> {
    clear_temporary(folder)?;
    let (further, known): (Vec<Found>, Vec<Found>) =
        found(folder)?.into_iter().partition(|found| found.step > step);
    for gone in further.iter().chain(known.iter().skip(KEPT)) {
        disk::remove_file(&gone.path)?;
    }
    Ok(())
}
