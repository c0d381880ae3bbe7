//! A listing of either kind of bucket, a page at a time.

use crate::failure::{Failure, Kind, Result};

use super::dir::Walk;
use super::object::Page;
use super::{Backend, Bucket, blocking, s3};

/// A listing in progress. Only an `Ok(None)` is its end: after a failure nothing follows, and what was not listed by then
/// is not known not to be there.
pub struct Listing(State);

enum State {
    Dir(Box<Walk>),
    S3(Box<s3::Listing>),
    /// A page was asked for and the answer was not waited for, or was a failure.
    Broken,
}

impl Listing {
    pub(super) fn new(bucket: &Bucket, prefix: &str, after: Option<&str>, flat: bool) -> Listing {
        Listing(match bucket.0.clone() {
            Backend::Dir(dir) => State::Dir(Box::new(Walk::new(dir, prefix, after, flat))),
            Backend::S3(s3) => State::S3(Box::new(s3::Listing::new(s3, prefix, after, flat))),
        })
    }

    /// The next page, which is not empty; `None` at the end.
    pub async fn next_page(&mut self) -> Result<Option<Page>> {
        let page = match std::mem::replace(&mut self.0, State::Broken) {
            State::Dir(mut walk) => {
                let (walk, page) = blocking(move || walk.page().map(|page| (walk, page))).await?;
                self.0 = State::Dir(walk);
                page
            }
            State::S3(mut listing) => {
                let page = listing.page().await?;
                self.0 = State::S3(listing);
                page
            }
            State::Broken => {
                return Err(Failure::new(Kind::Interrupted, "the listing was broken off before its end"));
            }
        };
        Ok(if page.len() == 0 { None } else { Some(page) })
    }
}
