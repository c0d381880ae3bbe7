//! The queue of submit files that were found and have to be read, each once.
//!
//! Groups take turns, and within a group the oldest submission comes first. Submit files that existed when the watch
//! began, which can be many, and those that came later take turns too. An unfinished submission that cannot be claimed
//! at once goes back into the queue.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use jiff::Timestamp;
use ncaas_core::bucket::{Key, ObjectInfo};
use ncaas_core::lease::RetryRequest;
use ncaas_core::turns::Turns;
use tokio::sync::Notify;

/// How a submit file was found that existed when the watch began, for the set-up log.
pub(crate) const EXISTED: &str = "found when the watch began";

#[derive(Debug, Clone)]
pub(crate) struct QueuedFile {
    pub(crate) key: Key,
    /// The way it was found, for the set-up log.
    pub(crate) how: &'static str,
    /// When it was found, or for a retry, when it is due.
    pub(crate) noticed: Timestamp,
    /// When it was written: the oldest comes first.
    pub(crate) written: Timestamp,
    /// How often reading it has failed.
    pub(crate) failures: u32,
    /// The job whose record is to be emitted again.
    pub(crate) retry: Option<RetryRequest>,
}

impl QueuedFile {
    /// A submit file that was found now.
    pub(crate) fn new(key: Key, how: &'static str) -> Self {
        let now = Timestamp::now();
        QueuedFile { key, how, noticed: now, written: now, failures: 0, retry: None }
    }
}

/// Submit files by group; the oldest file of a group comes first.
type QueuedFiles = Turns<(Timestamp, String), QueuedFile>;

fn push(files: &mut QueuedFiles, found: QueuedFile) {
    let name = match &found.retry {
        Some(retry) => format!("{} {}", found.key, retry.dataset),
        None => found.key.as_str().to_owned(),
    };
    files.push(found.key.clone().group(), (found.written, name), found);
}

/// The submit files that wait. A file that was here before is not taken in again, unless it has changed.
///
/// Memory grows with the number of submit files in the bucket: by 8 bytes and a hash table's overhead each, and some
/// 300 bytes more for each that waits.
pub(crate) struct SubmitQueue {
    /// Submit files that existed when the watch began.
    old: RefCell<QueuedFiles>,
    /// Submit files that came later.
    new: RefCell<QueuedFiles>,
    /// Unfinished submissions that wait to be claimed.
    ready: RefCell<QueuedFiles>,
    is_turn_of_old: Cell<bool>,
    seen: RefCell<HashSet<u64>>,
    hasher: RandomState,
    arrived: Notify,
}

impl SubmitQueue {
    pub(crate) fn new() -> Self {
        SubmitQueue {
            old: RefCell::default(),
            new: RefCell::default(),
            ready: RefCell::default(),
            is_turn_of_old: Cell::default(),
            seen: RefCell::default(),
            hasher: RandomState::new(),
            arrived: Notify::new(),
        }
    }

    /// Adds a listed file, unless it was here before.
    pub(crate) fn push_listed(&self, entry: ObjectInfo, how: &'static str) {
        if self.is_new(&entry) {
            self.push(QueuedFile { written: entry.modified, ..QueuedFile::new(entry.key, how) });
        }
    }

    /// Adds a file that is to be read, also once more.
    pub(crate) fn push(&self, found: QueuedFile) {
        let queue = if found.how == EXISTED { &self.old } else { &self.new };
        push(&mut queue.borrow_mut(), found);
        self.arrived.notify_one();
    }

    /// Adds an unfinished submission that is to be claimed when there is room.
    pub(crate) fn push_ready(&self, found: QueuedFile) {
        push(&mut self.ready.borrow_mut(), found);
        self.arrived.notify_one();
    }

    /// Whether a file, as it is now, was not here before. From now on it was.
    fn is_new(&self, entry: &ObjectInfo) -> bool {
        // S3 reports times to the second in one place and finer in another, but it has ETags.
        let modified = match entry.etag {
            Some(_) => i128::from(entry.modified.as_second()),
            None => entry.modified.as_nanosecond(),
        };
        let identity = self.hasher.hash_one((entry.key.as_str(), entry.size, &entry.etag, modified));
        self.seen.borrow_mut().insert(identity)
    }

    /// The next file to read, of the groups that are allowed to have a turn.
    pub(crate) fn pop(&self, is_allowed: impl Fn(&str) -> bool) -> Option<QueuedFile> {
        let is_turn_of_old = self.is_turn_of_old.replace(!self.is_turn_of_old.get());
        let (first, second) = if is_turn_of_old { (&self.old, &self.new) } else { (&self.new, &self.old) };
        let found = first.borrow_mut().pop(&is_allowed);
        found.or_else(|| second.borrow_mut().pop(&is_allowed))
    }

    /// The next submission to claim, of the groups that are allowed to have a turn.
    pub(crate) fn pop_ready(&self, is_allowed: impl Fn(&str) -> bool) -> Option<QueuedFile> {
        self.ready.borrow_mut().pop(&is_allowed)
    }

    /// Waits until something may have been added.
    pub(crate) async fn wait_for_arrival(&self) {
        self.arrived.notified().await;
    }

    /// Wakes up a waiter: there may be room for a ready submission.
    pub(crate) fn wake(&self) {
        self.arrived.notify_one();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.old.borrow().is_empty() && self.new.borrow().is_empty()
    }

    pub(crate) fn has_none_ready(&self) -> bool {
        self.ready.borrow().is_empty()
    }
}

/// How long to wait before the next attempt, after a number of failures.
pub(crate) fn backoff(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.saturating_sub(1).min(5))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(key: &str, how: &'static str, written: i64) -> QueuedFile {
        let written = Timestamp::from_second(written).unwrap();
        QueuedFile { written, ..QueuedFile::new(Key::new(key).unwrap(), how) }
    }

    fn order(queue: &SubmitQueue) -> Vec<String> {
        std::iter::from_fn(|| queue.pop(|_| true)).map(|found| found.key.as_str().to_owned()).collect()
    }

    #[test]
    fn old_and_new_submit_files_take_turns() {
        let queue = SubmitQueue::new();
        for (at, name) in ["old/1", "old/2", "old/3", "old/4"].into_iter().enumerate() {
            queue.push(found(name, EXISTED, at as i64));
        }
        queue.push(found("new/1", "found by listing", 1));
        queue.push(found("new/2", "found by listing", 2));
        assert_eq!(order(&queue), ["new/1", "old/1", "new/2", "old/2", "old/3", "old/4"]);
        assert!(queue.is_empty());
    }

    #[test]
    fn groups_take_turns_and_the_oldest_of_a_group_comes_first() {
        let queue = SubmitQueue::new();
        for (key, written) in [("a/3", 3), ("a/1", 1), ("a/2", 2), ("b/9", 9), ("c/0", 0)] {
            queue.push(found(key, EXISTED, written));
        }
        assert_eq!(order(&queue), ["a/1", "b/9", "c/0", "a/2", "a/3"]);
        queue.push(found("a/1", EXISTED, 1));
        queue.push(found("b/1", EXISTED, 1));
        assert_eq!(queue.pop(|group| group != "a").unwrap().key.as_str(), "b/1");
        assert!(queue.pop(|group| group != "a").is_none());
    }

    #[test]
    fn a_file_is_new_once_and_again_when_it_has_changed() {
        let queue = SubmitQueue::new();
        let entry = ObjectInfo {
            key: Key::new("lab/submissions/submit.json").unwrap(),
            size: 1,
            modified: Timestamp::UNIX_EPOCH,
            etag: None,
            sha256: None,
            crc64nvme: None,
            origin_modified: None,
        };
        assert!(queue.is_new(&entry));
        assert!(!queue.is_new(&entry));
        assert!(queue.is_new(&ObjectInfo { size: 2, ..entry }));
    }
}
