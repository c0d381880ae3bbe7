//! A container as it is to be: everything resolved, nothing asked of the engine yet.
//!
//! One plan is what the engine is sent and what `--dry-run` prints, so that the two cannot differ.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use bollard::models::{ContainerCreateBody, DeviceRequest, HostConfig, HostConfigLogConfig, Mount, MountType};
use ncaas_core::layout::{MODE_PRIVATE, MODE_SHARED};
use ncaas_core::record::fields::RunSettings;
use serde::Serialize;

use crate::settings::Environment;

/// The log driver whose files can be read as fast as a disk can. It is named, and with it a size that no log reaches: an
/// engine set up otherwise would keep a part of the log, or none.
const LOG_DRIVER: &str = "json-file";
const LOG_SIZE: (&str, &str) = ("max-size", "1000t");

/// A container as it is to be.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Its name; the engine's choice where there is none.
    pub(crate) name: Option<String>,
    /// The image, by its id where that is known.
    pub(crate) image: String,
    /// In place of the image's entrypoint.
    pub(crate) entrypoint: Option<Vec<String>>,
    /// In place of the image's command.
    pub(crate) command: Option<Vec<String>>,
    /// What the container runs in the end: the first word of its entrypoint, or where it has none, of its command.
    pub(crate) program: String,
    /// Environment variables.
    pub(crate) environment: Environment,
    /// What of this machine is to be seen in it.
    pub(crate) shared: Vec<Shared>,
    /// Labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// The settings.
    pub(crate) settings: RunSettings,
    /// The GPU that it is given, by the engine's id for it.
    pub(crate) gpu: Option<String>,
    /// Whether its stdin stays open, with nobody writing to it.
    pub(crate) open_stdin: bool,
}

/// What is to be made, as `dry_run` in a record.
#[derive(Debug, Serialize)]
pub(crate) struct Description<'a> {
    /// Name of the container.
    name: Option<&'a str>,
    /// What of this machine it sees, and where.
    mounts: &'a [Shared],
    /// `NAME=value`, beside the image's own; secrets are left out.
    environment: &'a [String],
    /// What the image's entrypoint is given, or what is run where it has none.
    command: Option<&'a [String]>,
    /// A line for a shell that does the same. None for an engine on another machine: what is shared would have to be
    /// copied between making the container and starting it.
    docker_run: Option<String>,
}

/// A file or folder of this machine, and where the container sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Shared {
    /// Absolute path on this machine.
    pub(crate) host: PathBuf,
    /// Absolute path in the container.
    pub(crate) inside: String,
    /// Whether it can only be read there.
    pub(crate) read_only: bool,
}

impl Plan {
    /// The plan as the engine is to be sent it, and what of what is shared it is to mount.
    pub(crate) fn body(&self, mounted: &[Shared]) -> ContainerCreateBody {
        let settings = &self.settings;
        let mounts = mounted.iter().map(|shared| Mount {
            typ: Some(MountType::BIND),
            source: Some(shared.host.to_string_lossy().into_owned()),
            target: Some(shared.inside.clone()),
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
            env: Some(self.environment.open.iter().chain(&self.environment.secret).cloned().collect()),
            user: settings.user.clone(),
            labels: Some(self.labels.clone().into_iter().collect::<HashMap<_, _>>()),
            open_stdin: Some(self.open_stdin),
            host_config: Some(HostConfig {
                mounts: Some(mounts.collect()),
                memory,
                // The same limit for memory and swap together leaves no swap.
                memory_swap: memory,
                nano_cpus: settings.cpus.map(|cpus| (cpus * 1e9) as i64),
                shm_size: settings.shm_size.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
                network_mode: settings.network.clone(),
                device_requests: gpu.map(|gpu| vec![gpu]),
                log_config: Some(HostConfigLogConfig {
                    typ: Some(LOG_DRIVER.to_owned()),
                    config: Some([(LOG_SIZE.0.to_owned(), LOG_SIZE.1.to_owned())].into()),
                }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    /// The plan for people and programs: what `--dry-run` adds to the record. `mounted` as for [`Plan::body`].
    pub(crate) fn description(&self, mounted: bool) -> Description<'_> {
        Description {
            name: self.name.as_deref(),
            mounts: &self.shared,
            environment: &self.environment.open,
            command: self.command.as_deref(),
            docker_run: mounted.then(|| self.docker_line()),
        }
    }

    /// The `docker run` line that does the same, for a shell, after what makes the folders that the container writes
    /// to. A secret stands in it by its name alone.
    pub(crate) fn docker_line(&self) -> String {
        let settings = &self.settings;
        let mut words = vec!["docker".to_owned(), "run".to_owned(), "--detach".to_owned()];
        let mut flag = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                words.extend([format!("--{name}"), value]);
            }
        };
        flag("name", self.name.clone());
        for variable in &self.environment.open {
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
        // The quotes are the CLI's own syntax: the value is a line of CSV.
        flag("gpus", self.gpu.as_ref().map(|id| format!("\"device={id}\"")));
        flag("network", settings.network.clone());
        flag("log-driver", Some(LOG_DRIVER.to_owned()));
        flag("log-opt", Some(format!("{}={}", LOG_SIZE.0, LOG_SIZE.1)));
        flag("user", settings.user.clone());
        flag("platform", settings.platform.clone());
        for (name, value) in &self.labels {
            flag("label", Some(format!("{name}={value}")));
        }
        if self.open_stdin {
            words.push("--interactive".to_owned());
        }
        // The CLI's --entrypoint takes one word; the others come before the command.
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

impl Shared {
    /// As the value of the docker CLI's `--mount`: one line of CSV.
    fn as_mount(&self) -> String {
        let field = |text: String| match text.contains([',', '"', '\n']) {
            true => format!("\"{}\"", text.replace('"', "\"\"")),
            false => text,
        };
        let mut fields = vec![
            "type=bind".to_owned(),
            field(format!("source={}", self.host.display())),
            field(format!("target={}", self.inside)),
        ];
        if self.read_only {
            fields.push("readonly".to_owned());
        }
        fields.join(",")
    }
}

/// Words as a line that a shell reads as these words. What no shell can be given, a NUL, is left out.
pub(crate) fn shell_line(words: &[String]) -> String {
    let quoted = words.iter().map(|word| {
        let word = word.replace('\0', "");
        shlex::try_quote(&word).map(std::borrow::Cow::into_owned).unwrap_or(word)
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            name: Some("job-1".to_owned()),
            image: "sha256:00".to_owned(),
            command: Some(vec!["run.sh".to_owned(), "a b'$(c)".to_owned()]),
            environment: Environment { open: vec!["A=1".to_owned()], secret: vec!["TOKEN=hunter2".to_owned()] },
            shared: vec![Shared { host: "/data/x,y".into(), inside: "/io/x,y".to_owned(), read_only: true }],
            settings: RunSettings { memory: Some(1 << 20), ..RunSettings::default() },
            ..Plan::default()
        }
    }

    #[test]
    fn the_docker_line_means_the_same_and_names_no_secret() {
        let line = plan().docker_line();
        assert!(!line.contains("hunter2"));
        let words = shlex::split(&line).unwrap_or_default();
        assert_eq!(&words[words.len() - 3..], ["sha256:00", "run.sh", "a b'$(c)"]);
        assert!(words.contains(&"type=bind,\"source=/data/x,y\",\"target=/io/x,y\",readonly".to_owned()));
        assert!(words.windows(2).any(|pair| pair == ["--env", "TOKEN"]));
    }

    #[test]
    fn the_engine_is_sent_the_secret_and_no_swap() {
        let body = plan().body(&plan().shared);
        assert!(body.env.is_some_and(|env| env.contains(&"TOKEN=hunter2".to_owned())));
        let host = body.host_config.unwrap_or_default();
        assert_eq!((host.memory, host.memory_swap), (Some(1 << 20), Some(1 << 20)));
        assert_eq!(host.mounts.map(|mounts| mounts.len()), Some(1));
        assert!(plan().body(&[]).host_config.is_some_and(|host| host.mounts.is_some_and(|mounts| mounts.is_empty())));
    }
}
