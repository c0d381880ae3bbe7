//! Times as text: on a command line, and in seconds since 1970.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::duration::parse_duration;

const NANOSECONDS: i128 = 1_000_000_000;

/// Nanoseconds since 1970 as seconds with a fraction of nine digits. The fraction of a time before 1970 leads away from
/// zero.
pub(crate) fn format_seconds(nanoseconds: i128) -> String {
    let (sign, size) = (if nanoseconds < 0 { "-" } else { "" }, nanoseconds.abs());
    format!("{sign}{}.{:09}", size / NANOSECONDS, size % NANOSECONDS)
}

/// Parses what `format_seconds` writes, with a fraction of any length or none.
pub fn parse_seconds(text: &str) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i128 = whole.parse().ok()?;
    let nanoseconds: i128 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let size = seconds.checked_abs()?.checked_mul(NANOSECONDS)?.checked_add(nanoseconds)?;
    Some(if whole.starts_with('-') { -size } else { size })
}

/// The current time as a timestamp that sorts by time, to the microsecond: `2026_11_22_10_24_55_123456`. Names of
/// submissions and of jobs from a command line are made with it.
pub fn current_timestamp() -> String {
    Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S_%6f").to_string()
}

/// Parses a time as `docker logs --since` does, to the nanosecond: RFC 3339, a local date or time, how long ago (`10m`,
/// `10m ago`, `-10m`, `2d`, `1w`), or seconds since 1970.
///
/// # Errors
/// A message that says how to write it.
pub fn parse_time(text: &str) -> Result<Timestamp, String> {
    parse_time_at(text, Timestamp::now(), &TimeZone::system())
        .ok_or_else(|| format!("`{text}` is not a valid time: write for example `2026-11-22T10:24`, `10m ago` or `2d`"))
}

fn parse_time_at(text: &str, now: Timestamp, local: &TimeZone) -> Option<Timestamp> {
    let text = text.trim();
    if let Some(time) = parse_unix(text) {
        return Some(time);
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let ago = text.strip_suffix("ago").map(str::trim_end).or_else(|| text.strip_prefix('-')).unwrap_or(text);
    if let Some(ago) = parse_duration(ago).ok().filter(|_| !ago.starts_with('-')) {
        return now.checked_sub(SignedDuration::try_from(ago).ok()?).ok();
    }
    local.to_ambiguous_timestamp(text.parse::<DateTime>().ok()?).compatible().ok()
}

/// `seconds[.nanos]`.
fn parse_unix(text: &str) -> Option<Timestamp> {
    let (seconds, nanos) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if nanos.len() > 9 || seconds.is_empty() || !is_number(seconds) || !is_number(nanos) {
        return None;
    }
    Timestamp::from_nanosecond(parse_seconds(text)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_with_a_fraction_and_before_1970_are_read_as_they_are_written() {
        for (text, nanoseconds) in [
            ("-631152000.000000000", -631_152_000_000_000_000),
            ("1577934245.250000000", 1_577_934_245_250_000_000),
            ("-1.250000000", -1_250_000_000),
            ("-0.000000001", -1),
            ("10413792000.123456789", 10_413_792_000_123_456_789),
        ] {
            assert_eq!((format_seconds(nanoseconds).as_str(), parse_seconds(text)), (text, Some(nanoseconds)));
        }
        assert_eq!(parse_seconds("-631152000"), Some(-631_152_000_000_000_000));
        assert_eq!(parse_seconds("1.123456789123"), Some(1_123_456_789));
        for wrong in ["", "x", "1.x", "soon"] {
            assert_eq!(parse_seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_form_of_the_docker_cli_is_parsed() {
        let now: Timestamp = "2026-11-22T10:00:00.25Z".parse().unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let at = |text: &str| parse_time_at(text, now, &zone).map(|time| time.to_string());
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
        for text in ["1h30m", "1h30m ago", "-1h30m", " 1h 30m ago "] {
            assert_eq!(at(text).as_deref(), Some("2026-11-22T08:30:00.25Z"), "{text}");
        }
        assert_eq!(at("10s").as_deref(), Some("2026-11-22T09:59:50.25Z"));
        assert_eq!(at("2d").as_deref(), Some("2026-11-20T10:00:00.25Z"));
        assert_eq!(at("1w ago").as_deref(), Some("2026-11-15T10:00:00.25Z"));
        assert_eq!(at("2026-11-22").as_deref(), Some("2026-11-21T23:00:00Z"));
        assert_eq!(at("2026-11-22T10:24").as_deref(), Some("2026-11-22T09:24:00Z"));
        assert_eq!(at("1795339495").as_deref(), Some("2026-11-22T09:24:55Z"));
        for wrong in ["yesterday", "", "ago", "-", "--10m", "-10m ago"] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
    }
}
