//! The pull itself, with sources that need no network; the sources' own tests are in their files.

use std::cell::Cell;
use std::fs;
use std::sync::Barrier;
use std::time::{Duration, SystemTime};

use super::install::{Source, verify};
use super::known::Published;
use super::*;
use crate::digest::sha256_hex;

pub(super) const CONFIG: &[u8] = b"{\"hidden_size\": 8}";
pub(super) const WEIGHTS: &[u8] = b"eight bytes of header, and so on, and so on, and so on, and so on";
pub(super) const TOKENIZER: &[u8] = b"{\"version\": \"1.0\"}";
const CONTENTS: [(&str, &[u8]); 3] =
    [("config.json", CONFIG), ("model.safetensors", WEIGHTS), ("tokenizer.json", TOKENIZER)];

pub(super) fn tiny_model() -> KnownModel {
    let files = CONTENTS.map(|(name, content)| PinnedFile {
        name,
        size_bytes: content.len() as u64,
        sha256: sha256_hex(content).leak(),
    });
    KnownModel {
        name: "tiny",
        repo: "somebody/tiny",
        wheel: PinnedWheel { package: "tiny", version: "1.0", folder: "tiny", size_bytes: 0, sha256: "" },
        files: Vec::from(files).leak(),
    }
}

/// Keeps what was reported.
#[derive(Default)]
pub(super) struct Recorder {
    pub lines: Vec<String>,
    pub bytes: u64,
}

impl PullProgress for Recorder {
    fn begin(&mut self, what: &str, total_bytes: Option<u64>) {
        self.lines.push(format!("begin {what} {total_bytes:?}"));
    }
    fn advance(&mut self, bytes: u64) {
        self.bytes += bytes;
    }
    fn finish(&mut self) {
        self.lines.push("finish".into());
    }
    fn note(&mut self, text: &str) {
        self.lines.push(text.to_owned());
    }
}

/// Writes these files, after all others at the barrier have come as far.
struct Fake<'a> {
    name: &'static str,
    contents: Vec<(&'static str, Vec<u8>)>,
    barrier: Option<&'a Barrier>,
    fetched: Cell<usize>,
}

impl Fake<'_> {
    fn good() -> Self {
        let contents = CONTENTS.map(|(name, content)| (name, content.to_vec())).into();
        Self { name: "good", contents, barrier: None, fetched: Cell::new(0) }
    }

    fn empty() -> Self {
        Self { name: "empty", contents: Vec::new(), ..Self::good() }
    }

    /// One byte of the weights differs.
    fn tampered() -> Self {
        let mut fake = Self { name: "tampered", ..Self::good() };
        fake.contents[1].1[3] ^= 1;
        fake
    }

    /// The configuration is longer.
    fn edited() -> Self {
        let mut fake = Self { name: "edited", ..Self::good() };
        fake.contents[0].1.push(b' ');
        fake
    }
}

impl Source for Fake<'_> {
    fn describe(&self, _what: &Published) -> String {
        self.name.to_owned()
    }

    fn fetch(
        &self,
        _what: &Published,
        _scratch: &Path,
        into: &Path,
        _progress: &mut dyn PullProgress,
    ) -> Result<(), SourceError> {
        self.fetched.set(self.fetched.get() + 1);
        for (name, content) in &self.contents {
            fs::write(into.join(name), content).unwrap();
        }
        if let Some(barrier) = self.barrier {
            barrier.wait();
        }
        Ok(())
    }
}

fn pull_tiny(
    models: &Path,
    sources: &[&dyn Source],
    force: bool,
    progress: &mut dyn PullProgress,
) -> Result<PathBuf, HubError> {
    install::pull(&tiny_model().published(), &models.join("tiny"), sources, force, progress)
}

pub(super) fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_pull_leaves_the_model_and_nothing_else() {
    let cache = tempfile::tempdir().unwrap();
    let models = cache.path().join("deep").join("models");
    let model = tiny_model();
    let folder = pull_tiny(&models, &[&Fake::good()], false, &mut ()).unwrap();
    assert_eq!(folder, models.join("tiny"));
    verify(&folder, model.files).unwrap();
    assert_eq!(names_in(&models), ["tiny"]);
    assert_eq!(complete_folder(&model, &models), Some(folder));
}

#[test]
fn a_cached_model_is_fetched_again_only_by_force() {
    let models = tempfile::tempdir().unwrap();
    let (model, source) = (tiny_model(), Fake::good());
    for (force, fetched) in [(false, 1), (false, 1), (true, 2)] {
        pull_tiny(models.path(), &[&source], force, &mut ()).unwrap();
        assert_eq!(source.fetched.get(), fetched);
    }
    verify(&models.path().join("tiny"), model.files).unwrap();
}

#[test]
fn the_next_source_is_tried_when_one_delivers_other_bytes() {
    let models = tempfile::tempdir().unwrap();
    let (tampered, last) = (Fake::tampered(), Fake::good());
    let mut progress = Recorder::default();
    let sources: [&dyn Source; 4] = [&Fake::edited(), &tampered, &Fake::good(), &last];
    pull_tiny(models.path(), &sources, false, &mut progress).unwrap();
    assert_eq!((tampered.fetched.get(), last.fetched.get()), (1, 0));
    assert_eq!(progress.lines.len(), 5, "{:?}", progress.lines);
    assert!(progress.lines[3].starts_with("tampered: `model.safetensors` expected SHA-256"));
    assert_eq!(names_in(models.path()), ["tiny"]);
}

#[test]
fn when_no_source_delivers_one_error_tells_why_of_each() {
    let models = tempfile::tempdir().unwrap();
    let sources: [&dyn Source; 3] = [&Fake::edited(), &Fake::tampered(), &Fake::empty()];
    let error = pull_tiny(models.path(), &sources, false, &mut ()).unwrap_err();
    let HubError::NoSource { attempts, .. } = &error else { panic!("{error}") };
    assert!(matches!(attempts[0].error, SourceError::Size { expected: 18, found: 19, .. }));
    assert!(matches!(attempts[1].error, SourceError::Digest { .. }));
    assert!(matches!(attempts[2].error, SourceError::Missing { .. }));
    let lines: Vec<_> = error.to_string().lines().map(str::to_owned).collect();
    assert_eq!(lines[0], "model `tiny` could not be fetched:");
    assert_eq!(lines[3], "  empty: `config.json` is missing");
    assert!(error.hint().unwrap().contains("--model <DIR>"));
    assert!(names_in(models.path()).is_empty());
}

#[test]
fn a_damaged_folder_is_replaced_whole() {
    let damages: [fn(&Path); 5] = [
        |folder| fs::remove_file(folder.join("tokenizer.json")).unwrap(),
        |folder| fs::write(folder.join("config.json"), b"{}").unwrap(),
        |folder| fs::write(folder.join("model.safetensors"), vec![0; WEIGHTS.len()]).unwrap(),
        |folder| {
            fs::write(folder.join("left-over"), b"").and(fs::write(folder.join("config.json"), b"")).unwrap()
        },
        |folder| fs::remove_dir_all(folder).and_then(|()| fs::write(folder, b"a file")).unwrap(),
    ];
    for damage in damages {
        let models = tempfile::tempdir().unwrap();
        let folder = pull_tiny(models.path(), &[&Fake::good()], false, &mut ()).unwrap();
        damage(&folder);
        pull_tiny(models.path(), &[&Fake::tampered()], false, &mut ()).unwrap_err();
        pull_tiny(models.path(), &[&Fake::good()], false, &mut ()).unwrap();
        assert_eq!(names_in(&folder), ["config.json", "model.safetensors", "tokenizer.json"]);
        assert_eq!(names_in(models.path()), ["tiny"]);
    }
}

#[test]
fn pulls_at_once_all_end_with_the_model() {
    const PULLS: usize = 4;
    let model = tiny_model();
    for left_over in [false, true] {
        let models = tempfile::tempdir().unwrap();
        if left_over {
            fs::create_dir(models.path().join("tiny")).unwrap();
            fs::write(models.path().join("tiny").join("config.json"), b"half").unwrap();
        }
        let barrier = Barrier::new(PULLS);
        std::thread::scope(|scope| {
            for _ in 0..PULLS {
                scope.spawn(|| {
                    let source = Fake { barrier: Some(&barrier), ..Fake::good() };
                    pull_tiny(models.path(), &[&source], false, &mut ()).unwrap();
                });
            }
        });
        verify(&models.path().join("tiny"), model.files).unwrap();
        assert_eq!(names_in(models.path()), ["tiny"]);
    }
}

#[test]
fn only_what_a_killed_pull_left_long_ago_is_removed() {
    let models = tempfile::tempdir().unwrap();
    let two_days_ago = SystemTime::now() - Duration::from_secs(2 * 24 * 60 * 60);
    for (name, old) in [(".pull-old", true), (".pull-new", false), ("other", true)] {
        let folder = models.path().join(name);
        fs::create_dir(&folder).unwrap();
        if old {
            fs::File::open(&folder).unwrap().set_modified(two_days_ago).unwrap();
        }
    }
    pull_tiny(models.path(), &[&Fake::good()], false, &mut ()).unwrap();
    assert_eq!(names_in(models.path()), [".pull-new", "other", "tiny"]);
}

#[test]
fn a_cache_that_cannot_be_made_is_an_error_with_a_hint() {
    let cache = tempfile::tempdir().unwrap();
    let models = cache.path().join("file").join("models");
    fs::write(cache.path().join("file"), b"").unwrap();
    let error = pull_tiny(&models, &[&Fake::good()], false, &mut ()).unwrap_err();
    assert!(error.to_string().starts_with("cannot create `"), "{error}");
    assert!(error.hint().unwrap().contains("GRAFTER_CACHE"));
}

#[test]
fn the_variable_overrides_the_platform_cache() {
    let platform = || Some(std::env::temp_dir());
    let absolute = std::env::temp_dir().join("elsewhere");
    assert_eq!(cache_dir_from(Some(absolute.clone().into()), platform()).unwrap(), absolute);
    assert_eq!(cache_dir_from(Some(absolute.clone().into()), None).unwrap(), absolute);
    assert_eq!(cache_dir_from(Some("".into()), platform()).unwrap(), std::env::temp_dir().join("grafter"));
    assert_eq!(cache_dir_from(None, platform()).unwrap(), std::env::temp_dir().join("grafter"));
    let relative = cache_dir_from(Some("here".into()), None).unwrap();
    assert_eq!(relative, std::env::current_dir().unwrap().join("here"));
    assert!(matches!(cache_dir_from(None, None), Err(HubError::NoCacheDir)));
}

#[test]
fn a_local_folder_is_used_as_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in CONTENTS {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let name = folder.path().to_str().unwrap();
    assert_eq!(resolve(name, &mut ()).unwrap(), folder.path());
    assert_eq!(pull(name, true, &mut ()).unwrap(), folder.path());
    assert_eq!(cached(name).unwrap(), folder.path());
    fs::remove_file(folder.path().join("config.json")).unwrap();
    let error = resolve(name, &mut ()).unwrap_err();
    assert!(error.to_string().ends_with("has no `config.json`"), "{error}");
    assert_eq!(cached(name), None);
}

#[test]
fn an_unknown_name_lists_the_known_ones() {
    let error = resolve("no-such-model", &mut ()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unknown model `no-such-model`: expected a known name (`minilm`) or a folder"
    );
    assert_eq!(
        error.hint().unwrap(),
        "pass a known name (`minilm`), or a folder with `config.json`, `model.safetensors`, `tokenizer.json`: \
         `--model <DIR>`"
    );
    assert!(resolve("", &mut ()).is_err());
    assert_eq!(cached("no-such-model"), None);
}
