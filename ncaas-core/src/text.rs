//! Text from outside, made safe to show.
//!
//! Keys, file names, job output, image metadata and messages of servers may contain control sequences. A terminal would
//! obey them: set its title, write to the clipboard, clear the screen.

use std::borrow::Cow;

use serde::Serialize;

/// The content without the byte order mark that some editors write before UTF-8.
pub fn without_bom(content: &[u8]) -> &[u8] {
    content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content)
}

/// Whether a text is encoded in UTF-16 or UTF-32, with a byte order mark or as far as its first characters show.
pub(crate) fn is_utf16(content: &[u8]) -> bool {
    content.starts_with(b"\xff\xfe")
        || content.starts_with(b"\xfe\xff")
        || content.iter().take(4).any(|&byte| byte == 0)
}

/// The text without control sequences and control characters except line breaks and tabs.
pub fn strip_control(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    // Line by line: a sequence without an end hides only the rest of its line.
    let lines = text.split_inclusive('\n').map(|line| console::strip_ansi_codes(line));
    let stripped: String = lines.collect();
    Cow::Owned(stripped.chars().filter(|character| !is_hidden(*character)).collect())
}

/// Same as [`strip_control`], on one line: line breaks and tabs become spaces.
pub fn one_line(text: &str) -> String {
    let is_break = |c: char| matches!(c, '\n' | '\r' | '\t' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let breaks_kept: String = text.chars().map(|c| if is_break(c) { '\n' } else { c }).collect();
    strip_control(&breaks_kept).replace('\n', " ")
}

/// A message of another program on one line of at most `limit` characters, with `…` where something is left out. Most
/// messages have their cause at the end, so more is kept of it.
pub fn bound_message(message: &str, limit: usize) -> String {
    let words = message.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let words = words.collect::<Vec<_>>().join(" ");
    let length = words.chars().count();
    if length <= limit {
        return words;
    }
    let beginning = limit * 2 / 5;
    let end = words.chars().skip(length + beginning + 1 - limit);
    words.chars().take(beginning).chain(['…']).chain(end).collect()
}

/// The address of a server or repository without user and password: `https://me:secret@host/x` is `https://host/x`.
pub fn without_credentials(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

/// The last component of a key or path, without a trailing `/`.
pub fn base_name(name: &str) -> &str {
    let name = name.trim_end_matches('/');
    name.rsplit('/').next().unwrap_or(name)
}

/// The name of a value in records, such as `out-of-memory` for a status; empty if it is not a word.
pub fn serialized_name(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

/// The text with U+FFFD in the place of each control character.
pub(crate) fn mark_control(text: &str) -> String {
    text.chars().map(|character| if is_hidden(character) { char::REPLACEMENT_CHARACTER } else { character }).collect()
}

/// JSON in which the characters that a terminal acts on are escaped. It stands for the same value.
pub(crate) fn escape_json(json: &[u8]) -> Cow<'_, [u8]> {
    match str::from_utf8(json) {
        Ok(text) if text.chars().any(is_hidden) => {
            let mut escaped = String::with_capacity(text.len());
            for character in text.chars() {
                if is_hidden(character) {
                    escaped.push_str(&format!("\\u{:04x}", u32::from(character)));
                } else {
                    escaped.push(character);
                }
            }
            Cow::Owned(escaped.into_bytes())
        }
        _ => Cow::Borrowed(json),
    }
}

/// Quotes words for a shell. NUL characters, which no shell accepts, are dropped.
pub fn shell_line(words: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let quoted = words.into_iter().map(|word| {
        let word = word.as_ref().replace('\0', "");
        shlex::try_quote(&word).map(Cow::into_owned).unwrap_or(word)
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// At most `max` characters of a text, with `…` if the rest is left out.
pub fn shorten(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A text from outside in backticks: on one line, without control sequences, at most `max` characters of it.
pub fn quoted(text: &str, max: usize) -> String {
    format!("`{}`", shorten(&one_line(text), max))
}

/// The beginning and end of a text, at most `max` characters, with `…` in place of the middle. Names often begin alike.
pub fn shorten_middle(text: &str, max: usize) -> String {
    let length = text.chars().count();
    if length <= max {
        return text.to_owned();
    }
    let end = max.saturating_sub(1) / 2;
    let start = max.saturating_sub(1) - end;
    text.chars().take(start).chain(['…']).chain(text.chars().skip(length - end)).collect()
}

/// Whether a terminal acts on the character instead of showing it: C0 and C1 controls, and marks that reorder text.
fn is_hidden(character: char) -> bool {
    let reorders = matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (character.is_control() && !matches!(character, '\n' | '\t')) || reorders
}

/// The rest of `path` below `folder`: empty for the folder itself, `None` for a path outside it.
pub fn strip_folder<'p>(path: &'p str, folder: &str) -> Option<&'p str> {
    let folder = folder.trim_end_matches('/');
    match path.strip_prefix(folder)? {
        "" => Some(""),
        rest => rest.strip_prefix('/'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_sequences_do_not_reach_a_terminal() {
        let cases = [
            ("plain é text\n\tindented", "plain é text\n\tindented"),
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{1b}]0;title\u{7}after", "after"),
            ("\u{1b}]52;c;ZXZpbA==\u{1b}\\after", "after"),
            ("\u{9b}2Jafter", "after"),
            ("a\u{8}\u{0}b\rc\u{7f}", "abc"),
            ("\u{1b}c\u{202e}reset", "reset"),
        ];
        for (text, shown) in cases {
            let stripped = strip_control(text);
            assert!(!stripped.chars().any(is_hidden), "{text:?}: {stripped:?}");
            assert_eq!(stripped, shown, "{text:?}");
        }
    }

    #[test]
    fn an_address_is_shown_without_credentials() {
        assert_eq!(without_credentials("http://me:secret@host:9000/s3"), "http://host:9000/s3");
        assert_eq!(without_credentials("http://host:9000"), "http://host:9000");
        assert_eq!(without_credentials("https://me:secret@host/lab/pca.git"), "https://host/lab/pca.git");
        assert_eq!(without_credentials("https://token@host"), "https://host");
        assert_eq!(without_credentials("git@host:lab/pca.git"), "git@host:lab/pca.git");
    }

    #[test]
    fn escaped_json_has_the_same_value_and_no_control_characters() {
        let value = serde_json::json!({"a\u{9b}2J": "\u{202e}é\u{7f}\n\u{1b}[0m"});
        let escaped = escape_json(value.to_string().as_bytes()).into_owned();
        assert!(!String::from_utf8_lossy(&escaped).chars().any(is_hidden), "{escaped:?}");
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&escaped).ok(), Some(value));
    }

    #[test]
    fn a_folder_is_stripped_by_whole_names() {
        assert_eq!(strip_folder("/home/u/x", "/home/u"), Some("x"));
        assert_eq!(strip_folder("/home/u", "/home/u/"), Some(""));
        assert_eq!(strip_folder("/home/user", "/home/u"), None);
        assert_eq!(strip_folder("/a", "/"), Some("a"));
    }

    #[test]
    fn a_name_stays_on_one_line() {
        assert_eq!(one_line("a\nb\u{2028}c\td"), "a b c d");
        assert_eq!(shorten("ééé", 2), "éé…");
        assert_eq!(shorten("éé", 2), "éé");
        assert_eq!([7, 6, 5].map(|length| shorten_middle("job__é1", length)), ["job__é1", "job…é1", "jo…é1"]);
    }
}
