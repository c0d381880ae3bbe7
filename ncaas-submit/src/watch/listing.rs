//! Finding submit files by listing: all that are there at first, then at a bounded cost.
//!
//! A round lists the groups, of each group what comes after the last name that it has seen (names that begin with a time,
//! as those of `ncaas-submit send` do, arrive there), and [`PAGES`] more pages of a walk through all submissions that
//! starts over at its end. So a round costs 1 + groups + [`PAGES`] requests however many submissions there are; with a
//! thousand to a page, a name that sorts before older ones is found in the next round while there are fewer than
//! [`PAGES`] thousand submissions, and in a bucket of 100,000 within ten rounds.

use std::collections::BTreeMap;

use ncaas_core::bucket::{Bucket, Entry, Key, Listing, Page};
use ncaas_core::failure::Result;
use ncaas_core::layout::SUBMISSIONS;
use ncaas_core::tool::Tool;

use super::found::{Queue, is_submit_file};

/// How many pages of the walk belong to a round.
const PAGES: usize = 10;

/// A walk through a bucket's submissions that never ends.
pub(crate) struct Lister {
    tool: Tool,
    bucket: Bucket,
    /// The groups to look into; all that there are where it is empty.
    only: Vec<String>,
    /// The greatest name of each group that was seen.
    last: BTreeMap<String, Option<Key>>,
    walk: Walk,
    /// Whether a walk of [`Lister::page`] has begun.
    walked: bool,
    /// Names that cannot be keys, of which was told.
    unusable: Vec<String>,
}

/// Where the walk is.
#[derive(Default)]
struct Walk {
    /// The groups still to come, the next one last.
    groups: Vec<String>,
    listing: Option<(String, Listing)>,
}

impl Lister {
    pub(crate) fn new(tool: Tool, bucket: &Bucket, only: &[String]) -> Self {
        Lister {
            tool,
            bucket: bucket.clone(),
            only: only.to_vec(),
            last: BTreeMap::new(),
            walk: Walk::default(),
            walked: false,
            unusable: Vec::new(),
        }
    }

    /// Lists all that is there, from the beginning.
    pub(super) async fn all(&mut self, queue: &Queue, how: &'static str) -> Result<()> {
        self.walk = Walk::default();
        self.start_walk();
        while self.walk_on(queue, how).await? {}
        Ok(())
    }

    /// One round, at a bounded cost.
    pub(super) async fn round(&mut self, queue: &Queue, how: &'static str) -> Result<()> {
        let mut pages = 0;
        if self.walk.is_at_its_start() {
            self.start_walk();
            // Short enough to be walked in one round: then it finds what there is, and nothing else is needed.
            while pages < PAGES + self.last.len() && self.walk_on(queue, how).await? {
                pages += 1;
            }
            if self.walk.is_at_its_start() {
                return Ok(());
            }
        }
        self.new_names(queue, how).await?;
        while pages < PAGES && self.walk_on(queue, how).await? {
            pages += 1;
        }
        Ok(())
    }

    /// The groups that are looked into, as far as they are known.
    pub(super) fn groups(&self) -> impl Iterator<Item = &str> {
        self.last.keys().map(String::as_str)
    }

    /// Learns which groups there are.
    pub(crate) async fn find_groups(&mut self) -> Result<()> {
        if !self.only.is_empty() {
            for group in &self.only {
                self.last.entry(group.clone()).or_default();
            }
            return Ok(());
        }
        let mut listing = self.bucket.list_folder("", None);
        while let Some(page) = listing.next_page().await? {
            // What begins with a dot is nobody's group: our own folder, or a version control's.
            for folder in page.folders.iter().chain(page.entries.iter().map(|entry| &entry.key)) {
                let group = folder.group();
                if folder.is_folder() && !group.starts_with('.') && !self.last.contains_key(group) {
                    self.last.insert(group.to_owned(), None);
                }
            }
        }
        Ok(())
    }

    /// The next submit files of one walk through all groups; none at its end.
    pub(crate) async fn page(&mut self) -> Result<Option<Vec<Entry>>> {
        if self.walk.is_at_its_start() && !self.walked {
            self.walked = true;
            self.start_walk();
        }
        let Some((group, page)) = self.next_page().await? else { return Ok(None) };
        let entries = self.note(&group, page);
        Ok(Some(entries.into_iter().filter(|entry| is_submit_file(entry.key.as_str())).collect()))
    }

    fn start_walk(&mut self) {
        self.walk.groups = self.last.keys().rev().cloned().collect();
    }

    /// Takes one page of the walk; false at its end.
    async fn walk_on(&mut self, queue: &Queue, how: &'static str) -> Result<bool> {
        let Some((group, page)) = self.next_page().await? else { return Ok(false) };
        self.take_in(&group, page, queue, how);
        Ok(true)
    }

    async fn next_page(&mut self) -> Result<Option<(String, Page)>> {
        loop {
            let (group, mut listing) = match self.walk.listing.take() {
                Some(listing) => listing,
                None => match self.walk.groups.pop() {
                    Some(group) => {
                        let listing = self.bucket.list(&prefix(&group), None);
                        (group, listing)
                    }
                    None => return Ok(None),
                },
            };
            // A listing that failed is not gone on with: the walk starts over.
            let page = match listing.next_page().await {
                Ok(page) => page,
                Err(failure) => {
                    self.walk = Walk::default();
                    return Err(failure);
                }
            };
            if let Some(page) = page {
                self.walk.listing = Some((group.clone(), listing));
                return Ok(Some((group, page)));
            }
        }
    }

    /// What comes after the last name of each group.
    async fn new_names(&mut self, queue: &Queue, how: &'static str) -> Result<()> {
        let ends: Vec<(String, Option<Key>)> = self.last.clone().into_iter().collect();
        for (group, last) in ends {
            let mut listing = self.bucket.list(&prefix(&group), last.as_ref().map(Key::as_str));
            while let Some(page) = listing.next_page().await? {
                self.take_in(&group, page, queue, how);
            }
        }
        Ok(())
    }

    fn take_in(&mut self, group: &str, page: Page, queue: &Queue, how: &'static str) {
        for entry in self.note(group, page) {
            queue.listed(entry, how);
        }
    }

    /// Remembers how far a group's names go, and tells of what cannot be a submission.
    fn note(&mut self, group: &str, page: Page) -> Vec<Entry> {
        for unusable in page.unusable {
            if !self.unusable.contains(&unusable.name) {
                self.tool.report_failure(&unusable.why.context("cannot be a submission"));
                self.unusable.push(unusable.name);
            }
        }
        if let Some(entry) = page.entries.last()
            && let Some(last) = self.last.get_mut(group)
            && last.as_ref().is_none_or(|last| *last < entry.key)
        {
            *last = Some(entry.key.clone());
        }
        page.entries
    }
}

impl Walk {
    fn is_at_its_start(&self) -> bool {
        self.groups.is_empty() && self.listing.is_none()
    }
}

fn prefix(group: &str) -> String {
    format!("{group}/{SUBMISSIONS}/")
}
