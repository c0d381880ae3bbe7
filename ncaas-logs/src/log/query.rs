//! What is wanted of a log.

use super::{Entry, Stamp, Stream};

/// Which of its entries, and for how long.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query {
    /// Go on as the container writes, until it has ended.
    pub(crate) follow: bool,
    /// From this time on.
    pub(crate) since: Option<Stamp>,
    /// Up to and with this time.
    pub(crate) until: Option<Stamp>,
    /// One of the streams alone.
    pub(crate) only: Option<Stream>,
    /// Not all, but so many entries from the end.
    pub(crate) tail: Option<u64>,
    /// Each line with the attributes that the log's options give it.
    pub(crate) details: bool,
}

impl Query {
    pub(super) fn wants(&self, entry: &Entry<'_>) -> bool {
        self.since.is_none_or(|since| entry.stamp >= since)
            && self.until.is_none_or(|until| entry.stamp <= until)
            && self.only.is_none_or(|only| entry.stream == only)
    }
}
