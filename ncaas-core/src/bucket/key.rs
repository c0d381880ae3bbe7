//! Keys: the names of objects, relative to their bucket.
//!
//! Keys come from submit files, records and listings, which are not trusted. A key names an object on a server as well
//! as a file below a directory. A text that cannot be both is not a valid key, and is refused before anything is
//! touched.

use std::fmt;

use crate::failure::{Failure, Kind, Result};
use crate::files::TEMPORARY_PREFIX;

/// The longest key that S3 accepts, in bytes of UTF-8.
const MAX_LENGTH: usize = 1024;

/// The name of an object in a bucket, for example `lab/inputs/session1.npy`; with a `/` at its end, the name of a
/// folder.
///
/// It is not empty, has at most 1024 bytes, is relative, and has no NUL and no component that is empty, `.`, `..` or
/// begins with `.ncaas-`. It may contain anything else: spaces, quotes, `$(...)`, colons, line breaks.
///
/// Keys are ordered as S3 lists them, by their bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// The key with this text.
    ///
    /// # Errors
    /// [`Kind::BadKey`] with the reason.
    pub fn new(text: impl Into<String>) -> Result<Key> {
        let text = text.into();
        match find_fault(&text) {
            None => Ok(Key(text)),
            Some(why) => Err(Failure::new(Kind::BadKey, format!("{} is not a valid key: {why}", quoted(&text)))),
        }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the key names a folder, that is, ends in `/`.
    pub fn is_folder(&self) -> bool {
        self.0.ends_with('/')
    }

    /// The last component, without the `/` of a folder: `session1.npy` of `lab/inputs/session1.npy`.
    pub fn base_name(&self) -> &str {
        let path = self.0.strip_suffix('/').unwrap_or(&self.0);
        path.rsplit_once('/').map_or(path, |(_, name)| name)
    }

    /// The first component: the group.
    pub fn group(&self) -> &str {
        self.0.split_once('/').map_or(self.0.as_str(), |(group, _)| group)
    }

    /// The key of `name` below this one, which is taken for a folder with or without its `/`.
    ///
    /// # Errors
    /// [`Kind::BadKey`] if the name cannot be part of a key.
    pub fn join(&self, name: &str) -> Result<Key> {
        let folder = self.0.strip_suffix('/').unwrap_or(&self.0);
        Key::new(format!("{folder}/{name}"))
    }

    /// Refuses a folder where an object is needed.
    pub(super) fn must_name_an_object(&self) -> Result<()> {
        if self.is_folder() {
            return Err(Failure::new(Kind::BadKey, format!("{} names a folder, not an object", quoted(&self.0))));
        }
        Ok(())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// The reason why a text is not a valid key.
fn find_fault(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("it is empty");
    }
    if text.len() > MAX_LENGTH {
        return Some("it is longer than 1024 bytes");
    }
    if text.starts_with('/') {
        return Some("it begins with `/`; keys are relative to the bucket");
    }
    if text.contains('\0') {
        return Some("it contains a NUL");
    }
    let path = text.strip_suffix('/').unwrap_or(text);
    path.split('/').find_map(|component| match component {
        "" => Some("it has an empty component"),
        "." | ".." => Some("it has a component `.` or `..`"),
        name if name.starts_with(TEMPORARY_PREFIX) => {
            Some("names that begin with `.ncaas-` are reserved for temporary files")
        }
        _ => None,
    })
}

/// A name from outside for one line of a message: in backticks, without control characters, shortened if it is long.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 200;
    let mut shown: String = text.chars().take(SHOWN).flat_map(visible).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

fn visible(c: char) -> impl Iterator<Item = char> {
    let (escaped, itself) = if c.is_control() { (Some(c.escape_default()), None) } else { (None, Some(c)) };
    escaped.into_iter().flatten().chain(itself)
}

/// Decodes S3's URL encoding of keys in listings and events, where a space may be `+`.
pub fn url_decoded(raw: &str) -> String {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let hex = digits.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = tail;
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_may_have_every_character_of_a_file_name() {
        for text in
            ["a", "a/b c", "a/", "it's/\"x\"", "$(rm -rf)", "16:52:06.8", "ünï/çødé", "line\nbreak", "a..b/...", " "]
        {
            assert_eq!(Key::new(text).unwrap().as_str(), text);
        }
        assert!(Key::new("x".repeat(1024)).is_ok());
    }

    #[test]
    fn a_text_that_cannot_be_a_path_below_a_folder_is_not_a_key() {
        let too_long = "x".repeat(1025);
        for text in [
            "", "/", "/a", "a//b", "a//", "//", "..", "../a", "a/..", "a/../b", "a/./b", ".", "./a", "a\0b",
            ".ncaas-x", &too_long,
        ] {
            assert_eq!(Key::new(text).unwrap_err().kind, Kind::BadKey, "{text:?}");
        }
    }

    #[test]
    fn the_reason_is_in_the_message_and_on_one_line() {
        let failure = Key::new("a\n/../b").unwrap_err();
        assert_eq!(failure.message, "`a\\n/../b` is not a valid key: it has a component `.` or `..`");
    }

    #[test]
    fn a_keys_parts_are_its_group_and_its_base_name() {
        let key = Key::new("lab/inputs/a b/").unwrap();
        assert!(key.is_folder());
        assert_eq!((key.group(), key.base_name()), ("lab", "a b"));
        assert_eq!(key.join("c").unwrap().as_str(), "lab/inputs/a b/c");
        assert!(key.join("../c").is_err());
    }
}
