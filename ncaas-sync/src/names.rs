//! Names that a container or a file system gives, as text that a record and a key can hold.
//!
//! A name is bytes; a record and a key are UTF-8. A byte that is none is written `%XX`, so that the file is kept, under
//! a name that tells what it was.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The bytes as text: what is UTF-8 as it is, each other byte as `%XX`.
pub(crate) fn text(bytes: &[u8]) -> String {
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

/// A path as text, as [`text`] does it.
pub(crate) fn path_text(path: &Path) -> String {
    text(path.as_os_str().as_bytes())
}

/// An absolute path without `.`, `..` and doubled `/`, as it reads; links are not looked at.
pub(crate) fn plain(path: &str) -> String {
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

/// What is left of `path` below `folder`; `None` if it is neither that folder nor below it.
pub(crate) fn below<'p>(path: &'p str, folder: &str) -> Option<&'p str> {
    let folder = folder.trim_end_matches('/');
    match path.strip_prefix(folder)? {
        "" => Some(""),
        rest => rest.strip_prefix('/'),
    }
}

/// How to get from the folder of `from` to `to`, both relative to the same folder and plain.
pub(crate) fn relative(from: &str, to: &str) -> String {
    let folder: Vec<&str> = from.rsplit_once('/').map_or(vec![], |(folder, _)| folder.split('/').collect());
    let target: Vec<&str> = to.split('/').collect();
    // The target's own name is always written.
    let shared = folder.iter().zip(&target[..target.len() - 1]).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n("..", folder.len() - shared);
    up.chain(target[shared..].iter().copied()).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_text_are_written_out() {
        assert_eq!(text("é b".as_bytes()), "é b");
        assert_eq!(text(b"fig\xff\xfe.png"), "fig%FF%FE.png");
    }

    #[test]
    fn a_path_is_made_plain_without_looking_at_links() {
        assert_eq!(plain("/a//b/./../c/"), "/a/c");
        assert_eq!(plain("/../.."), "/");
    }

    #[test]
    fn below_is_by_whole_names() {
        assert_eq!(below("/home/u/x", "/home/u"), Some("x"));
        assert_eq!(below("/home/u", "/home/u/"), Some(""));
        assert_eq!(below("/home/user", "/home/u"), None);
        assert_eq!(below("/a", "/"), Some("a"));
    }

    #[test]
    fn a_link_leads_from_its_own_folder() {
        assert_eq!(relative("a/b/link", "a/c/x"), "../c/x");
        assert_eq!(relative("link", "x"), "x");
        assert_eq!(relative("a/link", "a/x"), "x");
        assert_eq!(relative("a/a/link", "a"), "../../a");
    }
}
