//! The bound on memory for content in transit, shared by all transfers of a process.

use std::sync::{Mutex, MutexGuard};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::part_size::PART_SIZE;
use crate::blocking::lock;

/// How much content may be in memory at once, in units of [`UNIT`].
static FREE: Semaphore = Semaphore::const_new(UNITS as usize);
const UNITS: u32 = 40 * 1024;
const UNIT: u64 = 1024;

/// Unused buffers of the usual part size: allocating a buffer costs more than filling it.
static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
const USUAL: usize = PART_SIZE as usize;

/// Waits until `bytes` of memory are free, and reserves them.
pub(super) async fn reserve_memory(bytes: u64) -> SemaphorePermit<'static> {
    let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(UNITS).clamp(1, UNITS);
    loop {
        // The semaphore is never closed.
        if let Ok(permit) = FREE.acquire_many(units).await {
            return permit;
        }
    }
}

/// Memory for one part of a file.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    _memory: SemaphorePermit<'static>,
}

impl Buffer {
    pub(super) fn new(bytes: u64, memory: SemaphorePermit<'static>) -> Buffer {
        let length = usize::try_from(bytes).unwrap_or(usize::MAX);
        let spare = if length == USUAL { spare().pop() } else { None };
        Buffer { bytes: spare.unwrap_or_else(|| vec![0; length]), _memory: memory }
    }
}

fn spare() -> MutexGuard<'static, Vec<Vec<u8>>> {
    lock(&SPARE)
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.bytes.len() == USUAL {
            spare().push(std::mem::take(&mut self.bytes));
        }
    }
}
