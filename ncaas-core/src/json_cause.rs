//! Errors of JSON and of records in words for people, without the jargon of the library.

use serde_json::Value;

/// The cause of an invalid field, for people.
pub(crate) fn field_cause(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let types = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    if let Some((found, expected)) = types.and_then(|types| types.rsplit_once(", expected ")) {
        let found = match found {
            "sequence" => "an array".to_owned(),
            "map" => "an object".to_owned(),
            "unit value" | "null" => "null".to_owned(),
            "number" => "a number".to_owned(),
            found => format!("the {found}"),
        };
        let expected = match expected {
            "a sequence" => "an array",
            "a map" => "an object",
            "u64" | "u32" | "usize" => "a whole number from 0",
            "i64" | "i32" => "a whole number",
            "f64" => "a number",
            expected if expected.starts_with("struct ") => "an object",
            expected => expected,
        };
        return format!("expected {expected}, found {found}");
    }
    if let Some(field) = message.strip_prefix("missing field ") {
        return format!("the field {field} is missing");
    }
    if message.starts_with("data did not match any variant") {
        return "expected a string or an array of strings".to_owned();
    }
    message.replace("unknown variant ", "").replace(", expected one of ", " is not one of ")
}

/// The cause of a JSON error with its position, for people.
pub(crate) fn json_cause(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let words = syntax_cause(message.split(" at line ").next().unwrap_or_default());
    format!("{words} (line {}, column {})", error.line(), error.column())
}

/// A message of `serde_json` about syntax, in words for people. `jiter` has the same messages.
pub(crate) fn syntax_cause(message: &str) -> &'static str {
    match message {
        "expected `:`" => "`:` is missing",
        "expected `,` or `]`" => "`,` or `]` is missing",
        "expected `,` or `}`" => "`,` or `}` is missing",
        "expected ident" | "expected value" => "this is not a JSON value",
        "invalid number" | "number out of range" => "the number is malformed",
        "invalid unicode code point" => "the text is not valid UTF-8",
        "key must be a string" => "a key must be in double quotes",
        "trailing comma" => "`,` is not allowed before the closing bracket",
        "trailing characters" => "text follows the end of the value",
        "recursion limit exceeded" => "it is nested too deeply",
        message if message.starts_with("EOF") => "the text ends too early",
        message if message.starts_with("control character") => {
            "a string contains a line break, tab or control character"
        }
        _ => "a string contains an invalid escape sequence",
    }
}

/// The type of a JSON value, with its article.
pub(crate) fn describe_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
