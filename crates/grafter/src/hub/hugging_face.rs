//! The Hugging Face hub as a source.
//!
//! Files are asked for one after another, each whole before the next one is asked for. A machine that cannot reach the hub goes
//! on to the next source after seconds, and every wait for the hub has a limit; how long a transfer takes in all has none.
//!
//! Of an answer the status, the length and the body are read. No header and no redirect decides where anything is written:
//! a file gets the name that the caller gives it, and no more bytes than are expected of it. Files that are already in the hub's
//! own cache are copied from it.
//!
//! Environment: `HF_HOME` (cache and token), `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`, and the proxy variables.

use std::env;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use ureq::config::RedirectAuthHeaders;
use ureq::{Agent, Body};

use super::install::{Source, verify_file};
use super::known::Published;
use super::shared::SharedCache;
use super::{PullProgress, SourceError};

/// Where the hub is, if `HF_ENDPOINT` does not say otherwise.
const ENDPOINT: &str = "https://huggingface.co";
/// What a repository shows if no revision is named.
pub(super) const MAIN: &str = "main";

/// Name look-up, connection with TLS, and the first answer, each.
const FIRST_ANSWER: Duration = Duration::from_secs(8);
/// Longest silence of a transfer that has started.
const STALL: Duration = Duration::from_secs(20);

/// A list of files may be as long as this, some hundred thousand of them.
const MOST_LISTED_BYTES: u64 = 64 << 20;

/// A body is read in pieces of at most this size.
const PIECE_BYTES: usize = 64 << 10;

/// The hub, as the environment configures it.
pub(super) struct HuggingFace {
    endpoint: Option<String>,
    token: Option<String>,
    /// The hub's own cache, where other programs may have left the files.
    shared: Option<SharedCache>,
    offline: bool,
    first_answer: Duration,
    stall: Duration,
}

impl HuggingFace {
    pub(super) fn from_env() -> Self {
        let filled = |text: String| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let text = |name| env::var(name).ok().and_then(filled);
        let home = text("HF_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(dirs::home_dir()?.join(".cache").join("huggingface")));
        let kept_token = || fs::read_to_string(home.as_ref()?.join("token")).ok().and_then(filled);
        Self {
            endpoint: text("HF_ENDPOINT").map(|endpoint| endpoint.trim_end_matches('/').to_owned()),
            token: text("HF_TOKEN").or_else(kept_token),
            shared: home.as_deref().map(SharedCache::of_home),
            offline: text("HF_HUB_OFFLINE").is_some_and(|value| is_true(&value)),
            first_answer: FIRST_ANSWER,
            stall: STALL,
        }
    }

    /// Whether `HF_HUB_OFFLINE` is set.
    pub(super) fn is_offline(&self) -> bool {
        self.offline
    }

    /// Brings files of a repository, from the hub's own cache where they are there, and tells `come` of each as soon as all of its
    /// bytes are written.
    pub(super) fn fetch_files(
        &self,
        Transfer { repo, name, files }: Transfer<'_>,
        come: &mut dyn FnMut(&Wanted) -> Result<(), SourceError>,
        progress: &mut dyn PullProgress,
    ) -> Result<(), SourceError> {
        let mut wanted = Vec::new();
        for file in files {
            match self.copy_shared(&repo, &file) {
                Some(_) => come(&file)?,
                None => wanted.push(file),
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        if self.offline {
            return Err(SourceError::Offline);
        }
        let client = self.client();
        let mut limit = self.first_answer;
        // Sizes of a list are the hub's word: their sum may be any.
        let total_bytes = wanted.iter().fold(0, |sum: u64, file| sum.saturating_add(file.size_bytes));
        progress.begin(name, Some(total_bytes));
        let ended = wanted.iter().try_for_each(|file| {
            let body = client.get(&repo.address_of(self.endpoint(), &file.path), &file.name, limit)?;
            limit = self.stall;
            client.save(body, file, progress)?;
            come(file)
        });
        progress.finish();
        ended
    }

    /// Copies a file that the hub's own cache holds.
    fn copy_shared(&self, repo: &Repo<'_>, file: &Wanted) -> Option<u64> {
        let path = self.shared.as_ref()?.find(repo, &file.path)?;
        file.verify(&path).ok()?;
        // Not `fs::copy`: a cache may be read-only, and its permissions would come along.
        io::copy(&mut File::open(path).ok()?, &mut File::create(&file.into).ok()?).ok()
    }

    /// The commit that a revision of a repository of data is now, and the files of it.
    pub(super) fn list(&self, repo: &str, revision: &str) -> Result<Listing, SourceError> {
        if self.offline {
            return Err(SourceError::Offline);
        }
        let revision = in_one_part(revision);
        let address = format!("{}/api/datasets/{repo}/revision/{revision}?blobs=true", self.endpoint());
        let client = self.client();
        let body = client.get(&address, repo, self.first_answer)?;
        let mut text = Vec::new();
        let read = body.into_reader().take(MOST_LISTED_BYTES + 1).read_to_end(&mut text);
        if read.map_err(|error| told(repo, error.into(), self.stall))? as u64 > MOST_LISTED_BYTES {
            let message = format!("the list of its files is longer than {MOST_LISTED_BYTES} bytes");
            return Err(SourceError::Hub { file: repo.to_owned(), message });
        }
        Listing::of_answer(&text)
            .ok_or_else(|| SourceError::Answer { what: format!("the files of `{repo}`") })
    }

    fn endpoint(&self) -> &str {
        self.endpoint.as_deref().unwrap_or(ENDPOINT)
    }

    fn client(&self) -> Client<'_> {
        let agent = Agent::config_builder()
            .timeout_per_read(Some(self.stall))
            // Another host, where large files often are, is not told the token.
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .user_agent(concat!("grafter/", env!("CARGO_PKG_VERSION")))
            // Lengths are those of the files.
            .accept_encoding("identity")
            .build()
            .into();
        Client { agent, token: self.token.as_deref(), stall: self.stall }
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
        _scratch: &Path,
        into: &Path,
        progress: &mut dyn PullProgress,
    ) -> Result<(), SourceError> {
        let wanted = what.files.iter().map(|file| Wanted {
            name: file.name.to_owned(),
            into: into.join(file.name),
            path: what.path(file),
            size_bytes: file.size_bytes,
            sha256: Some(file.sha256.to_owned()),
        });
        let mut files: Vec<Wanted> = wanted.collect();
        // The small ones first: most other versions of a model are seen before the large one is fetched.
        files.sort_by_key(|file| file.size_bytes);
        let repo = Repo { name: what.repo, is_data: what.is_data, revision: what.revision.unwrap_or(MAIN) };
        self.fetch_files(Transfer { repo, name: what.name, files }, &mut |_| Ok(()), progress)
    }
}

/// A repository of the hub at a revision.
#[derive(Debug, Clone, Copy)]
pub(super) struct Repo<'a> {
    /// `OWNER/NAME`.
    pub name: &'a str,
    pub is_data: bool,
    pub revision: &'a str,
}

impl Repo<'_> {
    fn address_of(&self, endpoint: &str, path: &str) -> String {
        let kind = if self.is_data { "datasets/" } else { "" };
        let (name, revision, path) = (self.name, in_one_part(self.revision), escaped(path));
        format!("{endpoint}/{kind}{name}/resolve/{revision}/{path}")
    }
}

/// What is wanted of a repository.
pub(super) struct Transfer<'a> {
    pub repo: Repo<'a>,
    /// What all of it is called in messages.
    pub name: &'a str,
    pub files: Vec<Wanted>,
}

/// A file of a repository that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Its name in messages.
    pub name: String,
    /// Where it is written to; nothing that the hub answers may be a part of it.
    pub into: PathBuf,
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

    fn of_another_size(&self, found: u64) -> SourceError {
        SourceError::Size { file: self.name.clone(), expected: self.size_bytes, found }
    }
}

/// Asks the hub.
struct Client<'a> {
    agent: Agent,
    token: Option<&'a str>,
    stall: Duration,
}

impl Client<'_> {
    /// The body of the answer to a question about `name`, after at most `limit` for each step on the way to it.
    fn get(&self, address: &str, name: &str, limit: Duration) -> Result<Body, SourceError> {
        let mut request = self.agent.get(address);
        if let Some(token) = self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.config();
        let request = request.timeout_resolve(Some(limit)).timeout_connect(Some(limit));
        let answer = request.timeout_recv_response(Some(limit)).build().call();
        Ok(answer.map_err(|error| told(name, error, limit))?.into_body())
    }

    /// Writes a body to the file, as far as it is no longer than expected.
    fn save(&self, body: Body, file: &Wanted, progress: &mut dyn PullProgress) -> Result<(), SourceError> {
        if let Some(found) = body.content_length().filter(|found| *found != file.size_bytes) {
            return Err(file.of_another_size(found));
        }
        let mut to = File::create(&file.into).map_err(SourceError::io("create", &file.into))?;
        // One byte more shows that it is longer.
        let mut body = body.into_reader().take(file.size_bytes.saturating_add(1));
        let mut piece = vec![0; PIECE_BYTES];
        let mut found = 0;
        loop {
            let read = body.read(&mut piece).map_err(|error| told(&file.name, error.into(), self.stall))?;
            if read == 0 {
                break;
            }
            to.write_all(&piece[..read]).map_err(SourceError::io("write", &file.into))?;
            found += read as u64;
            progress.advance(read as u64);
        }
        if found == file.size_bytes { Ok(()) } else { Err(file.of_another_size(found)) }
    }
}

/// The client's error as one about `name`; `limit` is what was waited if it is that.
fn told(name: &str, error: ureq::Error, limit: Duration) -> SourceError {
    match error {
        ureq::Error::Timeout(_) => SourceError::Stalled { seconds: limit.as_secs() },
        error => SourceError::Hub { file: name.to_owned(), message: error.to_string() },
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
    fn of_answer(text: &[u8]) -> Option<Self> {
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
        let Answer { sha: commit, siblings } = serde_json::from_slice(text).ok()?;
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

/// A revision as one part of an address.
pub(super) fn in_one_part(revision: &str) -> String {
    escaped(revision).replace('/', "%2F")
}

/// The hub's own rule for its switches.
fn is_true(value: &str) -> bool {
    ["1", "on", "yes", "true"].iter().any(|truth| value.eq_ignore_ascii_case(truth))
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::{TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};
    use std::thread;

    use super::super::tests::{CONFIG, Recorder, TOKENIZER, WEIGHTS, names_in, tiny_model};
    use super::*;
    use crate::hub::install;

    pub fn hub(endpoint: String) -> HuggingFace {
        hub_with_limits(endpoint, Duration::from_secs(60), Duration::from_secs(60))
    }

    pub fn hub_with_limits(endpoint: String, first_answer: Duration, stall: Duration) -> HuggingFace {
        HuggingFace {
            endpoint: Some(endpoint),
            token: None,
            shared: None,
            offline: false,
            first_answer,
            stall,
        }
    }

    pub fn offline() -> HuggingFace {
        HuggingFace { offline: true, ..hub(String::new()) }
    }

    /// With the cache of this home.
    pub fn offline_with(home: &Path) -> HuggingFace {
        HuggingFace { shared: Some(SharedCache::of_home(home)), ..offline() }
    }

    fn fetch(
        hub: &HuggingFace,
        progress: &mut dyn PullProgress,
    ) -> (tempfile::TempDir, Result<(), SourceError>) {
        let (scratch, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let result = hub.fetch(&tiny_model().published(), scratch.path(), into.path(), progress);
        (into, result)
    }

    /// Serves `answer(path)` to every request, or 404 where that is empty.
    pub fn serve(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> String {
        serve_with(move |request, connection| {
            let body = answer(path_of(request));
            let status = if body.is_empty() { "404 Not Found" } else { "200 OK" };
            write!(connection, "HTTP/1.1 {status}\r\n{}", headers(body.len()))?;
            connection.write_all(&body)
        })
    }

    /// Calls `answer` with the head of every request on the loopback interface, for as long as the test process lives.
    fn serve_with(answer: impl Fn(&str, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for mut connection in listener.incoming().flatten() {
                let lines = BufReader::new(&connection).lines().map_while(Result::ok);
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                // A client that has read enough goes away.
                let _ = answer(&head.join("\n"), &mut connection);
            }
        });
        endpoint
    }

    fn path_of(request: &str) -> &str {
        request.split(' ').nth(1).unwrap()
    }

    fn headers(length: usize) -> String {
        format!("content-length: {length}\r\nconnection: close\r\n\r\n")
    }

    /// A body without a length that goes on for longer than any test wants it.
    fn go_on(connection: &mut TcpStream) -> io::Result<()> {
        connection.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
        (0..1280).try_for_each(|_| connection.write_all(&[b' '; PIECE_BYTES]))
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
    fn another_size_is_refused_before_anything_larger_is_asked_for() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = asked.clone();
        let longer = move |path: &str| {
            kept.lock().unwrap().push(path.rsplit('/').next().unwrap().to_owned());
            if path.ends_with("tokenizer.json") { vec![b'x'; 999] } else { content(path) }
        };
        let mut progress = Recorder::default();
        let (_into, result) = fetch(&hub(serve(longer)), &mut progress);
        let error = result.unwrap_err();
        assert!(matches!(error, SourceError::Size { found: 999, .. }), "{error}");
        assert_eq!(*asked.lock().unwrap(), ["config.json", "tokenizer.json"]);
        assert_eq!(progress.bytes, CONFIG.len() as u64, "a length is seen before the body is read");
        assert_eq!(progress.lines.last().unwrap(), "finish");
    }

    #[test]
    fn a_body_is_read_no_further_than_a_byte_after_its_end() {
        let endpoint = serve_with(|request, connection| match content(path_of(request)) {
            body if body == WEIGHTS => go_on(connection),
            body => {
                write!(connection, "HTTP/1.1 200 OK\r\n{}", headers(body.len()))?;
                connection.write_all(&body)
            }
        });
        let (into, result) = fetch(&hub(endpoint), &mut ());
        let error = result.unwrap_err();
        let most = WEIGHTS.len() as u64 + 1;
        assert!(matches!(error, SourceError::Size { found, .. } if found == most), "{error}");
        assert_eq!(fs::metadata(into.path().join("model.safetensors")).unwrap().len(), most);
        let endpoint = serve_with(|_, connection| go_on(connection));
        let error = hub(endpoint).list("somebody/tiny", "main").unwrap_err();
        assert_eq!(error.to_string(), "`somebody/tiny`: the list of its files is longer than 67108864 bytes");
    }

    #[test]
    fn no_header_of_an_answer_becomes_a_path() {
        let home = tempfile::tempdir().unwrap();
        let absolute = home.path().join("planted").display().to_string();
        for (i, planted) in
            [absolute.as_str(), "../../planted", "../../../../planted", "a/../b"].into_iter().enumerate()
        {
            let sent = planted.to_owned();
            let endpoint = serve_with(move |request, connection| {
                let body = content(path_of(request));
                write!(
                    connection,
                    "HTTP/1.1 206 Partial Content\r\netag: \"{sent}\"\r\nx-linked-etag: \"{sent}\"\r\n\
                     x-repo-commit: {sent}\r\ncontent-range: bytes 0-{}/{}\r\n\
                     content-disposition: attachment; filename=\"{sent}\"\r\n{}",
                    body.len() - 1,
                    body.len(),
                    headers(body.len())
                )?;
                connection.write_all(&body)
            });
            let pull = home.path().join(i.to_string());
            let (scratch, into) = (pull.join("scratch"), pull.join("staging"));
            for new in [&scratch, &into] {
                fs::create_dir_all(new).unwrap();
            }
            hub(endpoint).fetch(&tiny_model().published(), &scratch, &into, &mut ()).unwrap();
            install::verify(&into, tiny_model().files).unwrap();
            assert_eq!(names_in(&into), ["config.json", "model.safetensors", "tokenizer.json"]);
            assert!(names_in(&scratch).is_empty());
            assert_eq!(names_in(&pull), ["scratch", "staging"]);
            assert_eq!(names_in(home.path()), (0..=i).map(|i| i.to_string()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_token_is_told_to_the_hub_and_not_to_where_it_sends_for_a_file() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let keep = |told: &Arc<Mutex<Vec<_>>>, request: &str| {
            told.lock().unwrap().push(request.to_ascii_lowercase().contains("authorization: bearer secret"));
        };
        let (of_hub, of_files) = (told.clone(), told.clone());
        let files = serve_with(move |request, connection| {
            keep(&of_files, request);
            let body = content(path_of(request));
            write!(connection, "HTTP/1.1 200 OK\r\n{}", headers(body.len()))?;
            connection.write_all(&body)
        });
        // Another name is another host.
        let files = files.replace("127.0.0.1", "localhost");
        let endpoint = serve_with(move |request, connection| {
            keep(&of_hub, request);
            let path = path_of(request);
            write!(connection, "HTTP/1.1 302 Found\r\nlocation: {files}{path}\r\n{}", headers(0))
        });
        let hub = HuggingFace { token: Some("secret".into()), ..hub(endpoint) };
        let (into, result) = fetch(&hub, &mut ());
        result.unwrap();
        install::verify(into.path(), tiny_model().files).unwrap();
        assert_eq!(*told.lock().unwrap(), [true, false].repeat(3));
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
    fn a_hub_that_never_answers_or_falls_silent_is_given_up() {
        let (short, long) = (Duration::from_millis(50), Duration::from_secs(60));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (_into, result) = fetch(&hub_with_limits(endpoint, short, long), &mut ());
        assert!(matches!(result, Err(SourceError::Stalled { .. })));
        let endpoint = serve_with(|_, connection| {
            write!(connection, "HTTP/1.1 200 OK\r\n{}{{", headers(CONFIG.len()))?;
            // Until the client goes away.
            connection.read(&mut [0]).map(|_| ())
        });
        let hub = hub_with_limits(endpoint, long, short);
        let mut progress = Recorder::default();
        let (_into, result) = fetch(&hub, &mut progress);
        assert!(matches!(result, Err(SourceError::Stalled { .. })));
        assert_eq!((progress.bytes, progress.lines.len()), (1, 2));
        assert!(matches!(hub.list("somebody/tiny", "main"), Err(SourceError::Stalled { .. })));
    }

    #[test]
    fn a_list_that_comes_slowly_is_waited_for() {
        let endpoint = serve_with(|_, connection| {
            let text = format!("{{\"sha\": \"{}\", \"siblings\": []}}", "0".repeat(40));
            write!(connection, "HTTP/1.1 200 OK\r\n{}", headers(text.len()))?;
            for piece in text.as_bytes().chunks(text.len().div_ceil(15)) {
                thread::sleep(Duration::from_millis(200));
                connection.write_all(piece)?;
            }
            Ok(())
        });
        let limit = Duration::from_secs(2);
        let listing = hub_with_limits(endpoint, limit, limit).list("somebody/tiny", "main").unwrap();
        assert!(listing.files.is_empty());
    }

    #[test]
    fn files_in_the_hubs_own_cache_need_no_network() {
        let home = tempfile::tempdir().unwrap();
        let repo = home.path().join("hub/models--somebody--tiny");
        let snapshot = repo.join("snapshots/c0ffee");
        for folder in [&snapshot, &repo.join("refs")] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(repo.join("refs/main"), "c0ffee").unwrap();
        for (name, bytes) in [("config.json", CONFIG), ("model.safetensors", WEIGHTS)] {
            fs::write(snapshot.join(name), bytes).unwrap();
        }
        fs::write(snapshot.join("tokenizer.json"), vec![0; TOKENIZER.len()]).unwrap();
        let offline = offline_with(home.path());
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
