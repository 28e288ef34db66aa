//! Where a trained adapter goes: a folder of its own, or a bank.

use std::path::{Path, PathBuf};

use grafter::adapter::{self, Adapter, AdapterError, Companion, MANIFEST_FILE};
use grafter::bank::{Add, Bank, BankError, Incoming, Probes, TaskName, Version, generated_rows, rows_of};
use grafter::data::{LabelledFile, LabelledRows};
use grafter::digest::sha256_file;
use grafter::graft::GraftOptions;
use grafter::lock::OutputLock;
use grafter::model::Model;
use grafter::train::Ending;

use super::super::output::{beside, free_place, lock};
use super::super::{DEFAULT_MODEL, open_bank_model, open_model};
use crate::args::Train;
use crate::failure::Failure;
use crate::terminal::tell;

pub enum Target {
    Folder { path: PathBuf, overwrite: bool, _lock: OutputLock },
    Bank(Box<Place>),
}

/// A place in a bank.
pub struct Place {
    _lock: OutputLock,
    bank: Bank,
    task: TaskName,
    add: Add,
    made_up_probes: bool,
    /// The model that was named, for a hint.
    model: Option<String>,
}

/// Where the adapter is.
pub struct Saved {
    /// Its folder.
    pub folder: PathBuf,
    /// Its task and version in a bank, as they are asked for.
    pub task: Option<String>,
}

impl Target {
    /// The target that the flags name; checked, so that hours of training do not end in a refusal.
    pub fn of(arguments: &Train) -> Result<Self, Failure> {
        if let (Some(path), Some(task)) = (&arguments.bank, &arguments.task) {
            return Self::in_bank(Bank::open(path)?, task, arguments);
        }
        let path = arguments.out.clone().expect("clap asks for --out where there is no --bank");
        // First, so that no run disturbs another one by looking.
        let lock = lock(&path, "")?;
        // Of a run that is resumed, what is there may be its own: see `allow_own`.
        adapter::check_target(&path, arguments.overwrite || arguments.resume)?;
        Ok(Self::Folder { path, overwrite: arguments.overwrite, _lock: lock })
    }

    /// A task of a bank, whose name must be free unless the flags say otherwise.
    pub fn in_bank(bank: Bank, task: &TaskName, arguments: &Train) -> Result<Self, Failure> {
        let add = if arguments.new_version { Add::NewVersion } else { Add::New };
        if add == Add::New && !arguments.resume && bank.find_task(task)?.is_some() {
            return Err(BankError::TaskExists { name: task.clone() }.into());
        }
        let lock = lock(bank.path(), &format!(".{task}"))?;
        let (task, made_up_probes) = (task.clone(), arguments.made_up_probes);
        let model = arguments.model.model.clone();
        Ok(Self::Bank(Box::new(Place { _lock: lock, bank, task, add, made_up_probes, model })))
    }

    /// Of a run that is resumed: what is in its place is replaced if the run itself wrote it when it was interrupted. If it is
    /// finished, it may be what the run wrote just before it was killed: then it must be what comes out again.
    pub fn allow_own(&mut self, options: &GraftOptions, has_checkpoint: bool) -> Result<(), Failure> {
        let found = match self {
            Self::Folder { path, overwrite: false, .. } if path.join(MANIFEST_FILE).is_file() => {
                adapter::read_manifest(path)?
            }
            Self::Bank(place) if place.add == Add::New => match place.bank.find_task(&place.task)? {
                Some(task) => place.bank.manifest(&place.task, &task.newest().version)?,
                None => return Ok(()),
            },
            Self::Folder { .. } | Self::Bank(_) => return Ok(()),
        };
        if !(has_checkpoint && options.gave(&found)) {
            return Err(self.exists());
        }
        let interrupted = found.training.is_some_and(|training| training.ending == Ending::Interrupted);
        match self {
            Self::Folder { overwrite, .. } => *overwrite = interrupted,
            Self::Bank(place) if interrupted => place.add = Add::NewVersion,
            Self::Bank(_) => {}
        }
        Ok(())
    }

    /// Something is in its place.
    fn exists(&self) -> Failure {
        match self {
            Self::Folder { path, .. } => AdapterError::Exists { path: path.clone() }.into(),
            Self::Bank(place) => BankError::TaskExists { name: place.task.clone() }.into(),
        }
    }

    /// Whether this very adapter is in its place.
    fn has(&self, adapter: &Adapter) -> bool {
        let digest = adapter.digest();
        match self {
            Self::Folder { path, .. } => {
                sha256_file(&path.join(MANIFEST_FILE)).is_ok_and(|there| there == digest)
            }
            Self::Bank(place) => {
                let task = place.bank.find_task(&place.task).ok().flatten();
                task.is_some_and(|task| task.newest().version.as_str() == digest)
            }
        }
    }

    /// `<OUT>.checkpoints` or `<BANK>.<TASK>.checkpoints`: beside the folder, which is written when the run has ended.
    pub fn checkpoints(&self) -> PathBuf {
        match self {
            Self::Folder { path, .. } => beside(path, ".checkpoints"),
            Self::Bank(place) => beside(place.bank.path(), &format!(".{}.checkpoints", place.task)),
        }
    }

    /// What nothing else may be written into.
    pub fn path(&self) -> &Path {
        match self {
            Self::Folder { path, .. } => path,
            Self::Bank(place) => place.bank.path(),
        }
    }

    /// The flag that names it, with its value.
    pub fn flag(&self) -> (&'static str, &Path) {
        let flag = match self {
            Self::Folder { .. } => "--out",
            Self::Bank(_) => "--bank",
        };
        (flag, self.path())
    }

    /// What it is, for messages.
    pub fn what(&self) -> &'static str {
        match self {
            Self::Folder { .. } => "adapter's folder",
            Self::Bank(_) => "bank",
        }
    }

    /// `<OUT>.log.jsonl` or `<BANK>.<TASK>.log.jsonl`: beside the folder, so that a run that is killed leaves its log.
    pub fn log(&self) -> PathBuf {
        match self {
            Self::Folder { path, .. } => beside(path, ".log.jsonl"),
            Self::Bank(place) => beside(place.bank.path(), &format!(".{}.log.jsonl", place.task)),
        }
    }

    pub fn open_model(&self, arguments: &Train) -> Result<Model, Failure> {
        let named = arguments.model.model.as_deref();
        match self {
            Self::Folder { .. } => {
                open_model(named.unwrap_or(DEFAULT_MODEL), arguments.base.unwrap_or_default())
            }
            Self::Bank(place) => open_bank_model(&place.bank, named),
        }
    }

    /// Writes the adapter. Where it cannot come into the bank any more, it is kept beside it.
    pub fn save(
        &self,
        adapter: &Adapter,
        companions: &[(Companion, Vec<u8>)],
        (model, dev): (&Model, &LabelledFile),
    ) -> Result<Saved, Failure> {
        // Of a run that was killed after it: then the same bytes come into their own place.
        let again = self.has(adapter);
        match self {
            Self::Folder { path, overwrite, .. } => {
                adapter.save_with(path, *overwrite || again, companions)?;
                Ok(Saved { folder: path.clone(), task: None })
            }
            Self::Bank(place) => match place.put(adapter, companions, (model, dev), again) {
                Ok(version) => Ok(Saved {
                    folder: place.bank.version_folder(&place.task, &version),
                    task: Some(format!("{}@{}", place.task, version.short())),
                }),
                Err(failure) => {
                    let kept = free_place(place.bank.path(), &format!(".{}.adapter", place.task));
                    adapter.save_with(&kept, false, companions)?;
                    let (bank, task) = (place.bank.path().display(), &place.task);
                    let taken = matches!(
                        &failure,
                        Failure::Library(grafter::Error::Bank(BankError::TaskExists { .. }))
                    );
                    tell(format_args!(
                        "the adapter was kept: `grafter bank add {bank} {} --task {task}{}{}` puts it into the bank",
                        kept.display(),
                        if taken { " --new-version" } else { "" },
                        place.model.as_ref().map_or(String::new(), |model| format!(" --model {model}")),
                    ));
                    Err(failure)
                }
            },
        }
    }
}

impl Place {
    fn put(
        &self,
        adapter: &Adapter,
        companions: &[(Companion, Vec<u8>)],
        (model, dev): (&Model, &LabelledFile),
        again: bool,
    ) -> Result<Version, Failure> {
        let rows = match self.made_up_probes {
            true => generated_rows(dev.task().scheme.kind(), dev.task().pair, adapter.manifest().max_length),
            false => rows_of(dev)?,
        };
        let probes = Probes::take(model, adapter, &rows)?;
        let add = if again { Add::NewVersion } else { self.add };
        Ok(self.bank.add(&self.task, &Incoming { adapter, probes: &probes, companions }, add)?)
    }
}
