//! Submit files, found by listing the bucket: all of them first, then at a bounded cost.
//!
//! A round lists the groups, then in each group the names after the last one seen (new names usually sort there,
//! because those of `ncaas-submit send` begin with the time), then [`PAGES`] pages of a walk through all submissions,
//! which starts again at its end. So a round costs 1 + groups + [`PAGES`] requests, however many submissions there are.
//! A page has a thousand names: a name that sorts before older ones is found in the next round if there are fewer than
//! [`PAGES`] thousand submissions, and within ten rounds if there are 100,000.

use std::collections::BTreeMap;

use ncaas_core::bucket::{Bucket, Key, Listing, ObjectInfo, Page};
use ncaas_core::failure::{Failure, Result};
use ncaas_core::group::list_groups;
use ncaas_core::layout::{SUBMISSIONS, SUBMIT_SUFFIX, check_group};
use ncaas_core::tool::Tool;

/// How many pages of the walk belong to a round.
const PAGES: usize = 10;

/// Whether a key is that of a group's submit file.
pub(crate) fn is_submit_file(key: &str) -> bool {
    let below = key.split_once('/').and_then(|(group, below)| check_group(group).is_ok().then_some(below));
    let name = below.and_then(|below| below.strip_prefix(SUBMISSIONS)).and_then(|name| name.strip_prefix('/'));
    name.is_some_and(|name| name.ends_with(SUBMIT_SUFFIX))
}

/// Lists the submit files of a bucket.
pub(crate) struct SubmitFileLister {
    tool: Tool,
    bucket: Bucket,
    /// The groups to list; all groups if it is empty.
    only: Vec<String>,
    /// The groups, each with the greatest name that was seen in it.
    last_names: BTreeMap<String, Option<Key>>,
    walk: GroupWalk,
    /// Whether a walk of [`SubmitFileLister::next_page`] has begun.
    has_begun: bool,
    /// Names that are not valid keys, and folders that cannot be listed, which were reported.
    reported: Vec<String>,
}

/// The position of a walk through all groups.
#[derive(Default)]
struct GroupWalk {
    /// The groups still to come, the next one last.
    groups: Vec<String>,
    listing: Option<(String, Listing)>,
}

impl GroupWalk {
    fn is_at_start(&self) -> bool {
        self.groups.is_empty() && self.listing.is_none()
    }
}

impl SubmitFileLister {
    pub(crate) fn new(tool: Tool, bucket: &Bucket, only: &[String]) -> Self {
        SubmitFileLister {
            tool,
            bucket: bucket.clone(),
            only: only.to_vec(),
            last_names: BTreeMap::new(),
            walk: GroupWalk::default(),
            has_begun: false,
            reported: Vec::new(),
        }
    }

    pub(crate) async fn find_groups(&mut self) -> Result<()> {
        if !self.only.is_empty() {
            for group in &self.only {
                self.last_names.entry(group.clone()).or_default();
            }
            return Ok(());
        }
        for group in list_groups(&self.bucket).await? {
            self.last_names.entry(group).or_default();
        }
        Ok(())
    }

    /// The groups that were found so far.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &str> {
        self.last_names.keys().map(String::as_str)
    }

    /// Lists everything from the beginning.
    pub(crate) async fn list_all(&mut self, mut found: impl FnMut(ObjectInfo)) -> Result<()> {
        self.walk = GroupWalk::default();
        self.start_walk();
        while self.walk_on(&mut found).await? {}
        Ok(())
    }

    /// Lists one round, at a bounded cost.
    pub(crate) async fn list_round(&mut self, mut found: impl FnMut(ObjectInfo)) -> Result<()> {
        let mut pages = 0;
        if self.walk.is_at_start() {
            self.start_walk();
            // A walk that is short enough for one round finds everything.
            while pages < PAGES + self.last_names.len() && self.walk_on(&mut found).await? {
                pages += 1;
            }
            if self.walk.is_at_start() {
                return Ok(());
            }
        }
        self.list_new_names(&mut found).await?;
        while pages < PAGES && self.walk_on(&mut found).await? {
            pages += 1;
        }
        Ok(())
    }

    /// The next submit files of one walk through all groups; none at its end.
    pub(crate) async fn next_page(&mut self) -> Result<Option<Vec<ObjectInfo>>> {
        if self.walk.is_at_start() && !self.has_begun {
            self.has_begun = true;
            self.start_walk();
        }
        let Some((group, page)) = self.read_page().await? else { return Ok(None) };
        Ok(Some(self.submit_files(&group, page)))
    }

    fn start_walk(&mut self) {
        self.walk.groups = self.last_names.keys().rev().cloned().collect();
    }

    /// Reads one page of the walk; false at its end.
    async fn walk_on(&mut self, found: &mut impl FnMut(ObjectInfo)) -> Result<bool> {
        let Some((group, page)) = self.read_page().await? else { return Ok(false) };
        self.submit_files(&group, page).into_iter().for_each(found);
        Ok(true)
    }

    async fn read_page(&mut self) -> Result<Option<(String, Page)>> {
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
            match listing.next_page().await {
                Ok(Some(page)) => {
                    self.walk.listing = Some((group.clone(), listing));
                    return Ok(Some((group, page)));
                }
                Ok(None) => {}
                Err(failure) if self.bucket.is_about_one_object(&failure) => self.report_group(&group, failure),
                Err(failure) => {
                    // A listing that failed cannot be continued: the walk starts again.
                    self.walk = GroupWalk::default();
                    return Err(failure);
                }
            }
        }
    }

    /// Lists the names after the last one of each group.
    async fn list_new_names(&mut self, found: &mut impl FnMut(ObjectInfo)) -> Result<()> {
        let last_names: Vec<(String, Option<Key>)> = self.last_names.clone().into_iter().collect();
        for (group, last) in last_names {
            let mut listing = self.bucket.list(&prefix(&group), last.as_ref().map(Key::as_str));
            loop {
                match listing.next_page().await {
                    Ok(Some(page)) => self.submit_files(&group, page).into_iter().for_each(&mut *found),
                    Ok(None) => break,
                    Err(failure) if self.bucket.is_about_one_object(&failure) => {
                        self.report_group(&group, failure);
                        break;
                    }
                    Err(failure) => return Err(failure),
                }
            }
        }
        Ok(())
    }

    /// Reports a group whose submissions cannot be listed, once. The others are not affected.
    fn report_group(&mut self, group: &str, failure: Failure) {
        let prefix = prefix(group);
        if !self.reported.contains(&prefix) {
            self.tool.report_failure(&failure.context(format!("ignoring the group `{group}`")));
            self.reported.push(prefix);
        }
    }

    /// The submit files of a page. Remembers the last name of the group, and reports names that are not valid keys.
    fn submit_files(&mut self, group: &str, page: Page) -> Vec<ObjectInfo> {
        for unusable in page.unusable {
            if !self.reported.contains(&unusable.name) {
                self.tool.report_failure(&unusable.why.context("ignoring a submit file"));
                self.reported.push(unusable.name);
            }
        }
        if let Some(entry) = page.entries.last()
            && let Some(last) = self.last_names.get_mut(group)
            && last.as_ref().is_none_or(|last| *last < entry.key)
        {
            *last = Some(entry.key.clone());
        }
        page.entries.into_iter().filter(|entry| is_submit_file(entry.key.as_str())).collect()
    }
}

fn prefix(group: &str) -> String {
    format!("{group}/{SUBMISSIONS}/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn submit_files_are_recognised_by_folder_and_suffix() {
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
            "logs/submissions/submit.json",
            "lab/submissionsubmit.json",
        ] {
            assert!(!is_submit_file(key), "{key}");
        }
    }
}
