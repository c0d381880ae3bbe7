//! A listing of either kind of bucket, a page at a time.

use crate::blocking::run_blocking;
use crate::failure::{Failure, Kind, Result};

use super::dir::Walk;
use super::object::{ObjectInfo, Page};
use super::s3::S3Listing;
use super::storage::{Bucket, Storage};

impl Bucket {
    /// The objects whose keys begin with `prefix`, those after `start_after` if given, in the order of their bytes.
    pub fn list(&self, prefix: &str, start_after: Option<&str>) -> Listing {
        Listing::new(self, prefix, start_after, false)
    }

    /// Same as [`Bucket::list`], but keys with a `/` after `prefix` are reported once, as their folder.
    ///
    /// `list_folder("")` has the groups as folders, `list_folder("lab/submissions/")` the submit files as entries. The
    /// folders themselves are not read.
    pub fn list_folder(&self, prefix: &str, start_after: Option<&str>) -> Listing {
        Listing::new(self, prefix, start_after, true)
    }
}

/// A listing in progress. Only `Ok(None)` is its end: after a failure no page follows, and nothing is known about
/// objects that were not listed by then.
pub struct Listing(ListingState);

enum ListingState {
    Dir(Box<Walk>),
    S3(Box<S3Listing>),
    /// The request for a page failed or was dropped.
    Broken,
}

impl Listing {
    fn new(bucket: &Bucket, prefix: &str, after: Option<&str>, flat: bool) -> Listing {
        Listing(match bucket.0.clone() {
            Storage::Dir(dir) => ListingState::Dir(Box::new(Walk::new(dir, prefix, after, flat))),
            Storage::S3(s3) => ListingState::S3(Box::new(S3Listing::new(s3, prefix, after, flat))),
        })
    }

    /// All objects. For a folder of the platform, which has a few of them for each dataset.
    ///
    /// # Errors
    /// If the bucket does not answer.
    pub async fn entries(mut self) -> Result<Vec<ObjectInfo>> {
        let mut entries = Vec::new();
        while let Some(page) = self.next_page().await? {
            entries.extend(page.entries);
        }
        Ok(entries)
    }

    /// The next page, which is not empty; `None` at the end.
    ///
    /// # Errors
    /// If the bucket does not answer.
    pub async fn next_page(&mut self) -> Result<Option<Page>> {
        let page = match std::mem::replace(&mut self.0, ListingState::Broken) {
            ListingState::Dir(mut walk) => {
                let (walk, page) = run_blocking(move || walk.page().map(|page| (walk, page))).await?;
                self.0 = ListingState::Dir(walk);
                page
            }
            ListingState::S3(mut listing) => {
                let page = listing.page().await?;
                self.0 = ListingState::S3(listing);
                page
            }
            ListingState::Broken => {
                return Err(Failure::new(Kind::Interrupted, "the listing was interrupted before its end"));
            }
        };
        Ok(if page.len() == 0 { None } else { Some(page) })
    }
}
