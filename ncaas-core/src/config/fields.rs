//! The fields of a config, as both formats give them.

use crate::text;

/// How many duplicate keys of one config are reported.
pub(super) const MAX_WARNINGS: usize = 10;
/// How much of a value or key a message shows, in characters.
const SHOWN: usize = 60;

/// The fields at the top of a config.
#[derive(Debug, Default)]
pub(super) struct ConfigFields {
    /// In their order, merged ones first. A field may be there more than once.
    pub(super) fields: Vec<(String, Value)>,
    /// Keys that some mapping of the config has more than once.
    pub(super) duplicates: Vec<String>,
}

impl ConfigFields {
    /// The value of a field: the last one that the config has.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.fields.iter().rev().find(|(field, _)| field == name).map(|(_, value)| value)
    }

    pub(super) fn duplicate_warnings(&self, name: &str) -> Vec<String> {
        let warning = |key: &String| {
            format!("the config `{name}` has `{}` more than once; the last value is used", text::shorten(key, SHOWN))
        };
        let mut warnings: Vec<String> = self.duplicates.iter().take(MAX_WARNINGS).map(warning).collect();
        if self.duplicates.len() > MAX_WARNINGS {
            let more = self.duplicates.len() - MAX_WARNINGS;
            warnings.push(format!("the config `{name}` has {more} more duplicate keys"));
        }
        warnings
    }
}

/// A value as far as the platform distinguishes it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Number(f64),
    /// Anything else, in words.
    Other(String),
}

impl Value {
    pub(super) fn quote_value(&self) -> String {
        match self {
            Value::Null => "null".to_owned(),
            Value::Number(number) => number.to_string(),
            Value::Other(words) => text::shorten(&text::one_line(words), SHOWN),
        }
    }
}
