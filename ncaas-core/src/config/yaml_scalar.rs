//! The kinds of YAML scalars, by the forms of YAML 1.1 that PyYAML's resolver knows.

use std::sync::LazyLock;

use jiff::civil::DateTime;
use regex::Regex;

/// The kind of a scalar, as far as its value can be told from its form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ScalarKind {
    Null,
    Bool,
    Number,
    /// `<<`, which is a key only.
    Merge,
    /// `=`, which is a key only.
    Default,
    Text,
}

/// The kind of a scalar. `tag` is the name of its standard tag, if it has one.
pub(super) fn scalar_kind(text: &str, is_plain: bool, tag: Option<&str>) -> Result<ScalarKind, String> {
    match tag {
        Some("null") => Ok(ScalarKind::Null),
        Some("bool") => Ok(ScalarKind::Bool),
        Some("int") if number(text).is_some() && !text.contains('.') => Ok(ScalarKind::Number),
        Some("float") if number(text).is_some() || text.parse::<f64>().is_ok() => Ok(ScalarKind::Number),
        Some(name @ ("int" | "float")) => Err(format!("`!!{name}` must be followed by a number")),
        Some("timestamp") if is_valid_timestamp(text) != Some(true) => {
            Err("`!!timestamp` must be followed by a date".to_owned())
        }
        Some(_) => Ok(ScalarKind::Text),
        None if !is_plain => Ok(ScalarKind::Text),
        None if is_valid_timestamp(text) == Some(false) => Err(format!("`{text}` is not a valid date")),
        None => Ok(match text {
            "" | "~" | "null" | "Null" | "NULL" => ScalarKind::Null,
            "<<" => ScalarKind::Merge,
            "=" => ScalarKind::Default,
            "yes" | "Yes" | "YES" | "no" | "No" | "NO" | "true" | "True" | "TRUE" | "false" | "False" | "FALSE"
            | "on" | "On" | "ON" | "off" | "Off" | "OFF" => ScalarKind::Bool,
            _ if number(text).is_some() => ScalarKind::Number,
            _ => ScalarKind::Text,
        }),
    }
}

/// Whether a text that has the form of a date, with or without a time, is a valid one; none for any other text.
fn is_valid_timestamp(text: &str) -> Option<bool> {
    static FORM: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let time = r"([0-9]{1,2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]*)?(?:[ \t]*(?:Z|[-+]([0-9]{1,2})(?::([0-9]{2}))?))?";
        Regex::new(&format!(r"^([0-9]{{4}})-([0-9]{{1,2}})-([0-9]{{1,2}})(?:(?:[Tt]|[ \t]+){time})?$")).ok()
    });
    if text.as_bytes().get(4) != Some(&b'-') {
        return None;
    }
    let parts = FORM.as_ref()?.captures(text)?;
    let number = |at: usize| parts.get(at).map_or(0, |part| part.as_str().parse::<i16>().unwrap_or(0));
    if parts.get(4).is_none() && text.len() != "2020-01-31".len() {
        return None;
    }
    let [month, day, hour, minute, second] = [2, 3, 4, 5, 6].map(|at| i8::try_from(number(at)).unwrap_or(-1));
    let is_date = number(1) > 0 && DateTime::new(number(1), month, day, hour, minute, second, 0).is_ok();
    Some(is_date && number(7) * 60 + number(8) < 24 * 60)
}

/// The value of a number: with underscores, in binary, octal, hexadecimal or to the base 60 (`1:30` is 90). An exponent
/// needs a fraction before it, and a sign.
pub(super) fn number(text: &str) -> Option<f64> {
    static FORM: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let whole = "0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]+|0|[1-9][0-9_]*(?::[0-5]?[0-9])*";
        let fraction =
            r"[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*|[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.(?:inf|Inf|INF)";
        let unsigned = r"\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?|\.(?:nan|NaN|NAN)";
        Regex::new(&format!("^(?:[-+]?(?:{whole}|{fraction})|{unsigned})$")).ok()
    });
    // Most scalars are not numbers.
    if !text.starts_with(|first: char| first.is_ascii_digit() || "-+.".contains(first))
        || !FORM.as_ref()?.is_match(text)
    {
        return None;
    }
    let digits = text.trim_start_matches(['-', '+']).replace('_', "").to_ascii_lowercase();
    let to_base = |digits: &str, base| u128::from_str_radix(digits, base).ok().map(|number| number as f64);
    let unsigned = match digits.as_str() {
        ".inf" => Some(f64::INFINITY),
        ".nan" => Some(f64::NAN),
        digits if digits.starts_with("0b") => to_base(&digits[2..], 2),
        digits if digits.starts_with("0x") => to_base(&digits[2..], 16),
        digits if digits.len() > 1 && digits.starts_with('0') && !digits.contains(['.', ':']) => to_base(digits, 8),
        digits => digits.split(':').try_fold(0.0, |sum, part| Some(sum * 60.0 + part.parse::<f64>().ok()?)),
    };
    unsigned.map(|number| if text.starts_with('-') { -number } else { number })
}
