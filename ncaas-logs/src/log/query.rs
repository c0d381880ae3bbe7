//! A query for entries of a log.

use super::entry::{LogEntry, LogTime, Stream};

/// The wanted entries of a log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query {
    /// Continue as the container writes, until it has ended.
    pub(crate) follow: bool,
    /// The caller reports the end of the container with [`super::Log::note_end`].
    pub(crate) caller_reports_end: bool,
    /// From this time on.
    pub(crate) since: Option<LogTime>,
    /// Up to and including this time.
    pub(crate) until: Option<LogTime>,
    pub(crate) only: Option<Stream>,
    /// Only this many entries from the end.
    pub(crate) tail: Option<u64>,
    /// Each line with the attributes that the log driver's options give it.
    pub(crate) details: bool,
}

impl Query {
    /// Whether the entry is wanted, `follow` and `tail` apart.
    pub(super) fn wants(&self, entry: &LogEntry<'_>) -> bool {
        self.since.is_none_or(|since| entry.stamp >= since)
            && self.until.is_none_or(|until| entry.stamp <= until)
            && self.only.is_none_or(|only| entry.stream == only)
    }

    /// The query string of the engine's `/logs` endpoint; times are exact to the nanosecond.
    pub(super) fn to_query_string(&self) -> String {
        let Query { follow, since, until, only, tail, details, caller_reports_end: _ } = self;
        let (stdout, stderr) = (*only != Some(Stream::Stderr), *only != Some(Stream::Stdout));
        let mut text = format!("follow={follow}&stdout={stdout}&stderr={stderr}&timestamps=true");
        for (name, bound) in [("since", since), ("until", until)] {
            if let Some(time) = bound.and_then(LogTime::time) {
                let (seconds, nanos) = (time.as_second(), time.subsec_nanosecond());
                text.push_str(&format!("&{name}={seconds}.{nanos:09}"));
            }
        }
        if *details {
            text.push_str("&details=true");
        }
        if let Some(tail) = tail {
            text.push_str(&format!("&tail={tail}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_bounds_are_sent_to_the_nanosecond() {
        let since = LogTime::parse(b"2026-11-22T10:24:55.517032643Z");
        let query = Query { follow: true, only: Some(Stream::Stdout), since, tail: Some(5), ..Query::default() };
        let text = query.to_query_string();
        assert!(text.starts_with("follow=true&stdout=true&stderr=false&"), "{text}");
        assert!(text.contains("since=1795343095.517032643") && text.ends_with("tail=5"), "{text}");
    }
}
