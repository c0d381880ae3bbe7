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

/// How long entries are remembered, by their own times: longer than an engine repeats them.
const MEMORY: SignedDuration = SignedDuration::from_secs(10);

/// How many entries are remembered at most, some 2 MB.
const REMEMBERED: usize = 1 << 15;

/// The last entries that were seen.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    entries: VecDeque<(Stamp, u64)>,
    /// How often each of them was seen.
    counts: HashMap<u64, u32>,
    /// The latest time that was seen.
    last: Option<Stamp>,
    /// The time of the last that was seen, which is earlier where the engine's clock was set back.
    newest: Option<Stamp>,
    /// The same of each stream: while one's long line is being written, the other's later lines come in between.
    last_of: [Option<Stamp>; 2],
    /// At which time to forget old ones again: reckoning with a time costs more than comparing it.
    next_look: Option<Stamp>,
    /// Whether entries just before the oldest that is remembered were forgotten, or never wanted.
    is_partial: bool,
    /// What was asked for again, and has not come again yet.
    repeats: HashMap<u64, u32>,
    /// Whether times are exact enough that two equal lines never have the same one.
    exact: bool,
}

impl Recent {
    /// Nothing seen yet. `exact`: whether times are exact enough that two equal lines never have the same one.
    pub(crate) fn new(exact: bool) -> Self {
        Recent { exact, ..Recent::default() }
    }

    /// Whether the entry was seen, as far as it is remembered.
    pub(crate) fn knows(&self, entry: &Entry<'_>) -> bool {
        self.counts.contains_key(&hash(entry))
    }

    /// Whether the entry is new. It is remembered.
    pub(crate) fn is_new(&mut self, entry: &Entry<'_>) -> bool {
        let hash = hash(entry);
        if !self.repeats.is_empty() && take(&mut self.repeats, hash) {
            return false;
        }
        // An engine may repeat lines of its own accord: 20.10 does when it has rotated the log. A long line's fragments
        // share one time and may be equal.
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

    fn remember(&mut self, stamp: Stamp, hash: u64) {
        if self.entries.len() == REMEMBERED {
            self.is_partial = true;
            self.forget_oldest();
        }
        self.entries.push_back((stamp, hash));
        *self.counts.entry(hash).or_default() += 1;
        self.last = self.last.max(Some(stamp));
        self.newest = Some(stamp);
        if self.next_look.is_none_or(|next| stamp >= next) {
            let horizon = away(self.last, -MEMORY);
            while self.entries.front().is_some_and(|oldest| Some(oldest.0) < horizon) {
                self.forget_oldest();
            }
            self.next_look = away(self.last, MEMORY);
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, hash)) = self.entries.pop_front() {
            take(&mut self.counts, hash);
        }
    }

    /// What was seen is the end of a log whose beginning is not wanted.
    pub(crate) fn begins_in_the_middle(&mut self) {
        self.is_partial = true;
    }

    /// From when on to ask again; `now` is the time by the engine's clock, where it is known. What is sent from then on
    /// and was seen is no longer new. None where nothing was seen.
    pub(crate) fn resume(&mut self, now: Option<Stamp>) -> Option<Stamp> {
        let usual = away(self.last, -OVERLAP)?;
        // Where the clock was set back, what is new has earlier times than what was seen.
        let newest = self.newest.min(now.or(self.newest));
        let set_back = newest < Some(usual);
        let overlap = if set_back { away(newest, -OVERLAP)? } else { usual };
        // Others at the time of the oldest may have been forgotten, so that time is not asked for again. After the clock
        // was set back their times say nothing: rather some lines twice than lines that never come.
        let is_bounded = self.is_partial && !set_back;
        let oldest = self.entries.front().filter(|_| is_bounded).and_then(|oldest| oldest.0.time());
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

fn hash(entry: &Entry<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (entry.stamp, entry.stream, entry.bytes).hash(&mut hasher);
    hasher.finish()
}

fn away(stamp: Option<Stamp>, duration: SignedDuration) -> Option<Stamp> {
    stamp?.time()?.checked_add(duration).ok().map(Stamp::at)
}

/// Takes one away of what is counted; false where there is none.
fn take(counts: &mut HashMap<u64, u32>, hash: u64) -> bool {
    let Some(count) = counts.get_mut(&hash) else { return false };
    *count -= 1;
    if *count == 0 {
        counts.remove(&hash);
    }
    true
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
        recent.is_new(&Entry { stamp, stream: Stream::Stdout, bytes: text.as_bytes(), details: b"" })
    }

    #[test]
    fn what_was_seen_is_dropped_and_the_same_line_again_is_not() {
        let mut recent = Recent::new(false);
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
    fn lines_that_the_engine_repeats_come_once_and_equal_fragments_as_often_as_they_were_printed() {
        let mut recent = Recent::new(true);
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
    fn a_long_line_is_whole_though_the_other_streams_lines_come_in_between() {
        let mut recent = Recent::new(true);
        let stderr = Entry { stamp: at(20, 9), stream: Stream::Stderr, bytes: b"e\n", details: b"" };
        assert!(is_new(&mut recent, at(20, 3), "zzz"));
        assert!(recent.is_new(&stderr));
        assert!(is_new(&mut recent, at(20, 3), "zzz"));
    }

    #[test]
    fn what_is_old_is_forgotten_and_takes_no_memory() {
        let mut recent = Recent::new(false);
        for second in 0..60 {
            assert!(is_new(&mut recent, at(second, 0), "tick"));
        }
        assert!(recent.entries.len() <= 2 * MEMORY.as_secs() as usize + 2, "{}", recent.entries.len());
        assert_eq!(recent.entries.len(), recent.counts.len());
        assert_eq!(recent.resume(None), Some(at(58, 0)));
    }

    #[test]
    fn an_entry_that_comes_a_little_late_is_not_missed() {
        let mut recent = Recent::new(false);
        assert!(is_new(&mut recent, at(20, 500), "stdout"));
        assert!(recent.resume(None).unwrap() <= at(20, 100));
        assert!(is_new(&mut recent, at(20, 100), "stderr"));
    }

    #[test]
    fn nothing_is_forgotten_within_what_is_asked_for_again() {
        let mut recent = Recent::new(false);
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
    fn what_is_new_is_asked_for_though_the_clock_was_set_back() {
        for has_seen_it in [true, false] {
            let mut recent = Recent::new(true);
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
    fn a_log_that_was_empty_is_asked_for_whole() {
        assert_eq!(Recent::new(false).resume(None), None);
    }
}
