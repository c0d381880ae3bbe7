//! Containers that print, and `ncaas-logs lines` on them.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use serde_json::Value;

use crate::engine::{CleanUp, FIXTURE, docker};
use crate::{Ran, Run, pipe, tools, unique};

/// How long these tests wait for a condition.
pub const LOGS_LIMIT: Duration = Duration::from_secs(60);

/// Runs a script in a container, with more arguments for `docker run`, and returns its name.
pub fn start_container(clean_up: &mut CleanUp, options: &[&str], script: &str) -> String {
    let name = unique("logs");
    clean_up.container(&name);
    docker(&[&["run", "-d", "--network=none", "--name", &name], options, &[FIXTURE, "bash", "-c", script]].concat());
    name
}

/// The same, to its end.
pub fn run_container(clean_up: &mut CleanUp, options: &[&str], script: &str) -> String {
    let name = start_container(clean_up, options, script);
    docker(&["wait", &name]);
    name
}

/// Runs `ncaas-logs lines`.
pub fn logs_lines(arguments: &[&str]) -> Ran {
    Run::tool("ncaas-logs").arg("lines").args(arguments).run()
}

/// `ncaas-logs` as somebody who may use the engine, but not read its files.
pub fn logs_without_file_access(arguments: &[&str]) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let tool = folder.path().join("ncaas-logs");
    std::fs::copy(tools().join("ncaas-logs"), &tool).unwrap();
    let host = std::env::var("DOCKER_HOST").unwrap_or("unix:///var/run/docker.sock".to_owned());
    let group = std::fs::metadata(host.strip_prefix("unix://").unwrap()).unwrap().gid();
    let quoted: Vec<String> = arguments.iter().map(|argument| format!("'{argument}'")).collect();
    pipe(&format!(
        "HOME={0} setpriv --reuid=65534 --regid=65534 --groups={group} {0}/ncaas-logs {1}",
        folder.path().display(),
        quoted.join(" ")
    ))
}

/// A field of each line; empty where it is not text.
pub fn text_fields<'a>(lines: &'a [Value], name: &str) -> Vec<&'a str> {
    lines.iter().map(|line| line[name].as_str().unwrap_or("")).collect()
}
