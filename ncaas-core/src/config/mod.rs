//! The config of a job: whether it parses, and the two fields of it that the platform reads.
//!
//! A config is what Python reads, because the analyses do: JSON as Python's `json` module reads it, YAML as PyYAML's
//! `safe_load` reads it. All other fields are the analysis's own, and are not interpreted. The tool that checks a
//! submission and the tool that runs the job both call [`parse`]: a config that passes the one does not fail the other.

mod fields;
mod json;
mod yaml;
mod yaml_scalar;

use crate::failure::{Failure, Kind, Result};
use crate::text;
use fields::{ConfigFields, Value};

/// The largest config that is read, in bytes.
pub const MAX_SIZE: u64 = 16 << 20;

/// Minutes that the job may run.
const DURATION: &str = "__duration__";
/// Disk space that the job needs, in GB (10^9 bytes).
const DATASET_SIZE: &str = "__dataset_size__";

/// The platform's part of a config.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// `__duration__` in seconds: how long the job may run.
    pub timeout_s: Option<u64>,
    /// `__dataset_size__` in bytes: how much disk space the job needs.
    pub disk_bytes: Option<u64>,
    /// Things the user should know that are not errors.
    pub warnings: Vec<String>,
}

/// Why a name is not a config's; it follows the name.
pub const NOT_A_CONFIG_NAME: &str = "must end in `.json`, `.yaml` or `.yml`";

/// Whether the name is a config's: it ends in `.json`, `.yaml` or `.yml`, in any case.
pub fn has_config_extension(name: &str) -> bool {
    format_from_name(name).is_some()
}

/// Reads a config. `name` is its key or path.
///
/// # Errors
/// [`Kind::BadConfig`] if the name has another extension, the content does not parse or is not a mapping, or one of the
/// platform's fields is not a number above 0; [`Kind::TooLarge`] above [`MAX_SIZE`].
pub fn parse(name: &str, content: &[u8]) -> Result<Config> {
    let name = &text::one_line(name);
    let refuse = |cause: String| Failure::new(Kind::BadConfig, format!("the config `{name}` {cause}"));
    if content.len() as u64 > MAX_SIZE {
        let message = format!("the config `{name}` is larger than {} MiB", MAX_SIZE >> 20);
        return Err(Failure::new(Kind::TooLarge, message));
    }
    let (format, parse) = format_from_name(name).ok_or_else(|| refuse(NOT_A_CONFIG_NAME.to_owned()))?;
    let content = decode(content).map_err(refuse)?;
    let fields = parse(content).map_err(|cause| refuse(format!("does not parse as {format}: {cause}")))?;
    let number = |field: &str, unit: f64| match fields.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) if *number > 0.0 && number * unit < 1e18 => Ok(Some((number * unit).ceil() as u64)),
        Some(value) => Err(format!("`{field}` must be a number above 0, not {}", value.quote_value())),
    };
    let (timeout_s, disk_bytes) = match (number(DURATION, 60.0), number(DATASET_SIZE, 1e9)) {
        (Ok(timeout_s), Ok(disk_bytes)) => (timeout_s, disk_bytes),
        (duration, size) => {
            let causes: Vec<String> = [duration.err(), size.err()].into_iter().flatten().collect();
            return Err(refuse(format!("is not valid: {}", causes.join("; "))));
        }
    };
    let mut warnings = fields.duplicate_warnings(name);
    if name.to_ascii_lowercase().ends_with(".yml") {
        warnings.push(format!("the NeuroCAAS platform refuses the config `{name}`: it accepts `.yaml`, not `.yml`"));
    }
    Ok(Config { timeout_s, disk_bytes, warnings })
}

type Parser = fn(&str) -> Result<ConfigFields, String>;

/// The format of a config, which its name says, and the parser for it.
fn format_from_name(name: &str) -> Option<(&'static str, Parser)> {
    let name = name.to_ascii_lowercase();
    if name.ends_with(".json") {
        Some(("JSON", json::parse))
    } else if name.ends_with(".yaml") || name.ends_with(".yml") {
        Some(("YAML", yaml::parse))
    } else {
        None
    }
}

/// The content as text. Python on the platform reads UTF-8 alone.
fn decode(content: &[u8]) -> Result<&str, String> {
    if text::is_utf16(content) {
        return Err("is encoded in UTF-16 or UTF-32: save it as UTF-8".to_owned());
    }
    std::str::from_utf8(text::without_bom(content)).map_err(|error| {
        let before = &content[..error.valid_up_to().min(content.len())];
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        format!("is not encoded in UTF-8, but probably in Latin-1 or Windows-1252 (line {line}): save it as UTF-8")
    })
}

#[cfg(test)]
mod tests;
