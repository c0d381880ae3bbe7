//! Where to take a log up again, so that nothing is missed and nothing comes twice: between its files and the engine's
//! stream, and after a stream that broke off.
//!
//! The engine is asked for what came since a moment a little before the last entry, for the two streams' times are not
//! quite in order; of what it sends, the entries that have been seen already are known by their hashes.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::SignedDuration;

use super::entry::{Entry, Stamp};

/// How far back the times of two entries in a row may be out of order.
const OVERLAP: SignedDuration = SignedDuration::from_secs(1);

/// How many entries are remembered at most: 1.5 MB.
const REMEMBERED: usize = 1 << 15;

/// The last entries that were seen.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    entries: VecDeque<(Stamp, u64)>,
    last: Option<Stamp>,
    /// Whether entries before the oldest that is remembered were seen, or left out.
    is_partial: bool,
    repeats: HashMap<u64, u32>,
}

impl Recent {
    /// Whether the entry is new. It is remembered.
    pub(crate) fn is_new(&mut self, entry: &Entry<'_>) -> bool {
        let mut hasher = DefaultHasher::new();
        (entry.stamp, entry.stream, entry.bytes).hash(&mut hasher);
        let hash = hasher.finish();
        if !self.repeats.is_empty()
            && let Some(count) = self.repeats.get_mut(&hash)
        {
            *count -= 1;
            if *count == 0 {
                self.repeats.remove(&hash);
            }
            return false;
        }
        if self.entries.len() == REMEMBERED {
            self.entries.pop_front();
            self.is_partial = true;
        }
        self.entries.push_back((entry.stamp, hash));
        self.last = self.last.max(Some(entry.stamp));
        true
    }

    /// What was seen is the end of a log whose beginning is not wanted.
    pub(crate) fn begins_in_the_middle(&mut self) {
        self.is_partial = true;
    }

    /// From when on to ask again. What is sent from then on and was seen is no longer new. None where nothing was seen.
    pub(crate) fn resume(&mut self) -> Option<Stamp> {
        let overlap = self.last?.time()?.checked_sub(OVERLAP).ok().map(Stamp::at)?;
        // Others at the time of the oldest may have been forgotten, so that time is not asked for again.
        let oldest = self.entries.front().filter(|_| self.is_partial).and_then(|oldest| oldest.0.time());
        let after = oldest.map(|oldest| Stamp::at(oldest + SignedDuration::from_nanos(1)));
        let since = after.unwrap_or(Stamp::MIN).max(overlap);
        self.repeats.clear();
        for &(stamp, hash) in &self.entries {
            if stamp >= since {
                *self.repeats.entry(hash).or_default() += 1;
            }
        }
        Some(since)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that has no time has failed")]
mod tests {
    use super::*;
    use crate::log::entry::Stream;

    fn at(seconds: u32, millis: u32) -> Stamp {
        Stamp::parse(format!("2026-11-22T10:24:{seconds:02}.{millis:03}Z").as_bytes()).unwrap()
    }

    fn is_new(recent: &mut Recent, stamp: Stamp, text: &str) -> bool {
        recent.is_new(&Entry { stamp, stream: Stream::Stdout, bytes: text.as_bytes() })
    }

    #[test]
    fn what_was_seen_is_dropped_and_the_same_line_again_is_not() {
        let mut recent = Recent::default();
        for text in ["old", "a", "a", "b"] {
            let stamp = if text == "old" { at(10, 0) } else { at(20, 0) };
            assert!(is_new(&mut recent, stamp, text));
        }
        assert_eq!(recent.resume(), Some(at(19, 0)));
        let again: Vec<bool> =
            ["a", "a", "a", "b", "c"].iter().map(|text| is_new(&mut recent, at(20, 0), text)).collect();
        assert_eq!(again, [false, false, true, false, true]);
    }

    #[test]
    fn an_entry_that_comes_a_little_late_is_not_missed() {
        let mut recent = Recent::default();
        assert!(is_new(&mut recent, at(20, 500), "stdout"));
        assert!(recent.resume().unwrap() <= at(20, 100));
        assert!(is_new(&mut recent, at(20, 100), "stderr"));
    }

    #[test]
    fn nothing_is_forgotten_within_what_is_asked_for_again() {
        let mut recent = Recent::default();
        for millis in 0..900 {
            for number in 0..60 {
                assert!(is_new(&mut recent, at(20, millis), &number.to_string()));
            }
        }
        let since = recent.resume().unwrap();
        assert!(since > at(20, 300) && since <= at(20, 400), "{since:?}");
        for millis in 400..900 {
            for number in 0..60 {
                assert!(!is_new(&mut recent, at(20, millis), &number.to_string()));
            }
        }
        assert!(is_new(&mut recent, at(20, 899), "new"));
    }

    #[test]
    fn a_log_that_was_empty_is_asked_for_whole() {
        assert_eq!(Recent::default().resume(), None);
    }
}
