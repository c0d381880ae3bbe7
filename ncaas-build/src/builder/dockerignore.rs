//! `.dockerignore`, read as the docker CLI reads it. Git's rules are others: there a pattern matches at any depth.
//!
//! The rules are those of moby's `patternmatcher` and of the context writer of the docker CLI:
//!
//! - a pattern is matched against the whole path from the context's root, and matches what lies below as well
//! - `*` and `?` stop at `/`; `**` does not
//! - of all patterns the last one that matches decides; `!` makes it let the path in again
//! - a folder that is left out is not looked into, unless a `!` pattern begins with its path

use std::path::Path;

use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use regex::Regex;

/// The patterns of one `.dockerignore`, in their order.
#[derive(Debug, Default)]
pub(crate) struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Debug)]
struct Pattern {
    /// The pattern as it is compared, `!` taken off.
    text: String,
    /// `!`: lets in what an earlier pattern left out.
    lets_in: bool,
    regex: Regex,
}

/// Which patterns matched a folder: they match all that is in it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Matched(Vec<bool>);

/// Whether folders that are left out may hold something that is let in again. The two builders' clients differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Descend {
    /// The classic client looks into one only where a `!` pattern begins with its path.
    IfNamed,
    /// BuildKit's looks into all of them where a `!` pattern has wildcards that may reach there.
    IfReachable,
}

impl Ignore {
    /// Reads the file; none is no patterns.
    ///
    /// # Errors
    /// Where it cannot be read, or a pattern in it cannot be one.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let content = match std::fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Ignore::default()),
            content => content.doing("read", path)?,
        };
        let text = String::from_utf8_lossy(&content);
        let lines = text.trim_start_matches('\u{feff}').lines().filter(|line| !line.starts_with('#'));
        Ignore::new(lines).map_err(|failure| failure.context(format!("`{}`", path.display())))
    }

    /// Patterns as lines of the file, without comments.
    pub(crate) fn new<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut patterns = Vec::new();
        for line in lines {
            let line = line.trim();
            let (lets_in, text) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            if line.is_empty() {
                continue;
            }
            if text.is_empty() {
                return Err(Failure::new(Kind::Usage, "a line with nothing but `!` is no pattern"));
            }
            let clean = clean(text);
            let text = if clean.len() > 1 { clean.trim_start_matches('/').to_owned() } else { clean };
            let regex = regex(&text)
                .map_err(|_| Failure::new(Kind::Usage, format!("`{text}` is no pattern: its brackets do not pair")))?;
            patterns.push(Pattern { text, lets_in, regex });
        }
        Ok(Ignore { patterns })
    }

    /// Lets these files in whatever the patterns say: the engine needs them to build, and leaves them out itself.
    pub(crate) fn always_let_in(&mut self, files: &[&str]) -> Result<()> {
        let exceptions: Vec<String> =
            files.iter().filter(|file| self.leaves_out(file)).map(|file| format!("!{file}")).collect();
        self.patterns.extend(Ignore::new(exceptions.iter().map(String::as_str))?.patterns);
        Ok(())
    }

    fn leaves_out(&self, path: &str) -> bool {
        let mut matched = Matched::default();
        let mut out = false;
        for (at, _) in path.match_indices('/').chain([(path.len(), "")]) {
            (out, matched) = self.matches(&path[..at], &matched);
        }
        out
    }

    /// Whether a path is left out, given what matched the folder that it is in.
    pub(crate) fn matches(&self, path: &str, parent: &Matched) -> (bool, Matched) {
        let mut out = false;
        let mut matched = vec![false; self.patterns.len()];
        for (at, pattern) in self.patterns.iter().enumerate() {
            let above = parent.0.get(at).copied().unwrap_or(false);
            // A pattern that could change nothing is not asked, and is not remembered as one that matched.
            matched[at] = above || (pattern.lets_in == out && pattern.regex.is_match(path));
            if matched[at] {
                out = !pattern.lets_in;
            }
        }
        (out, Matched(matched))
    }

    /// Whether a folder that is left out has to be looked into.
    pub(crate) fn looks_into(&self, folder: &str, descend: Descend) -> bool {
        let folder = format!("{folder}/");
        self.patterns.iter().filter(|pattern| pattern.lets_in).any(|pattern| {
            let anywhere = descend == Descend::IfReachable && pattern.text.contains(['*', '?', '[']);
            anywhere || format!("{}/", pattern.text).starts_with(&folder)
        })
    }
}

/// Go's `filepath.Clean`: no `.`, no `..` that can be resolved, no doubled or closing slash.
fn clean(path: &str) -> String {
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

fn regex(pattern: &str) -> std::result::Result<Regex, regex::Error> {
    let mut regex = String::from("(?s)^");
    let mut chars = pattern.chars().peekable();
    let mut in_brackets = false;
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                // `**/` is `**`: also no folder at all.
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
#[expect(clippy::unwrap_used, reason = "a test whose patterns cannot be read has failed")]
mod tests {
    use super::*;

    fn left_out(patterns: &[&str], path: &str) -> bool {
        Ignore::new(patterns.iter().copied()).unwrap().leaves_out(path)
    }

    #[test]
    fn a_pattern_is_anchored_at_the_root() {
        assert!(left_out(&["*.log"], "a.log"));
        assert!(!left_out(&["*.log"], "sub/a.log"));
        assert!(left_out(&["**/*.log"], "sub/deep/a.log"));
        assert!(left_out(&["**/*.log"], "a.log"));
        assert!(left_out(&["/data/"], "data/x"));
        assert!(left_out(&["./sub/../data"], "data/x"));
    }

    #[test]
    fn the_last_pattern_that_matches_decides() {
        assert!(!left_out(&["data", "!data/keep"], "data/keep/x"));
        assert!(left_out(&["!data/keep", "data"], "data/keep"));
        assert!(left_out(&["*", "!data", "data/x?"], "data/x1"));
    }

    #[test]
    fn brackets_are_sets_and_a_backslash_takes_a_character_as_it_is() {
        assert!(left_out(&["[a-c]1"], "b1"));
        assert!(!left_out(&["[^a-c]1"], "b1"));
        assert!(left_out(&["\\*x"], "*x"));
        assert!(!left_out(&["\\*x"], "yx"));
        assert!(left_out(&["a+b(1).txt"], "a+b(1).txt"));
    }

    #[test]
    fn what_the_engine_needs_is_let_in() {
        let mut ignore = Ignore::new(["*"]).unwrap();
        ignore.always_let_in(&["Dockerfile", ".dockerignore"]).unwrap();
        assert!(!ignore.leaves_out("Dockerfile"));
        assert!(ignore.leaves_out("x"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        assert_eq!(Ignore::new(["!"]).unwrap_err().kind, Kind::Usage);
        assert_eq!(Ignore::new(["a["]).unwrap_err().kind, Kind::Usage);
    }
}
