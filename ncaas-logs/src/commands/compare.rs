//! `ncaas-logs compare`: shows in what two jobs differ.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ncaas_core::duration::format_duration;
use ncaas_core::engine::LazyEngine;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::files::relative_to_working_directory;
use ncaas_core::layout::{PROCESS_RESULTS, base_name, path_in_job};
use ncaas_core::outcome::results_path;
use ncaas_core::pipe::{self, json_line};
use ncaas_core::quantity::{format_bytes, format_limit};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{ResultFile, StoppedBy};
use ncaas_core::table::{Table, shows_table, terminal_width};
use ncaas_core::text::{one_line, shorten};
use ncaas_core::tool::{ExitStatus, Tool};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::args::CompareArgs;
use crate::log_source::{LogSource, find_log_source};
use crate::saved_files::SavedFiles;

/// The fields of a record that decide what a job does.
const FIELDS: [&str; 8] =
    ["image", "image_id", "command", "configname", "dataname", "run", "container.status", "container.exit_code"];

/// The differences between two jobs.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Comparison {
    /// The two records' files, absolute.
    a: String,
    b: String,
    /// Whether image, command, settings, config, inputs, results and end are the same.
    same: bool,
    /// Fields that differ; null if a record has none.
    fields: BTreeMap<String, Pair<Value>>,
    /// The lines of output that most likely say why the jobs failed, if they differ; null for a job that did not fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<Pair<Option<String>>>,
    /// Datasets and configs that differ, by name.
    inputs: FileDifferences,
    /// Results that differ, by their path below `process_results`.
    results: FileDifferences,
    /// Resources used, if both are known.
    usage: BTreeMap<&'static str, Pair<f64>>,
}

/// The values of both records.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
struct Pair<T> {
    a: T,
    b: T,
}

/// Differences between two sets of files, compared by size and SHA-256.
#[derive(Debug, Default, PartialEq, Serialize, JsonSchema)]
struct FileDifferences {
    /// The number of files that are the same.
    same: usize,
    changed: Vec<String>,
    only_a: Vec<String>,
    only_b: Vec<String>,
}

impl FileDifferences {
    fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.only_a.is_empty() && self.only_b.is_empty()
    }
}

/// Size and checksum of each file, by name.
type FileSums = BTreeMap<String, (u64, Option<String>)>;

pub(crate) async fn compare_records(tool: Tool, args: CompareArgs) -> Result<ExitStatus> {
    let engines = LazyEngine::default();
    let [a, b] = [read_job(&engines, &args.a).await?, read_job(&engines, &args.b).await?];
    let comparison = compare(&a, &b);
    let is_table = shows_table(args.records.json);
    let lines = if is_table { to_table(&comparison, terminal_width()).into_bytes() } else { json_line(&comparison) };
    pipe::print(tool, lines).await
}

/// One of the two jobs.
struct ComparedJob {
    path: PathBuf,
    record: Record,
    results: FileSums,
    /// Why the job failed.
    cause: Option<String>,
}

async fn read_job(engines: &LazyEngine, argument: &str) -> Result<ComparedJob> {
    let mut record = Record::for_argument(argument);
    let saved = match find_log_source(engines, &mut record).await? {
        // The newest container of a dataset may be one of another folder.
        LogSource::Container(..) => SavedFiles::for_record(&record)
            .filter(|files| files.record.is_some())
            .or_else(|| SavedFiles::for_record(&Record::for_argument(argument))),
        LogSource::Saved(saved) => Some(*saved),
    };
    saved.and_then(ComparedJob::new).ok_or_else(|| {
        Failure::new(Kind::BadRecord, format!("no record is saved for `{argument}`"))
            .hint("`ncaas-logs save` saves the record when the job ends")
    })
}

impl ComparedJob {
    /// None if the job's record was not saved.
    fn new(files: SavedFiles) -> Option<Self> {
        let record = files.record.clone()?;
        let path = files.path.as_path();
        let listed = record.results_file().and_then(|listed| {
            // It is beside the record, and in the record's io-dir.
            let beside = path.parent()?.join(base_name(&listed.path));
            let of_record = record.text("io_dir").map(|io_dir| Path::new(io_dir).join(&listed.path));
            std::fs::read(beside).ok().or_else(|| std::fs::read(of_record?).ok())
        });
        let lines = listed.as_deref().unwrap_or_default().split(|&byte| byte == b'\n');
        let listed = lines.filter_map(|line| serde_json::from_slice::<ResultFile>(line).ok());
        // Of several datasets, each has its results in a folder of its own.
        let own_folder = results_path(&record);
        let results = listed.chain(record.results().unwrap_or_default()).map(|result| {
            let in_job = path_in_job(&result.path);
            let name = in_job.strip_prefix(&own_folder).or_else(|_| in_job.strip_prefix(PROCESS_RESULTS));
            let name = name.unwrap_or(Path::new(&result.path)).to_string_lossy().into_owned();
            (name, (result.size, result.sha256))
        });
        let stopped_by = record.container().and_then(|container| container.stopped_by);
        // The output of a job that a user or the engine has ended does not say why it ended.
        let has_cause = record.is_failed() && !stopped_by.is_some_and(StoppedBy::is_outside);
        let cause = record.text("cause").map(str::to_owned).or_else(|| files.find_cause()).filter(|_| has_cause);
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Some(ComparedJob { path, results: results.collect(), record, cause })
    }
}

fn compare(a: &ComparedJob, b: &ComparedJob) -> Comparison {
    let field = |record: &Record, name: &str| {
        let mut value = Some(Value::Object(record.as_map().clone()));
        for part in name.split('.') {
            value = value.and_then(|value| value.get(part).cloned());
        }
        value.unwrap_or_default()
    };
    let fields: BTreeMap<String, Pair<Value>> = FIELDS
        .iter()
        .map(|name| ((*name).to_owned(), Pair { a: field(&a.record, name), b: field(&b.record, name) }))
        .filter(|(_, pair)| pair.a != pair.b)
        .collect();
    let inputs_of = |side: &ComparedJob| -> FileSums {
        let inputs = side.record.fields().ok().and_then(|known| known.inputs).unwrap_or_default();
        inputs.into_iter().map(|input| (base_name(&input.name).to_owned(), (input.size, Some(input.sha256)))).collect()
    };
    let inputs = compare_files(&inputs_of(a), &inputs_of(b));
    let results = compare_files(&a.results, &b.results);
    let usage = [usage(&a.record), usage(&b.record)];
    let names = usage[0].keys().filter(|name| usage[1].contains_key(*name));
    Comparison {
        a: a.path.to_string_lossy().into_owned(),
        b: b.path.to_string_lossy().into_owned(),
        same: fields.is_empty() && inputs.is_empty() && results.is_empty(),
        usage: names.map(|name| (*name, Pair { a: usage[0][name], b: usage[1][name] })).collect(),
        cause: (a.cause != b.cause).then(|| Pair { a: a.cause.clone(), b: b.cause.clone() }),
        fields,
        inputs,
        results,
    }
}

fn compare_files(a: &FileSums, b: &FileSums) -> FileDifferences {
    let mut differences = FileDifferences::default();
    for (name, file) in a {
        match b.get(name) {
            Some(other) if other == file => differences.same += 1,
            Some(_) => differences.changed.push(name.clone()),
            None => differences.only_a.push(name.clone()),
        }
    }
    differences.only_b = b.keys().filter(|name| !a.contains_key(*name)).cloned().collect();
    differences
}

/// The resources that a job used: seconds and bytes.
fn usage(record: &Record) -> BTreeMap<&'static str, f64> {
    let duration = record.container().and_then(|container| container.duration_s).map(|seconds| ("duration_s", seconds));
    let usage = record.fields().ok().and_then(|known| known.usage);
    let usage = usage.map(|usage| [("cpu_s", usage.cpu_s), ("memory_peak_bytes", usage.memory_peak_bytes as f64)]);
    duration.into_iter().chain(usage.into_iter().flatten()).collect()
}

/// The comparison as a table that fits a terminal. Long values continue on further lines.
fn to_table(comparison: &Comparison, width: usize) -> String {
    let shorten_path = |path: &String| relative_to_working_directory(Path::new(path)).display().to_string();
    let mut rows = vec![("record".to_owned(), shorten_path(&comparison.a), shorten_path(&comparison.b))];
    for (name, Pair { a, b }) in &comparison.fields {
        add_field(&mut rows, name.trim_start_matches("container.").replace('_', " "), a, b);
    }
    if let Some(Pair { a, b }) = &comparison.cause {
        let text = |cause: &Option<String>| cause.clone().unwrap_or_else(|| NONE.to_owned());
        rows.push(("cause".to_owned(), text(a), text(b)));
    }
    for (kind, files) in [("input", &comparison.inputs), ("result", &comparison.results)] {
        let mut add = |name: &str, a: &str, b: &str| rows.push((name.to_owned(), a.to_owned(), b.to_owned()));
        files.changed.iter().for_each(|name| add(&format!("{kind} {name}"), "differs", "differs"));
        files.only_a.iter().for_each(|name| add(&format!("{kind} {name}"), "present", "absent"));
        files.only_b.iter().for_each(|name| add(&format!("{kind} {name}"), "absent", "present"));
        if files.same > 0 {
            add(&format!("other {kind}s"), &format!("{} same", files.same), &format!("{} same", files.same));
        }
    }
    for (name, Pair { a, b }) in &comparison.usage {
        let text = |value: f64| if name.ends_with("_s") { format_duration(value) } else { format_bytes(value as u64) };
        let name = name.trim_end_matches("_s").trim_end_matches("_bytes").replace('_', " ");
        rows.push((name, text(*a), text(*b)));
    }
    let longest_name = rows.iter().map(|(name, ..)| name.chars().count()).max().unwrap_or_default();
    let name_width = longest_name.min(width / 3);
    let value_width = (width.saturating_sub(name_width + 4) / 2).max(1);
    let mut table = Table::new(&["", "A", "B"]);
    for (name, a, b) in rows {
        let cells = [(name, name_width), (a, value_width), (b, value_width)].map(|(text, width)| split(&text, width));
        for line in 0..cells.iter().map(Vec::len).max().unwrap_or_default() {
            table.push(cells.iter().map(|cell| cell.get(line).cloned().unwrap_or_default()));
        }
    }
    let same = if comparison.same { "The jobs do not differ.\n" } else { "" };
    format!("{table}{same}")
}

/// The cell of a job without a value.
const NONE: &str = "-";

/// Adds a field that differs: an object by its own fields that differ.
fn add_field(rows: &mut Vec<(String, String, String)>, name: String, a: &Value, b: &Value) {
    if let (Value::Object(a), Value::Object(b)) = (a, b) {
        let names: BTreeSet<&String> = a.keys().chain(b.keys()).filter(|name| a.get(*name) != b.get(*name)).collect();
        let value = |fields: &Map<String, Value>, name: &String| fields.get(name).cloned().unwrap_or_default();
        return names.into_iter().for_each(|field| {
            add_field(rows, format!("{name} {}", field.replace('_', " ")), &value(a, field), &value(b, field));
        });
    }
    let is_size = ["run memory", "run log size"].contains(&name.as_str());
    let text = |value: &Value| match value {
        Value::Number(bytes) if is_size => bytes.as_u64().map_or_else(|| bytes.to_string(), format_limit),
        Value::Null => NONE.to_owned(),
        Value::String(text) => text.clone(),
        other => shorten(&other.to_string(), 200),
    };
    rows.push((name, text(a), text(b)));
}

/// A text as lines of at most `width` characters.
fn split(text: &str, width: usize) -> Vec<String> {
    let characters: Vec<char> = one_line(text).chars().collect();
    characters.chunks(width.max(1)).map(|line| line.iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(image_id: &str, results: &[(&str, &str)]) -> Value {
        let results: Vec<Value> = results
            .iter()
            .map(|(name, sha)| {
                let path = format!("results/job__pca_{image_id}/process_results/{name}");
                serde_json::json!({"path": path, "size": 1, "sha256": sha, "source": "/x"})
            })
            .collect();
        serde_json::json!({
            "image": "pca", "image_id": image_id, "inputs": [{"name": "lab/inputs/a.npy", "size": 3, "sha256": "ab"}],
            "container": {"status": "success", "duration_s": 2.5}, "results": results,
        })
    }

    #[test]
    fn two_jobs_are_compared_by_fields_and_by_the_content_of_files() {
        let folder = tempfile::tempdir().unwrap();
        let side = |name: &str, record: &Value| {
            let path = folder.path().join(name);
            std::fs::write(&path, record.to_string()).unwrap();
            ComparedJob::new(SavedFiles::from_path(path.to_str().unwrap()).unwrap().unwrap()).unwrap()
        };
        let a = side("a", &record("1", &[("same", "x"), ("changed", "y"), ("gone", "z")]));
        let b = side("b", &record("2", &[("same", "x"), ("changed", "Y"), ("new", "z")]));
        let differences = compare(&a, &b);
        assert_eq!(differences.fields.keys().collect::<Vec<_>>(), ["image_id"]);
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let expected = FileDifferences {
            same: 1,
            changed: names(&["changed"]),
            only_a: names(&["gone"]),
            only_b: names(&["new"]),
        };
        assert_eq!((differences.results, differences.inputs.same, differences.same), (expected, 1, false));
        assert_eq!(differences.usage["duration_s"], Pair { a: 2.5, b: 2.5 });
        assert!(compare(&a, &a).same);
    }
}
