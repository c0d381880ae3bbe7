//! Drops entries that were seen before: when a log continues from its files to the engine's stream, and when a stream
//! is resumed after an interruption.
//!
//! The engine is asked for entries since a moment before the last one, because the two streams' times are not strictly
//! in order. Entries that were seen already are recognised by their hashes.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::SignedDuration;

use super::entry::{LogEntry, LogTime};

/// How far the times of two successive entries may be out of order.
const OVERLAP: SignedDuration = SignedDuration::from_secs(1);

/// How long entries are remembered, by their own times. Engines repeat entries within less time.
const MEMORY: SignedDuration = SignedDuration::from_secs(10);

/// The maximum number of entries that are remembered: about 2 MB.
const REMEMBERED: usize = 1 << 15;

/// The last entries that were seen.
#[derive(Debug, Default)]
pub(crate) struct RecentLines {
    entries: VecDeque<(LogTime, u64)>,
    /// How often each of them was seen.
    counts: HashMap<u64, u32>,
    /// The latest time that was seen.
    last: Option<LogTime>,
    /// The time of the last entry, which is earlier than the latest if the engine's clock was set back.
    newest: Option<LogTime>,
    /// The time of each stream's last entry: other lines come between the fragments of a stream's long line.
    last_of: [Option<LogTime>; 2],
    /// When to forget old entries again: computing with times costs more than comparing them.
    next_look: Option<LogTime>,
    /// Whether entries just before the oldest remembered one were forgotten or not read.
    is_partial: bool,
    /// Entries that were requested again and have not arrived again yet.
    repeats: HashMap<u64, u32>,
    /// Whether times are exact enough that two equal lines never have the same one.
    exact: bool,
    /// Nothing is remembered, and nothing dropped.
    is_disabled: bool,
    /// The next entry must be a known one; otherwise entries before it are missing.
    expects_overlap: bool,
    has_gap: bool,
}

impl RecentLines {
    /// `exact`: whether times are exact enough that two equal lines never have the same one.
    pub(crate) fn new(exact: bool) -> Self {
        RecentLines { exact, ..RecentLines::default() }
    }

    /// For a log that is read once, from one source.
    pub(crate) fn disabled() -> Self {
        RecentLines { is_disabled: true, ..RecentLines::default() }
    }

    /// Gives the new entries only, and remembers them.
    pub(crate) fn filter<'a>(&'a mut self, mut give: impl FnMut(&LogEntry<'_>) + 'a) -> impl FnMut(&LogEntry<'_>) + 'a {
        move |entry| {
            if self.is_disabled || self.is_new(entry) {
                give(entry);
            }
        }
    }

    /// The next entries are the end of the log, and begin with known ones unless some are missing before them.
    pub(crate) fn expect_overlap(&mut self) {
        self.expects_overlap = true;
    }

    /// Whether entries were missing, and all since then were dropped. They have to be requested again.
    pub(crate) fn take_gap(&mut self) -> bool {
        std::mem::take(&mut self.has_gap)
    }

    fn is_new(&mut self, entry: &LogEntry<'_>) -> bool {
        let hash = hash(entry);
        self.has_gap |= std::mem::take(&mut self.expects_overlap) && !self.counts.contains_key(&hash);
        if self.has_gap {
            return false;
        }
        if !self.repeats.is_empty() && remove_one(&mut self.repeats, hash) {
            return false;
        }
        // Docker Engine 20.10 repeats lines when it has rotated the log. A long line's fragments share one time and may
        // be equal.
        if self.exact && self.counts.contains_key(&hash) {
            let is_fragment =
                entry.bytes.last() != Some(&b'\n') && Some(entry.stamp) >= self.last_of[entry.stream as usize];
            if !is_fragment {
                return false;
            }
        }
        self.last_of[entry.stream as usize] = Some(entry.stamp);
        self.remember(entry.stamp, hash);
        true
    }

    fn remember(&mut self, stamp: LogTime, hash: u64) {
        if self.entries.len() == REMEMBERED {
            self.is_partial = true;
            self.forget_oldest();
        }
        self.entries.push_back((stamp, hash));
        *self.counts.entry(hash).or_default() += 1;
        self.last = self.last.max(Some(stamp));
        self.newest = Some(stamp);
        if self.next_look.is_none_or(|next| stamp >= next) {
            let horizon = shifted(self.last, -MEMORY);
            while self.entries.front().is_some_and(|oldest| Some(oldest.0) < horizon) {
                self.forget_oldest();
            }
            self.next_look = shifted(self.last, MEMORY);
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, hash)) = self.entries.pop_front() {
            remove_one(&mut self.counts, hash);
        }
    }

    /// The entries so far are the end of a log whose beginning was not read.
    pub(crate) fn begins_in_the_middle(&mut self) {
        self.is_partial = true;
    }

    /// The time since which entries are to be requested again; none if no entry was seen. `now` is the time by the
    /// engine's clock, if it is known. Entries since then that were seen are no longer new.
    pub(crate) fn resume(&mut self, now: Option<LogTime>) -> Option<LogTime> {
        let usual = shifted(self.last, -OVERLAP)?;
        // If the clock was set back, new entries have earlier times than those that were seen.
        let newest = self.newest.min(now.or(self.newest));
        let set_back = newest < Some(usual);
        let overlap = if set_back { shifted(newest, -OVERLAP)? } else { usual };
        // Other entries at the oldest one's time may be forgotten, so that time is not requested again. After the clock
        // was set back, times prove nothing: repeated lines are better than missing ones.
        let is_bounded = self.is_partial && !set_back;
        let oldest = self.entries.front().filter(|_| is_bounded).and_then(|oldest| oldest.0.time());
        let after = oldest.map(|oldest| LogTime::at(oldest + SignedDuration::from_nanos(1)));
        let since = after.unwrap_or(LogTime::MIN).max(overlap);
        self.expects_overlap = false;
        self.repeats.clear();
        for &(stamp, hash) in &self.entries {
            if stamp >= since {
                *self.repeats.entry(hash).or_default() += 1;
            }
        }
        Some(since)
    }
}

fn hash(entry: &LogEntry<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (entry.stamp, entry.stream, entry.bytes).hash(&mut hasher);
    hasher.finish()
}

fn shifted(stamp: Option<LogTime>, duration: SignedDuration) -> Option<LogTime> {
    stamp?.time()?.checked_add(duration).ok().map(LogTime::at)
}

/// Reduces a count by one. Returns false if it is zero.
fn remove_one(counts: &mut HashMap<u64, u32>, hash: u64) -> bool {
    let Some(count) = counts.get_mut(&hash) else { return false };
    *count -= 1;
    if *count == 0 {
        counts.remove(&hash);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::entry::Stream;

    fn at(seconds: u32, millis: u32) -> LogTime {
        LogTime::parse(format!("2026-11-22T10:24:{seconds:02}.{millis:03}Z").as_bytes()).unwrap()
    }

    fn is_new(recent: &mut RecentLines, stamp: LogTime, text: &str) -> bool {
        recent.is_new(&LogEntry { stamp, stream: Stream::Stdout, bytes: text.as_bytes(), details: b"" })
    }

    #[test]
    fn known_entries_are_dropped_and_equal_new_lines_are_kept() {
        let mut recent = RecentLines::new(false);
        for text in ["old", "a", "a", "b"] {
            let stamp = if text == "old" { at(10, 0) } else { at(20, 0) };
            assert!(is_new(&mut recent, stamp, text));
        }
        assert_eq!(recent.resume(None), Some(at(19, 0)));
        let again: Vec<bool> =
            ["a", "a", "a", "b", "c"].iter().map(|text| is_new(&mut recent, at(20, 0), text)).collect();
        assert_eq!(again, [false, false, true, false, true]);
    }

    #[test]
    fn lines_that_the_engine_repeats_are_dropped_and_equal_fragments_are_kept() {
        let mut recent = RecentLines::new(true);
        for (millis, text, expected) in [
            (1, "a\n", true),
            (2, "b\n", true),
            (3, "zzz", true),
            (3, "zzz", true),
            (3, "z\n", true),
            (2, "b\n", false),
            (3, "z\n", false),
            (4, "c\n", true),
            (3, "zzz", false),
            (4, "c\n", false),
            (5, "c\n", true),
        ] {
            assert_eq!(is_new(&mut recent, at(20, millis), text), expected, "{text} at {millis}");
        }
    }

    #[test]
    fn fragments_of_a_long_line_are_kept_with_the_other_streams_lines_between_them() {
        let mut recent = RecentLines::new(true);
        let stderr = LogEntry { stamp: at(20, 9), stream: Stream::Stderr, bytes: b"e\n", details: b"" };
        assert!(is_new(&mut recent, at(20, 3), "zzz"));
        assert!(recent.is_new(&stderr));
        assert!(is_new(&mut recent, at(20, 3), "zzz"));
    }

    #[test]
    fn old_entries_are_forgotten() {
        let mut recent = RecentLines::new(false);
        for second in 0..60 {
            assert!(is_new(&mut recent, at(second, 0), "tick"));
        }
        assert!(recent.entries.len() <= 2 * MEMORY.as_secs() as usize + 2, "{}", recent.entries.len());
        assert_eq!(recent.entries.len(), recent.counts.len());
        assert_eq!(recent.resume(None), Some(at(58, 0)));
    }

    #[test]
    fn an_entry_that_arrives_late_is_not_missed() {
        let mut recent = RecentLines::new(false);
        assert!(is_new(&mut recent, at(20, 500), "stdout"));
        assert!(recent.resume(None).unwrap() <= at(20, 100));
        assert!(is_new(&mut recent, at(20, 100), "stderr"));
    }

    #[test]
    fn no_entry_is_forgotten_that_is_requested_again() {
        let mut recent = RecentLines::new(false);
        for millis in 0..900 {
            for number in 0..60 {
                assert!(is_new(&mut recent, at(20, millis), &number.to_string()));
            }
        }
        let since = recent.resume(None).unwrap();
        assert!(since > at(20, 300) && since <= at(20, 400), "{since:?}");
        for millis in 400..900 {
            for number in 0..60 {
                assert!(!is_new(&mut recent, at(20, millis), &number.to_string()));
            }
        }
        assert!(is_new(&mut recent, at(20, 899), "new"));
    }

    #[test]
    fn new_entries_are_requested_after_the_clock_was_set_back() {
        for has_seen_it in [true, false] {
            let mut recent = RecentLines::new(true);
            assert!(is_new(&mut recent, at(40, 0), "before\n"));
            if has_seen_it {
                assert!(is_new(&mut recent, at(20, 0), "zzz"));
                assert!(is_new(&mut recent, at(20, 0), "zzz"), "a fragment like the one before it");
            }
            assert_eq!(recent.resume(Some(at(20, 500))), Some(if has_seen_it { at(19, 0) } else { at(19, 500) }));
            assert!(!is_new(&mut recent, at(40, 0), "before\n"));
            assert!(is_new(&mut recent, at(20, 400), "after\n"));
        }
    }

    #[test]
    fn a_gap_is_found_when_the_end_of_the_log_does_not_reach_back_to_a_known_entry() {
        for (first, has_gap) in [("known", false), ("unknown", true)] {
            let mut recent = RecentLines::new(true);
            assert!(is_new(&mut recent, at(20, 0), "known"));
            recent.resume(None);
            recent.expect_overlap();
            let stamp = if has_gap { at(21, 0) } else { at(20, 0) };
            assert!(!is_new(&mut recent, stamp, first));
            assert_eq!(is_new(&mut recent, at(22, 0), "after"), !has_gap);
            assert_eq!((recent.take_gap(), recent.take_gap()), (has_gap, false));
        }
    }

    #[test]
    fn an_empty_log_is_requested_from_its_beginning() {
        assert_eq!(RecentLines::new(false).resume(None), None);
    }
}
