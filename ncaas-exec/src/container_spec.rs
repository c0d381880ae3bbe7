//! The complete specification of a container that does not exist yet.
//!
//! The request to the engine and the output of `--dry-run` are both made from it, so that they cannot differ.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use bollard::models::{ContainerCreateBody, DeviceRequest, HostConfig, HostConfigLogConfig, Mount, MountType};
use ncaas_core::engine::labels;
use ncaas_core::layout::{MODE_PRIVATE, MODE_SHARED};
use ncaas_core::record::Record;
use ncaas_core::record::fields::RunSettings;
use ncaas_core::text::shell_line;
use serde::Serialize;

use crate::run_settings::ContainerEnvironment;

/// The log driver whose files `ncaas-logs` reads directly. Driver and size are set explicitly: the engine's own
/// configuration could discard more of the log, or all of it.
const LOG_DRIVER: &str = "json-file";
/// The engine keeps a log in this many files, and drops the oldest when all are full.
const LOG_FILES: u64 = 10;
/// The size of a log without limit, as the engine reads it.
const UNLIMITED_LOG: &str = "1000t";

/// Capabilities of Docker's default set that jobs do not get: those that Podman does not give either.
const DROPPED_CAPABILITIES: [&str; 3] = ["AUDIT_WRITE", "MKNOD", "NET_RAW"];
const NO_NEW_PRIVILEGES: &str = "no-new-privileges";

#[derive(Debug, Default)]
pub(crate) struct ContainerSpec {
    /// Name; the engine chooses one if this is `None`.
    pub(crate) name: Option<String>,
    /// The image, by id if that is known.
    pub(crate) image: String,
    /// Replaces the image's entrypoint.
    pub(crate) entrypoint: Option<Vec<String>>,
    /// Replaces the image's command.
    pub(crate) command: Option<Vec<String>>,
    /// The program that the container executes: first word of the entrypoint, or of the command if there is none.
    pub(crate) program: String,
    pub(crate) environment: ContainerEnvironment,
    /// Files and folders of this machine that the container gets.
    pub(crate) shared: Vec<SharedPath>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) settings: RunSettings,
    /// The engine's id of the GPU that the container gets.
    pub(crate) gpu: Option<String>,
    /// Whether stdin stays open, although nothing is connected to it.
    pub(crate) open_stdin: bool,
    /// Replaces the signal by which the image is stopped.
    pub(crate) stop_signal: Option<String>,
    /// Whether the container has the restrictions of a job.
    pub(crate) is_job: bool,
}

/// The specification as `dry_run` in a record.
#[derive(Debug, Serialize)]
pub(crate) struct DryRun<'a> {
    name: Option<&'a str>,
    /// Files and folders of this machine, and their paths in the container.
    mounts: &'a [SharedPath],
    /// `NAME=value`, beside the image's own variables; without secrets.
    environment: &'a [String],
    /// Arguments of the image's entrypoint, or the whole command if it has none.
    command: Option<&'a [String]>,
    /// An equivalent shell command. `None` for a job that would be refused, and for a remote engine: the inputs would
    /// have to be copied between `docker create` and `docker start`.
    docker_run: Option<String>,
}

/// A file or folder of this machine and its path in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct SharedPath {
    /// Absolute path on this machine.
    pub(crate) host: PathBuf,
    /// Absolute path in the container.
    #[serde(rename = "inside")]
    pub(crate) container: String,
    /// Whether the container can only read it.
    pub(crate) read_only: bool,
}

impl ContainerSpec {
    /// The request that creates the container. `mounted` are the shared paths that the engine mounts.
    pub(crate) fn create_body(&self, mounted: &[SharedPath]) -> ContainerCreateBody {
        let settings = &self.settings;
        let mounts = mounted.iter().map(|shared| Mount {
            typ: Some(MountType::BIND),
            source: Some(shared.host.to_string_lossy().into_owned()),
            target: Some(shared.container.clone()),
            read_only: Some(shared.read_only),
            ..Default::default()
        });
        let memory = settings.memory.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
        let gpu = self.gpu.as_ref().map(|id| DeviceRequest {
            driver: Some(String::new()),
            device_ids: Some(vec![id.clone()]),
            capabilities: Some(vec![vec!["gpu".to_owned()]]),
            ..Default::default()
        });
        ContainerCreateBody {
            image: Some(self.image.clone()),
            entrypoint: self.entrypoint.clone(),
            cmd: self.command.clone(),
            env: Some(self.environment.public.iter().chain(&self.environment.secret).cloned().collect()),
            user: settings.user.clone(),
            working_dir: settings.workdir.clone(),
            labels: Some(self.labels.clone().into_iter().collect::<HashMap<_, _>>()),
            open_stdin: Some(self.open_stdin),
            stop_signal: self.stop_signal.clone(),
            host_config: Some(HostConfig {
                mounts: Some(mounts.collect()),
                memory,
                // The limit for memory and swap together is the same: the container gets no swap.
                memory_swap: memory,
                nano_cpus: settings.cpus.map(|cpus| (cpus * 1e9) as i64),
                shm_size: settings.shm_size.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
                network_mode: settings.network.clone(),
                device_requests: gpu.map(|gpu| vec![gpu]),
                log_config: Some(HostConfigLogConfig {
                    typ: Some(LOG_DRIVER.to_owned()),
                    config: Some(self.log_options().into_iter().collect()),
                }),
                pids_limit: settings.pids.map(|pids| i64::try_from(pids).ok().filter(|pids| *pids > 0).unwrap_or(-1)),
                security_opt: self.forbids_new_privileges().then(|| vec![NO_NEW_PRIVILEGES.to_owned()]),
                cap_drop: self.is_job.then(|| self.dropped_capabilities()),
                cap_add: settings.cap_add.clone(),
                readonly_rootfs: settings.read_only,
                tmpfs: settings.tmpfs.as_ref().map(|paths| paths.iter().map(|path| split_tmpfs(path)).collect()),
                storage_opt: settings.storage.map(|bytes| [("size".to_owned(), bytes.to_string())].into()),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    /// Puts the record into the container's labels: the container is found by it again.
    pub(crate) fn label_record(&mut self, record: &Record) {
        let line = String::from_utf8_lossy(record.to_line().trim_ascii_end()).into_owned();
        self.labels.insert(labels::RECORD.to_owned(), line);
    }

    fn log_options(&self) -> Vec<(String, String)> {
        let options = match self.settings.log_size.filter(|bytes| *bytes > 0) {
            Some(bytes) => {
                vec![("max-size", (bytes / LOG_FILES).max(1).to_string()), ("max-file", LOG_FILES.to_string())]
            }
            None => vec![("max-size", UNLIMITED_LOG.to_owned())],
        };
        options.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn forbids_new_privileges(&self) -> bool {
        self.is_job && self.settings.new_privileges != Some(true)
    }

    fn dropped_capabilities(&self) -> Vec<String> {
        let is_added = |capability: &str| {
            let added = self.settings.cap_add.iter().flatten().map(|name| name.trim_start_matches("CAP_"));
            added.into_iter().any(|name| name == capability || name == "ALL")
        };
        DROPPED_CAPABILITIES.iter().filter(|name| !is_added(name)).map(|name| (*name).to_owned()).collect()
    }

    /// The output of `--dry-run`. `has_equivalent` says whether a `docker run` command can do the same.
    pub(crate) fn dry_run(&self, has_equivalent: bool) -> DryRun<'_> {
        DryRun {
            name: self.name.as_deref(),
            mounts: &self.shared,
            environment: &self.environment.public,
            command: self.command.as_deref(),
            docker_run: has_equivalent.then(|| self.docker_run_line()),
        }
    }

    /// The equivalent `docker run` command, preceded by commands that make the folders which the container writes to.
    /// Secrets appear by name only.
    pub(crate) fn docker_run_line(&self) -> String {
        let settings = &self.settings;
        let mut words = vec!["docker".to_owned(), "run".to_owned(), "--detach".to_owned()];
        let mut flag = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                words.extend([format!("--{name}"), value]);
            }
        };
        flag("name", self.name.clone());
        for variable in &self.environment.public {
            flag("env", Some(variable.clone()));
        }
        for variable in &self.environment.secret {
            flag("env", variable.split_once('=').map(|(name, _)| name.to_owned()));
        }
        for shared in &self.shared {
            flag("mount", Some(shared.as_mount()));
        }
        flag("memory", settings.memory.map(|bytes| bytes.to_string()));
        flag("memory-swap", settings.memory.map(|bytes| bytes.to_string()));
        flag("cpus", settings.cpus.map(|cpus| cpus.to_string()));
        flag("shm-size", settings.shm_size.map(|bytes| bytes.to_string()));
        // The CLI reads the value as CSV: the quotes belong to it.
        flag("gpus", self.gpu.as_ref().map(|id| format!("\"device={id}\"")));
        flag("network", settings.network.clone());
        flag("log-driver", Some(LOG_DRIVER.to_owned()));
        for (name, value) in self.log_options() {
            flag("log-opt", Some(format!("{name}={value}")));
        }
        flag("pids-limit", settings.pids.filter(|pids| *pids > 0).map(|pids| pids.to_string()));
        flag("security-opt", self.forbids_new_privileges().then(|| NO_NEW_PRIVILEGES.to_owned()));
        for capability in self.is_job.then(|| self.dropped_capabilities()).into_iter().flatten() {
            flag("cap-drop", Some(capability));
        }
        for capability in settings.cap_add.iter().flatten() {
            flag("cap-add", Some(capability.clone()));
        }
        for path in settings.tmpfs.iter().flatten() {
            flag("tmpfs", Some(path.clone()));
        }
        flag("storage-opt", settings.storage.map(|bytes| format!("size={bytes}")));
        flag("workdir", settings.workdir.clone());
        flag("user", settings.user.clone());
        flag("platform", settings.platform.clone());
        for (name, value) in &self.labels {
            flag("label", Some(format!("{name}={value}")));
        }
        if self.open_stdin {
            words.push("--interactive".to_owned());
        }
        if settings.read_only == Some(true) {
            words.push("--read-only".to_owned());
        }
        // The CLI's --entrypoint takes one word: the other words come before the command.
        let mut rest = self.entrypoint.clone().unwrap_or_default();
        if !rest.is_empty() {
            words.extend(["--entrypoint".to_owned(), rest.remove(0)]);
        }
        words.push(self.image.clone());
        words.extend(rest);
        words.extend(self.command.iter().flatten().cloned());
        let written: Vec<&Path> =
            self.shared.iter().filter(|shared| !shared.read_only).map(|shared| shared.host.as_path()).collect();
        let above = written.iter().filter_map(|folder| folder.parent()).collect::<BTreeSet<_>>();
        let folders = above
            .into_iter()
            .map(|folder| (MODE_PRIVATE, folder))
            .chain(written.iter().map(|folder| (MODE_SHARED, *folder)));
        let make = folders.map(|(mode, folder)| {
            let words = ["install", "-d", "-m", &format!("{mode:o}"), &folder.to_string_lossy()].map(str::to_owned);
            shell_line(&words)
        });
        make.chain([shell_line(&words)]).collect::<Vec<_>>().join(" && ")
    }
}

impl SharedPath {
    /// The value of the docker CLI's `--mount`, which is CSV.
    fn as_mount(&self) -> String {
        let field = |text: String| {
            if text.contains([',', '"', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
        };
        let mut fields = vec![
            "type=bind".to_owned(),
            field(format!("source={}", self.host.display())),
            field(format!("target={}", self.container)),
        ];
        if self.read_only {
            fields.push("readonly".to_owned());
        }
        fields.join(",")
    }
}

/// `PATH:OPTIONS` of a file system in memory.
fn split_tmpfs(text: &str) -> (String, String) {
    let (path, options) = text.split_once(':').unwrap_or((text, ""));
    (path.to_owned(), options.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> ContainerSpec {
        ContainerSpec {
            name: Some("job-1".to_owned()),
            image: "sha256:00".to_owned(),
            command: Some(vec!["run.sh".to_owned(), "a b'$(c)".to_owned()]),
            environment: ContainerEnvironment {
                public: vec!["A=1".to_owned()],
                secret: vec!["TOKEN=hunter2".to_owned()],
            },
            shared: vec![SharedPath { host: "/data/x,y".into(), container: "/io/x,y".to_owned(), read_only: true }],
            settings: RunSettings { memory: Some(1 << 20), ..RunSettings::default() },
            ..ContainerSpec::default()
        }
    }

    #[test]
    fn the_docker_run_line_is_equivalent_and_contains_no_secret() {
        let line = spec().docker_run_line();
        assert!(!line.contains("hunter2"));
        let words = shlex::split(&line).unwrap_or_default();
        assert_eq!(&words[words.len() - 3..], ["sha256:00", "run.sh", "a b'$(c)"]);
        assert!(words.contains(&"type=bind,\"source=/data/x,y\",\"target=/io/x,y\",readonly".to_owned()));
        assert!(words.windows(2).any(|pair| pair == ["--env", "TOKEN"]));
    }

    #[test]
    fn a_job_has_limits_that_its_settings_lift() {
        let job = ContainerSpec {
            is_job: true,
            settings: RunSettings { log_size: Some(1000), pids: Some(7), ..RunSettings::default() },
            ..spec()
        };
        let host = job.create_body(&[]).host_config.unwrap_or_default();
        assert_eq!((host.pids_limit, host.security_opt), (Some(7), Some(vec![NO_NEW_PRIVILEGES.to_owned()])));
        assert_eq!(host.cap_drop.map(|names| names.len()), Some(3));
        let options = host.log_config.and_then(|log| log.config).unwrap_or_default();
        assert_eq!((options["max-size"].as_str(), options["max-file"].as_str()), ("100", "10"));
        let lifted = RunSettings {
            pids: Some(0),
            new_privileges: Some(true),
            cap_add: Some(vec!["CAP_NET_RAW".to_owned()]),
            ..RunSettings::default()
        };
        let host = ContainerSpec { settings: lifted, ..job }.create_body(&[]).host_config.unwrap_or_default();
        assert_eq!((host.pids_limit, host.security_opt), (Some(-1), None));
        assert_eq!(host.cap_drop, Some(vec!["AUDIT_WRITE".to_owned(), "MKNOD".to_owned()]));
    }

    #[test]
    fn the_create_request_contains_the_secret_and_allows_no_swap() {
        let body = spec().create_body(&spec().shared);
        assert!(body.env.is_some_and(|env| env.contains(&"TOKEN=hunter2".to_owned())));
        let host = body.host_config.unwrap_or_default();
        assert_eq!((host.memory, host.memory_swap), (Some(1 << 20), Some(1 << 20)));
        assert_eq!(host.mounts.map(|mounts| mounts.len()), Some(1));
        assert!(
            spec().create_body(&[]).host_config.is_some_and(|host| host.mounts.is_some_and(|mounts| mounts.is_empty()))
        );
    }
}
