//! Build contexts for `ncaas-build`, and its records.

use std::path::Path;

use serde_json::Value;

use crate::Run;

/// A run of `ncaas-build`.
pub fn ncaas_build() -> Run {
    Run::tool("ncaas-build")
}

/// Writes a file below a folder, with its parent folders.
pub fn write_file(folder: &Path, name: &str, content: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// A context with this Dockerfile.
pub fn build_context(dockerfile: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_file(folder.path(), "Dockerfile", dockerfile);
    folder
}

/// The only record.
#[track_caller]
pub fn single(mut records: Vec<Value>) -> Value {
    assert_eq!(records.len(), 1, "{records:?}");
    records.remove(0)
}

/// The fields of a record, in their order.
pub fn field_names(record: &Value) -> Vec<&str> {
    record.as_object().unwrap().keys().map(String::as_str).collect()
}
