//! ncaas-build: images from a Dockerfile, a base or a container, to and from registries.

mod base;
mod check;
mod commit;
mod dockerignore;
mod image;
mod registry;
mod without_buildkit;

use std::path::Path;

use ncaas_tests::Run;
use serde_json::Value;

fn build() -> Run {
    Run::tool("ncaas-build")
}

fn write(folder: &Path, name: &str, content: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// A context with this Dockerfile.
fn context(dockerfile: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "Dockerfile", dockerfile);
    folder
}

#[track_caller]
fn one(mut records: Vec<Value>) -> Value {
    assert_eq!(records.len(), 1, "{records:?}");
    records.remove(0)
}

/// The fields of a record, in their order.
fn fields(record: &Value) -> Vec<&str> {
    record.as_object().unwrap().keys().map(String::as_str).collect()
}
