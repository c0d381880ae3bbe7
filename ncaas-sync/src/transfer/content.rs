//! Content on its way, in the pieces in which it came.

use std::fs::File;
use std::io::{Seek, Write};

use bytes::Bytes;
use tokio::sync::SemaphorePermit;

use super::memory::memory;
use crate::local::is_hole;

/// What has come of a range.
#[derive(Default)]
pub(super) struct Content {
    pieces: Vec<Bytes>,
    size: u64,
    _memory: Option<SemaphorePermit<'static>>,
}

impl Content {
    /// None yet, with the memory for so many bytes.
    pub(super) async fn with_room_for(bytes: u64) -> Content {
        Content { pieces: Vec::new(), size: 0, _memory: Some(memory(bytes).await) }
    }

    pub(super) fn push(&mut self, piece: Bytes) {
        self.size += piece.len() as u64;
        self.pieces.push(piece);
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(AsRef::as_ref)
    }

    pub(super) fn write_to(&self, file: &mut File) -> std::io::Result<()> {
        self.pieces().try_for_each(|piece| file.write_all(piece))
    }

    /// Zeros become holes: in a bucket a sparse file holds them all.
    pub(super) fn write_with_holes(&self, file: &mut File) -> std::io::Result<()> {
        self.pieces().try_for_each(|piece| {
            if is_hole(piece) { file.seek_relative(piece.len() as i64) } else { file.write_all(piece) }
        })
    }
}
