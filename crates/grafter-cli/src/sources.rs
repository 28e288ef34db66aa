//! From what flags name to data files: files and patterns of names here, and data sets of the Hugging Face hub.

use std::path::Path;

use grafter::compare::TaskSource;
use grafter::data::{Source, SourceFile, TaskKind, find_files, refuse_twice};
use grafter::hub::{DataSets, is_address};

use crate::args::RowArgs;
use crate::failure::Failure;
use crate::progress::PullBar;

/// The files of one command: of a data set on the hub all are of the same commit.
pub struct Sources<'a> {
    rows: &'a RowArgs,
    hub: DataSets,
    bar: PullBar,
}

impl<'a> Sources<'a> {
    /// Files that are read in this way.
    pub fn new(rows: &'a RowArgs) -> Self {
        Self { rows, hub: DataSets::from_env(), bar: PullBar::default() }
    }

    /// The files that a flag names; what is on the hub is fetched.
    pub fn files<P: AsRef<Path>>(&mut self, names: &[P]) -> Result<Vec<SourceFile>, Failure> {
        let mut files = Vec::new();
        for name in names.iter().map(AsRef::as_ref) {
            match name.to_str().filter(|_| is_address(name)) {
                Some(address) => files.extend(self.hub.files(address, &mut self.bar)?),
                None => files.extend(find_files(&[name])?),
            }
        }
        refuse_twice(&files)?;
        Ok(files)
    }

    /// The same with how they are read.
    pub fn source<P: AsRef<Path>>(&mut self, names: &[P]) -> Result<Source, Failure> {
        self.files(names).map(|files| self.read_as_named(files))
    }

    /// The same of a flag that may be absent.
    pub fn if_named<P: AsRef<Path>>(&mut self, names: &[P]) -> Result<Option<Source>, Failure> {
        (!names.is_empty()).then(|| self.source(names)).transpose()
    }

    /// A task whose splits lie in a folder, or are a data set on the hub.
    pub fn task(&mut self, name: &str, folder: &Path) -> Result<TaskSource, Failure> {
        let Some(address) = folder.to_str().filter(|_| is_address(folder)) else {
            let mut task = TaskSource::in_folder(name, folder, &self.rows.columns())?;
            for source in
                [Some(&mut task.train), Some(&mut task.dev), task.test.as_mut()].into_iter().flatten()
            {
                source.format = self.rows.format;
            }
            return Ok(task);
        };
        let splits = self.hub.splits(address, &mut self.bar)?;
        Ok(TaskSource {
            name: name.to_owned(),
            kind: TaskKind::Classification,
            metric: None,
            train: self.read_as_named(splits.train),
            dev: self.read_as_named(splits.dev),
            test: Some(splits.test).filter(|files| !files.is_empty()).map(|files| self.read_as_named(files)),
        })
    }

    fn read_as_named(&self, files: Vec<SourceFile>) -> Source {
        Source { format: self.rows.format, columns: self.rows.columns(), ..Source::of(files) }
    }
}
