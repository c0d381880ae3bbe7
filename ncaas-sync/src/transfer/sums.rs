//! The checksums of a file's content.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use md5::Md5;
use sha2::{Digest, Sha256};

/// How much is in memory at once while a file is read from end to end.
const PIECE: usize = 256 * 1024;

/// SHA-256 as bytes.
pub(crate) type Sha = [u8; 32];

/// SHA-256 of a file, up to `limit` bytes of it.
pub(crate) fn sha256(file: &File, limit: u64) -> io::Result<(u64, Sha)> {
    let mut digest = Sha256::new();
    let size = read_through(file, limit, |piece| digest.update(piece))?;
    Ok((size, digest.finalize().into()))
}

/// SHA-256 of a whole file, and the ETag that S3 gives it where it comes in parts of `part` bytes; for none, at once.
pub(crate) fn sha256_and_etag(file: &File, part: Option<u64>) -> io::Result<(u64, Sha, String)> {
    let mut digest = Sha256::new();
    let mut parts = Vec::new();
    let mut md5 = Md5::new();
    let mut left = part.unwrap_or(u64::MAX);
    let size = read_through(file, u64::MAX, |mut piece| {
        digest.update(piece);
        while !piece.is_empty() {
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
            md5.update(&piece[..now]);
            piece = &piece[now..];
            left -= now as u64;
            if left == 0 {
                parts.push(std::mem::take(&mut md5).finalize());
                left = part.unwrap_or(u64::MAX);
            }
        }
    })?;
    let etag = match part {
        None => hex(&md5.finalize()),
        Some(part) => {
            if left != part {
                parts.push(md5.finalize());
            }
            let mut all = Md5::new();
            parts.iter().for_each(|sum| all.update(sum));
            format!("{}-{}", hex(&all.finalize()), parts.len())
        }
    };
    Ok((size, digest.finalize().into(), etag))
}

fn read_through(file: &File, limit: u64, mut each: impl FnMut(&[u8])) -> io::Result<u64> {
    let mut buffer = vec![0; PIECE];
    let mut size = 0;
    loop {
        let length = usize::try_from(limit - size).unwrap_or(PIECE).min(PIECE);
        match file.read_at(&mut buffer[..length], size) {
            Ok(0) => return Ok(size),
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
        let (size, sha, etag) = sha256_and_etag(&file, None).unwrap();
        assert_eq!((size, etag.as_str()), (12, "fc3ff98e8c6a0d3087d515c0473f8677"));
        assert_eq!(hex(&sha), "7509e5bda0c762d2bac7f90d758b5b2263fa01ccbc542ab5e3df163be08e6ca9");
        assert_eq!(unhex(&hex(&sha)), Some(sha));
        // The MD5 of the parts' MD5s, as md5sum and xxd have it.
        let (_, _, etag) = sha256_and_etag(&file, Some(6)).unwrap();
        assert_eq!(etag, "8ae2532e3bf1d4178d0aa9ca8a20f149-2");
        let (_, _, etag) = sha256_and_etag(&file, Some(5)).unwrap();
        assert!(etag.ends_with("-3"));
    }
}
