//! The Hugging Face hub as a source, through the `hf-hub` crate.
//!
//! The blocking client has neither time limits nor a way to set them, so it runs in a thread of its own and this side
//! gives up when nothing arrives; a machine that cannot reach the hub goes on to the next source after seconds. It
//! downloads into the pull's scratch folder, not into the hub's own cache: nothing is kept twice, and other programs'
//! locks there do not matter. Files that are already in the hub's cache are copied from it.
//!
//! Environment: `HF_HOME` (cache and token), `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`, and the proxy variables.

use std::env;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use serde::{Deserialize, Serialize};

use super::install::{Source, verify_file};
use super::known::Published;
use super::{PullProgress, SourceError};

/// Name look-up, connection, TLS and the first answers together.
const FIRST_ANSWER: Duration = Duration::from_secs(8);
/// Longest silence of a transfer that has started.
const STALL: Duration = Duration::from_secs(20);

/// A list of files may be as long as this, some hundred thousand of them.
const MOST_LISTED_BYTES: u64 = 64 << 20;

/// The hub, as the environment configures it.
pub(super) struct HuggingFace {
    endpoint: Option<String>,
    token: Option<String>,
    /// The hub's own cache, where other programs may have left the files.
    shared: Option<Cache>,
    offline: bool,
    first_answer: Duration,
    stall: Duration,
}

impl HuggingFace {
    pub(super) fn from_env() -> Self {
        let text =
            |name| env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        // Without either of them the crate panics.
        let has_home = text("HF_HOME").is_some() || dirs::home_dir().is_some();
        let shared = has_home.then(Cache::from_env);
        Self {
            endpoint: text("HF_ENDPOINT").map(|endpoint| endpoint.trim_end_matches('/').to_owned()),
            token: text("HF_TOKEN").or_else(|| shared.as_ref().and_then(Cache::token)),
            shared,
            offline: text("HF_HUB_OFFLINE").is_some_and(|value| is_true(&value)),
            first_answer: FIRST_ANSWER,
            stall: STALL,
        }
    }

    /// Whether `HF_HUB_OFFLINE` is set.
    pub(super) fn is_offline(&self) -> bool {
        self.offline
    }

    /// Copies the files that the hub's own cache holds; gives back those that are still wanted.
    fn copy_shared(&self, repo: &Repo, commit: Option<&str>, files: Vec<Wanted>, into: &Path) -> Vec<Wanted> {
        let shared = self.shared.as_ref().map(|cache| cache.repo(repo.clone()));
        let copied = |file: &Wanted| {
            let path = in_cache(shared.as_ref()?, commit, &file.path)?;
            file.verify(&path).ok()?;
            // Not `fs::copy`: a cache may be read-only, and its permissions would come along.
            io::copy(&mut File::open(path).ok()?, &mut File::create(into.join(&file.into)).ok()?).ok()
        };
        files.into_iter().filter(|file| copied(file).is_none()).collect()
    }

    /// Brings files of a repository into the folder `into`, from the hub's own cache where they are there; `scratch` is an
    /// empty folder on the same file system, and messages call the whole `name`.
    pub(super) fn fetch_files(
        &self,
        (repo, commit, name): (&Repo, Option<&str>, &str),
        files: Vec<Wanted>,
        (scratch, into): (&Path, &Path),
        progress: &mut dyn PullProgress,
    ) -> Result<(), SourceError> {
        let wanted = self.copy_shared(repo, commit, files, into);
        let Some(first) = wanted.first() else { return Ok(()) };
        if self.offline {
            return Err(SourceError::Offline);
        }
        let client = self.client(scratch).map_err(|error| client_error(&first.name, &error))?;
        let (events, received) = mpsc::channel();
        let (fetched_repo, files) = (repo.clone(), wanted.clone());
        thread::Builder::new()
            .name("hub".into())
            .spawn(move || {
                let result = download(&client, fetched_repo, &files, &events);
                // The receiver may have given up; then nobody wants the result.
                let _ = events.send(Event::Done(result));
            })
            .map_err(SourceError::io("start a thread for", scratch))?;
        let paths = self.watch(&received, name, &wanted, progress)?;
        for (file, path) in wanted.iter().zip(paths) {
            // The client gives a link to the file that holds the bytes.
            let path = fs::canonicalize(&path).map_err(SourceError::io("find", &path))?;
            fs::rename(&path, into.join(&file.into)).map_err(SourceError::io("move", &path))?;
        }
        Ok(())
    }

    /// The commit that a revision of a repository of data is now, and the files of it.
    pub(super) fn list(&self, repo: &str, revision: &str) -> Result<Listing, SourceError> {
        if self.offline {
            return Err(SourceError::Offline);
        }
        let failed = |error: &ApiError| client_error(repo, error);
        let client = self.client(&env::temp_dir()).map_err(|error| failed(&error))?;
        let client = client.repo(Repo::with_revision(repo.into(), RepoType::Dataset, revision.into()));
        let (events, received) = mpsc::channel();
        let name = repo.to_owned();
        let ask = move || {
            let told = |error: String| SourceError::Hub { file: name.clone(), message: error };
            let answer = client.info_request().query("blobs", "true").call();
            let mut answer = answer.map_err(|error| told(error.to_string()))?;
            let _ = events.send(None);
            let body = answer.body_mut().with_config().limit(MOST_LISTED_BYTES);
            let text = body.read_to_string().map_err(|error| told(error.to_string()))?;
            let _ = events.send(Some(
                Listing::of_answer(&text)
                    .ok_or_else(|| SourceError::Answer { what: format!("the files of `{name}`") }),
            ));
            Ok(())
        };
        let thread = thread::Builder::new().name("hub".into()).spawn(ask);
        let thread = thread.map_err(SourceError::io("start a thread for", Path::new(repo)))?;
        let mut limit = self.first_answer;
        loop {
            match received.recv_timeout(limit) {
                Ok(None) => limit = self.stall,
                Ok(Some(listing)) => return listing,
                Err(RecvTimeoutError::Timeout) => {
                    return Err(SourceError::Stalled { seconds: limit.as_secs() });
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let ended = thread.join().unwrap_or(Err(SourceError::ClientStopped));
                    return Err(ended.err().unwrap_or(SourceError::ClientStopped));
                }
            }
        }
    }

    fn client(&self, scratch: &Path) -> Result<Api, ApiError> {
        let mut builder = ApiBuilder::from_cache(Cache::new(scratch.to_owned()))
            .with_token(self.token.clone())
            .with_progress(false)
            .with_retries(0);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint.clone());
        }
        builder.build()
    }
}

impl Source for HuggingFace {
    fn describe(&self, what: &Published) -> String {
        // Not the address itself: it may carry a password.
        let at = if self.endpoint.is_some() { " at `HF_ENDPOINT`" } else { "" };
        format!("the Hugging Face hub{at} (`{}`)", what.repo)
    }

    fn fetch(
        &self,
        what: &Published,
        scratch: &Path,
        into: &Path,
        progress: &mut dyn PullProgress,
    ) -> Result<(), SourceError> {
        let wanted = what.files.iter().map(|file| Wanted {
            name: file.name.to_owned(),
            into: file.name.to_owned(),
            path: what.path(file),
            size_bytes: file.size_bytes,
            sha256: Some(file.sha256.to_owned()),
        });
        let of_what = (&repo(what), what.revision, what.name);
        self.fetch_files(of_what, wanted.collect(), (scratch, into), progress)
    }
}

impl HuggingFace {
    /// Passes the client's progress on until it is done or silent for too long.
    fn watch(
        &self,
        received: &Receiver<Event>,
        name: &str,
        wanted: &[Wanted],
        progress: &mut dyn PullProgress,
    ) -> Result<Vec<PathBuf>, SourceError> {
        let mut limit = self.first_answer;
        let mut begun = false;
        let result = loop {
            match received.recv_timeout(limit) {
                Ok(Event::SizesAgree) => {
                    let total_bytes = wanted.iter().map(|file| file.size_bytes).sum();
                    progress.begin(name, Some(total_bytes));
                    begun = true;
                    limit = self.stall;
                }
                Ok(Event::Bytes(bytes)) => progress.advance(bytes),
                Ok(Event::Done(result)) => break result,
                Err(RecvTimeoutError::Timeout) => {
                    break Err(SourceError::Stalled { seconds: limit.as_secs() });
                }
                Err(RecvTimeoutError::Disconnected) => break Err(SourceError::ClientStopped),
            }
        };
        if begun {
            progress.finish();
        }
        result
    }
}

/// The repository at the pinned revision, or at the one it shows.
fn repo(what: &Published) -> Repo {
    let kind = if what.is_data { RepoType::Dataset } else { RepoType::Model };
    match what.revision {
        Some(revision) => Repo::with_revision(what.repo.to_owned(), kind, revision.to_owned()),
        None => Repo::new(what.repo.to_owned(), kind),
    }
}

/// Where the hub's own cache holds a file. Of a commit there is a folder and no name that leads to it.
fn in_cache(cache: &CacheRepo, commit: Option<&str>, path: &str) -> Option<PathBuf> {
    let of_commit = commit.map(|commit| cache.pointer_path(commit).join(path));
    of_commit.filter(|path| path.exists()).or_else(|| cache.get(path))
}

/// A file of a repository that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Its name in messages.
    pub name: String,
    /// Its name in the folder that it comes into.
    pub into: String,
    /// Its path in the repository.
    pub path: String,
    pub size_bytes: u64,
    /// Its digest, where the hub or a pin tells it.
    pub sha256: Option<String>,
}

impl Wanted {
    /// Compares a file with what is known of it.
    pub fn verify(&self, path: &Path) -> Result<(), SourceError> {
        verify_file(path, &self.name, self.size_bytes, self.sha256.as_deref())
    }
}

/// The files of a repository at a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listing {
    pub commit: String,
    /// By the bytes of their paths.
    pub files: Vec<ListedFile>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ListedFile {
    pub path: String,
    pub size_bytes: u64,
    /// SHA-256 of its bytes, which the hub knows of large files.
    pub sha256: Option<String>,
}

impl Listing {
    /// Reads the hub's answer; `None` if it is none.
    fn of_answer(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Answer {
            sha: String,
            siblings: Vec<Sibling>,
        }
        #[derive(Deserialize)]
        struct Sibling {
            rfilename: String,
            size: Option<u64>,
            lfs: Option<Lfs>,
        }
        #[derive(Deserialize)]
        struct Lfs {
            sha256: String,
            size: u64,
        }
        let Answer { sha: commit, siblings } = serde_json::from_str(text).ok()?;
        let hexadecimal = |text: &str, digits| {
            text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let file = |sibling: Sibling| {
            let (size_bytes, sha256) = match sibling.lfs {
                Some(lfs) if hexadecimal(&lfs.sha256, 64) => (lfs.size, Some(lfs.sha256)),
                Some(_) => return None,
                None => (sibling.size?, None),
            };
            Some(ListedFile { path: sibling.rfilename, size_bytes, sha256 })
        };
        let mut files: Vec<ListedFile> = siblings.into_iter().map(file).collect::<Option<_>>()?;
        files.sort_unstable_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
        hexadecimal(&commit, 40).then_some(Self { commit, files })
    }
}

/// A path as a part of an address: all but the plainest characters as `%` and two digits.
pub(super) fn escaped(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                escaped.push(byte.into())
            }
            _ => escaped += &format!("%{byte:02X}"),
        }
    }
    escaped
}

/// What the client's thread reports.
enum Event {
    /// The hub has answered for every file, with the pinned sizes.
    SizesAgree,
    Bytes(u64),
    Done(Result<Vec<PathBuf>, SourceError>),
}

/// Runs in the client's thread. Sizes are asked for first: another version is refused before anything is downloaded.
fn download(
    client: &Api,
    repo: Repo,
    files: &[Wanted],
    events: &Sender<Event>,
) -> Result<Vec<PathBuf>, SourceError> {
    let repo = client.repo(repo);
    for file in files {
        let metadata = client
            .metadata(&repo.url(&escaped(&file.path)))
            .map_err(|error| client_error(&file.name, &error))?;
        let found = metadata.size() as u64;
        if found != file.size_bytes {
            let file_name = file.name.clone();
            return Err(SourceError::Size { file: file_name, expected: file.size_bytes, found });
        }
    }
    let _ = events.send(Event::SizesAgree);
    files
        .iter()
        .map(|file| {
            repo.download_with_progress(&escaped(&file.path), Forward(events.clone()))
                .map_err(|error| client_error(&file.name, &error))
        })
        .collect()
}

/// Sends the client's progress to the watching side.
struct Forward(Sender<Event>);

impl Progress for Forward {
    fn init(&mut self, _size: usize, _filename: &str) {}

    fn update(&mut self, bytes: usize) {
        if self.0.send(Event::Bytes(bytes as u64)).is_err() {
            // The watching side gave up and its folder is gone. The client has no other way to be stopped.
            loop {
                thread::park();
            }
        }
    }

    fn finish(&mut self) {}
}

fn client_error(file: &str, error: &ApiError) -> SourceError {
    SourceError::Hub { file: file.to_owned(), message: error.to_string() }
}

/// The hub's own rule for its switches.
fn is_true(value: &str) -> bool {
    ["1", "on", "yes", "true"].iter().any(|truth| value.eq_ignore_ascii_case(truth))
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};

    use super::super::tests::{CONFIG, Recorder, TOKENIZER, WEIGHTS, tiny_model};
    use super::*;
    use crate::hub::install;

    pub fn hub(endpoint: String) -> HuggingFace {
        HuggingFace {
            endpoint: Some(endpoint),
            token: None,
            shared: None,
            offline: false,
            first_answer: Duration::from_secs(60),
            stall: Duration::from_secs(60),
        }
    }

    pub fn offline() -> HuggingFace {
        HuggingFace { offline: true, ..hub(String::new()) }
    }

    pub fn offline_with(shared: &Path) -> HuggingFace {
        HuggingFace { shared: Some(Cache::new(shared.to_owned())), ..offline() }
    }

    fn fetch(
        hub: &HuggingFace,
        progress: &mut dyn PullProgress,
    ) -> (tempfile::TempDir, Result<(), SourceError>) {
        let (scratch, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let result = hub.fetch(&tiny_model().published(), scratch.path(), into.path(), progress);
        (into, result)
    }

    /// Serves `answer(path)` to every request on the loopback interface, for as long as the test process lives.
    pub fn serve(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let _ = answer_one(&connection, &answer);
            }
        });
        endpoint
    }

    fn answer_one(mut connection: &TcpStream, answer: impl Fn(&str) -> Vec<u8>) -> io::Result<()> {
        let mut lines = BufReader::new(connection).lines();
        let request = lines.next().unwrap()?;
        let range = lines
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty())
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
        let body = answer(request.split(' ').nth(1).unwrap());
        if body.is_empty() {
            return connection
                .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
        let sent = if range.as_deref() == Some("0-0") { &body[..1] } else { &body[..] };
        write!(
            connection,
            "HTTP/1.1 206 Partial Content\r\netag: \"{}\"\r\nx-repo-commit: c0ffee\r\ncontent-length: {}\r\n\
             content-range: bytes 0-{}/{}\r\nconnection: close\r\n\r\n",
            crate::digest::sha256_hex(&body),
            sent.len(),
            sent.len() - 1,
            body.len(),
        )?;
        connection.write_all(sent)
    }

    fn content(path: &str) -> Vec<u8> {
        match path.strip_prefix("/somebody/tiny/resolve/main/") {
            Some("config.json") => CONFIG.to_vec(),
            Some("model.safetensors") => WEIGHTS.to_vec(),
            Some("tokenizer.json") => TOKENIZER.to_vec(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn files_of_the_pinned_size_are_downloaded_with_progress() {
        let mut progress = Recorder::default();
        let (into, result) = fetch(&hub(serve(content)), &mut progress);
        result.unwrap();
        install::verify(into.path(), tiny_model().files).unwrap();
        let total_bytes = tiny_model().size_bytes();
        assert_eq!(progress.lines, [format!("begin tiny Some({total_bytes})"), "finish".into()]);
        assert_eq!(progress.bytes, total_bytes);
    }

    #[test]
    fn another_size_is_refused_before_any_download() {
        let longer =
            |path: &str| if path.ends_with("tokenizer.json") { vec![b'x'; 999] } else { content(path) };
        let mut progress = Recorder::default();
        let (_into, result) = fetch(&hub(serve(longer)), &mut progress);
        let error = result.unwrap_err();
        assert!(matches!(error, SourceError::Size { found: 999, .. }), "{error}");
        assert!(progress.lines.is_empty());
    }

    #[test]
    fn a_status_and_a_refused_connection_are_told() {
        let (_into, result) = fetch(&hub(serve(|_| Vec::new())), &mut ());
        let error = result.unwrap_err().to_string();
        assert!(error.starts_with("`config.json`: ") && error.contains("404"), "{error}");
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (_into, result) = fetch(&hub(format!("http://{closed}")), &mut ());
        assert!(matches!(result, Err(SourceError::Hub { file, .. }) if file == "config.json"));
    }

    #[test]
    fn a_hub_that_never_answers_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let hub = HuggingFace { first_answer: Duration::from_millis(50), ..hub(endpoint) };
        let (_into, result) = fetch(&hub, &mut ());
        assert!(matches!(result, Err(SourceError::Stalled { .. })));
    }

    #[test]
    fn files_in_the_hubs_own_cache_need_no_network() {
        let shared = tempfile::tempdir().unwrap();
        let cache = Cache::new(shared.path().to_owned());
        let repo = cache.model("somebody/tiny".into());
        repo.create_ref("c0ffee").unwrap();
        let snapshot = repo.pointer_path("c0ffee");
        fs::create_dir_all(&snapshot).unwrap();
        for (name, bytes) in [("config.json", CONFIG), ("model.safetensors", WEIGHTS)] {
            fs::write(snapshot.join(name), bytes).unwrap();
        }
        fs::write(snapshot.join("tokenizer.json"), vec![0; TOKENIZER.len()]).unwrap();
        let offline = HuggingFace { shared: Some(cache), offline: true, ..hub(String::new()) };
        let (_into, result) = fetch(&offline, &mut ());
        assert!(matches!(result, Err(SourceError::Offline)), "other bytes must not be taken");
        fs::write(snapshot.join("tokenizer.json"), TOKENIZER).unwrap();
        let (into, result) = fetch(&offline, &mut ());
        result.unwrap();
        install::verify(into.path(), tiny_model().files).unwrap();
    }

    #[test]
    fn switches_follow_the_hubs_rule() {
        assert!(["1", "ON", "yes", "True"].into_iter().all(is_true));
        assert!(!["0", "", "off", "2"].into_iter().any(is_true));
    }
}
