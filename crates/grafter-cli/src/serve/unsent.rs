//! Answers that their clients have not taken yet. A request of a few bytes may be answered with many, and whoever asks need not
//! read: so the bytes are counted until the last of them is written, and bounded.

use std::sync::Arc;

use axum::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::{ErrorKind, HttpError};

/// Bytes are counted in pieces of this size.
const PIECE: usize = 1 << 10;

/// The room for unsent answers.
#[derive(Debug)]
pub struct Unsent {
    pieces: Arc<Semaphore>,
    most: usize,
}

/// An answer, and its room for as long as a part of it is to be written.
struct Held {
    bytes: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Unsent {
    pub fn new(max_bytes: usize) -> Self {
        let most = max_bytes.div_ceil(PIECE);
        Self { pieces: Arc::new(Semaphore::new(most)), most }
    }

    /// Counts an answer. One that is larger than all the room needs it alone.
    /// # Errors
    /// If there is no room by now.
    pub fn hold(&self, bytes: Vec<u8>) -> Result<Bytes, HttpError> {
        let pieces = u32::try_from(bytes.len().div_ceil(PIECE).min(self.most)).unwrap_or(u32::MAX);
        match Arc::clone(&self.pieces).try_acquire_many_owned(pieces) {
            Ok(room) => Ok(Bytes::from_owner(Held { bytes, _room: room })),
            Err(_) => {
                let message = "too many answers wait to be taken by those who asked";
                Err(HttpError::new(ErrorKind::Overloaded, message).with_retry_after(1))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_given_back_when_the_last_part_of_an_answer_is_gone() {
        let unsent = Unsent::new(4 * PIECE);
        let first = unsent.hold(vec![1; 3 * PIECE]).unwrap();
        assert_eq!(first[..], [1; 3 * PIECE]);
        let second = unsent.hold(vec![2; 10]).unwrap();
        let refused = unsent.hold(vec![3]).unwrap_err();
        assert_eq!((refused.kind, refused.retry_after_s), (ErrorKind::Overloaded, Some(1)));
        let part = first.slice(5..6);
        drop(first);
        assert!(unsent.hold(vec![3]).is_err(), "a part of it is to be written yet");
        drop(part);
        assert!(unsent.hold(vec![3]).is_ok());
        // Larger than all the room: alone.
        assert!(unsent.hold(vec![4; 5 * PIECE]).is_err());
        drop(second);
        assert!(unsent.hold(vec![4; 5 * PIECE]).is_ok());
    }
}
