//! Downloaded content in memory, in the pieces in which it arrived.

use std::fs::File;
use std::io::Write;

use bytes::Bytes;
use tokio::sync::SemaphorePermit;

use super::memory::reserve_memory;
use crate::files::write_or_skip;

/// Consecutive pieces of an object.
#[derive(Default)]
pub(super) struct Pieces {
    pieces: Vec<Bytes>,
    size: u64,
    _memory: Option<SemaphorePermit<'static>>,
}

impl Pieces {
    /// No pieces yet, with memory reserved for `bytes` bytes.
    pub(super) async fn with_capacity(bytes: u64) -> Pieces {
        Pieces { pieces: Vec::new(), size: 0, _memory: Some(reserve_memory(bytes).await) }
    }

    pub(super) fn push(&mut self, piece: Bytes) {
        self.size += piece.len() as u64;
        self.pieces.push(piece);
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(AsRef::as_ref)
    }

    pub(super) fn write_to(&self, file: &mut File) -> std::io::Result<()> {
        self.iter().try_for_each(|piece| file.write_all(piece))
    }

    /// Writes zeros as holes: in a bucket, a sparse file is stored with all its zeros.
    pub(super) fn write_with_holes(&self, file: &mut File) -> std::io::Result<()> {
        self.iter().try_for_each(|piece| write_or_skip(file, piece).map(drop))
    }
}
