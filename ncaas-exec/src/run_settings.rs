//! Settings of a container: the record's own, completed from the command line, and the resulting environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ncaas_core::environment::{check_name, parse_variables};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::files;
use ncaas_core::image_labels::parse_path;
use ncaas_core::io_dir::fill_io_dir;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{MountPaths, RunSettings};
use serde::Deserialize;

use crate::args::{JobSettingsArgs, MountArg, SettingsArgs};

/// The variables of this environment that a job needs for access to S3, and those that it may need as well.
pub(crate) const AWS_CREDENTIALS: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
const OPTIONAL_AWS_VARIABLES: [&str; 4] = ["AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"];

/// The default limit of processes and threads: more than analyses need, less than a machine has.
const DEFAULT_PIDS: u64 = 2048;
/// How much output of a job the engine keeps by default, in bytes.
const DEFAULT_LOG_SIZE: u64 = 10 << 30;

/// Settings from the command line, for all records.
#[derive(Debug)]
pub(crate) struct DefaultSettings {
    settings: RunSettings,
    io_dir: PathBuf,
}

impl DefaultSettings {
    /// Settings of development containers. Fails for an invalid variable name, or if a file of variables cannot be
    /// read.
    pub(crate) fn for_development(args: SettingsArgs) -> Result<Self> {
        let mut env = BTreeMap::new();
        for file in &args.env_file {
            env.extend(read_env_file(file)?);
        }
        env.extend(parse_variables(&args.env)?);
        for name in &args.secret_env {
            check_name(name)?;
        }
        let (mount, mounts) = merge_mounts(args.mount)?;
        let settings = RunSettings {
            env: (!env.is_empty()).then_some(env),
            secret_env: non_empty(args.secret_env),
            shm_size: args.shm_size,
            network: args.network,
            user: args.user,
            platform: args.platform,
            mount,
            mounts,
            ..args.resources.settings()
        };
        let io_dir = files::absolute(&args.io_dir)?;
        Ok(DefaultSettings { settings, io_dir })
    }

    /// Settings of jobs. A volume must be `HOST:PATH` or `HOST:PATH:ro`.
    pub(crate) fn for_jobs(args: SettingsArgs, job: JobSettingsArgs, timeout_s: Option<u64>) -> Result<Self> {
        let DefaultSettings { settings, io_dir } = DefaultSettings::for_development(args)?;
        let entrypoint = job.entrypoint.map(|command| {
            shlex::split(&command).ok_or_else(|| {
                Failure::new(
                    Kind::Usage,
                    format!("`--entrypoint {command}` is not a valid command: a quote is missing"),
                )
            })
        });
        let secret_env = if job.aws_credentials {
            let is_set = |name: &&&str| std::env::var_os(name).is_some();
            let optional = OPTIONAL_AWS_VARIABLES.iter().filter(is_set);
            let names = AWS_CREDENTIALS.iter().chain(optional).map(|name| (*name).to_owned());
            Some(settings.secret_env.unwrap_or_default().into_iter().chain(names).collect())
        } else {
            settings.secret_env
        };
        let volumes = job.volume.iter().map(|volume| parse_volume(volume)).collect::<Result<Vec<_>>>()?;
        let settings = RunSettings {
            timeout_s,
            secret_env,
            volumes: non_empty(volumes),
            entrypoint: entrypoint.transpose()?,
            workdir: job.workdir,
            read_only: job.read_only.then_some(true),
            tmpfs: non_empty(job.tmpfs),
            protocol: job.protocol,
            pids: job.pids_limit,
            log_size: job.log_size,
            new_privileges: job.allow_new_privileges.then_some(true),
            cap_add: non_empty(job.cap_add),
            storage: job.storage,
            ..settings
        };
        Ok(DefaultSettings { settings, io_dir })
    }

    /// Sets each setting that the record lacks, and returns all settings.
    pub(crate) fn complete(&self, record: &mut Record) -> Result<RunSettings> {
        fill_io_dir(record, &self.io_dir)?;
        let own = record.fields()?.run.unwrap_or_default();
        let mounts = own.mounts.clone().or_else(|| self.settings.mounts.clone());
        // Each variable of the environment that the record lacks.
        let mut completed = Record::new(&self.settings);
        completed.merge(&own);
        let completed = RunSettings::deserialize(completed.as_map())
            .map_err(|error| Failure::new(Kind::BadRecord, format!("`run`: {error}")))?;
        let settings = RunSettings { mounts, ..completed };
        for name in settings.env.iter().flatten().map(|(name, _)| name) {
            check_name(name)?;
        }
        let parts = settings.mounts.clone().unwrap_or_default();
        let paths = [&settings.mount, &parts.data, &parts.config, &parts.results, &parts.logs].into_iter().flatten();
        // No folder for logs is mounted if its path is empty.
        for path in paths.filter(|path| !path.is_empty()) {
            parse_path(path).map_err(|reason| Failure::new(Kind::BadRecord, format!("`run`: {reason}")))?;
        }
        if settings != RunSettings::default() {
            record.set("run", &settings);
        }
        Ok(settings)
    }
}

/// Sets the limits that every job has unless its settings say otherwise.
pub(crate) fn set_default_limits(record: &mut Record, settings: &mut RunSettings) {
    settings.pids.get_or_insert(DEFAULT_PIDS);
    settings.log_size.get_or_insert(DEFAULT_LOG_SIZE);
    record.set("run", &*settings);
}

fn non_empty<T>(values: Vec<T>) -> Option<Vec<T>> {
    (!values.is_empty()).then_some(values)
}

/// `HOST:PATH:ro` with an absolute host path.
fn parse_volume(text: &str) -> Result<String> {
    let plain = text.strip_suffix(":ro").unwrap_or(text);
    match plain.rsplit_once(':') {
        Some((host, path)) if !host.is_empty() && path.starts_with('/') => {
            Ok(format!("{}:{path}:ro", files::absolute(Path::new(host))?.display()))
        }
        _ => Err(Failure::new(Kind::Usage, format!("`{text}` is not a volume"))
            .hint("write `HOST:PATH:ro`; volumes of jobs are read-only, and results go to the io-dir")),
    }
}

/// Environment variables of a container. Values of secret variables must not be written anywhere.
#[derive(Debug, Default)]
pub(crate) struct ContainerEnvironment {
    /// `NAME=value`, for the engine and the record.
    pub(crate) public: Vec<String>,
    /// `NAME=value`, for the engine only.
    pub(crate) secret: Vec<String>,
}

impl ContainerEnvironment {
    /// Fails with [`Kind::Usage`] if a secret variable is not set in this environment.
    pub(crate) fn new(settings: &RunSettings) -> Result<Self> {
        let public = settings.env.iter().flatten().map(|(name, value)| format!("{name}={value}")).collect();
        let mut secret = Vec::new();
        for name in settings.secret_env.iter().flatten() {
            check_name(name)?;
            let value = std::env::var(name).map_err(|_| {
                Failure::new(Kind::Usage, format!("the secret variable `{name}` is not set"))
                    .hint(format!("`export {name}`, or set it for this command only"))
            })?;
            secret.push(format!("{name}={value}"));
        }
        Ok(ContainerEnvironment { public, secret })
    }
}

/// Reads a file in the docker CLI's format: lines `NAME=value` or `NAME`, comments from `#`, no quoting.
fn read_env_file(path: &Path) -> Result<Vec<(String, String)>> {
    let content = files::read_named(path)?;
    let text = std::str::from_utf8(&content).map_err(|error| {
        Failure::new(
            Kind::Usage,
            format!("`{}` is not encoded in UTF-8 (byte {})", path.display(), error.valid_up_to()),
        )
    })?;
    let lines = text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'));
    parse_variables(lines).map_err(|failure| failure.context(path.display()))
}

/// The path of the io-dir and the paths of single parts, from all `--mount` options.
fn merge_mounts(args: Vec<MountArg>) -> Result<(Option<String>, Option<MountPaths>)> {
    let set_once = |known: &mut Option<String>, path: Option<String>, name: &str| match (&known, path) {
        (Some(_), Some(_)) => Err(Failure::new(Kind::Usage, format!("`--mount` sets the path of {name} twice"))),
        (None, path @ Some(_)) => {
            *known = path;
            Ok(())
        }
        (_, None) => Ok(()),
    };
    let (mut io_dir, mut parts) = (None, None);
    for arg in args {
        match arg {
            MountArg::IoDir(path) => set_once(&mut io_dir, Some(path), "the io-dir")?,
            MountArg::Parts(more) => {
                let parts: &mut MountPaths = parts.get_or_insert_default();
                set_once(&mut parts.data, more.data, "`data`")?;
                set_once(&mut parts.config, more.config, "`config`")?;
                set_once(&mut parts.results, more.results, "`results`")?;
                set_once(&mut parts.logs, more.logs, "`logs`")?;
            }
        }
    }
    Ok((io_dir, parts))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use ncaas_core::quantity::format_limit;

    use super::*;

    #[test]
    fn mount_options_are_merged_and_do_not_contradict_each_other() {
        let data = |path: &str| MountArg::Parts(MountPaths { data: Some(path.to_owned()), ..MountPaths::default() });
        let config = MountArg::Parts(MountPaths { config: Some("/c".to_owned()), ..MountPaths::default() });
        let (io_dir, parts) = merge_mounts(vec![data("/d"), config, MountArg::IoDir("/io".to_owned())]).unwrap();
        let parts = parts.unwrap();
        assert_eq!(
            (io_dir.as_deref(), parts.data.as_deref(), parts.config.as_deref()),
            (Some("/io"), Some("/d"), Some("/c"))
        );
        let twice = merge_mounts(vec![data("/d"), data("/e")]).unwrap_err();
        assert_eq!(twice.message, "`--mount` sets the path of `data` twice");
    }

    #[test]
    fn an_env_file_is_read_as_the_docker_cli_reads_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "# no\n\nA=1 # not a comment\n  B=\"x\"\nNCAAS_NOT_THERE\n").unwrap();
        let variables = read_env_file(file.path()).unwrap();
        assert_eq!(variables, [("A".into(), "1 # not a comment".into()), ("B".into(), "\"x\"".into())]);
        std::fs::write(file.path(), "\u{feff}# no\r\nA=1\r\n").unwrap();
        assert_eq!(read_env_file(file.path()).unwrap(), [("A".into(), "1".into())]);
        std::fs::write(file.path(), "=x\n").unwrap();
        assert_eq!(read_env_file(file.path()).unwrap_err().kind, Kind::Usage);
    }

    #[test]
    fn the_help_of_run_states_the_default_limits() {
        let help = crate::args::Args::command().find_subcommand_mut("run").unwrap().render_long_help().to_string();
        assert!(help.contains(&format!("[default: {DEFAULT_PIDS}]")), "{help}");
        assert!(help.contains(&format!("[default: {}]", format_limit(DEFAULT_LOG_SIZE))), "{help}");
    }
}
