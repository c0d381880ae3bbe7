//! Failures of the same kind in one run: the first ones are reported, the others counted.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};

use crate::failure::{Failure, Kind};
use crate::quantity::format_count;
use crate::tool::Tool;

/// The most patterns of messages that are remembered.
const MAX_PATTERNS: usize = 100;

/// How many messages that differ only in their names are reported.
const MAX_SIMILAR: usize = 10;

/// The failures that were reported, by the pattern of their message: the message without the names in it.
#[derive(Debug, Default)]
pub struct RepeatedFailures {
    patterns: RefCell<BTreeMap<String, SimilarFailures>>,
    /// The hints that were printed: a hint for a thousand files is printed once.
    hints: RefCell<HashSet<String>>,
}

#[derive(Debug, Default)]
struct SimilarFailures {
    /// The messages that were reported, and how often each occurred again.
    reported: BTreeMap<String, u64>,
    /// How many other messages were not reported.
    unreported: u64,
}

impl SimilarFailures {
    /// Counts a failure, and returns whether to report it: at most `most` different messages are.
    fn add(&mut self, message: &str, most: usize) -> bool {
        if let Some(count) = self.reported.get_mut(message) {
            *count += 1;
            return false;
        }
        let is_shown = self.reported.len() < most;
        if is_shown {
            self.reported.insert(message.to_owned(), 0);
        } else {
            self.unreported += 1;
        }
        is_shown
    }
}

impl RepeatedFailures {
    /// Reports a failure, or counts it for the end.
    pub fn report(&self, tool: Tool, failure: &Failure) {
        let mut patterns = self.patterns.borrow_mut();
        let pattern = pattern(&failure.message);
        // A server that does not answer is the same failure for every name.
        let most = if failure.kind == Kind::BucketUnreachable { 1 } else { MAX_SIMILAR };
        if patterns.len() >= MAX_PATTERNS && !patterns.contains_key(&pattern)
            || patterns.entry(pattern).or_default().add(&failure.message, most)
        {
            let hint = failure.hint.clone().filter(|hint| self.hints.borrow_mut().insert(hint.clone()));
            tool.report_failure(&Failure { hint, ..failure.clone() });
        }
    }

    /// Reports how many failures were counted. `noun` is what failed: `record`, `file`.
    pub fn report_counts(&self, tool: Tool, noun: &str) {
        let more = format!("more {noun}");
        for similar in self.patterns.borrow().values() {
            for (message, count) in similar.reported.iter().filter(|(_, count)| **count > 0) {
                let failed = format_count(*count, &more);
                tool.note(&format!("{failed} failed with the same error: {message}"));
            }
            if let (Some(message), count @ 1..) = (similar.reported.keys().next(), similar.unreported) {
                let failed = format_count(count, &more);
                tool.note(&format!("{failed} failed with errors such as: {message}"));
            }
        }
    }
}

/// The message without its quoted parts.
fn pattern(message: &str) -> String {
    message.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_differ_in_their_names_have_the_same_pattern() {
        assert_eq!(pattern("cannot read `a`: no such file"), pattern("cannot read `b.npy`: no such file"));
        assert_ne!(pattern("cannot read `a`: no such file"), pattern("cannot read `a`: permission denied"));
    }

    #[test]
    fn a_failure_is_reported_once_and_ten_similar_ones() {
        let mut similar = SimilarFailures::default();
        let reported: Vec<bool> = (0..12).map(|number| similar.add(&format!("{}", number % 11), MAX_SIMILAR)).collect();
        assert_eq!(reported.iter().filter(|reported| **reported).count(), MAX_SIMILAR);
        assert_eq!((similar.reported["0"], similar.unreported), (1, 1));
    }
}
