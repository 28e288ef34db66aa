//! Data sets that are fetched by name: GLUE, as the Hugging Face hub has it.
//!
//! A part of a data set is fetched when it is first asked for and then found in the cache, below the commit that it is of. The
//! files are Parquet and stay what they are: [`crate::data`] reads them. Of GLUE the test rows are left out: but for
//! those of MRPC their labels are hidden.

use std::path::{Path, PathBuf};

use super::hugging_face::HuggingFace;
use super::known::{KnownData, KnownPart, PinnedFile};
use super::{HubError, PullProgress, cache_dir, install};

/// Every known data set.
pub const KNOWN_DATA: &[KnownData] = &[KnownData {
    name: "glue",
    repo: "nyu-mll/glue",
    revision: "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c",
    parts: &[
        part(
            ["cola", "glue/cola"],
            &[
                train(251_124, "2e7538afa2000e63f5343f16a758d75c452661a384208399d2035cd2fce45c33"),
                dev(37_551, "c14b7219a7d9f9fe3dd291fd000f6623ee413805eb108c9c49578ed50873e4ba"),
            ],
        ),
        part(
            ["sst2", "glue/sst2"],
            &[
                train(3_110_468, "66a253e67968acfabcbe49dbe9da964b42ac1c851c40ab760e8c8942efdb3229"),
                dev(72_819, "a1371f3b3a7b0bcefa8388799a9359dc3ce76c349cc0079507a7991364fd2a9b"),
            ],
        ),
        part(
            ["mrpc", "glue/mrpc"],
            &[
                train(649_281, "61fd41301e0e244b0420c4350a170c8e7cf64740335fc875a4af2d79af0df0af"),
                dev(75_678, "33c007dbf5bfa8463d87a13e6226df8c0fcf2596c2cd39d0f3bb79754e00f50f"),
            ],
        ),
        part(
            ["stsb", "glue/stsb"],
            &[
                train(502_065, "bbd93bbb988fd18437e02185fe3b2bd9a18350376c392e7820de9df1b247ed1f"),
                dev(150_622, "152de7cf1fa34ee4df1c243bd209b02ade21a1d5c4fb3b7da5240f78e4000aa9"),
            ],
        ),
        part(
            ["qqp", "glue/qqp"],
            &[
                train(33_558_839, "4d6f02e643f7c36e9a4f7d4971a5ee9bd74063a319452fe6c87850c739774cd7"),
                dev(3_729_274, "efd86a539c412d74874ee451573d7bd142f56c47fe36de033b9f367d8bb0fa71"),
            ],
        ),
        part(
            ["mnli", "glue/mnli"],
            &[
                train(52_224_361, "49a4a5508b89b8fed2c6e81d2c47d00f4759050a7048c6cc5d95d31122ced3c1"),
                PinnedFile {
                    name: "validation_matched-00000-of-00001.parquet",
                    size_bytes: 1_214_936,
                    sha256: "7f918c09d9c35446b8e8f06a5672f8ab704e2897fecbf52e2e154141f3d7c421",
                },
            ],
        ),
        part(
            ["qnli", "glue/qnli"],
            &[
                train(17_528_917, "ebc7cb70a5bbde0b0336c3d51f31bb4df4673e908e8874b090b52169b1365c6c"),
                dev(872_062, "e69311b81dc65589286091d9905a27617a90436dd215c7a59832fa8f4f336169"),
            ],
        ),
        part(
            ["rte", "glue/rte"],
            &[
                train(583_976, "a6252ab17015d718f6de1effe0980f7b158df63e3d16207cd8bd396b608e5147"),
                dev(69_020, "fb2aa2e04f551133ba663617a15ae133dc22b0f6a969bc0629b5ea6003ee9cf8"),
            ],
        ),
    ],
}];

const fn part(names: [&'static str; 2], files: &'static [PinnedFile]) -> KnownPart {
    KnownPart { name: names[0], full_name: names[1], files }
}

const fn train(size_bytes: u64, sha256: &'static str) -> PinnedFile {
    PinnedFile { name: "train-00000-of-00001.parquet", size_bytes, sha256 }
}

const fn dev(size_bytes: u64, sha256: &'static str) -> PinnedFile {
    PinnedFile { name: "validation-00000-of-00001.parquet", size_bytes, sha256 }
}

/// The folder with the files of one part of a known data set, `glue` and `cola` for example; fetched if it is missing. Files
/// in the cache are checked for presence and size, as those of a model are.
///
/// # Errors
/// Unknown names; the cache cannot be written; the hub does not deliver the pinned files.
pub fn fetch_data(name: &str, part: &str, progress: &mut dyn PullProgress) -> Result<PathBuf, HubError> {
    let unknown = |name: &str, known| HubError::UnknownData { name: name.to_owned(), known };
    let data = KNOWN_DATA.iter().find(|data| data.name == name);
    let data = data.ok_or_else(|| unknown(name, KNOWN_DATA.iter().map(|data| data.name).collect()))?;
    let known = data.parts.iter().find(|known| known.name == part);
    let known = known.ok_or_else(|| unknown(part, data.parts.iter().map(|part| part.name).collect()))?;
    fetch_part(data, known, &cache_dir()?.join("datasets"), &HuggingFace::from_env(), progress)
}

fn fetch_part(
    data: &KnownData,
    part: &KnownPart,
    datasets: &Path,
    hub: &HuggingFace,
    progress: &mut dyn PullProgress,
) -> Result<PathBuf, HubError> {
    let folder = datasets.join(data.name).join(data.revision).join(part.name);
    if install::has_sizes(&folder, part.files) {
        return Ok(folder);
    }
    install::pull(&data.published(part), &folder, &[hub], false, progress)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::hugging_face::tests::{hub, serve};
    use super::super::tests::Recorder;
    use super::*;
    use crate::digest::sha256_hex;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
    const TRAIN: &[u8] = b"rows to learn from";
    const DEV: &[u8] = b"rows to choose by";

    fn tiny() -> KnownData {
        let file = |name, content: &[u8]| PinnedFile {
            name,
            size_bytes: content.len() as u64,
            sha256: sha256_hex(content).leak(),
        };
        let files = vec![file("train.parquet", TRAIN), file("dev.parquet", DEV)].leak();
        let parts = vec![part(["one", "tiny/one"], files)].leak();
        KnownData { name: "tiny", repo: "somebody/tiny", revision: COMMIT, parts }
    }

    fn answer(path: &str) -> Vec<u8> {
        match path
            .strip_prefix("/datasets/somebody/tiny/resolve/0123456789abcdef0123456789abcdef01234567/one/")
        {
            Some("train.parquet") => TRAIN.to_vec(),
            Some("dev.parquet") => DEV.to_vec(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn a_part_is_fetched_once_and_then_needs_no_hub() {
        let cache = tempfile::tempdir().unwrap();
        let data = tiny();
        let mut progress = Recorder::default();
        let fetched = fetch_part(&data, &data.parts[0], cache.path(), &hub(serve(answer)), &mut progress);
        let folder = fetched.unwrap();
        assert_eq!(folder, cache.path().join("tiny").join(COMMIT).join("one"));
        assert_eq!(fs::read(folder.join("train.parquet")).unwrap(), TRAIN);
        assert_eq!(fs::read(folder.join("dev.parquet")).unwrap(), DEV);
        let from = "fetching `tiny/one` from the Hugging Face hub at `HF_ENDPOINT` (`somebody/tiny`)";
        let total = TRAIN.len() + DEV.len();
        assert_eq!(
            progress.lines,
            [from.to_owned(), format!("begin tiny/one Some({total})"), "finish".into()]
        );
        let offline = super::super::hugging_face::tests::offline();
        let again = fetch_part(&data, &data.parts[0], cache.path(), &offline, &mut progress).unwrap();
        assert_eq!((again, progress.lines.len()), (folder, 3));
    }

    #[test]
    fn what_the_hub_does_not_deliver_is_told_and_leaves_nothing() {
        let cache = tempfile::tempdir().unwrap();
        let data = tiny();
        let other = |path: &str| answer(path).iter().map(|byte| byte ^ 1).collect();
        for (source, message, hint) in [
            (hub(serve(other)), "SHA-256", "--data <DIR>"),
            (hub(serve(|_| Vec::new())), "404", "HF_ENDPOINT"),
            (
                super::super::hugging_face::tests::offline(),
                "`HF_HUB_OFFLINE` is set",
                "unset `HF_HUB_OFFLINE`",
            ),
        ] {
            let error = fetch_part(&data, &data.parts[0], cache.path(), &source, &mut ()).unwrap_err();
            let text = error.to_string();
            assert!(
                text.starts_with("data set `tiny/one` could not be fetched:\n  the Hugging Face hub"),
                "{text}"
            );
            assert!(text.contains(message), "{text}");
            assert!(error.hint().unwrap().contains(hint), "{error}");
            let left = fs::read_dir(cache.path().join("tiny").join(COMMIT)).unwrap().count();
            assert_eq!(left, 0);
        }
    }

    #[test]
    fn a_commit_in_the_hubs_own_cache_needs_no_network() {
        let (cache, shared) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let data = tiny();
        let snapshot = shared.path().join("hub/datasets--somebody--tiny/snapshots").join(COMMIT).join("one");
        fs::create_dir_all(&snapshot).unwrap();
        fs::write(snapshot.join("train.parquet"), TRAIN).unwrap();
        fs::write(snapshot.join("dev.parquet"), DEV).unwrap();
        let offline = super::super::hugging_face::tests::offline_with(shared.path());
        let folder = fetch_part(&data, &data.parts[0], cache.path(), &offline, &mut ()).unwrap();
        assert_eq!(fs::read(folder.join("dev.parquet")).unwrap(), DEV);
    }

    #[test]
    fn names_and_digests_have_their_form() {
        let lower_hexadecimal = |text: &str| text.bytes().all(|b| b"0123456789abcdef".contains(&b));
        for data in KNOWN_DATA {
            assert!(data.revision.len() == 40 && lower_hexadecimal(data.revision));
            for part in data.parts {
                assert_eq!(part.full_name, format!("{}/{}", data.name, part.name));
                for file in part.files {
                    assert!(file.sha256.len() == 64 && lower_hexadecimal(file.sha256));
                }
            }
        }
        assert!(matches!(fetch_data("glue", "wnli", &mut ()), Err(HubError::UnknownData { .. })));
        let error = fetch_data("blue", "cola", &mut ()).unwrap_err();
        assert_eq!(error.to_string(), "unknown data set `blue`: expected one of `glue`");
    }
}
