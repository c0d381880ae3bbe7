//! `.dockerignore`, read as the docker CLI reads it. It differs from `.gitignore`, where a pattern matches at any
//! depth.
//!
//! The rules are those of moby's `patternmatcher` and of the context writer of the docker CLI:
//!
//! - a pattern is matched against the whole path from the root of the context, and matches everything below it too
//! - `*` and `?` do not match `/`; `**` does
//! - the last pattern that matches decides; a pattern with `!` includes the path again
//! - an excluded folder is not entered, unless a `!` pattern begins with its path

use std::path::Path;

use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::files;
use regex::Regex;

/// The patterns of one `.dockerignore`, in their order.
#[derive(Debug, Default)]
pub(crate) struct DockerIgnore {
    patterns: Vec<Pattern>,
}

#[derive(Debug)]
struct Pattern {
    /// The normalised pattern, without `!`.
    text: String,
    /// `!`: includes what an earlier pattern excluded.
    includes: bool,
    regex: Regex,
}

/// The patterns that matched a folder: they match everything in it too.
#[derive(Debug, Clone, Default)]
pub(crate) struct Matched(Vec<bool>);

/// The excluded folders that are entered, in search of files that are included again. The clients of the two builders
/// differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Descend {
    /// The classic client enters a folder only if a `!` pattern begins with its path.
    IfNamed,
    /// BuildKit's client also enters it if a `!` pattern has wildcards.
    IfReachable,
}

impl DockerIgnore {
    /// Reads a `.dockerignore`; a file that does not exist has no patterns. The patterns `first` come before those of
    /// the file, which can therefore include again what they exclude.
    pub(crate) fn read(path: &Path, first: &[String]) -> Result<Self> {
        let content = match files::read_named(path) {
            Err(failure) if failure.kind == Kind::FileNotFound => Vec::new(),
            content => content?,
        };
        let text = String::from_utf8_lossy(&content);
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let patterns = DockerIgnore::parse(first.iter().map(String::as_str).chain(lines));
        patterns.map_err(|failure| failure.context(format!("`{}`", path.display())))
    }

    /// Parses patterns, one a line, without comments.
    pub(crate) fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut patterns = Vec::new();
        for line in lines {
            let line = line.trim();
            let (includes, text) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            if line.is_empty() {
                continue;
            }
            if text.is_empty() {
                return Err(Failure::new(Kind::Usage, "`!` alone is not a valid pattern"));
            }
            let path = clean_path(text);
            let text = if path.len() > 1 { path.trim_start_matches('/').to_owned() } else { path };
            let regex = pattern_regex(&text).map_err(|_| {
                Failure::new(Kind::Usage, format!("`{text}` is not a valid pattern: a bracket is not closed"))
            })?;
            patterns.push(Pattern { text, includes, regex });
        }
        Ok(DockerIgnore { patterns })
    }

    /// Includes these files whatever the patterns say: the classic builder needs them, and excludes them itself.
    pub(crate) fn always_include(&mut self, files: &[&str]) -> Result<()> {
        let exceptions: Vec<String> =
            files.iter().filter(|file| self.excludes(file)).map(|file| format!("!{file}")).collect();
        self.patterns.extend(DockerIgnore::parse(exceptions.iter().map(String::as_str))?.patterns);
        Ok(())
    }

    /// Whether a path is excluded, by itself or by a folder above it.
    pub(crate) fn excludes(&self, path: &str) -> bool {
        let mut matched = Matched::default();
        let mut out = false;
        for (at, _) in path.match_indices('/').chain([(path.len(), "")]) {
            (out, matched) = self.matches(&path[..at], &matched);
        }
        out
    }

    /// Whether a path is excluded, given the patterns that matched its folder.
    pub(crate) fn matches(&self, path: &str, parent: &Matched) -> (bool, Matched) {
        let mut out = false;
        let mut matched = vec![false; self.patterns.len()];
        for (at, pattern) in self.patterns.iter().enumerate() {
            let above = parent.0.get(at).copied().unwrap_or(false);
            // As in moby, a pattern that would change nothing is not tried and does not count as matched.
            matched[at] = above || (pattern.includes == out && pattern.regex.is_match(path));
            if matched[at] {
                out = !pattern.includes;
            }
        }
        (out, Matched(matched))
    }

    /// Whether an excluded folder must be entered.
    pub(crate) fn enters(&self, folder: &str, descend: Descend) -> bool {
        let folder = format!("{folder}/");
        self.patterns.iter().filter(|pattern| pattern.includes).any(|pattern| {
            let anywhere = descend == Descend::IfReachable && pattern.text.contains(['*', '?', '[']);
            anywhere || format!("{}/", pattern.text).starts_with(&folder)
        })
    }
}

/// Normalises a path as Go's `filepath.Clean`: removes `.`, resolvable `..`, doubled and trailing slashes.
fn clean_path(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if rooted => {}
            _ => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

fn pattern_regex(pattern: &str) -> std::result::Result<Regex, regex::Error> {
    let mut regex = String::from("(?s)^");
    let mut chars = pattern.chars().peekable();
    let mut in_brackets = false;
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                // `**/` also matches no folder at all.
                chars.next_if_eq(&'/');
                regex.push_str(if chars.peek().is_none() { ".*" } else { "(.*/)?" });
            }
            '*' => regex.push_str("[^/]*"),
            '?' => regex.push_str("[^/]"),
            '[' if !in_brackets => {
                in_brackets = true;
                regex.push('[');
            }
            ']' if in_brackets => {
                in_brackets = false;
                regex.push(']');
            }
            '^' | '-' if in_brackets => regex.push(c),
            '\\' => {
                if let Some(next) = chars.next() {
                    regex.push_str(&regex::escape(next.encode_utf8(&mut [0; 4])));
                }
            }
            _ => regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    regex.push('$');
    Regex::new(&regex)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluded(patterns: &[&str], path: &str) -> bool {
        DockerIgnore::parse(patterns.iter().copied()).unwrap().excludes(path)
    }

    #[test]
    fn a_pattern_is_anchored_at_the_root() {
        assert!(excluded(&["*.log"], "a.log"));
        assert!(!excluded(&["*.log"], "sub/a.log"));
        assert!(excluded(&["**/*.log"], "sub/deep/a.log"));
        assert!(excluded(&["**/*.log"], "a.log"));
        assert!(excluded(&["/data/"], "data/x"));
        assert!(excluded(&["./sub/../data"], "data/x"));
    }

    #[test]
    fn the_last_pattern_that_matches_decides() {
        assert!(!excluded(&["data", "!data/keep"], "data/keep/x"));
        assert!(excluded(&["!data/keep", "data"], "data/keep"));
        assert!(excluded(&["*", "!data", "data/x?"], "data/x1"));
    }

    #[test]
    fn brackets_are_sets_and_a_backslash_escapes_a_character() {
        assert!(excluded(&["[a-c]1"], "b1"));
        assert!(!excluded(&["[^a-c]1"], "b1"));
        assert!(excluded(&["\\*x"], "*x"));
        assert!(!excluded(&["\\*x"], "yx"));
        assert!(excluded(&["a+b(1).txt"], "a+b(1).txt"));
    }

    #[test]
    fn files_that_the_engine_needs_are_included() {
        let mut ignore = DockerIgnore::parse(["*"]).unwrap();
        ignore.always_include(&["Dockerfile", ".dockerignore"]).unwrap();
        assert!(!ignore.excludes("Dockerfile"));
        assert!(ignore.excludes("x"));
    }

    #[test]
    fn a_byte_order_mark_is_not_part_of_the_first_pattern() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "\u{feff}data\r\n!io-dir/results\r\n").unwrap();
        let ignore = DockerIgnore::read(file.path(), &["io-dir".to_owned()]).unwrap();
        assert!(ignore.excludes("data/x") && ignore.excludes("io-dir/logs"));
        assert!(!ignore.excludes("io-dir/results/x"), "patterns of the file come last");
    }

    #[test]
    fn invalid_patterns_are_refused() {
        assert_eq!(DockerIgnore::parse(["!"]).unwrap_err().kind, Kind::Usage);
        assert_eq!(DockerIgnore::parse(["a["]).unwrap_err().kind, Kind::Usage);
    }
}
