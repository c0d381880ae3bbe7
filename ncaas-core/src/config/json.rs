//! JSON as Python's `json` module reads it: `NaN`, `Infinity` and `-Infinity` are numbers, duplicate keys are kept, and
//! an escape sequence can be half of a surrogate pair.

use std::borrow::Cow;
use std::collections::HashSet;

use jiter::JsonValue;

use super::fields::{ConfigFields, Value};
use crate::json_cause::syntax_cause;

/// The fields of a JSON object.
///
/// # Errors
/// The cause, with its position.
pub(super) fn parse(text: &str) -> Result<ConfigFields, String> {
    let text = replace_surrogates(text, true);
    let value = JsonValue::parse(text.as_bytes(), true).map_err(|error| {
        let position = error.get_position(text.as_bytes());
        format!("{} at line {}, column {}", syntax_cause(&error.error_type.to_string()), position.line, position.column)
    })?;
    let JsonValue::Object(object) = &value else {
        return Err(format!("it is {}, not an object", words(&value)));
    };
    let mut duplicates = Vec::new();
    find_duplicates(&value, &mut duplicates);
    let fields = object.iter().map(|(key, value)| (key.clone().into_owned(), simplify(value))).collect();
    Ok(ConfigFields { fields, duplicates })
}

/// Replaces each escape sequence of a surrogate by that of U+FFFD, which has the same length. A pair can be kept.
pub(super) fn replace_surrogates(text: &str, keep_pairs: bool) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    let mut at = 0;
    while let Some(backslash) = text[at..].find('\\').map(|offset| at + offset) {
        let is_pair = |unit: u16| {
            keep_pairs
                && (0xd800..0xdc00).contains(&unit)
                && escaped_unit(&text, backslash + 6).is_some_and(|low| (0xdc00..0xe000).contains(&low))
        };
        at = match escaped_unit(&text, backslash) {
            Some(unit) if is_pair(unit) => backslash + 12,
            Some(0xd800..0xe000) => {
                text.to_mut().replace_range(backslash..backslash + 6, "\\ufffd");
                backslash + 6
            }
            _ => text.ceil_char_boundary((backslash + 2).min(text.len())),
        };
    }
    text
}

/// The UTF-16 unit of the escape sequence `\uXXXX` at a position.
fn escaped_unit(text: &str, at: usize) -> Option<u16> {
    let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
    u16::from_str_radix(digits, 16).ok()
}

fn simplify(value: &JsonValue<'_>) -> Value {
    match value {
        JsonValue::Null => Value::Null,
        JsonValue::Int(number) => Value::Number(*number as f64),
        JsonValue::Float(number) => Value::Number(*number),
        // Beyond 64 bits: out of every range that the platform knows.
        JsonValue::BigInt(number) => Value::Other(number.to_string()),
        other => Value::Other(words(other)),
    }
}

fn words(value: &JsonValue<'_>) -> String {
    match value {
        JsonValue::Null => "null".to_owned(),
        JsonValue::Bool(value) => value.to_string(),
        JsonValue::Str(text) => format!("the string `{text}`"),
        JsonValue::Array(_) => "an array".to_owned(),
        JsonValue::Object(_) => "an object".to_owned(),
        _ => "a number".to_owned(),
    }
}

/// Adds the keys that an object has more than once. The parser bounds the depth.
fn find_duplicates(value: &JsonValue<'_>, duplicates: &mut Vec<String>) {
    match value {
        JsonValue::Object(object) => {
            let mut seen = HashSet::new();
            for (key, value) in object.iter() {
                if !seen.insert(key) {
                    duplicates.push(key.clone().into_owned());
                }
                find_duplicates(value, duplicates);
            }
        }
        JsonValue::Array(values) => values.iter().for_each(|value| find_duplicates(value, duplicates)),
        _ => {}
    }
}
