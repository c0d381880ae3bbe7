//! Submit files that were found and are to be looked into, each once. What was there when the watch began, which can be
//! much and take its time, and what has come since take turns: neither holds up the other.

use std::cell::{Cell, RefCell};
use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use jiff::Timestamp;
use ncaas_core::bucket::{Entry, Key};
use ncaas_core::layout::{SUBMISSIONS, SUBMIT_SUFFIX};
use tokio::sync::Notify;

/// How what was there before is said to have been found.
pub(super) const BEGAN: &str = "found when the watch began";

/// A submit file.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) key: Key,
    /// How it was found, in words.
    pub(super) how: &'static str,
    /// When.
    pub(super) noticed: Timestamp,
    /// How often looking into it has failed.
    pub(super) failed: u32,
}

impl Found {
    /// A submit file that was found now.
    pub(super) fn new(key: Key, how: &'static str) -> Self {
        Found { key, how, noticed: Timestamp::now(), failed: 0 }
    }
}

/// Whether a key is that of a group's submit file.
pub(super) fn is_submit_file(key: &str) -> bool {
    let below = key.split_once('/').and_then(|(group, below)| (!group.starts_with('.')).then_some(below));
    let name = below.and_then(|below| below.strip_prefix(SUBMISSIONS)).and_then(|name| name.strip_prefix('/'));
    name.is_some_and(|name| name.ends_with(SUBMIT_SUFFIX))
}

/// Those that wait. What was here before is not taken in again, unless it has changed since.
///
/// Memory grows with the number of submit files in the bucket: by 8 bytes and a hash table's slack each, and some 200
/// bytes more for those that wait.
pub(super) struct Queue {
    /// What was there when the watch began.
    old: RefCell<VecDeque<Found>>,
    /// What has come since.
    new: RefCell<VecDeque<Found>>,
    /// Whether it is the turn of the old.
    turn_of_old: Cell<bool>,
    seen: RefCell<HashSet<u64>>,
    hasher: RandomState,
    arrived: Notify,
}

impl Queue {
    pub(super) fn new() -> Self {
        Queue {
            old: RefCell::default(),
            new: RefCell::default(),
            turn_of_old: Cell::default(),
            seen: RefCell::default(),
            hasher: RandomState::new(),
            arrived: Notify::new(),
        }
    }

    /// Takes in what a listing came upon, unless it was here before.
    pub(super) fn listed(&self, entry: Entry, how: &'static str) {
        if is_submit_file(entry.key.as_str()) && self.is_new(&entry) {
            self.push(Found::new(entry.key, how));
        }
    }

    /// Takes in what somebody has told of, or what has to be looked into once more.
    pub(super) fn push(&self, found: Found) {
        let queue = if found.how == BEGAN { &self.old } else { &self.new };
        queue.borrow_mut().push_back(found);
        self.arrived.notify_one();
    }

    /// Whether a file is not known yet, as it is now. From here on it is.
    pub(super) fn is_new(&self, entry: &Entry) -> bool {
        // S3 tells times to the second in one place and finer in another, but it has ETags.
        let modified = match entry.etag {
            Some(_) => i128::from(entry.modified.as_second()),
            None => entry.modified.as_nanosecond(),
        };
        let identity = self.hasher.hash_one((entry.key.as_str(), entry.size, &entry.etag, modified));
        self.seen.borrow_mut().insert(identity)
    }

    pub(super) fn pop(&self) -> Option<Found> {
        let turn_of_old = self.turn_of_old.replace(!self.turn_of_old.get());
        let (first, second) = if turn_of_old { (&self.old, &self.new) } else { (&self.new, &self.old) };
        let found = first.borrow_mut().pop_front();
        found.or_else(|| second.borrow_mut().pop_front())
    }

    /// Waits until there may be something to pop.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.old.borrow().is_empty() && self.new.borrow().is_empty()
    }
}

/// How long to wait before the next attempt, after so many that failed.
pub(super) fn backoff(attempts: u32) -> Duration {
    Duration::from_secs(1 << attempts.saturating_sub(1).min(5))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test whose key is none has failed")]
mod tests {
    use super::*;

    #[test]
    fn submit_files_are_told_from_all_else() {
        for key in ["lab/submissions/submit.json", "lab/submissions/1_submit.json", "lab/submissions/deep/xsubmit.json"]
        {
            assert!(is_submit_file(key), "{key}");
        }
        for key in [
            "submit.json",
            "lab/submit.json",
            "lab/inputs/submit.json",
            "lab/submissions/x.json",
            ".ncaas/submissions/submit.json",
            "lab/submissionsubmit.json",
        ] {
            assert!(!is_submit_file(key), "{key}");
        }
    }

    #[test]
    fn old_and_new_take_turns() {
        let queue = Queue::new();
        let found = |name: &str, how| Found::new(Key::new(format!("lab/submissions/{name}")).unwrap(), how);
        for name in ["old 1", "old 2", "old 3", "old 4"] {
            queue.push(found(name, BEGAN));
        }
        queue.push(found("new 1", "told of"));
        queue.push(found("new 2", "told of"));
        let order: Vec<String> =
            std::iter::from_fn(|| queue.pop()).map(|found| found.key.base_name().to_owned()).collect();
        assert_eq!(order, ["new 1", "old 1", "new 2", "old 2", "old 3", "old 4"]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_file_is_new_once_and_again_when_it_has_changed() {
        let queue = Queue::new();
        let entry = Entry {
            key: Key::new("lab/submissions/submit.json").unwrap(),
            size: 1,
            modified: Timestamp::UNIX_EPOCH,
            etag: None,
            sha256: None,
            crc64nvme: None,
        };
        assert!(queue.is_new(&entry));
        assert!(!queue.is_new(&entry));
        assert!(queue.is_new(&Entry { size: 2, ..entry }));
    }
}
