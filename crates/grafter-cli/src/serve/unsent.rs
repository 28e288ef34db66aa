//! Answers that their clients have not taken yet. A request of a few bytes may be answered with many, and whoever asks need not
//! read: so the bytes are counted until the last of them is written, and bounded.

use axum::body::Bytes;

use super::error::{ErrorKind, HttpError};
use super::room::{Room, Taken};

/// The room for unsent answers.
#[derive(Debug)]
pub struct Unsent(Room);

/// An answer, and its room for as long as a part of it is to be written.
struct Held {
    bytes: Vec<u8>,
    _room: Taken,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Unsent {
    pub fn new(max_bytes: usize) -> Self {
        Self(Room::new(max_bytes))
    }

    /// Counts an answer. One that is larger than all the room needs it alone.
    /// # Errors
    /// If there is no room by now.
    pub fn hold(&self, bytes: Vec<u8>) -> Result<Bytes, HttpError> {
        match self.0.take(bytes.len()) {
            Some(room) => Ok(Bytes::from_owner(Held { bytes, _room: room })),
            None => {
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
        let unsent = Unsent::new(4 << 10);
        let first = unsent.hold(vec![1; 4 << 10]).unwrap();
        assert_eq!(first[..], [1; 4 << 10]);
        let refused = unsent.hold(vec![3]).unwrap_err();
        assert_eq!((refused.kind, refused.retry_after_s), (ErrorKind::Overloaded, Some(1)));
        let part = first.slice(5..6);
        drop(first);
        assert!(unsent.hold(vec![3]).is_err(), "a part of it is to be written yet");
        drop(part);
        assert!(unsent.hold(vec![3]).is_ok());
    }
}
