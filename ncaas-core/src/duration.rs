//! Durations: parsed from a command line (`90s`, `1h30m`, `7d`), and written for people. For points in time, see
//! [`time`](crate::time).

use std::time::Duration;

use jiff::{Span, SpanRelativeTo, Unit};

/// Parses a duration above 0: a number of seconds, or numbers with units (`200ms`, `90s`, `1h30m`, `7d`).
///
/// # Errors
/// A message with an example.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    match parse_duration_or_zero(text)? {
        Duration::ZERO => Err(format!("`{text}` is too short: write for example `90s`, `5m`, `1h30m` or `7d`")),
        time => Ok(time),
    }
}

/// Same as [`parse_duration`], and accepts `0s`.
///
/// # Errors
/// A message with an example.
pub fn parse_duration_or_zero(text: &str) -> Result<Duration, String> {
    let seconds = match text.parse::<f64>() {
        Ok(seconds) => Some(seconds),
        Err(_) => {
            let span = text.parse::<Span>().ok();
            span.and_then(|span| span.total((Unit::Second, SpanRelativeTo::days_are_24_hours())).ok())
        }
    };
    match seconds {
        Some(seconds) if (0.0..1e10).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(invalid_duration(text)),
    }
}

/// Same as [`parse_duration_or_zero`], and requires a unit: `7`, meant as days, must not remove everything older than 7
/// seconds.
///
/// # Errors
/// A message with an example.
pub fn parse_age(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 => Err(format!("`{text}` has no unit: write for example `{text}d` or `{text}h`")),
        Ok(_) => Err(invalid_duration(text)),
        Err(_) => parse_duration_or_zero(text),
    }
}

/// A duration in seconds for people: `0.7 s`, `1m 1s`, `2h 0m 5s`.
pub fn format_duration(seconds: f64) -> String {
    if seconds < 59.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    if hours == 0 { format!("{minutes}m {seconds}s") } else { format!("{hours}h {minutes}m {seconds}s") }
}

/// An age in its largest unit: `12 s`, `5 min`, `3 h`, `2 d`.
pub fn format_age(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ ..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

fn invalid_duration(text: &str) -> String {
    format!("`{text}` is not a valid duration: write for example `90s`, `5m`, `1h30m` or `7d`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_a_unit() {
        assert_eq!(parse_age("7d"), Ok(Duration::from_secs(7 * 86400)));
        assert_eq!(parse_age("7"), Err("`7` has no unit: write for example `7d` or `7h`".to_owned()));
        assert_eq!(parse_age("0s"), Ok(Duration::ZERO));
        for wrong in ["0.5", "soon", "-10m", "-1", "0"] {
            assert!(parse_age(wrong).is_err(), "{wrong}");
        }
        assert!(parse_duration("0s").is_err_and(|message| message.starts_with("`0s` is too short: ")));
    }

    #[test]
    fn a_length_of_time_is_seconds_or_has_units() {
        let millis = [("90", 90_000), ("0.2", 200), ("200ms", 200), ("1h30m", 5_400_000), ("1h 30m", 5_400_000)];
        for (text, millis) in millis.into_iter().chain([("7d", 7 * 86_400_000)]) {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for wrong in ["", "0", "-5s", "soon", "inf", "1x"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_duration_or_zero("0s"), Ok(Duration::ZERO));
        assert!(parse_duration_or_zero("-1s").is_err() && parse_duration_or_zero("").is_err());
    }

    #[test]
    fn durations_are_written_in_units_that_people_expect() {
        let times = [0.0, 0.71, 59.94, 59.96, 61.0, 7205.0].map(format_duration);
        assert_eq!(times, ["0.0 s", "0.7 s", "59.9 s", "1m 0s", "1m 1s", "2h 0m 5s"]);
        let ages = [-1, 59, 60, 3600, 200_000].map(format_age);
        assert_eq!(ages, ["0 s", "59 s", "1 min", "1 h", "2 d"]);
    }
}
