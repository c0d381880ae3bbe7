//! Amounts as people write them: `4g`, `90s`, `7d`.

use jiff::{Span, SpanRelativeTo, Unit};

/// Bytes, as the docker CLI reads them: a number with an optional unit of 1024 (`b`, `k`, `m`, `g`, `t`).
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
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

/// A time span in whole seconds, at least one: a number of seconds, or numbers with units (`90s`, `1h30m`, `7d`).
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    let total = match text.parse::<f64>() {
        Ok(seconds) => Some(seconds),
        Err(_) => {
            let span = text.parse::<Span>().ok();
            span.and_then(|span| span.total((Unit::Second, SpanRelativeTo::days_are_24_hours())).ok())
        }
    };
    match total {
        Some(total) if total > 0.0 && total < 1e10 => Ok(total.ceil() as u64),
        _ => Err(format!("`{text}` is no time span: write for example `90s`, `5m`, `1h30m` or `7d`")),
    }
}

/// A number of processors, `0.5` for half of one.
pub(crate) fn cpus(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(cpus) if (0.01..1e6).contains(&cpus) => Ok(cpus),
        _ => Err(format!("`{text}` is no number of processors: write for example `2` or `0.5`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_docker_cli() {
        assert_eq!(bytes("512m"), Ok(512 << 20));
        assert_eq!(bytes("1.5G"), Ok(3 << 29));
        assert_eq!(bytes("100"), Ok(100));
        for wrong in ["", "g", "-1g", "0", "4x", "1e30g", "NaN"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_time_span_is_seconds_or_has_units() {
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds("0.2"), Ok(1));
        assert_eq!(seconds("1h30m"), Ok(5400));
        assert_eq!(seconds("7d"), Ok(7 * 86400));
        for wrong in ["", "0", "-5s", "soon", "inf", "1x"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn processors_may_be_parts_of_one() {
        assert_eq!(cpus("0.5"), Ok(0.5));
        assert!(cpus("0").is_err() && cpus("two").is_err());
    }
}
