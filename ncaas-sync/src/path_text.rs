//! Paths as text: file names as UTF-8, and paths compared, normalised and linked by their text alone.
//!
//! A file name is bytes; a record and a key are UTF-8. A byte that is not UTF-8 is written `%XX`, so that the file is
//! kept under a name that shows the original one.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The bytes as text: UTF-8 is kept, each other byte becomes `%XX`.
pub(crate) fn escape_bytes(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a string does not fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// A path as text, as [`escape_bytes`] writes it.
pub(crate) fn escape_path(path: &Path) -> String {
    escape_bytes(path.as_os_str().as_bytes())
}

/// An absolute path without `.`, `..` and doubled `/`. Symbolic links are not resolved.
pub(crate) fn normalize(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// The text of a symbolic link at `from` that leads to `to`. Both are relative to the same folder and normalised.
pub(crate) fn relative_link(from: &str, to: &str) -> String {
    let folder: Vec<&str> = from.rsplit_once('/').map_or(vec![], |(folder, _)| folder.split('/').collect());
    let target: Vec<&str> = to.split('/').collect();
    // The last component of the target is always written.
    let shared = folder.iter().zip(&target[..target.len() - 1]).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n("..", folder.len() - shared);
    up.chain(target[shared..].iter().copied()).collect::<Vec<_>>().join("/")
}

/// The last component of a path.
pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_utf8_are_escaped() {
        assert_eq!(escape_bytes("é b".as_bytes()), "é b");
        assert_eq!(escape_bytes(b"fig\xff\xfe.png"), "fig%FF%FE.png");
    }

    #[test]
    fn a_path_is_normalised_without_resolving_links() {
        assert_eq!(normalize("/a//b/./../c/"), "/a/c");
        assert_eq!(normalize("/../.."), "/");
    }

    #[test]
    fn a_link_is_relative_to_its_own_folder() {
        assert_eq!(relative_link("a/b/link", "a/c/x"), "../c/x");
        assert_eq!(relative_link("link", "x"), "x");
        assert_eq!(relative_link("a/link", "a/x"), "x");
        assert_eq!(relative_link("a/a/link", "a"), "../../a");
    }
}
