//! Checksums of content: SHA-256, CRC-64/NVME and ETags.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crc_fast::CrcAlgorithm;
use md5::Md5;
use sha2::{Digest, Sha256};

use crate::blocking::run_blocking;
use crate::failure::{IoContext, Result};
use crate::files::check_plausible_size;

/// How much of a file is in memory while it is read from end to end, in bytes.
const PIECE: usize = 256 * 1024;

/// SHA-256 as bytes.
pub type Sha256Sum = [u8; 32];

/// Checksums that content is expected to have. Where both are given, they are of the same content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ExpectedChecksums {
    pub(super) sha256: Option<Sha256Sum>,
    pub(super) crc64nvme: Option<u64>,
}

impl ExpectedChecksums {
    /// Whether no expected checksum differs.
    fn allow(&self, sums: &Checksums) -> bool {
        self.sha256.is_none_or(|sha256| sha256 == sums.sha256)
            && self.crc64nvme.is_none_or(|crc64nvme| crc64nvme == sums.crc64nvme)
    }

    /// Whether a checksum is expected, and none differs.
    pub(super) fn confirm(&self, sums: &Checksums) -> bool {
        *self != ExpectedChecksums::default() && self.allow(sums)
    }
}

/// The checksums of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checksums {
    pub(super) sha256: Sha256Sum,
    pub(super) crc64nvme: u64,
}

/// Computes the checksums of content piece by piece, and compares them with the expected ones.
///
/// CRC-64/NVME takes a twentieth of the time of SHA-256 and detects transmission errors as well. If both are expected,
/// only CRC-64/NVME is computed.
#[derive(Debug)]
pub(super) struct ChecksumStream {
    expected: ExpectedChecksums,
    sha256: Option<Sha256>,
    crc64nvme: crc_fast::Digest,
}

impl ChecksumStream {
    pub(super) fn expecting(expected: ExpectedChecksums) -> ChecksumStream {
        let sha256 = expected.sha256.and(expected.crc64nvme).is_none().then(Sha256::new);
        ChecksumStream { expected, sha256, crc64nvme: crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme) }
    }

    pub(super) fn update(&mut self, piece: &[u8]) {
        self.crc64nvme.update(piece);
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(piece);
        }
    }

    /// `None` if a checksum differs from the expected one.
    pub(super) fn finish(self) -> Option<Checksums> {
        let crc64nvme = self.crc64nvme.finalize();
        let computed = self.sha256.map(|sha256| Sha256Sum::from(sha256.finalize()));
        let sums = Checksums { sha256: computed.or(self.expected.sha256)?, crc64nvme };
        self.expected.allow(&sums).then_some(sums)
    }
}

impl io::Write for ChecksumStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The checksums of the first `limit` bytes of a file; `None` if one differs from the expected one.
pub(super) fn file_checksums(file: &File, limit: u64, expected: ExpectedChecksums) -> io::Result<Option<Checksums>> {
    let mut stream = ChecksumStream::expecting(expected);
    read_pieces(file, limit, |piece| {
        stream.update(piece);
        Ok(())
    })?;
    Ok(stream.finish())
}

/// The SHA-256 of a whole open file.
///
/// # Errors
/// When it cannot be read.
pub fn file_sha256(file: &File) -> io::Result<Sha256Sum> {
    let mut digest = Sha256::new();
    read_pieces(file, u64::MAX, |piece| {
        digest.update(piece);
        Ok(())
    })?;
    Ok(digest.finalize().into())
}

/// The checksums of a whole file, and its ETag if one is to be computed.
pub(super) fn file_checksums_and_etag(
    file: &File,
    mut etag: Option<EtagStream>,
) -> io::Result<(Checksums, Option<String>)> {
    let (mut sha256, mut crc64nvme) = (Sha256::new(), crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme));
    read_pieces(file, u64::MAX, |piece| {
        sha256.update(piece);
        crc64nvme.update(piece);
        etag.iter_mut().for_each(|etag| etag.update(piece));
        Ok(())
    })?;
    let sums = Checksums { sha256: sha256.finalize().into(), crc64nvme: crc64nvme.finalize() };
    Ok((sums, etag.map(EtagStream::finish)))
}

/// Computes the ETag that S3 gives content: its MD5, or the MD5 of the MD5s of the parts in which it was uploaded.
pub(super) struct EtagStream {
    part: Option<u64>,
    left: u64,
    md5: Md5,
    parts: Vec<u8>,
}

impl EtagStream {
    /// For content that was uploaded in parts of `part` bytes; `None`: in one request.
    pub(super) fn new(part: Option<u64>) -> EtagStream {
        EtagStream { part, left: part.unwrap_or(u64::MAX), md5: Md5::new(), parts: Vec::new() }
    }

    fn update(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            let now = usize::try_from(self.left).unwrap_or(usize::MAX).min(piece.len());
            self.md5.update(&piece[..now]);
            piece = &piece[now..];
            self.left -= now as u64;
            if self.left == 0 {
                self.end_part();
            }
        }
    }

    fn end_part(&mut self) {
        self.parts.extend(std::mem::take(&mut self.md5).finalize());
        self.left = self.part.unwrap_or(u64::MAX);
    }

    fn finish(mut self) -> String {
        let Some(part) = self.part else { return hex::encode(self.md5.finalize()) };
        if self.left != part {
            self.end_part();
        }
        format!("{}-{}", hex::encode(Md5::digest(&self.parts)), self.parts.len() / 16)
    }
}

/// Reads up to `limit` bytes of a file from its beginning and passes each piece on.
pub(super) fn read_pieces(file: &File, limit: u64, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<u64> {
    check_plausible_size(file)?;
    let mut buffer = vec![0; PIECE];
    let mut size = 0;
    loop {
        let length = usize::try_from(limit - size).unwrap_or(PIECE).min(PIECE);
        match file.read_at(&mut buffer[..length], size) {
            Ok(0) => return Ok(size),
            Ok(read) => {
                each(&buffer[..read])?;
                size += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The SHA-256 that 64 hexadecimal digits stand for.
pub fn parse_sha256(text: &str) -> Option<Sha256Sum> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

/// The SHA-256 of an open file, in hex, computed on another thread. `path` is for messages only.
///
/// # Errors
/// When it cannot be read.
pub async fn open_file_sha256(file: File, path: PathBuf) -> Result<String> {
    run_blocking(move || file_sha256(&file).doing("read", &path).map(hex::encode)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn etags_are_computed_as_s3_does() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"hello world!").unwrap();
        let etag = |part| file_checksums_and_etag(&file, Some(EtagStream::new(part))).unwrap();
        let (sums, whole) = etag(None);
        assert_eq!(whole.unwrap(), "fc3ff98e8c6a0d3087d515c0473f8677");
        assert_eq!(hex::encode(sums.sha256), "7509e5bda0c762d2bac7f90d758b5b2263fa01ccbc542ab5e3df163be08e6ca9");
        assert_eq!(file_sha256(&file).unwrap(), sums.sha256);
        assert_eq!(parse_sha256(&hex::encode(sums.sha256)), Some(sums.sha256));
        // The MD5 of the parts' MD5s, as md5sum and xxd have it.
        assert_eq!(etag(Some(6)).1.unwrap(), "8ae2532e3bf1d4178d0aa9ca8a20f149-2");
        assert!(etag(Some(5)).1.unwrap().ends_with("-3"));
    }

    #[test]
    fn content_is_compared_with_every_expected_checksum() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"123456789").unwrap();
        let sums = file_checksums(&file, u64::MAX, ExpectedChecksums::default()).unwrap().unwrap();
        // The catalogue of CRC algorithms has it as the check value of CRC-64/NVME.
        assert_eq!(sums.crc64nvme, 0xae8b_1486_0a79_9888);
        let (sha256, crc64nvme) = (Some(sums.sha256), Some(sums.crc64nvme));
        let checked = |known| file_checksums(&file, u64::MAX, known).unwrap();
        for known in [
            ExpectedChecksums { sha256, crc64nvme },
            ExpectedChecksums { sha256, crc64nvme: None },
            ExpectedChecksums { sha256: None, crc64nvme },
        ] {
            assert_eq!(checked(known), Some(sums), "{known:?}");
        }
        let (another, other) = (Some([0; 32]), Some(0));
        for known in [
            ExpectedChecksums { sha256, crc64nvme: other },
            ExpectedChecksums { sha256: another, crc64nvme: None },
            ExpectedChecksums { sha256: None, crc64nvme: other },
        ] {
            assert_eq!(checked(known), None, "{known:?}");
        }
        assert_eq!(file_checksums(&file, 8, ExpectedChecksums { sha256, crc64nvme }).unwrap(), None);
    }
}
