//! Room for so many bytes at a time. Who takes of it gives it back by dropping what was given.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes are counted in pieces of this size.
const PIECE: usize = 1 << 10;

#[derive(Debug)]
pub struct Room {
    pieces: Arc<Semaphore>,
    most: usize,
}

/// What was taken.
#[derive(Debug)]
pub struct Taken(#[expect(dead_code, reason = "it is there to be dropped")] OwnedSemaphorePermit);

impl Room {
    pub fn new(max_bytes: usize) -> Self {
        let most = max_bytes.div_ceil(PIECE);
        Self { pieces: Arc::new(Semaphore::new(most)), most }
    }

    /// Takes room for some bytes; for more than there is at all, all of it. `None` where others have it.
    pub fn take(&self, bytes: usize) -> Option<Taken> {
        let pieces = u32::try_from(bytes.div_ceil(PIECE).min(self.most)).unwrap_or(u32::MAX);
        Arc::clone(&self.pieces).try_acquire_many_owned(pieces).ok().map(Taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_not_given_twice() {
        let room = Room::new(4 * PIECE);
        let first = room.take(3 * PIECE).unwrap();
        let second = room.take(10).unwrap();
        assert!(room.take(1).is_none());
        drop(first);
        // Larger than all the room: alone.
        assert!(room.take(5 * PIECE).is_none());
        drop(second);
        assert!(room.take(5 * PIECE).is_some());
    }
}
