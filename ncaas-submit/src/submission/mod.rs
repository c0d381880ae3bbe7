//! A submit file: what it asks for, and every reason for a refusal that the file itself shows.
//!
//! Anybody who may write to a group's folder can write a submit file, so nothing in it is trusted: its keys stay in the
//! group, it cannot set the tools' own fields, and its size and depth are bounded before it is read.

mod names;

use std::collections::{BTreeSet, HashSet};
use std::fmt::Display;

use jiter::Jiter;
use ncaas_core::bucket::{Bucket, Key};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::layout;
use ncaas_core::quantity::format_count;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Datasets, Job, RecordFields};
use ncaas_core::text;
use serde_json::{Map, Value};

pub(crate) use names::{AllowedKeys, Name};

/// The largest submit file that is read, in bytes: room for some 10,000 datasets.
pub(crate) const MAX_SIZE: u64 = 1 << 20;

/// How much of a value a reason shows, in characters.
const SHOWN: usize = 80;

/// How many reasons a refusal names.
const MAX_REASONS: usize = 50;

/// The content of a submit file, as far as it could be read.
#[derive(Debug, Default)]
pub(crate) struct Submission {
    /// The datasets, whether `dataname` is one name or a list.
    pub(crate) datasets: Vec<Name>,
    pub(crate) config: Option<Name>,
    pub(crate) timestamp: Option<String>,
    pub(crate) result_path: Option<String>,
    /// Fields that are not the platform's. They pass through.
    others: Map<String, Value>,
    /// Warnings: they are not reasons for a refusal.
    pub(crate) warnings: Vec<String>,
    /// Whether it is complete JSON. Otherwise it may still be being written.
    pub(crate) is_json: bool,
    /// The reasons for a refusal; empty for an accepted submission.
    pub(crate) reasons: Vec<String>,
}

impl Submission {
    /// Reads the content of a submit file. `reasons` says what is wrong with it.
    pub(crate) fn read(content: &[u8], reach: &AllowedKeys) -> Self {
        let content = text::without_bom(content);
        if let Some(encoding) = foreign_encoding(content) {
            return Submission::refused(format!("the submit file is encoded in {encoding}: save it as UTF-8"));
        }
        // As Python reads it. A record cannot hold these numbers.
        let finite = without_non_finite(content);
        match serde_json::from_slice(&finite) {
            Ok(Value::Object(mut fields)) => {
                let written = WrittenFields::read(&finite);
                if fields.get("timestamp").is_some_and(Value::is_number)
                    && let Some(text) = written.timestamp
                {
                    fields.insert("timestamp".to_owned(), Value::String(text));
                }
                let mut submission = Submission::from_fields(fields, reach);
                if finite != content {
                    submission.warnings.push("`NaN` and `Infinity` in the submit file are read as `null`".to_owned());
                }
                submission.warnings.extend(
                    written.duplicates.iter().take(MAX_REASONS).map(|name| {
                        format!("the submit file has `{}` more than once; the last value is used", cut(name))
                    }),
                );
                submission
            }
            Ok(other) => Submission {
                is_json: true,
                ..Submission::refused(format!("the submit file is {}, not a JSON object", quote_value(&other)))
            },
            Err(error) if content.trim_ascii().is_empty() => {
                Submission::refused(format!("the submit file is empty ({error})"))
            }
            Err(error) => Submission::refused(format!("the submit file is not JSON: {error}")),
        }
    }

    /// Reads the submit file at a key; none if it is gone.
    pub(crate) async fn load(bucket: &Bucket, key: &Key, reach: &AllowedKeys) -> Result<Option<Self>> {
        match bucket.read(key, MAX_SIZE).await {
            Ok((content, _)) => Ok(Some(Submission::read(&content, reach))),
            Err(failure) if failure.kind == Kind::ObjectNotFound => Ok(None),
            Err(failure) if failure.kind.is_transient() => Err(failure),
            Err(failure) => Ok(Some(Submission::refused(failure.message))),
        }
    }

    /// A submission that could not be read.
    pub(crate) fn refused(reason: impl Into<String>) -> Self {
        Submission { reasons: vec![reason.into()], ..Submission::default() }
    }

    /// Reads the fields of a submit file, or of a record that has them.
    pub(crate) fn from_fields(mut fields: Map<String, Value>, reach: &AllowedKeys) -> Self {
        let mut submission = Submission { is_json: true, ..Submission::default() };
        submission.read_timestamp(fields.shift_remove("timestamp"));
        submission.read_datasets(fields.shift_remove("dataname"), reach);
        submission.read_config(fields.shift_remove("configname"), reach);
        submission.check_bypass(reach);
        submission.read_result_path(fields.shift_remove("resultpath"), reach);
        for (name, value) in fields {
            if RecordFields::has_field(&name) {
                submission.warnings.push(format!(
                    "the field `{}` of the submit file is reserved for the tools, and is ignored",
                    cut(&name)
                ));
            } else {
                submission.others.insert(name, value);
            }
        }
        submission
    }

    /// Whether there is no reason for a refusal so far.
    pub(crate) fn is_accepted(&self) -> bool {
        self.reasons.is_empty()
    }

    /// The failure of a refused submission, with every reason.
    pub(crate) fn refusal(&self) -> Option<Failure> {
        if self.is_accepted() {
            return None;
        }
        let mut reasons = self.reasons.iter().take(MAX_REASONS).map(String::as_str).collect::<Vec<_>>().join("; ");
        if self.reasons.len() > MAX_REASONS {
            let more = format_count(self.reasons.len() - MAX_REASONS, "more reason");
            reasons = format!("{reasons}; and {more}");
        }
        Some(Failure::new(Kind::BadSubmission, reasons))
    }

    /// The job's records: one for each dataset, or a single one for a refused submission.
    pub(crate) fn records(&self, job: &Job, tool: &str) -> Vec<Record> {
        let names: Vec<&str> = self.datasets.iter().map(Name::as_str).collect();
        let Some(refusal) = self.refusal() else {
            let labels = layout::dataset_labels(&names);
            let datasets = names.len() as u64;
            let each = names.iter().zip(labels).zip(1..);
            return each
                .map(|((name, label), dataset)| {
                    let job = Job { dataset, datasets, label: Some(label), ..job.clone() };
                    self.record(job, Some(Datasets::One((*name).to_owned())))
                })
                .collect();
        };
        let dataname = match names.as_slice() {
            [] => None,
            [name] => Some(Datasets::One((*name).to_owned())),
            _ => Some(Datasets::Many(names.iter().map(|name| (*name).to_owned()).collect())),
        };
        let mut record = self.record(Job { dataset: 1, datasets: 1, ..job.clone() }, dataname);
        record.fail(
            tool,
            &refusal.hint(
                "correct it and submit it with a new timestamp; if only a file is missing, upload it and run \
                 `ncaas-submit retry BUCKET/GROUP JOB`",
            ),
        );
        vec![record]
    }

    /// The submission as one record with all its datasets.
    pub(crate) fn whole_record(&self, job: &Job) -> Record {
        let names: Vec<String> = self.datasets.iter().map(|name| name.as_str().to_owned()).collect();
        let dataname = match <[String; 1]>::try_from(names) {
            Ok([name]) => Datasets::One(name),
            Err(names) => Datasets::Many(names),
        };
        self.record(Job { datasets: self.datasets.len().max(1) as u64, dataset: 1, ..job.clone() }, Some(dataname))
    }

    fn record(&self, job: Job, dataname: Option<Datasets>) -> Record {
        let mut record = Record::new(&RecordFields {
            job: Some(job),
            dataname,
            configname: self.config.as_ref().map(|config| config.as_str().to_owned()),
            resultpath: self.result_path.clone(),
            ..RecordFields::default()
        });
        for (name, value) in &self.others {
            record.set(name, value);
        }
        if !self.warnings.is_empty() {
            record.merge(&RecordFields { warnings: Some(self.warnings.clone()), ..RecordFields::default() });
        }
        record
    }

    fn refuse(&mut self, reason: impl Display) {
        self.reasons.push(reason.to_string());
    }

    fn read_timestamp(&mut self, value: Option<Value>) {
        let text = match value {
            None | Some(Value::Null) => return self.refuse("`timestamp` is missing"),
            Some(Value::String(text)) => text,
            Some(Value::Number(number)) => number.to_string(),
            Some(other) => {
                return self.refuse(format!("`timestamp` is {}, not a string or a number", quote_value(&other)));
            }
        };
        // Only the length of the job id depends on the analysis.
        match layout::job_id("", &text) {
            Ok(_) => self.timestamp = Some(text),
            Err(failure) => self.refuse(failure),
        }
    }

    fn read_datasets(&mut self, value: Option<Value>, reach: &AllowedKeys) {
        match value {
            None | Some(Value::Null) => self.refuse("`dataname` is missing"),
            Some(Value::String(name)) => self.read_dataset("`dataname`", name, reach),
            Some(Value::Array(names)) if names.is_empty() => self.refuse("`dataname` is an empty list"),
            Some(Value::Array(names)) => {
                for (at, name) in names.into_iter().enumerate() {
                    let field = format!("`dataname[{at}]`");
                    match name {
                        Value::String(name) => self.read_dataset(&field, name, reach),
                        other => self.refuse(format!("{field} is {}, not a string", quote_value(&other))),
                    }
                }
            }
            Some(other) => {
                self.refuse(format!("`dataname` is {}, not a string or a list of strings", quote_value(&other)))
            }
        }
    }

    fn read_dataset(&mut self, field: &str, name: String, reach: &AllowedKeys) {
        match Name::parse(name, reach) {
            Ok(name) => self.datasets.push(name),
            Err(reason) => self.refuse(format!("{field}: {reason}")),
        }
    }

    fn read_config(&mut self, value: Option<Value>, reach: &AllowedKeys) {
        match value {
            None | Some(Value::Null) => self.refuse("`configname` is missing"),
            Some(Value::String(name)) => match Name::parse(name, reach) {
                Ok(name) if name.key().is_folder() => self.refuse(format!("`configname`: {name} is a folder")),
                Ok(name) => self.config = Some(name),
                Err(reason) => self.refuse(format!("`configname`: {reason}")),
            },
            Some(other) => self.refuse(format!("`configname` is {}, not a string", quote_value(&other))),
        }
    }

    /// Either all names are `s3://` paths of one bucket, or none is one.
    fn check_bypass(&mut self, reach: &AllowedKeys) {
        let mut buckets: Vec<Option<&str>> = self.datasets.iter().chain(&self.config).map(Name::other_bucket).collect();
        buckets.sort_unstable();
        buckets.dedup();
        if buckets.contains(&None) && buckets.len() > 1 {
            self.refuse(
                "some of `dataname` and `configname` are `s3://` paths and some are keys: use one form for all",
            );
        } else if buckets.len() > 1 {
            let names: Vec<&str> = buckets.into_iter().flatten().map(cut).collect();
            let named = names.join("`, `");
            self.refuse(format!("`dataname` and `configname` name more than one bucket: `{named}`"));
        } else if let [Some(bucket)] = buckets.as_slice()
            && let Err(reason) = reach.may_read(bucket)
        {
            self.refuse(reason);
        }
    }

    fn read_result_path(&mut self, value: Option<Value>, reach: &AllowedKeys) {
        match value {
            None | Some(Value::Null) => {}
            Some(Value::String(path)) => match reach.may_write(&path) {
                Ok(()) => self.result_path = Some(path),
                Err(reason) => self.refuse(format!("`resultpath`: {reason}")),
            },
            Some(other) => self.refuse(format!("`resultpath` is {}, not a string", quote_value(&other))),
        }
    }
}

/// The encoding of a text that is not UTF-8, by name.
fn foreign_encoding(content: &[u8]) -> Option<&'static str> {
    match content {
        [0xff, 0xfe, ..] => Some("UTF-16 (little-endian)"),
        [0xfe, 0xff, ..] => Some("UTF-16 (big-endian)"),
        [b'{', 0, ..] => Some("UTF-16 (little-endian, without a byte order mark)"),
        [0, b'{', ..] => Some("UTF-16 (big-endian, without a byte order mark)"),
        _ if str::from_utf8(content).is_err_and(|error| error.error_len().is_some()) => {
            Some("Latin-1 or another encoding that is not UTF-8")
        }
        _ => None,
    }
}

/// The content with `null` in the place of `NaN`, `Infinity` and `-Infinity`.
fn without_non_finite(content: &[u8]) -> Vec<u8> {
    let mut result = Vec::with_capacity(content.len());
    let (mut at, mut is_string) = (0, false);
    while let Some(byte) = content.get(at) {
        let rest = &content[at..];
        let word = ["NaN", "Infinity", "-Infinity"].into_iter().find(|word| rest.starts_with(word.as_bytes()));
        let (length, replacement) = match (byte, word) {
            (_, Some(word)) if !is_string => (word.len(), &b"null"[..]),
            (b'\\', _) if is_string => (2, &rest[..rest.len().min(2)]),
            _ => (1, &rest[..1]),
        };
        is_string ^= *byte == b'"';
        result.extend_from_slice(replacement);
        at += length;
    }
    result
}

/// Details of a submit file that its parsed fields do not show.
#[derive(Debug, Default)]
struct WrittenFields {
    /// A numeric timestamp as it is written: `1E5` is not `100000` in a job id.
    timestamp: Option<String>,
    /// The names of fields that occur more than once.
    duplicates: BTreeSet<String>,
}

impl WrittenFields {
    fn read(content: &[u8]) -> Self {
        let mut written = WrittenFields::default();
        // The content is known to be an object.
        written.read_fields(content).unwrap_or(());
        written
    }

    fn read_fields(&mut self, content: &[u8]) -> Option<()> {
        let mut json = Jiter::new(content);
        let mut name = json.next_object().ok()?.map(str::to_owned);
        let mut seen = HashSet::new();
        while let Some(current) = name {
            let peek = json.peek().ok()?;
            if current == "timestamp" && peek.is_num() {
                self.timestamp = String::from_utf8(json.known_number_bytes(peek).ok()?.to_vec()).ok();
            } else {
                json.known_skip(peek).ok()?;
            }
            self.duplicates.extend(seen.replace(current));
            name = json.next_key().ok()?.map(str::to_owned);
        }
        Some(())
    }
}

/// The beginning of a value, for a reason.
fn quote_value(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        other => format!("`{}`", cut(&other.to_string())),
    }
}

fn cut(text: &str) -> &str {
    text.char_indices().nth(SHOWN).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests;
