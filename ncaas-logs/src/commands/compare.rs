//! `ncaas-logs compare`: shows in what two jobs differ.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ncaas_core::engine::LazyEngine;
use ncaas_core::failure::Result;
use ncaas_core::layout::base_name;
use ncaas_core::pipe::{self, json_line};
use ncaas_core::quantity::{format_bytes, format_duration};
use ncaas_core::record::Record;
use ncaas_core::record::fields::ResultFile;
use ncaas_core::table::{Table, shows_table, terminal_width};
use ncaas_core::text::shorten;
use ncaas_core::tool::{ExitStatus, Tool};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::args::CompareArgs;
use crate::targets::find_saved_record;

/// The fields of a record that decide what a job does.
const FIELDS: [&str; 7] = ["image", "image_id", "command", "configname", "dataname", "run", "container.status"];

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
type Files = BTreeMap<String, (u64, Option<String>)>;

pub(crate) async fn compare_records(tool: Tool, args: CompareArgs) -> Result<ExitStatus> {
    let engines = LazyEngine::default();
    let [a, b] = [read_side(&engines, &args.a).await?, read_side(&engines, &args.b).await?];
    let comparison = compare(&a, &b);
    let is_table = shows_table(args.records.json);
    let lines = if is_table { to_table(&comparison, terminal_width()).into_bytes() } else { json_line(&comparison) };
    pipe::print(tool, lines).await
}

/// One of the two jobs.
struct Side {
    path: PathBuf,
    record: Record,
    results: Files,
}

async fn read_side(engines: &LazyEngine, argument: &str) -> Result<Side> {
    let (path, record) = find_saved_record(engines, argument).await?;
    Ok(Side::new(&path, record))
}

impl Side {
    fn new(path: &Path, record: Record) -> Self {
        let listed = record.results_file().and_then(|listed| {
            // It lies beside the record, and in the record's io-dir.
            let beside = path.parent()?.join(base_name(&listed.path));
            let of_record = record.text("io_dir").map(|io_dir| Path::new(io_dir).join(&listed.path));
            std::fs::read(beside).ok().or_else(|| std::fs::read(of_record?).ok())
        });
        let lines = listed.as_deref().unwrap_or_default().split(|&byte| byte == b'\n');
        let listed = lines.filter_map(|line| serde_json::from_slice::<ResultFile>(line).ok());
        let results = listed.chain(record.results().unwrap_or_default()).map(|result| {
            let name = result.path.split_once("/process_results/").map_or(result.path.as_str(), |(_, name)| name);
            (name.to_owned(), (result.size, result.sha256))
        });
        Side { path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()), results: results.collect(), record }
    }
}

fn compare(a: &Side, b: &Side) -> Comparison {
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
    let inputs_of = |side: &Side| -> Files {
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
        fields,
        inputs,
        results,
    }
}

fn compare_files(a: &Files, b: &Files) -> FileDifferences {
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

/// The comparison as a table that fits a terminal.
fn to_table(comparison: &Comparison, width: usize) -> String {
    let mut table = Table::new(&["", "A", "B"]).fit(width);
    table.push(["record".to_owned(), comparison.a.clone(), comparison.b.clone()]);
    for (name, Pair { a, b }) in &comparison.fields {
        let text = |value: &Value| match value {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.clone(),
            other => shorten(&other.to_string(), 200),
        };
        table.push([name.clone(), text(a), text(b)]);
    }
    for (kind, files) in [("input", &comparison.inputs), ("result", &comparison.results)] {
        let row = |name: &String, a: &str, b: &str| [format!("{kind} {name}"), a.to_owned(), b.to_owned()];
        files.changed.iter().for_each(|name| table.push(row(name, "differs", "differs")));
        files.only_a.iter().for_each(|name| table.push(row(name, "exists", "-")));
        files.only_b.iter().for_each(|name| table.push(row(name, "-", "exists")));
        if files.same > 0 {
            table.push([format!("{} {kind}s", files.same), "same".to_owned(), "same".to_owned()]);
        }
    }
    for (name, Pair { a, b }) in &comparison.usage {
        let text = |value: f64| if name.ends_with("_s") { format_duration(value) } else { format_bytes(value as u64) };
        let name = name.trim_end_matches("_s").trim_end_matches("_bytes").replace('_', " ");
        table.push([name, text(*a), text(*b)]);
    }
    let same = if comparison.same { "The jobs do not differ.\n" } else { "" };
    format!("{table}{same}")
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
            Side::new(&path, crate::saved_files::read_record(&path).unwrap())
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
