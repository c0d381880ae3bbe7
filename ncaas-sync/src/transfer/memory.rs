//! The memory that content takes on its way, in all transfers together.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

/// How much content may be in memory at once, in units of [`UNIT`].
static FREE: Semaphore = Semaphore::const_new(UNITS as usize);
const UNITS: u32 = 48 * 1024;
const UNIT: u64 = 1024;

/// Memory of large buffers that are not in use: to get it from the system anew costs more than to fill it.
static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
/// Smaller ones the allocator has at hand, in bytes.
const LARGE: usize = 1 << 20;

/// Waits until so many bytes of memory are free.
pub(super) async fn memory(bytes: u64) -> SemaphorePermit<'static> {
    let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(UNITS).clamp(1, UNITS);
    loop {
        // The semaphore is never closed.
        if let Ok(permit) = FREE.acquire_many(units).await {
            return permit;
        }
    }
}

/// A piece of content, filled from its beginning.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    filled: usize,
    _memory: SemaphorePermit<'static>,
}

impl Buffer {
    /// One for so many bytes, with the memory that was waited for.
    pub(super) fn new(bytes: u64, memory: SemaphorePermit<'static>) -> Buffer {
        let length = usize::try_from(bytes).unwrap_or(usize::MAX);
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = spare.iter().position(|spare| spare.len() == length);
        let bytes = fits.map_or_else(|| vec![0; length], |at| spare.swap_remove(at));
        Buffer { bytes, filled: 0, _memory: memory }
    }

    pub(super) fn filled(&self) -> u64 {
        self.filled as u64
    }

    /// Fills it further: whether there was room for it.
    pub(super) fn push(&mut self, piece: &[u8]) -> bool {
        match self.bytes.get_mut(self.filled..self.filled + piece.len()) {
            Some(room) => {
                room.copy_from_slice(piece);
                self.filled += piece.len();
                true
            }
            None => false,
        }
    }

    /// All of it, to be filled at once.
    pub(super) fn whole(&mut self) -> &mut [u8] {
        self.filled = self.bytes.len();
        &mut self.bytes
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.bytes.len() > LARGE {
            let bytes = std::mem::take(&mut self.bytes);
            SPARE.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
        }
    }
}
