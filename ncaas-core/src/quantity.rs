//! Amounts as people write them on a command line: `4g`, `90s`, `7d`. The messages of errors are for clap to show.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo, Unit};

/// Bytes, as the docker CLI reads them: a number with an optional unit of 1024 (`b`, `k`, `m`, `g`, `t`), more than none.
///
/// # Errors
/// Words that say how to write it.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &lower[digits.len()..] {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return Err(format!("`{text}` is no size: write for example `512m` or `4g`")),
    };
    match digits.trim_end().parse::<f64>() {
        Ok(number) if number > 0.0 && number * (unit as f64) < (i64::MAX as f64) => Ok((number * unit as f64) as u64),
        _ => Err(format!("`{text}` is no size: write for example `512m` or `4g`")),
    }
}

/// A length of time, more than none: a number of seconds, or numbers with units (`200ms`, `90s`, `1h30m`, `7d`).
///
/// # Errors
/// Words that say how to write it.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    parse_duration_or_zero(text).ok().filter(|time| !time.is_zero()).ok_or_else(|| no_time(text))
}

/// [`parse_duration`], or `0s`.
///
/// # Errors
/// Words that say how to write it.
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
        _ => Err(no_time(text)),
    }
}

fn no_time(text: &str) -> String {
    format!("`{text}` is no length of time: write for example `90s`, `5m`, `1h30m` or `7d`")
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_length_of_time_is_seconds_or_has_units() {
        assert_eq!(parse_duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("0.2"), Ok(Duration::from_millis(200)));
        assert_eq!(parse_duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("1h 30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("7d"), Ok(Duration::from_secs(7 * 86400)));
        for wrong in ["", "0", "-5s", "soon", "inf", "1x"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_duration_or_zero("0s"), Ok(Duration::ZERO));
        assert!(parse_duration_or_zero("-1s").is_err() && parse_duration_or_zero("").is_err());
    }
}
