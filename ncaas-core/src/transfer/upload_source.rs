//! A local file that is being uploaded, and the check that it does not change meanwhile.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::checksums::{ChecksumStream, Checksums, ExpectedChecksums, Sha256Sum, file_checksums, read_pieces};
use crate::blocking::run_blocking;
use crate::failure::{Failure, Kind, Result};
use crate::file_stamp::FileStamp;

/// An open file that is to be stored whole and unchanged.
#[derive(Debug, Clone)]
pub(super) struct UploadSource {
    pub(super) file: Arc<File>,
    pub(super) stamp: FileStamp,
    /// For messages only.
    pub(super) path: PathBuf,
    /// Whether other processes may append to the file during the upload. Then the size at its opening is the size that
    /// is stored.
    pub(super) may_grow: bool,
}

impl UploadSource {
    /// Fills `bytes` from the offset `from` on.
    pub(super) fn fill(&self, bytes: &mut [u8], from: u64) -> Result<()> {
        self.file.read_exact_at(bytes, from).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.changed(),
            _ => self.failure(&error),
        })
    }

    /// Reads a small file into `bytes` and computes its checksums, if its SHA-256 is the expected one.
    pub(super) fn read_whole(&self, expected: Option<Sha256Sum>, mut bytes: Vec<u8>) -> Result<(Vec<u8>, Checksums)> {
        let read = (&*self.file).take(self.stamp.size).read_to_end(&mut bytes).map_err(|error| self.failure(&error))?;
        if (read as u64) < self.stamp.size {
            return Err(self.changed());
        }
        self.check_unchanged()?;
        let mut stream = ChecksumStream::expecting(ExpectedChecksums { sha256: expected, crc64nvme: None });
        stream.update(&bytes);
        stream.finish().map(|sums| (bytes, sums)).ok_or_else(|| self.differs())
    }

    /// Reads the whole file, passes each piece on, and returns the checksums, if the SHA-256 is the expected one.
    pub(super) fn read_through(
        &self,
        expected: Option<Sha256Sum>,
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<Checksums> {
        let mut stream = ChecksumStream::expecting(ExpectedChecksums { sha256: expected, crc64nvme: None });
        let mut failed = None;
        let read = read_pieces(&self.file, self.limit(), |piece| {
            stream.update(piece);
            each(piece).map_err(|failure| {
                failed = Some(failure);
                io::Error::other("stopped")
            })
        });
        match (read, failed) {
            (_, Some(failure)) => return Err(failure),
            (Err(error), None) => return Err(self.failure(&error)),
            (Ok(size), None) if size != self.stamp.size => return Err(self.changed()),
            _ => self.check_unchanged()?,
        }
        stream.finish().ok_or_else(|| self.differs())
    }

    /// The file's checksums, if its SHA-256 is the expected one.
    pub(super) async fn checksums(&self, expected: Option<Sha256Sum>) -> Result<Checksums> {
        let source = self.clone();
        run_blocking(move || {
            let expected = ExpectedChecksums { sha256: expected, crc64nvme: None };
            let sums =
                file_checksums(&source.file, source.limit(), expected).map_err(|error| source.failure(&error))?;
            source.check_unchanged()?;
            sums.ok_or_else(|| source.differs())
        })
        .await
    }

    /// How many bytes to read. One more than there should be shows that the file has grown.
    fn limit(&self) -> u64 {
        self.stamp.size + u64::from(!self.may_grow)
    }

    /// Fails if the file has changed since it was opened.
    pub(super) fn check_unchanged(&self) -> Result<()> {
        let now = FileStamp::from_metadata(&self.file.metadata().map_err(|error| self.failure(&error))?);
        let is_unchanged = self.stamp.has_same_content(&now) || self.may_grow && now.size >= self.stamp.size;
        if is_unchanged { Ok(()) } else { Err(self.changed()) }
    }

    pub(super) fn changed(&self) -> Failure {
        Failure::new(Kind::ChecksumMismatch, format!("`{}` changed while it was read", self.path.display()))
            .hint("nothing was stored; run the same command again when the file is complete")
    }

    pub(super) fn differs(&self) -> Failure {
        let message = format!("the SHA-256 of `{}` is not the one in its record", self.path.display());
        Failure::new(Kind::ChecksumMismatch, message)
            .hint("`ncaas-sync verify BUCKET/GROUP JOB --files` lists every file of the job")
    }

    fn failure(&self, error: &io::Error) -> Failure {
        Failure::io("read", &self.path, error)
    }
}
