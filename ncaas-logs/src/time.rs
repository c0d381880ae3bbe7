//! Times on the command line.

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

/// Parses a time as `docker logs --since` does, to the nanosecond: RFC 3339, a local date or time, how long ago, or
/// seconds since 1970.
pub(crate) fn parse(text: &str) -> Result<Timestamp, String> {
    at(text, Timestamp::now(), TimeZone::system()).ok_or_else(|| {
        "neither a time like 2026-11-22T10:24:55.5Z or 2026-11-22T11:24, nor how long ago like 1h30m, nor Unix seconds"
            .to_owned()
    })
}

fn at(text: &str, now: Timestamp, local: TimeZone) -> Option<Timestamp> {
    if let Some(time) = unix(text) {
        return Some(time);
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    if let Ok(ago) = text.parse::<SignedDuration>() {
        return now.checked_sub(ago).ok();
    }
    let civil: DateTime = text.parse().ok()?;
    local.to_ambiguous_timestamp(civil).compatible().ok()
}

/// `seconds[.nanos]`.
fn unix(text: &str) -> Option<Timestamp> {
    let (seconds, nanos) = text.split_once('.').unwrap_or((text, ""));
    if nanos.len() > 9 || !nanos.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos: i32 = format!("{nanos:0<9}").parse().ok()?;
    Timestamp::new(seconds.parse().ok()?, nanos).ok()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test whose times cannot be read has failed")]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_docker_cli_is_read() {
        let now: Timestamp = "2026-11-22T10:00:00.25Z".parse().unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let at = |text: &str| at(text, now, zone.clone()).map(|time| time.to_string());
        let expected = Some("2026-11-22T09:24:55.517032643Z".to_owned());
        for text in [
            "2026-11-22T09:24:55.517032643Z",
            "2026-11-22T10:24:55.517032643+01:00",
            "2026-11-22T10:24:55.517032643",
            "2026-11-22 10:24:55.517032643",
            "1795339495.517032643",
        ] {
            assert_eq!(at(text), expected, "{text}");
        }
        assert_eq!(at("1h30m").as_deref(), Some("2026-11-22T08:30:00.25Z"));
        assert_eq!(at("10s").as_deref(), Some("2026-11-22T09:59:50.25Z"));
        assert_eq!(at("2026-11-22").as_deref(), Some("2026-11-21T23:00:00Z"));
        assert_eq!(at("2026-11-22T10:24").as_deref(), Some("2026-11-22T09:24:00Z"));
        assert_eq!(at("1795339495").as_deref(), Some("2026-11-22T09:24:55Z"));
        assert_eq!(at("yesterday"), None);
        assert_eq!(at(""), None);
    }
}
