//! The watchers of one bucket, and which of them live.
//!
//! Each keeps an object of its own at the bucket's root while it has submissions in hand, and writes it anew every few
//! seconds. Who finds another's unchanged for long enough *by its own clock* takes that one for dead: clocks of different
//! machines need not agree, and a bucket that nobody can reach kills nobody. On the same machine a watcher is dead as soon
//! as its process is.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use ncaas_core::bucket::{Bucket, Key};
use ncaas_core::failure::{Kind, Result};
use ncaas_core::layout::WATCHERS;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::process::{self, Process};

/// How often a watcher that has submissions in hand says that it lives.
pub(super) const BEAT: Duration = Duration::from_secs(10);

/// For how long it is taken for alive after that. Two missed beats and then some.
const ALIVE: Duration = Duration::from_secs(30);

/// How often another's word is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// By how much the clocks of two machines may differ, where there was no time to watch the other for long enough.
const CLOCKS: SignedDuration = SignedDuration::from_secs(60);

/// No watcher's word is longer.
const LARGEST: u64 = 64 << 10;

/// What a watcher says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Word {
    id: String,
    /// Host name and process id, for people.
    owner: String,
    process: Option<Process>,
    /// RFC 3339; a watcher that lives moves it on.
    expires_at: Timestamp,
    /// Whether it has ended in good order, and what it has handed on is to be left alone until then all the same.
    holds: bool,
}

/// What is known of another watcher.
struct Seen {
    content: Vec<u8>,
    word: Word,
    /// Since when its word has been the same.
    since: Instant,
    looked: Instant,
}

/// This watcher among the others.
pub(super) struct Watchers {
    bucket: Bucket,
    id: String,
    owner: String,
    beaten: Cell<Option<Instant>>,
    seen: RefCell<HashMap<String, Seen>>,
}

impl Watchers {
    pub(super) fn new(bucket: &Bucket) -> Self {
        Watchers {
            bucket: bucket.clone(),
            id: process::unique_id(),
            owner: process::owner(),
            beaten: Cell::default(),
            seen: RefCell::default(),
        }
    }

    /// This watcher's id, unique among all that ever were.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// This watcher's host name and process id, for people.
    pub(super) fn owner(&self) -> &str {
        &self.owner
    }

    /// Sees to it that others know of this watcher: before its first claim, and every [`BEAT`] while it has any.
    pub(super) async fn beat(&self) -> Result<()> {
        if self.beaten.get().is_some_and(|beaten| beaten.elapsed() < BEAT) {
            return Ok(());
        }
        self.note(ALIVE, false).await
    }

    /// Ends in good order, and has what was handed on left alone for so long.
    pub(super) async fn hold(&self, hold: Duration) -> Result<()> {
        if self.beaten.get().is_none() {
            return Ok(());
        }
        self.note(hold, true).await
    }

    /// Ends in good order: others may take up at once what is not done.
    pub(super) async fn leave(&self) -> Result<()> {
        match self.beaten.take() {
            Some(_) => self.bucket.delete(&key(&self.id)?).await,
            None => Ok(()),
        }
    }

    async fn note(&self, lasts: Duration, holds: bool) -> Result<()> {
        let lasts = SignedDuration::try_from(lasts).unwrap_or(SignedDuration::MAX);
        let word = Word {
            id: self.id.clone(),
            owner: self.owner.clone(),
            process: Process::this(),
            expires_at: Timestamp::now().saturating_add(lasts).unwrap_or(Timestamp::MAX),
            holds,
        };
        let began = Instant::now();
        self.bucket.put(&key(&self.id)?, serde_json::to_vec(&word).unwrap_or_default()).await?;
        self.beaten.set(Some(began));
        Ok(())
    }

    /// Whether the watcher of that id lives, or what it handed on is still to be left alone.
    pub(super) async fn lives(&self, id: &str) -> Result<bool> {
        if id == self.id {
            return Ok(true);
        }
        let Ok(key) = key(id) else { return Ok(false) };
        if !self.was_seen_lately(id) && !self.look(id, &key).await? {
            return Ok(false);
        }
        Ok(self.seen.borrow().get(id).is_some_and(Seen::is_alive))
    }

    fn was_seen_lately(&self, id: &str) -> bool {
        self.seen.borrow().get(id).is_some_and(|seen| seen.looked.elapsed() < LOOK)
    }

    /// Reads a watcher's word; false where there is none.
    async fn look(&self, id: &str, key: &Key) -> Result<bool> {
        let content = match self.bucket.read(key, LARGEST).await {
            Ok((content, _)) => content,
            Err(failure) if matches!(failure.kind, Kind::ObjectNotFound | Kind::TooLarge) => {
                self.seen.borrow_mut().remove(id);
                return Ok(false);
            }
            Err(failure) => return Err(failure),
        };
        let now = Instant::now();
        let mut seen = self.seen.borrow_mut();
        match seen.get_mut(id) {
            Some(seen) if seen.content == content => seen.looked = now,
            _ => match serde_json::from_slice(&content) {
                Ok(word) => {
                    seen.insert(id.to_owned(), Seen { content, word, since: now, looked: now });
                }
                Err(_) => return Ok(false),
            },
        }
        Ok(true)
    }

    /// Removes the words of watchers that have been dead for long, so that they do not pile up.
    pub(super) async fn sweep(&self) -> Result<()> {
        let mut listing = self.bucket.list(WATCHERS, None);
        while let Some(page) = listing.next_page().await? {
            for entry in page.entries {
                let id = entry.key.base_name().trim_end_matches(".json").to_owned();
                let old = Timestamp::now().duration_since(entry.modified) > CLOCKS;
                if old && id != self.id && !self.lives(&id).await? {
                    self.bucket.delete(&entry.key).await?;
                }
            }
        }
        Ok(())
    }
}

impl Seen {
    fn is_alive(&self) -> bool {
        let expired = Timestamp::now().duration_since(self.word.expires_at);
        if self.word.holds {
            return expired.is_negative();
        }
        if self.since.elapsed() > ALIVE {
            return false;
        }
        match self.word.process.as_ref().and_then(Process::is_alive) {
            // On this machine: after it slept, all its watchers have expired, and none is dead.
            Some(alive) => alive,
            None => expired < CLOCKS,
        }
    }
}

fn key(id: &str) -> Result<Key> {
    Key::new(format!("{WATCHERS}{id}.json"))
}
