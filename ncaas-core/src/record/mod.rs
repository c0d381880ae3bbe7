//! A record: everything known about one job so far, as one JSON object on one line.
//!
//! A [`Record`] keeps the JSON object, so that unknown fields pass through unchanged, in order and to the digit. The
//! types in [`fields`] are views of it: the getters read them, and [`Record::merge`] writes only the fields that it
//! names.

pub mod bounds;
mod container;
pub mod fields;
mod placement;
pub mod submission;

use std::path::Path;

pub use bounds::MAX_LINE;
pub(crate) use bounds::check_io_dir;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::duration::format_duration;
use crate::failure::{Failure, Kind, Result};
use crate::json_cause::{describe_type, field_cause, json_cause};
use crate::layout::{LOG_SUFFIX, STATUS_SUFFIX};
use crate::text::{self, base_name};
use fields::{Container, Datasets, ErrorInfo, Job, Logs, RecordFields, ResultFile, ResultsFile, Status};

/// How much of a line that is not a record is copied into its error record, in bytes.
const BAD_LINE_START: usize = 200;
/// Maximum length of the message about an invalid field, in characters. It may contain the value.
const WORDS_LIMIT: usize = 200;

/// The fields of a saved record that say how the job ended, beside its warnings.
const END_FIELDS: [&str; 11] = [
    "image",
    "image_id",
    "inputs",
    "container",
    "logs",
    "cause",
    "usage",
    "results",
    "results_file",
    "uncollected",
    "error",
];

/// A job's record, with unknown fields as they came.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Record {
    fields: Map<String, Value>,
}

impl Record {
    /// A record with the fields of `known`, usually [`RecordFields`]; see [`Record::merge`].
    pub fn new(known: &impl Serialize) -> Self {
        let mut record = Record::default();
        record.merge(known);
        record
    }

    /// A record that contains only a container, with an argument in the place of its id, until the engine or a saved
    /// record says what the argument names. Only arguments are paths: [`Record::parse`] refuses an id with a `/`.
    pub fn for_argument(argument: &str) -> Self {
        let is_log = || [LOG_SUFFIX, STATUS_SUFFIX].iter().any(|suffix| argument.ends_with(suffix));
        let is_file = argument.ends_with(".json") || is_log() && Path::new(argument).exists();
        let id = if !argument.contains('/') && is_file { format!("./{argument}") } else { argument.to_owned() };
        Record::new(&RecordFields {
            container: Some(Container { id, ..Container::default() }),
            ..RecordFields::default()
        })
    }

    /// Whether the record contains only a container: its other fields are in the container's label.
    pub fn has_only_container(&self) -> bool {
        self.fields.keys().all(|field| field == "container")
    }

    /// The id of the record's container, or else its name.
    pub fn container_reference(&self) -> Option<String> {
        Some(self.container()?.reference().to_owned()).filter(|reference| !reference.is_empty())
    }

    /// The id or name of the record's container, or else the name that the container of its job gets.
    ///
    /// # Errors
    /// [`Kind::BadRecord`] if the record has neither container nor job.
    pub fn container_id(&self) -> Result<String> {
        let id = self.container_reference().or_else(|| self.container_name().ok().flatten());
        id.ok_or_else(|| Failure::missing_field("container"))
    }

    /// Reads one line.
    ///
    /// # Errors
    /// [`Kind::BadRecord`] if the line is not a JSON object, or a known field has another type.
    pub fn parse(line: &[u8]) -> Result<Self> {
        if text::is_utf16(line) {
            return Err(Failure::new(Kind::BadRecord, "the line is encoded in UTF-16 or UTF-32, not in UTF-8"));
        }
        let value: Value = serde_json::from_slice(text::without_bom(line))
            .map_err(|error| Failure::new(Kind::BadRecord, format!("the line is not JSON: {}", json_cause(&error))))?;
        let Value::Object(fields) = value else {
            return Err(Failure::new(
                Kind::BadRecord,
                format!("the line is {}, not a JSON object", describe_type(&value)),
            )
            .hint("one record is one JSON object on one line; `jq -c '.[]'` splits an array into its records"));
        };
        let record = Record { fields };
        bounds::check(&record.fields()?)?;
        Ok(record)
    }

    /// The record for a line that is not a record: the error and the beginning of the line.
    pub(crate) fn from_bad_line(line: &[u8], failure: &Failure, tool: &str) -> Self {
        let start = String::from_utf8_lossy(&line[..line.len().min(BAD_LINE_START)]).into_owned();
        let mut record = Record::default();
        record.fields.insert("line".to_owned(), Value::String(start));
        record.fail(tool, failure);
        record
    }

    /// All known fields.
    ///
    /// # Errors
    /// [`Kind::BadRecord`] if one has another type.
    pub fn fields(&self) -> Result<RecordFields> {
        RecordFields::deserialize(&self.fields).map_err(|_| self.wrong_field())
    }

    /// The failure of a record with a field of a wrong type. To find that field takes longer than to read the record,
    /// so it is searched only when there is one.
    fn wrong_field(&self) -> Failure {
        let found = serde_path_to_error::deserialize::<_, RecordFields>(&self.fields);
        let words =
            found.err().map_or_else(String::new, |error| format!("`{}`: {}", error.path(), field_cause(error.inner())));
        let words: String = words.chars().take(WORDS_LIMIT).collect();
        Failure::new(Kind::BadRecord, format!("the record is not valid: {words}"))
            .hint("`--schema` prints the type of each field")
    }

    /// The job, if the record has one.
    pub fn job(&self) -> Option<Job> {
        self.read("job")
    }

    /// The group of a bucket that the job belongs to; empty for a job from arguments.
    pub fn group(&self) -> &str {
        self.fields.get("job").and_then(|job| job.get("group")?.as_str()).unwrap_or_default()
    }

    /// The dataset's key or path, if the record has one.
    pub fn dataname(&self) -> Option<Datasets> {
        self.read("dataname")
    }

    /// The name of its dataset for people: the label of one of several, which is distinct, else the base name.
    pub fn dataset_name(&self) -> Option<String> {
        if let Some(label) = self.job().filter(|job| job.datasets > 1).and_then(|job| job.label) {
            return Some(label);
        }
        self.dataname()?.first().map(|name| base_name(name).to_owned())
    }

    /// The container, if the record has one.
    pub fn container(&self) -> Option<Container> {
        self.read("container")
    }

    /// Where the logs are, if the record says so.
    pub fn logs(&self) -> Option<Logs> {
        self.read("logs")
    }

    /// The collected results, if there are any.
    pub fn results(&self) -> Option<Vec<ResultFile>> {
        self.read("results")
    }

    /// The file that lists the results, if they are too many for the record.
    pub fn results_file(&self) -> Option<ResultsFile> {
        self.read("results_file")
    }

    /// Whether the record lists results, itself or in a file.
    pub fn has_results(&self) -> bool {
        let listed = self.fields.get("results").and_then(Value::as_array);
        listed.is_some_and(|results| !results.is_empty()) || self.results_file().is_some()
    }

    /// Whether results were collected: the record lists them, itself or in a file, even if there are none.
    pub fn is_collected(&self) -> bool {
        self.results().is_some() || self.results_file().is_some()
    }

    /// Whether the job comes from a bucket.
    pub fn is_from_bucket(&self) -> bool {
        self.job().is_some_and(|job| job.bucket.is_some())
    }

    /// The error that this stage or an earlier one has stored in the record.
    pub fn error(&self) -> Option<ErrorInfo> {
        self.read("error")
    }

    /// A known or unknown field, as text.
    pub fn text(&self, field: &str) -> Option<&str> {
        self.fields.get(field).and_then(Value::as_str)
    }

    /// A field that is needed, as text.
    ///
    /// # Errors
    /// [`Kind::BadRecord`] if the record does not have it.
    pub fn require(&self, field: &str) -> Result<&str> {
        self.text(field).ok_or_else(|| Failure::missing_field(field))
    }

    /// Whether the bucket has the job's saved record, so that nothing is left to do for the job.
    pub fn is_pushed(&self) -> bool {
        self.fields.get("pushed").and_then(Value::as_bool).unwrap_or_default()
    }

    /// Whether a scheduler has the job and nothing is known of its container yet: another machine runs it and saves its
    /// files.
    pub fn is_placed(&self) -> bool {
        self.fields.contains_key("placement") && self.container().is_none() && !self.has_error()
    }

    /// Whether the record carries an error.
    pub fn has_error(&self) -> bool {
        self.fields.get("error").is_some_and(|error| !error.is_null())
    }

    /// Whether this record means exit status 1: it carries an error, or its job did not succeed.
    pub fn is_failed(&self) -> bool {
        self.has_error() || self.container().is_some_and(|c| c.status.is_some_and(|s| s != Status::Success))
    }

    /// Whether this is the record of a development container, which `ncaas-exec ls` lists with the jobs.
    pub fn is_development(&self) -> bool {
        self.job().is_none() && self.container().is_some() && self.text("image").is_some()
    }

    /// The job and its dataset, else the container: records with the same identity are worked on one after the other.
    /// None for a record that names neither.
    pub fn identity(&self) -> Option<String> {
        let container = || self.fields.get("container")?.get("id")?.as_str().map(str::to_owned);
        match self.job() {
            Some(job) => Some(format!(
                "{}\n{}\n{}\n{}",
                job.bucket.as_deref().unwrap_or(""),
                job.group.as_deref().unwrap_or(""),
                job.id,
                job.dataset
            )),
            None => container(),
        }
    }

    /// Sets the fields that `known` names; within an object (`job`, `container`, ...) those that it names, and no
    /// others. New fields are inserted before `error`.
    pub fn merge(&mut self, known: &impl Serialize) {
        if let Ok(Value::Object(new)) = serde_json::to_value(known) {
            for (name, value) in new {
                self.set_value(&name, value);
            }
        }
    }

    /// Sets one known or unknown field, as [`Record::merge`] does.
    pub fn set(&mut self, field: &str, value: &impl Serialize) {
        if let Ok(value) = serde_json::to_value(value) {
            self.set_value(field, value);
        }
    }

    /// Sets a field only if the record does not have it (or has null): how flags fill in what a record lacks.
    pub fn fill(&mut self, field: &str, value: &impl Serialize) {
        if self.fields.get(field).is_none_or(Value::is_null) {
            self.set(field, value);
        }
    }

    /// Removes a field.
    pub fn remove(&mut self, field: &str) {
        self.fields.shift_remove(field);
    }

    /// Stores a failure in the record.
    pub fn fail(&mut self, tool: &str, failure: &Failure) {
        self.fields.shift_remove("error");
        self.set("error", &ErrorInfo::new(tool, failure));
    }

    /// Adds a warning for the user, once.
    pub fn warn(&mut self, words: impl Into<String>) {
        let words = words.into();
        let mut warnings: Vec<String> = self.read("warnings").unwrap_or_default();
        if !warnings.contains(&words) {
            warnings.push(words);
            self.set("warnings", &warnings);
        }
    }

    /// Copies from the saved record of the same job how the job ended.
    pub fn copy_end(&mut self, saved: &Record) {
        for field in END_FIELDS {
            if let Some(value) = saved.fields.get(field) {
                self.set_value(field, value.clone());
            }
        }
        for warning in saved.read::<Vec<String>>("warnings").unwrap_or_default() {
            self.warn(warning);
        }
    }

    /// Fills the fields about the end of the job from the saved record of the same container: a record of an argument
    /// has neither the log that `ncaas-logs save` has saved nor the results that `ncaas-sync collect` has collected. An
    /// error is not filled: the work on the record begins again.
    pub fn fill_end(&mut self, saved: &Record) {
        let container = |record: &Record| record.container().map(|container| container.id);
        if container(self).is_some_and(|id| container(saved) == Some(id)) {
            for field in END_FIELDS.iter().filter(|field| **field != "error") {
                if let Some(value) = saved.fields.get(*field) {
                    self.fill(field, value);
                }
            }
        }
    }

    /// The time limit of the job in seconds.
    pub fn time_limit_s(&self) -> Option<u64> {
        self.fields().ok().and_then(|known| known.run?.timeout_s)
    }

    /// Sets the state of the container, and adds a warning about its end if there is one.
    pub fn set_container(&mut self, container: Container) {
        if container.lost_a_process() {
            self.warn("a process of the job was killed because memory ran out, and the job continued without it");
        }
        if let (Some(limit), Some(duration)) = (container.exceeded_limit(self.time_limit_s()), container.duration_s) {
            let (duration, limit) = (format_duration(duration), format_duration(limit));
            self.warn(format!("the job ran for {duration}, longer than its time limit of {limit}, and succeeded"));
        }
        self.merge(&RecordFields { container: Some(container), ..RecordFields::default() });
    }

    /// The object as it is.
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// The record as one line, line break included. Every record that leaves has `error`, null where all is well.
    pub fn to_line(&self) -> Vec<u8> {
        let mut fields = std::borrow::Cow::Borrowed(&self.fields);
        if !fields.contains_key("error") {
            fields.to_mut().insert("error".to_owned(), Value::Null);
        }
        // A map of JSON values always serialises.
        let mut line = serde_json::to_vec(fields.as_ref()).unwrap_or_default();
        line.push(b'\n');
        line
    }

    fn read<T: DeserializeOwned>(&self, field: &str) -> Option<T> {
        let value = self.fields.get(field)?;
        T::deserialize(value).ok()
    }

    fn set_value(&mut self, name: &str, value: Value) {
        if let (Some(Value::Object(old)), Value::Object(_)) = (self.fields.get_mut(name), &value) {
            if let Value::Object(new) = value {
                old.extend(new);
            }
        } else if self.fields.contains_key(name) {
            self.fields.insert(name.to_owned(), value);
        } else if let Some(error_at) = self.fields.keys().position(|key| key == "error") {
            self.fields.shift_insert(error_at, name.to_owned(), value);
        } else {
            self.fields.insert(name.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests;
