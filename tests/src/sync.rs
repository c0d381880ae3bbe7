//! `ncaas-sync` with an index of the test's own, and its reports.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::Run;

/// A run of ncaas-sync whose index is the test's own.
pub fn ncaas_sync(home: &TempDir, arguments: &[&str]) -> Run {
    Run::tool("ncaas-sync").args(arguments).env("XDG_CACHE_HOME", home.path().join("cache"))
}

/// Writes a file below a folder, with its parent folders.
pub fn write_below(root: &Path, path: &str, content: impl AsRef<[u8]>) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// A count in a report.
pub fn count(record: &Value, field: &str) -> u64 {
    record[field].as_u64().unwrap_or_else(|| panic!("no {field} in {record}"))
}

/// Path and outcome of each file in a report, sorted.
pub fn outcomes_by_path(lines: &[Value]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut all: Vec<_> = lines
        .iter()
        .filter(|line| line.get("outcome").is_some())
        .map(|line| (text(&line["path"]), text(&line["outcome"])))
        .collect();
    all.sort();
    all
}
