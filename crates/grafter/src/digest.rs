//! SHA-256 as lower-case hexadecimal: the identity of weights, tokenizers and downloads.
//!
//! Used wherever bytes from outside are compared with a pinned or recorded digest. It only computes; what a mismatch
//! means is decided by the caller. The `sha2` crate picks the processor's SHA instructions at run time.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

/// Bytes read at once from a file; large enough that the system calls do not show.
const CHUNK_BYTES: usize = 1 << 20;

/// SHA-256 of `bytes`, 64 lower-case hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 of a file's content, read in pieces of constant size.
///
/// # Errors
/// The file cannot be opened or read.
pub fn sha256_file(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(hex(&hasher.finalize())),
            Ok(read) => hasher.update(&chunk[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// SHA-256 of numbers in memory: the floats, each as its four little-endian bytes, then the integers.
pub fn sha256_of_numbers(floats: &[&[f32]], integers: &[&[i8]]) -> String {
    let mut hasher = Sha256::new();
    let mut bytes = Vec::with_capacity(CHUNK_BYTES);
    for piece in floats.iter().flat_map(|part| part.chunks(CHUNK_BYTES / size_of::<f32>())) {
        bytes.clear();
        bytes.extend(piece.iter().flat_map(|value| value.to_le_bytes()));
        hasher.update(&bytes);
    }
    for piece in integers.iter().flat_map(|part| part.chunks(CHUNK_BYTES)) {
        bytes.clear();
        bytes.extend(piece.iter().map(|value| value.cast_unsigned()));
        hasher.update(&bytes);
    }
    hex(&hasher.finalize())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // FIPS 180-4 test vectors.
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const MILLION_A: &str = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

    #[test]
    fn bytes_match_the_published_vectors() {
        assert_eq!(sha256_hex(b""), EMPTY);
        assert_eq!(sha256_hex(b"abc"), ABC);
        assert_eq!(sha256_hex(&vec![b'a'; 1_000_000]), MILLION_A);
    }

    #[test]
    fn a_file_longer_than_one_piece_gives_the_digest_of_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bytes");
        let bytes: Vec<u8> = (0..2 * CHUNK_BYTES + 17).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(sha256_file(&path).unwrap(), sha256_hex(&bytes));
        std::fs::write(&path, b"").unwrap();
        assert_eq!(sha256_file(&path).unwrap(), EMPTY);
    }

    #[test]
    fn floats_are_digested_as_their_bytes() {
        let values = [1.5f32, -0.0, f32::MAX];
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(sha256_of_numbers(&[&values[..1], &values[1..]], &[]), sha256_hex(&bytes));
        let mut bytes = bytes;
        bytes.extend([255, 3]);
        assert_eq!(sha256_of_numbers(&[&values], &[&[-1], &[3]]), sha256_hex(&bytes));
    }

    #[test]
    fn a_missing_file_is_an_error() {
        assert!(sha256_file(Path::new("/no/such/file")).is_err());
    }
}
