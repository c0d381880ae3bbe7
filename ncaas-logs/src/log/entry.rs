//! Log entries: each is a line of output or a fragment of one, with its time and stream.

use std::fmt;

/// The stream that a process wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    /// The name in records and log files. Both names have six letters.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }

    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        match name {
            b"stdout" => Some(Stream::Stdout),
            b"stderr" => Some(Stream::Stderr),
            _ => None,
        }
    }
}

/// Length of a [`LogTime`] as text.
pub(crate) const STAMP: usize = 30;

/// A time of the engine as text of fixed length: `2026-11-22T10:24:55.517032643Z`, in UTC, to the nanosecond. Stamps
/// compare as bytes in the order of time, so that ten million of them need no parsing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LogTime([u8; STAMP]);

impl LogTime {
    /// Before all times.
    pub(crate) const MIN: LogTime = LogTime(*b"0000-01-01T00:00:00.000000000Z");

    /// Parses RFC 3339 with any number of decimals. Engines trim trailing zeros in files and write them in streams.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        const SECONDS: usize = 19;
        let is_utc = text.len() > SECONDS && text.len() <= STAMP && text.last() == Some(&b'Z');
        if !is_utc || !matches!(text[SECONDS], b'.' | b'Z') || text[10] != b'T' {
            return Self::parse_any(text);
        }
        let mut stamp = *b"0000-01-01T00:00:00.000000000Z";
        stamp[..SECONDS].copy_from_slice(&text[..SECONDS]);
        if text[SECONDS] == b'.' {
            let decimals = &text[SECONDS..text.len() - 1];
            stamp[SECONDS..SECONDS + decimals.len()].copy_from_slice(decimals);
        }
        stamp.is_ascii().then_some(LogTime(stamp))
    }

    fn parse_any(text: &[u8]) -> Option<Self> {
        let time: jiff::Timestamp = std::str::from_utf8(text).ok()?.parse().ok()?;
        Some(Self::at(time))
    }

    pub(crate) fn at(time: jiff::Timestamp) -> Self {
        // Nine decimals always; a year outside of 0..=9999 has no place in a log.
        let mut stamp = Self::MIN;
        let text = format!("{time:.9}");
        if text.len() == STAMP {
            stamp.0.copy_from_slice(text.as_bytes());
        }
        stamp
    }

    /// The time, if it is a valid one.
    pub(crate) fn time(self) -> Option<jiff::Timestamp> {
        self.as_str().parse().ok()
    }

    pub(crate) fn as_bytes(&self) -> &[u8; STAMP] {
        &self.0
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for LogTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One entry of the engine's log.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LogEntry<'a> {
    /// When the engine read the output.
    pub(crate) stamp: LogTime,
    /// The stream it was written to.
    pub(crate) stream: Stream,
    /// The output, with its line break if it has one.
    pub(crate) bytes: &'a [u8],
    /// The attributes that the log driver's options give it, if they are wanted: `name=value,...` as in the engine's
    /// stream, names and values encoded as in a URL's query.
    pub(crate) details: &'a [u8],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_always_has_nine_decimals() {
        let stamp = |text: &str| LogTime::parse(text.as_bytes()).map(|stamp| stamp.as_str().to_owned());
        assert_eq!(stamp("2026-11-22T10:24:55.5Z").as_deref(), Some("2026-11-22T10:24:55.500000000Z"));
        assert_eq!(stamp("2026-11-22T10:24:55Z").as_deref(), Some("2026-11-22T10:24:55.000000000Z"));
        assert_eq!(stamp("2026-11-22T10:24:55.517032643Z").as_deref(), Some("2026-11-22T10:24:55.517032643Z"));
        assert_eq!(stamp("2026-11-22T11:24:55.5+01:00").as_deref(), Some("2026-11-22T10:24:55.500000000Z"));
        assert_eq!(stamp("yesterday"), None);
        assert_eq!(stamp(""), None);
    }

    #[test]
    fn the_order_of_stamps_is_the_order_in_time() {
        let stamp = |text: &str| LogTime::parse(text.as_bytes());
        assert!(stamp("2026-11-22T10:24:55.09Z") < stamp("2026-11-22T10:24:55.1Z"));
        assert!(Some(LogTime::MIN) < stamp("1999-01-01T00:00:00Z"));
    }
}
