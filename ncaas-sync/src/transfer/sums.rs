//! The checksums of a file's content.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crc_fast::CrcAlgorithm;
use md5::Md5;
use sha2::{Digest, Sha256};

/// How much is in memory at once while a file is read from end to end.
const PIECE: usize = 256 * 1024;

/// SHA-256 as bytes.
pub(crate) type Sha = [u8; 32];

/// What is known of content. Both at once are of the same content: either tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Known {
    pub(super) sha256: Option<Sha>,
    pub(super) crc64nvme: Option<u64>,
}

impl Known {
    /// Whether nothing that is known speaks against it.
    fn may_be(&self, sums: &Sums) -> bool {
        self.sha256.is_none_or(|known| known == sums.sha256)
            && self.crc64nvme.is_none_or(|known| known == sums.crc64nvme)
    }

    /// Whether something is known that says it.
    pub(super) fn is(&self, sums: &Sums) -> bool {
        *self != Known::default() && self.may_be(sums)
    }
}

/// Content's checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) sha256: Sha,
    pub(super) crc64nvme: u64,
}

/// Sums up content as it passes, and holds it against what is known of it.
///
/// CRC-64/NVME costs a twentieth of SHA-256 and finds all that goes wrong on a way. Where both are known of what is to
/// come, it alone is made.
#[derive(Debug)]
pub(super) struct Summing {
    known: Known,
    sha256: Option<Sha256>,
    crc64nvme: crc_fast::Digest,
}

impl Summing {
    pub(super) fn against(known: Known) -> Summing {
        let sha256 = known.sha256.and(known.crc64nvme).is_none().then(Sha256::new);
        Summing { known, sha256, crc64nvme: crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme) }
    }

    pub(super) fn update(&mut self, piece: &[u8]) {
        self.crc64nvme.update(piece);
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(piece);
        }
    }

    /// None if it is not what was known.
    pub(super) fn finish(self) -> Option<Sums> {
        let crc64nvme = self.crc64nvme.finalize();
        let made = self.sha256.map(|sha256| Sha::from(sha256.finalize()));
        let sums = Sums { sha256: made.or(self.known.sha256)?, crc64nvme };
        self.known.may_be(&sums).then_some(sums)
    }
}

impl io::Write for Summing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The checksums of a file, up to `limit` bytes of it; none if they are not those that are known.
pub(super) fn of_file(file: &File, limit: u64, known: Known) -> io::Result<Option<Sums>> {
    let mut summing = Summing::against(known);
    read_through(file, limit, |piece| summing.update(piece))?;
    Ok(summing.finish())
}

/// SHA-256 of a whole file.
pub(crate) fn sha256(file: &File) -> io::Result<Sha> {
    let mut digest = Sha256::new();
    read_through(file, u64::MAX, |piece| digest.update(piece))?;
    Ok(digest.finalize().into())
}

/// The checksums of a whole file, and its ETag if that is asked for.
pub(super) fn with_etag(file: &File, mut etag: Option<Etag>) -> io::Result<(Sums, Option<String>)> {
    let mut sha256 = Sha256::new();
    let mut crc64nvme = crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme);
    read_through(file, u64::MAX, |piece| {
        sha256.update(piece);
        crc64nvme.update(piece);
        if let Some(etag) = &mut etag {
            etag.update(piece);
        }
    })?;
    let sums = Sums { sha256: sha256.finalize().into(), crc64nvme: crc64nvme.finalize() };
    Ok((sums, etag.map(Etag::finish)))
}

/// The ETag that S3 gives content: its MD5, or that of the MD5s of the parts in which it came.
pub(super) struct Etag {
    part: Option<u64>,
    left: u64,
    md5: Md5,
    parts: Vec<u8>,
}

impl Etag {
    /// Of content that came in parts of so many bytes; for none, at once.
    pub(super) fn new(part: Option<u64>) -> Etag {
        Etag { part, left: part.unwrap_or(u64::MAX), md5: Md5::new(), parts: Vec::new() }
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
        let Some(part) = self.part else { return hex(&self.md5.finalize()) };
        if self.left != part {
            self.end_part();
        }
        format!("{}-{}", hex(&Md5::digest(&self.parts)), self.parts.len() / 16)
    }
}

fn read_through(file: &File, limit: u64, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    let mut size = 0;
    loop {
        let length = usize::try_from(limit - size).unwrap_or(PIECE).min(PIECE);
        match file.read_at(&mut buffer[..length], size) {
            Ok(0) => return Ok(()),
            Ok(read) => {
                each(&buffer[..read]);
                size += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Bytes as lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    digits.map(char::from).collect()
}

/// The bytes that lower-case hex stands for.
pub(crate) fn unhex(text: &str) -> Option<Sha> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot write its file has failed")]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn an_etag_is_made_as_s3_makes_it() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"hello world!").unwrap();
        let etag = |part| with_etag(&file, Some(Etag::new(part))).unwrap();
        let (sums, of_all) = etag(None);
        assert_eq!(of_all.unwrap(), "fc3ff98e8c6a0d3087d515c0473f8677");
        assert_eq!(hex(&sums.sha256), "7509e5bda0c762d2bac7f90d758b5b2263fa01ccbc542ab5e3df163be08e6ca9");
        assert_eq!(sha256(&file).unwrap(), sums.sha256);
        assert_eq!(unhex(&hex(&sums.sha256)), Some(sums.sha256));
        // The MD5 of the parts' MD5s, as md5sum and xxd have it.
        assert_eq!(etag(Some(6)).1.unwrap(), "8ae2532e3bf1d4178d0aa9ca8a20f149-2");
        assert!(etag(Some(5)).1.unwrap().ends_with("-3"));
    }

    #[test]
    fn content_is_held_against_all_that_is_known_of_it() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"123456789").unwrap();
        let sums = of_file(&file, u64::MAX, Known::default()).unwrap().unwrap();
        // The catalogue of CRC algorithms has it as the check value of CRC-64/NVME.
        assert_eq!(sums.crc64nvme, 0xae8b_1486_0a79_9888);
        let (sha256, crc64nvme) = (Some(sums.sha256), Some(sums.crc64nvme));
        let holds = |known| of_file(&file, u64::MAX, known).unwrap();
        for known in [Known { sha256, crc64nvme }, Known { sha256, crc64nvme: None }, Known { sha256: None, crc64nvme }]
        {
            assert_eq!(holds(known), Some(sums), "{known:?}");
        }
        let (another, other) = (Some([0; 32]), Some(0));
        for known in [
            Known { sha256, crc64nvme: other },
            Known { sha256: another, crc64nvme: None },
            Known { sha256: None, crc64nvme: other },
        ] {
            assert_eq!(holds(known), None, "{known:?}");
        }
        assert_eq!(of_file(&file, 8, Known { sha256, crc64nvme }).unwrap(), None);
    }
}
