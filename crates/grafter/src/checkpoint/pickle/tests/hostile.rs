//! Archives that lie, and files that are damaged anywhere.

use super::*;

/// A file of each kind: one of torch's, one made by hand, one deflated.
fn files() -> Vec<Vec<u8>> {
    let state = || tensor(storage("HalfStorage", "0", 6), 0, &[2, 3], &[1, 2]);
    let value = pickle(&[&hooks()[..], &text("w"), &state(), b"s"].concat());
    let entries: [(&str, &[u8]); 2] = [("a/data.pkl", &value), ("a/data/0", &[0x3c; 12])];
    let by_hand = one_tensor(1, &[3], &[1], &[0.5, 1.0, 2.0, 4.0]);
    vec![
        fixture("state.bin"),
        fixture("tensors.bin"),
        by_hand,
        archive_of(&entries, CompressionMethod::Deflated),
    ]
}

/// The pickle and the storages of a committed file.
fn parts(file: &str) -> (Vec<u8>, Vec<Vec<u8>>) {
    let bytes = fixture(&format!("{file}.bin"));
    let mut archive = Archive::open(Path::new(file), &bytes).unwrap();
    let pickle = archive.required("data.pkl", usize::MAX).unwrap();
    let entries = (0..).map_while(|key| archive.optional(&format!("data/{key}"), usize::MAX).unwrap());
    let storages = entries.collect();
    (pickle, storages)
}

#[track_caller]
fn refused_archive(entries: &[(&str, &[u8])]) -> String {
    refusal(read_bytes(&archive_of(entries, CompressionMethod::Stored)))
}

#[test]
fn a_file_that_is_cut_anywhere_is_refused() {
    for file in files() {
        for end in 0..file.len() {
            read_bytes(&file[..end]).unwrap_err();
        }
        read_bytes(&[&file[..], b"\0"].concat()).unwrap_err();
        read_bytes(&[b"\0", &file[..]].concat()).unwrap_err();
        read_bytes(&[&file[..], &file].concat()).unwrap_err();
    }
}

#[test]
fn a_file_with_any_byte_changed_is_refused_or_the_same() {
    for file in files() {
        let whole = read_bytes(&file).unwrap();
        for at in 0..file.len() {
            for bits in [0x01, 0x80, 0xff] {
                let mut changed = file.clone();
                changed[at] ^= bits;
                if let Ok(tensors) = read_bytes(&changed) {
                    assert_eq!(tensors, whole, "byte {at} with {bits}");
                }
            }
        }
    }
}

#[test]
fn a_pickle_that_is_cut_or_changed_anywhere_does_not_panic() {
    for file in ["state", "tensors"] {
        let (pickle, storages) = parts(file);
        let storages: Vec<&[u8]> = storages.iter().map(Vec::as_slice).collect();
        read_bytes(&file_of(&pickle, &storages)).unwrap();
        for end in 0..pickle.len() {
            read_bytes(&file_of(&pickle[..end], &storages)).unwrap_err();
        }
        for at in 0..pickle.len() {
            for value in [pickle[at] ^ 1, pickle[at] ^ 0x80, 0, 0xff, b'.', b'R', b'(', b'}'] {
                let mut changed = pickle.clone();
                changed[at] = value;
                for tensor in read_bytes(&file_of(&changed, &storages)).unwrap_or_default().values() {
                    assert_eq!(tensor.values.len(), tensor.shape.iter().product::<usize>());
                }
            }
        }
    }
}

#[test]
fn the_legacy_format_is_refused_by_its_name() {
    // How torch 2.15 begins a file with `_use_new_zipfile_serialization=False`.
    let begin = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}q\x00";
    let error = read_bytes(begin).unwrap_err();
    assert!(matches!(error, PickleError::Legacy { .. }));
    assert!(error.to_string().contains("the legacy format that torch wrote before 1.6"), "{error}");
}

#[test]
fn other_files_are_refused() {
    for bytes in [&b""[..], b"\x80\x02}.", b"PK", b"PK\x05\x06", b"{}", b"\x93NUMPY", &[0; 100]] {
        let message = refusal(read_bytes(bytes));
        assert_eq!(
            message,
            "`a.bin` expected a zip archive as `torch.save` writes it, found another beginning"
        );
    }
    let message = refusal(read_bytes(b"PK\x03\x04 and nothing more"));
    assert!(
        message.ends_with("no end of an archive at its end: it is cut off, or something follows"),
        "{message}"
    );
}

#[test]
fn big_endian_numbers_are_refused() {
    let message = refused_archive(&[("a/data.pkl", b"\x80\x02}."), ("a/byteorder", b"big")]);
    assert_eq!(message, "`a.bin`: entry `a/byteorder` expected `little`, found `big`");
    let message = refused_archive(&[("a/data.pkl", b"\x80\x02}."), ("a/byteorder", &[b'x'; 17])]);
    assert_eq!(message, "`a.bin`: entry `a/byteorder` expected at most 16 bytes, found 17");
}

#[test]
fn the_pickle_is_in_one_plain_folder() {
    let empty = b"\x80\x02}.";
    for name in [
        "/data.pkl",
        "../data.pkl",
        "./data.pkl",
        "/a/data.pkl",
        "a/../data.pkl",
        "a/b/data.pkl",
        "..\\a/data.pkl",
    ] {
        let message = refused_archive(&[(name, empty)]);
        assert!(message.contains("which is no plain folder"), "{message}");
    }
    assert!(refused_archive(&[("data.pkl", empty)]).ends_with("found no `data.pkl` in a folder"));
    assert!(refused_archive(&[("a/x", empty)]).ends_with("found no `data.pkl` in a folder"));
    assert!(
        refused_archive(&[("a/data.pkl", empty), ("b/data.pkl", empty)])
            .ends_with("found several `data.pkl`")
    );
}

#[test]
fn entries_with_other_names_are_never_read() {
    let value = pickle(&dict(&[("w", tensor(storage("FloatStorage", "0", 1), 0, &[1], &[1]))]));
    let (right, wrong) = (floats(&[1.0]), floats(&[2.0]));
    let entries: [(&str, &[u8]); 6] = [
        ("a/data.pkl", &value),
        ("/a/data/0", &wrong),
        ("a/../a/data/0", &wrong),
        ("../../x", &wrong),
        ("a/data/0", &right),
        ("b/data/0", &wrong),
    ];
    let tensors = read_bytes(&archive_of(&entries, CompressionMethod::Stored)).unwrap();
    assert_eq!(tensors["w"].values, [1.0]);
    let message = refused_archive(&[entries[0], entries[1], entries[2], entries[5]]);
    assert!(message.contains("entry `a/data/0` expected to be there"), "{message}");
}

#[test]
fn two_entries_of_one_name_are_refused() {
    let value = pickle(&dict(&[("w", tensor(storage("FloatStorage", "0", 1), 0, &[1], &[1]))]));
    let entries: [(&str, &[u8]); 3] =
        [("a/data.pkl", &value), ("a/data/0", &floats(&[1.0])), ("a/data/1", &floats(&[2.0]))];
    let mut bytes = archive_of(&entries, CompressionMethod::Stored);
    read_bytes(&bytes).unwrap();
    for at in 0..bytes.len() - 8 {
        if bytes[at..].starts_with(b"a/data/1") {
            bytes[at + 7] = b'0';
        }
    }
    assert!(refusal(read_bytes(&bytes)).ends_with("a directory that is broken, or two entries of one name"));
}

#[test]
fn another_directory_is_not_taken_for_a_broken_one() {
    let empty = b"\x80\x02}.";
    let inner = archive_of(&[("a/data.pkl", empty), ("a/y", b"")], CompressionMethod::Stored);
    let mut bytes = archive_of(&[("a/data.pkl", empty), ("a/x", &inner)], CompressionMethod::Stored);
    read_bytes(&bytes).unwrap();
    let (_, end) = bytes.split_last_chunk::<22>().unwrap();
    let directory = u32::from_le_bytes(*end[16..].first_chunk().unwrap()) as usize;
    assert!(bytes[directory..].starts_with(b"PK\x01\x02"));
    bytes[directory] = 0;
    assert!(refusal(read_bytes(&bytes)).ends_with("a directory that is broken, or two entries of one name"));
}

#[test]
fn what_inflates_far_beyond_the_file_is_refused() {
    let count = 1 << 20;
    let zeros = vec![0; 4 * count];
    let value = pickle(&dict(&[("w", tensor(storage("FloatStorage", "0", count as i64), 0, &[1], &[1]))]));
    let entries: [(&str, &[u8]); 2] = [("a/data.pkl", &value), ("a/data/0", &zeros)];
    let file = archive_of(&entries, CompressionMethod::Deflated);
    let most = file.len().max(4096) * 16;
    let message = refusal(read_bytes(&file));
    let expected = format!("`a.bin`: its {} bytes describe numbers of more than {most} bytes", file.len());
    assert!(message.starts_with(&expected), "{message}");
    read_bytes(&archive_of(&entries, CompressionMethod::Stored)).unwrap();
    for (size, expected) in
        [(1 << 19, "describe numbers of more than"), ((1 << 20) + 1, "expected at most 1048576 bytes")]
    {
        let file = archive_of(&[("a/data.pkl", &zeros[..size])], CompressionMethod::Deflated);
        let message = refusal(read_bytes(&file));
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn an_entry_that_is_longer_than_it_says_is_not_read_whole() {
    let zeros = [0; 40_000];
    let value = pickle(&dict(&[("w", tensor(storage("FloatStorage", "0", 2), 0, &[1], &[1]))]));
    for method in [CompressionMethod::Deflated, CompressionMethod::Stored] {
        let mut file = archive_of(&[("a/data.pkl", &value), ("a/data/0", &zeros)], method);
        let at = file.windows(4).rposition(|window| window == 40_000_u32.to_le_bytes()).unwrap();
        file[at..at + 4].copy_from_slice(&8_u32.to_le_bytes());
        let message = refusal(read_bytes(&file));
        assert!(message.ends_with("expected 8 bytes, as the archive says, found more"), "{message}");
    }
}

#[test]
fn one_storage_under_many_names_does_not_multiply_memory() {
    let numbers = [1.0; 1000];
    let shared = |names: usize| {
        let one = tensor(storage("FloatStorage", "0", 1000), 0, &[1000], &[1]);
        let first = [&text("0")[..], &one, b"q\x00"].concat();
        let others: Vec<u8> =
            (1..names).flat_map(|name| [&text(&name.to_string())[..], b"h\x00"].concat()).collect();
        read_bytes(&file_of(&pickle(&[b"}(", &first[..], &others, b"u"].concat()), &[&floats(&numbers)]))
    };
    assert_eq!(shared(8).unwrap().len(), 8);
    assert!(matches!(shared(40), Err(PickleError::Memory { .. })));
    assert!(matches!(shared(1000), Err(PickleError::Memory { .. })));
}

#[test]
fn counts_of_the_archive_are_held_against_limits() {
    let file = one_tensor(0, &[1], &[1], &[1.0]);
    let end = file.len() - 22;
    let with = |at: usize, bytes: &[u8]| {
        let mut file = file.clone();
        file[end + at..end + at + bytes.len()].copy_from_slice(bytes);
        refusal(read_bytes(&file))
    };
    assert!(with(8, &[0xfe; 4]).ends_with("found 65278 entries, more than 8192"));
    assert!(with(8, &[0xff; 4]).ends_with("found 65535 entries, more than 8192"));
    assert!(with(12, &[0xff; 4]).ends_with("found an archive of 4 GiB or more"));
    assert!(with(16, &[0xff; 4]).ends_with("found an archive of 4 GiB or more"));
    assert!(with(8, &[5, 0, 5, 0]).contains("expected a zip archive as `torch.save` writes it"));
    assert!(with(8, &[2, 0, 2, 0]).contains("entry `a/data/0` expected to be there"));
    for at in [12, 16] {
        assert!(with(at, &[0; 4]).ends_with("found a directory that does not end where the archive does"));
    }
    // An end per 22 bytes, each of which the crate would try, and more entries than are said.
    for (record, times, most) in [(&file[end..], 100, 15), (b"PK\x01\x02", 9000, 8000)] {
        let message = refused_archive(&[("a/data.pkl", b"\x80\x02}."), ("a/x", &record.repeat(times))]);
        assert!(message.ends_with("found the records of many archives"), "{message}");
        let records = record.repeat(most);
        read_bytes(&archive_of(
            &[("a/data.pkl", b"\x80\x02}."), ("a/x", &records)],
            CompressionMethod::Stored,
        ))
        .unwrap();
    }
}
