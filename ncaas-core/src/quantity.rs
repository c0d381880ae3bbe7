//! Sizes and counts: parsed from a command line (`4g`), and written for people.

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

/// Same as [`parse_bytes`], for a memory limit. The engine refuses less than 6 MB. A user who writes `32` means
/// gigabytes.
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

/// A number with its noun: `1 job`, `12 jobs`.
pub fn format_count(number: impl TryInto<u64>, noun: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
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
        assert_eq!([0, 1, 2].map(|number| format_count(number, "job")), ["0 jobs", "1 job", "2 jobs"]);
    }
}
