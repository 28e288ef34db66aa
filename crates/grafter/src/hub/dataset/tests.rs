//! Addresses, splits, and a hub of the tests' own on 127.0.0.1.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::super::hugging_face::escaped;
use super::super::hugging_face::tests::{hub, hub_with_limits, offline, serve};
use super::super::tests::{Recorder, names_in};
use super::*;
use crate::digest::sha256_hex;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const NEXT: &str = "76543210fedcba9876543210fedcba9876543210";

fn parsed(address: &str) -> String {
    match Address::of(address) {
        Ok(Address { repo, revision, path, .. }) => format!("{repo} {revision} {path}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn an_address_is_a_data_set_a_revision_and_a_path() {
    for (address, expected) in [
        ("hf://datasets/a/b", "a/b main "),
        ("hf://datasets/a/b/", "a/b main "),
        ("hf://datasets/a/b/data/*.parquet", "a/b main data/*.parquet"),
        ("hf://datasets/a-1/b_2.c@v1.0/x.csv", "a-1/b_2.c v1.0 x.csv"),
        ("hf://datasets/a/b@refs%2Fpr%2F3/x.csv", "a/b refs/pr/3 x.csv"),
        ("hf://datasets/a/b@refs/pr/3/x.csv", "a/b refs/pr/3 x.csv"),
        (
            "hf://datasets/a/b@refs/convert/parquet/c/train/0.parquet",
            "a/b refs/convert/parquet c/train/0.parquet",
        ),
        ("hf://datasets/a/b@~parquet/c", "a/b refs/convert/parquet c"),
    ] {
        assert_eq!(parsed(address), expected);
    }
    for address in [
        "hf://a/b/x.csv",
        "hf://datasets/a",
        "hf://datasets//b/x",
        "hf://datasets/../b/x",
        "hf://datasets/a/..@x/x",
        "hf://datasets/a/b@/x",
        "hf://datasets/a/b@../x",
        "hf://datasets/a/b@..%2F..%2Fx/x",
        "hf://datasets/a/b@a b/x",
        "hf://datasets/a/b/../x",
        "hf://datasets/a/b/x//y",
        "hf://datasets/a/b/./x",
        "hf://datasets/a/b/.. /x",
        "hf://datasets/a/b/.../x",
        "hf://datasets/a/b/c\\x",
        "hf://datasets/a/b/c:x",
        "hf://datasets/a/b/c\nx",
    ] {
        let error = Address::of(address).unwrap_err();
        assert!(matches!(error, HubError::DataAddress { .. }), "{error}");
    }
    assert!(is_address(Path::new("hf://datasets/a/b")) && !is_address(Path::new("hf:/datasets")));
}

fn listing(paths: &[&str]) -> Listing {
    let file = |path: &&str| ListedFile { path: (*path).to_owned(), size_bytes: 1, sha256: None };
    Listing { commit: COMMIT.to_owned(), files: paths.iter().map(file).collect() }
}

fn found(paths: &[&str], config: &str) -> Result<[Vec<String>; 3], String> {
    let splits = find_splits(&listing(paths), config)?;
    Ok(splits.map(|files| files.into_iter().map(|file| file.path).collect()))
}

#[test]
fn splits_are_found_by_their_usual_names() {
    let parts = [
        "data/train-00001-of-00002.parquet",
        "data/train-00000-of-00002.parquet",
        "data/validation-00000-of-00001.parquet",
    ];
    let [train, dev, test] = found(&parts, "").unwrap();
    assert_eq!(
        (train, dev, test),
        (vec![parts[1].into(), parts[0].into()], vec![parts[2].into()], Vec::new())
    );
    let configs = ["de/train.csv", "de/dev.csv", "de/test.csv", "en/train.csv", "en/val.csv", "README.md"];
    assert_eq!(found(&configs, "de").unwrap().concat(), configs[..3]);
    assert_eq!(found(&configs, "en").unwrap().concat(), configs[3..5]);
    let error = found(&configs, "").unwrap_err();
    assert_eq!(error, "expected one of the configurations `de`, `en` after the name");
    // The only one need not be named.
    assert_eq!(found(&configs[..3], "").unwrap().concat(), configs[..3]);
    let converted =
        ["c/test/0000.parquet", "c/train/0000.parquet", "c/train/0001.parquet", "c/validation/0000.parquet"];
    for config in ["", "c"] {
        assert_eq!(
            found(&converted, config).unwrap().concat(),
            [converted[1], converted[2], converted[3], converted[0]]
        );
    }
    assert_eq!(found(&["train.csv"], "").unwrap_err(), "found no files of a split `validation` in `/`");
    assert_eq!(found(&["x.csv"], "").unwrap_err(), "found no files of a split `train`");
    let error = found(&["data/train-00001-of-00002.parquet", "data/dev.csv"], "").unwrap_err();
    let missing = "`train-00001-of-00002.parquet` is there, and not `train-00000-of-00002.parquet`";
    assert_eq!(error, format!("in `data/` {missing}"));
}

const FILES: [(&str, &[u8]); 5] = [
    ("README.md", b"words"),
    ("data/dev.csv", b"text,label\nc,1\n"),
    ("data/train a#1.csv", b"text,label\na,1\n"),
    ("data/train b.csv", b"text,label\nb,0\n"),
    ("data/x\\..\\out.csv", b"text,label\n"),
];

fn answer_of(commit: &str, digest_of: impl Fn(&[u8]) -> String) -> String {
    let sibling = |(path, bytes): &(&str, &[u8])| match path.contains("train") {
        true => serde_json::json!({"rfilename": path, "size": 130,
            "lfs": {"sha256": digest_of(bytes), "size": bytes.len(), "pointerSize": 130}}),
        false => serde_json::json!({"rfilename": path, "size": bytes.len()}),
    };
    serde_json::json!({"sha": commit, "siblings": FILES.iter().map(sibling).collect::<Vec<_>>()}).to_string()
}

fn file_at(commit: &str, path: &str) -> Vec<u8> {
    let path = path.strip_prefix(&format!("/datasets/somebody/tiny/resolve/{commit}/"));
    let file = path.and_then(|path| FILES.iter().find(|(name, _)| escaped(name) == path));
    file.map_or_else(Vec::new, |(_, bytes)| bytes.to_vec())
}

fn sets(hub: HuggingFace, cache: &Path) -> DataSets {
    DataSets { hub, folder: Some(cache.to_owned()), known: HashMap::new() }
}

/// The hub of the tests at `COMMIT`, and how many files it gave.
fn tiny_hub() -> (HuggingFace, Arc<AtomicUsize>) {
    let given = Arc::new(AtomicUsize::new(0));
    let counted = given.clone();
    let endpoint = serve(move |path| match path {
        "/api/datasets/somebody/tiny/revision/main?blobs=true" => answer_of(COMMIT, sha256_hex).into_bytes(),
        path => {
            counted.fetch_add(1, Ordering::SeqCst);
            file_at(COMMIT, path)
        }
    });
    (hub(endpoint), given)
}

fn names(files: &[SourceFile]) -> Vec<String> {
    files.iter().map(SourceFile::name).collect()
}

#[test]
fn files_are_fetched_once_at_a_commit_and_found_again_without_the_hub() {
    let cache = tempfile::tempdir().unwrap();
    let (hub, given) = tiny_hub();
    let mut progress = Recorder::default();
    let mut online = sets(hub, cache.path());
    let files = online.files("hf://datasets/somebody/tiny/data/train*.csv", &mut progress).unwrap();
    let called = |path: &str| format!("hf://datasets/somebody/tiny@{COMMIT}/{path}");
    assert_eq!(names(&files), [called("data/train a#1.csv"), called("data/train b.csv")]);
    for (file, (path, bytes)) in files.iter().zip(&FILES[2..4]) {
        assert_eq!(file.path, cache.path().join("somebody/tiny").join(COMMIT).join(path));
        assert_eq!(fs::read(&file.path).unwrap(), *bytes);
    }
    assert_eq!(progress.lines[0], format!("`hf://datasets/somebody/tiny@main` is at commit {COMMIT}"));
    let before = given.load(Ordering::SeqCst);
    assert_eq!(online.files("hf://datasets/somebody/tiny/data/train*.csv", &mut ()).unwrap(), files);
    assert_eq!(given.load(Ordering::SeqCst), before, "what is there is not asked for");
    // A revision that was asked for once, and the commit, which no hub need tell.
    for (revision, told) in [("", 1), ("@main", 1), (&*format!("@{COMMIT}"), 0)] {
        let mut progress = Recorder::default();
        let mut offline = sets(offline(), cache.path());
        let address = format!("hf://datasets/somebody/tiny{revision}/data/train*.csv");
        assert_eq!(offline.files(&address, &mut progress).unwrap(), files);
        assert_eq!(progress.lines.len(), told, "{:?}", progress.lines);
        let missing = format!("hf://datasets/somebody/tiny{revision}/data/dev.csv");
        let error = offline.files(&missing, &mut ()).unwrap_err();
        assert!(matches!(error, HubError::Data { error: super::super::SourceError::Offline, .. }), "{error}");
        assert!(error.hint().unwrap().contains("HF_HUB_OFFLINE"));
    }
    let left: Vec<_> = fs::read_dir(cache.path().join("somebody/tiny"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn a_branch_that_moves_is_another_commit_and_a_command_sees_one() {
    let cache = tempfile::tempdir().unwrap();
    let asked = AtomicUsize::new(0);
    let endpoint = serve(move |path| match path {
        "/api/datasets/somebody/tiny/revision/main?blobs=true" => {
            let commit = [COMMIT, NEXT][asked.fetch_add(1, Ordering::SeqCst).min(1)];
            answer_of(commit, sha256_hex).into_bytes()
        }
        path => [file_at(COMMIT, path), file_at(NEXT, path)].concat(),
    });
    let mut first = sets(hub(endpoint.clone()), cache.path());
    for _ in 0..2 {
        let files = first.files("hf://datasets/somebody/tiny/data/dev.csv", &mut ()).unwrap();
        assert!(files[0].name().contains(COMMIT));
    }
    let files =
        sets(hub(endpoint), cache.path()).files("hf://datasets/somebody/tiny/data/dev.csv", &mut ()).unwrap();
    assert!(files[0].name().contains(NEXT));
}

#[test]
fn other_bytes_other_names_and_no_answer_are_refused() {
    let refused = |hub: HuggingFace, address: &str| {
        let cache = tempfile::tempdir().unwrap();
        let error = sets(hub, cache.path()).files(address, &mut ()).unwrap_err();
        let commit = cache.path().join("somebody/tiny").join(COMMIT);
        assert!(!commit.exists() && !cache.path().join("somebody/out.csv").exists(), "nothing is left");
        error.to_string()
    };
    let train = "hf://datasets/somebody/tiny/data/train*.csv";
    let wrong = serve(|path| match path.contains("?blobs=true") {
        true => answer_of(COMMIT, |_| sha256_hex(b"other")).into_bytes(),
        false => file_at(COMMIT, path),
    });
    assert!(refused(hub(wrong), train).contains("`data/train a#1.csv` expected SHA-256"));
    let error = refused(tiny_hub().0, "hf://datasets/somebody/tiny/data/*out.csv");
    assert!(error.contains("the path `data/x") && error.ends_with("is refused"), "{error}");
    let error = refused(tiny_hub().0, "hf://datasets/somebody/tiny/data/x.csv");
    assert_eq!(
        error,
        format!("`hf://datasets/somebody/tiny/data/x.csv`: the data set has no such file at commit {COMMIT}")
    );
    assert!(
        refused(tiny_hub().0, "hf://datasets/somebody/tiny")
            .ends_with("it is a data set, and a file is needed")
    );
    assert!(refused(hub(serve(|_| Vec::new())), train).contains("404"));
    for answer in
        ["{}", "{\"sha\": \"main\", \"siblings\": []}", "[", "{\"sha\": \"../../../x\", \"siblings\": []}"]
    {
        let error = refused(hub(serve(move |_| answer.as_bytes().to_vec())), train);
        assert!(
            error.ends_with("the hub's answer about the files of `somebody/tiny` cannot be read"),
            "{error}"
        );
    }
    assert!(refused(offline(), train).contains("`HF_HUB_OFFLINE` is set"));
}

#[test]
fn where_one_file_fails_those_before_it_stay_and_only_the_others_are_asked_for() {
    let cache = tempfile::tempdir().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (kept, times) = (asked.clone(), AtomicUsize::new(0));
    let endpoint = serve(move |path| match path {
        "/api/datasets/somebody/tiny/revision/main?blobs=true" => answer_of(COMMIT, sha256_hex).into_bytes(),
        path => {
            kept.lock().unwrap().push(path.rsplit('/').next().unwrap().to_owned());
            let mut bytes = file_at(COMMIT, path);
            // The last file is not there, then another one, then itself.
            match path.ends_with("b.csv").then(|| times.fetch_add(1, Ordering::SeqCst)) {
                Some(0) => bytes.clear(),
                Some(1) => bytes.reverse(),
                _ => {}
            }
            bytes
        }
    });
    let fetch = || {
        let mut online = sets(hub(endpoint.clone()), cache.path());
        online.files("hf://datasets/somebody/tiny/data/train*.csv", &mut ())
    };
    let home = cache.path().join("somebody/tiny");
    let data = home.join(COMMIT).join("data");
    for problem in ["`data/train b.csv`: http status: 404", "`data/train b.csv` expected SHA-256"] {
        let error = fetch().unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
        assert_eq!(names_in(&data), ["train a#1.csv"]);
        assert_eq!(fs::read(data.join("train a#1.csv")).unwrap(), FILES[2].1);
    }
    assert_eq!(fetch().unwrap().len(), 2);
    assert_eq!(
        *asked.lock().unwrap(),
        ["train%20a%231.csv", "train%20b.csv", "train%20b.csv", "train%20b.csv"]
    );
    assert_eq!(fs::read(data.join("train b.csv")).unwrap(), FILES[3].1);
    assert_eq!(names_in(&home), [COMMIT, &format!("{COMMIT}.json"), "refs"]);
}

/// A hub with `count` files, which says that each is of `size_bytes` and gives a byte of each after a while.
fn hub_of_parts(count: usize, size_bytes: u64, after: Duration) -> String {
    serve(move |path| match path {
        "/api/datasets/somebody/parts/revision/main?blobs=true" => {
            let part = |i| serde_json::json!({"rfilename": format!("part-{i:02}.csv"), "size": size_bytes});
            let siblings: Vec<_> = (0..count).map(part).collect();
            serde_json::json!({"sha": COMMIT, "siblings": siblings}).to_string().into_bytes()
        }
        _ => {
            std::thread::sleep(after);
            b"x".to_vec()
        }
    })
}

#[test]
fn many_files_may_take_longer_than_the_hub_may_be_silent() {
    let cache = tempfile::tempdir().unwrap();
    let limit = Duration::from_secs(2);
    let hub = hub_with_limits(hub_of_parts(30, 1, Duration::from_millis(100)), limit, limit);
    let files = sets(hub, cache.path()).files("hf://datasets/somebody/parts/*.csv", &mut ()).unwrap();
    assert_eq!(files.len(), 30);
}

#[test]
fn sizes_that_no_files_can_have_are_refused() {
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(hub_of_parts(2, u64::MAX, Duration::ZERO));
    let error = sets(hub, cache.path()).files("hf://datasets/somebody/parts/*.csv", &mut ()).unwrap_err();
    assert!(
        error.to_string().contains("`part-00.csv` expected 18446744073709551615 bytes, got 1"),
        "{error}"
    );
}

/// What was put in a file's place in the cache is not read.
#[cfg(unix)]
#[test]
fn a_link_in_the_cache_is_replaced() {
    let cache = tempfile::tempdir().unwrap();
    let address = "hf://datasets/somebody/tiny/data/dev.csv";
    let path = sets(tiny_hub().0, cache.path()).files(address, &mut ()).unwrap().remove(0).path;
    let elsewhere = cache.path().join("elsewhere");
    fs::write(&elsewhere, FILES[1].1.to_ascii_uppercase()).unwrap();
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    sets(tiny_hub().0, cache.path()).files(address, &mut ()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), FILES[1].1);
    assert!(elsewhere.exists());
}
