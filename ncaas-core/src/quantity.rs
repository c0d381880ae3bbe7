//! Sizes, durations and counts: parsed from a command line (`4g`, `90s`, `7d`), and written for people.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo, Unit};

/// Parses a size above 0 as the docker CLI does: a number with an optional unit (`b`, `k`, `m`, `g`, `t`) in powers of
/// 1024.
///
/// # Errors
/// A message with an example.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &lower[digits.len()..] {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return Err(format!("`{text}` is not a valid size: write for example `512m` or `4g`")),
    };
    match digits.trim_end().parse::<f64>() {
        Ok(number) if number > 0.0 && number * (unit as f64) < (i64::MAX as f64) => Ok((number * unit as f64) as u64),
        _ => Err(format!("`{text}` is not a valid size: write for example `512m` or `4g`")),
    }
}

/// Same as [`parse_bytes`], for a memory limit. The engine refuses less than 6 MB. A user who writes `32` means gigabytes.
///
/// # Errors
/// A message with an example.
pub fn parse_memory(text: &str) -> Result<u64, String> {
    match parse_bytes(text)? {
        bytes if bytes >= 6 << 20 => Ok(bytes),
        bytes => Err(format!(
            "`{text}` is {} of memory, too little for a container: write for example `512m` or `4g`",
            format_bytes(bytes)
        )),
    }
}

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

/// A size for people, in powers of 1000: `512 B`, `4.1 MB`.
pub fn format_bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    if value < 1000.0 {
        return format!("{bytes} B");
    }
    for unit in ["kB", "MB", "GB"] {
        value /= 1000.0;
        if value < 999.95 {
            return format!("{value:.1} {unit}");
        }
    }
    format!("{:.1} TB", value / 1000.0)
}

/// A limit as a command line states it (`32m`, `4g`), so that the user can compare both; else as [`format_bytes`].
pub fn format_limit(bytes: u64) -> String {
    let units = [(1 << 30, "g"), (1 << 20, "m"), (1 << 10, "k")];
    let unit = units.into_iter().find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit));
    match unit {
        Some((unit, name)) if bytes / unit < 10_000 => format!("{}{name}", bytes / unit),
        _ => format_bytes(bytes),
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

/// A number with its noun: `1 job`, `12 jobs`.
pub fn format_count(number: impl TryInto<u64>, noun: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn invalid_duration(text: &str) -> String {
    format!("`{text}` is not a valid duration: write for example `90s`, `5m`, `1h30m` or `7d`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_limit_is_enough_for_a_container() {
        assert_eq!(parse_memory("6m"), Ok(6 << 20));
        let refused = parse_memory("32").err();
        assert_eq!(
            refused.as_deref(),
            Some("`32` is 32 B of memory, too little for a container: write for example `512m` or `4g`")
        );
    }

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
    fn sizes_are_those_of_the_docker_cli() {
        assert_eq!(parse_bytes("512m"), Ok(512 << 20));
        assert_eq!(parse_bytes("1.5G"), Ok(3 << 29));
        assert_eq!(parse_bytes("2GiB"), Ok(2 << 30));
        assert_eq!(parse_bytes("100"), Ok(100));
        for wrong in ["", "g", "-1g", "0", "4x", "1e30g", "NaN"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn amounts_are_written_with_the_unit_that_people_expect() {
        let bytes = [0, 999, 1000, 4_100_000, 999_960_000, 5_000_000_000_000].map(format_bytes);
        assert_eq!(bytes, ["0 B", "999 B", "1.0 kB", "4.1 MB", "1.0 GB", "5.0 TB"]);
        let limits = [32 << 20, 4 << 30, 1536 << 20, 512_000_000, 512_000_001, 0].map(format_limit);
        assert_eq!(limits, ["32m", "4g", "1536m", "512.0 MB", "512.0 MB", "0 B"]);
        let times = [0.0, 0.71, 59.94, 59.96, 61.0, 7205.0].map(format_duration);
        assert_eq!(times, ["0.0 s", "0.7 s", "59.9 s", "1m 0s", "1m 1s", "2h 0m 5s"]);
        let ages = [-1, 59, 60, 3600, 200_000].map(format_age);
        assert_eq!(ages, ["0 s", "59 s", "1 min", "1 h", "2 d"]);
        assert_eq!([0, 1, 2].map(|number| format_count(number, "job")), ["0 jobs", "1 job", "2 jobs"]);
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
}
