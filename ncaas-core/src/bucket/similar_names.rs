//! Keys that look the same and are not: the same text in different Unicode normalisation forms.
//!
//! macOS gives `é` as two characters (`e` and an accent) where other systems give one. Both are valid keys of different
//! objects. They are never merged; a message about a missing one names the other, or else the key that was probably meant.

use std::fmt::Write as _;

use unicode_normalization::UnicodeNormalization;

use super::key::{Key, quoted};
use super::storage::Bucket;
use crate::failure::{Failure, Kind, NoneIf, Result};
use crate::suggestion::nearest_spelling;

/// How many pages of a listing are searched for a key that looks the same.
const PAGES: usize = 20;

impl Bucket {
    /// The failure for a missing object, or for a folder without content. It names a key that looks the same and
    /// differs only in its Unicode normalisation.
    ///
    /// # Errors
    /// If the bucket cannot be listed.
    pub async fn missing(&self, key: &Key) -> Result<Failure> {
        let shown = quoted(&format!("{}/{key}", self.address()));
        let what = if key.is_folder() { "the folder" } else { "the object" };
        let message = format!("cannot read {shown}: {what} {}", self.explain_missing(key).await?);
        Ok(Failure::new(Kind::ObjectNotFound, message))
    }

    /// The end of a sentence about a missing object or folder: that it does not exist, and which key looks the same or is
    /// the most similar one in its folder.
    ///
    /// # Errors
    /// If the bucket cannot be listed.
    pub async fn explain_missing(&self, key: &Key) -> Result<String> {
        if let Some(similar) = self.find_similar(key).await? {
            let (shown, escaped) = (quoted(similar.as_str()), escaped(&similar));
            let unlike = format!("which looks the same but has another Unicode normalisation (`$'{escaped}'`)");
            return Ok(format!("does not exist, but {shown} does, {unlike}"));
        }
        let nearest = self.find_nearest(key).await?;
        let nearest = nearest.map(|nearest| format!(", but {} does", quoted(nearest.as_str()))).unwrap_or_default();
        Ok(format!("does not exist{nearest}"))
    }

    /// The key in the same folder with the fewest typing errors. One page of a listing is searched.
    async fn find_nearest(&self, key: &Key) -> Result<Option<Key>> {
        let name = key.as_str();
        let folder = name.trim_end_matches('/').rfind('/').map_or("", |end| &name[..=end]);
        let page = self.list_folder(folder, None).next_page().await.none_if(&[Kind::AccessDenied])?.flatten();
        let beside = page.map(|page| page.folders.into_iter().chain(page.entries.into_iter().map(|entry| entry.key)));
        let keys: Vec<Key> =
            beside.into_iter().flatten().filter(|other| other.is_folder() == key.is_folder()).collect();
        Ok(nearest_spelling(name, keys.iter().map(|key| (key.as_str(), key))).cloned())
    }

    /// A key that differs from this one only in its Unicode normalisation.
    async fn find_similar(&self, key: &Key) -> Result<Option<Key>> {
        // Keys of ASCII characters alone have one form.
        let Some(first) = key.as_str().find(|c: char| !c.is_ascii()) else { return Ok(None) };
        let prefix = key.as_str()[..first].rfind('/').map_or("", |end| &key.as_str()[..=end]);
        let wanted: String = key.as_str().nfc().collect();
        let mut listing = self.list(prefix, None);
        for _ in 0..PAGES {
            let Some(page) = listing.next_page().await? else { break };
            for entry in page.entries {
                if let Some(similar) = similar_part(entry.key.as_str(), &wanted) {
                    return Ok(Some(Key::new(similar)?));
                }
            }
        }
        Ok(None)
    }
}

/// A key with its non-ASCII characters as the escapes of bash's `$'...'`.
fn escaped(key: &Key) -> String {
    let mut text = String::new();
    for c in key.as_str().chars() {
        if c.is_ascii_graphic() && !matches!(c, '\'' | '\\') || c == ' ' {
            text.push(c);
        } else {
            // Writing to a string does not fail.
            let _ = write!(text, "\\U{:08X}", u32::from(c));
        }
    }
    text
}

/// The key itself, or the folder in it, whose normalised form is `wanted`.
fn similar_part<'k>(key: &'k str, wanted: &str) -> Option<&'k str> {
    let components = wanted.trim_end_matches('/').split('/').count();
    let end = key.match_indices('/').nth(components - 1).map(|(at, _)| at + 1);
    let part = if wanted.ends_with('/') { &key[..end?] } else { key };
    part.nfc().eq(wanted.chars()).then_some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_similar_if_their_normalised_forms_are_equal() {
        let (composed, decomposed) = ("lab/caf\u{e9}", "lab/cafe\u{301}");
        assert_eq!(similar_part(decomposed, composed), Some(decomposed));
        assert_eq!(similar_part(&format!("{decomposed}/x/y"), &format!("{composed}/")), Some("lab/cafe\u{301}/"));
        assert_eq!(similar_part("lab/cafe", composed), None);
        assert_eq!(similar_part(&format!("{decomposed}/x"), composed), None);
        assert_eq!(escaped(&Key::new("cafe\u{301}'s x").unwrap()), r"cafe\U00000301\U00000027s x");
    }
}
