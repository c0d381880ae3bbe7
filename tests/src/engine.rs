//! Containers and images of a test, removed when it ends, even if it fails. The docker CLI is the second opinion
//! here: what it sees is what is there.

use std::process::{Command, Stdio};

/// The small image that most tests run: bash and busybox, user `neurocaasdev`, an io-dir.
pub const FIXTURE: &str = "ncaas/fixture:latest";

/// Runs the docker CLI and returns its stdout.
///
/// # Panics
/// When it fails.
#[track_caller]
pub fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// Whether the engine is Podman, whose answers differ here and there: its own truth is asserted then.
pub fn is_podman() -> bool {
    use std::sync::OnceLock;
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| docker(&["version"]).contains("Podman Engine"))
}

/// The option of `docker run` for a log driver that keeps every byte as it was written.
pub fn driver_of_bytes() -> &'static str {
    if is_podman() { "--log-driver=k8s-file" } else { "--log-driver=local" }
}

/// Whether the engine is on another machine, as far as the tools can tell.
pub fn is_remote() -> bool {
    std::env::var("DOCKER_HOST").is_ok_and(|host| host.starts_with("ssh://"))
}

/// Ids of all containers, running or not, that have a label `name=value`.
pub fn containers_labelled(label: &str) -> Vec<String> {
    docker(&["ps", "-aq", "--no-trunc", "--filter", &format!("label={label}")]).lines().map(str::to_owned).collect()
}

/// How often containers with a label are listed and removed at most.
const REMOVALS: usize = 5;

/// Removes what a test leaves when it goes out of scope.
#[derive(Debug, Default)]
pub struct CleanUp {
    containers: Vec<String>,
    labels: Vec<String>,
    images: Vec<String>,
    volumes: Vec<String>,
}

impl CleanUp {
    /// Nothing to remove yet.
    pub fn new() -> Self {
        CleanUp::default()
    }

    /// A container, by name or id.
    pub fn container(&mut self, name: &str) {
        self.containers.push(name.to_owned());
    }

    /// All containers with a label `name=value`: those of a job by `org.neurocaas.job=<job id>`.
    pub fn labelled(&mut self, label: &str) {
        self.labels.push(label.to_owned());
    }

    /// An image.
    pub fn image(&mut self, tag: &str) {
        self.images.push(tag.to_owned());
    }

    /// A volume.
    pub fn volume(&mut self, name: &str) {
        self.volumes.push(name.to_owned());
    }
}

impl Drop for CleanUp {
    fn drop(&mut self) {
        let quietly = |arguments: &[&str]| {
            // It may be gone already.
            drop(Command::new("docker").args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status());
        };
        if !self.containers.is_empty() {
            let containers: Vec<&str> = self.containers.iter().map(String::as_str).collect();
            quietly(&[&["rm", "-fv"][..], &containers].concat());
        }
        for label in &self.labels {
            let list = || {
                let listed = Command::new("docker").args(["ps", "-aq", "--filter", &format!("label={label}")]).output();
                listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
            };
            // While these are removed, the engine may complete one that a killed tool has asked for.
            for _ in 0..REMOVALS {
                let ids = list();
                if ids.is_empty() {
                    break;
                }
                let ids: Vec<&str> = ids.lines().collect();
                quietly(&[&["rm", "-fv"][..], &ids].concat());
            }
        }
        for image in &self.images {
            quietly(&["rmi", "-f", image]);
        }
        for volume in &self.volumes {
            quietly(&["volume", "rm", volume]);
        }
    }
}
