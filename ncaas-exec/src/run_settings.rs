//! Settings of a container: the record's own, completed from the command line, and the resulting environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::files;
use ncaas_core::io_dir::{DEFAULT_IO_DIR, fill_io_dir};
use ncaas_core::record::Record;
use ncaas_core::record::fields::RunSettings;

use crate::args::SettingsArgs;

/// Settings from the command line, for all records.
#[derive(Debug)]
pub(crate) struct DefaultSettings {
    settings: RunSettings,
    io_dir: PathBuf,
}

impl DefaultSettings {
    /// # Errors
    /// [`Kind::Usage`] for an invalid variable name; or a file of variables cannot be read.
    pub(crate) fn new(args: SettingsArgs, timeout_s: Option<u64>) -> Result<Self> {
        let mut env = BTreeMap::new();
        for file in &args.env_file {
            env.extend(read_env_file(file)?);
        }
        for text in &args.env {
            env.extend(parse_variable(text)?);
        }
        for name in &args.secret_env {
            check_name(name)?;
        }
        if args.mount.as_ref().is_some_and(|path| !path.starts_with('/')) {
            return Err(Failure::new(Kind::Usage, "`--mount` must be an absolute path in the container"));
        }
        let settings = RunSettings {
            env: (!env.is_empty()).then_some(env),
            secret_env: (!args.secret_env.is_empty()).then_some(args.secret_env),
            timeout_s,
            memory: args.memory,
            cpus: args.cpus,
            shm_size: args.shm_size,
            gpus: args.gpus.map(Into::into),
            network: args.network,
            user: args.user,
            platform: args.platform,
            mount: args.mount,
        };
        let io_dir = files::absolute(args.io_dir.as_deref().unwrap_or(Path::new(DEFAULT_IO_DIR)))?;
        Ok(DefaultSettings { settings, io_dir })
    }

    /// Sets each setting that the record lacks, and returns all settings.
    pub(crate) fn complete(&self, record: &mut Record) -> Result<RunSettings> {
        fill_io_dir(record, &self.io_dir)?;
        let own = record.known()?.run.unwrap_or_default();
        let flags = self.settings.clone();
        let mut env = flags.env.unwrap_or_default();
        env.extend(own.env.unwrap_or_default());
        for name in env.keys() {
            check_name(name)?;
        }
        let settings = RunSettings {
            env: (!env.is_empty()).then_some(env),
            secret_env: own.secret_env.or(flags.secret_env),
            timeout_s: own.timeout_s.or(flags.timeout_s),
            memory: own.memory.or(flags.memory),
            cpus: own.cpus.or(flags.cpus),
            shm_size: own.shm_size.or(flags.shm_size),
            gpus: own.gpus.or(flags.gpus),
            network: own.network.or(flags.network),
            user: own.user.or(flags.user),
            platform: own.platform.or(flags.platform),
            mount: own.mount.or(flags.mount),
        };
        if settings != RunSettings::default() {
            record.set("run", &settings);
        }
        Ok(settings)
    }
}

/// Environment variables of a container. Values of secret variables must not be written anywhere.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    /// `NAME=value`, for the engine and the record.
    pub(crate) public: Vec<String>,
    /// `NAME=value`, for the engine only.
    pub(crate) secret: Vec<String>,
}

impl Environment {
    /// # Errors
    /// [`Kind::Usage`] if a secret variable is not set in this environment.
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
        Ok(Environment { public, secret })
    }
}

/// Parses `NAME=value`, or `NAME` for its value in this environment. As in the docker CLI, an unset `NAME` gives `None`.
pub(crate) fn parse_variable(text: &str) -> Result<Option<(String, String)>> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, std::env::var(text).ok()),
    };
    check_name(name)?;
    Ok(value.map(|value| (name.to_owned(), value)))
}

fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.contains(['=', '\0']) || name.chars().any(char::is_whitespace) {
        return Err(Failure::new(Kind::Usage, format!("`{name}` is not a valid variable name")));
    }
    Ok(())
}

/// Reads a file in the docker CLI's format: lines `NAME=value` or `NAME`, comments from `#`, no quoting.
fn read_env_file(path: &Path) -> Result<Vec<(String, String)>> {
    let text = std::fs::read_to_string(path).doing("read", path)?;
    let lines = text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let variables = lines.map(|line| parse_variable(line).map_err(|failure| failure.context(path.display())));
    Ok(variables.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot write its file has failed")]
mod tests {
    use super::*;

    #[test]
    fn an_env_file_is_read_as_the_docker_cli_reads_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "# no\n\nA=1 # not a comment\n  B=\"x\"\nNCAAS_NOT_THERE\n").unwrap();
        let variables = read_env_file(file.path()).unwrap();
        assert_eq!(variables, [("A".into(), "1 # not a comment".into()), ("B".into(), "\"x\"".into())]);
        std::fs::write(file.path(), "=x\n").unwrap();
        assert_eq!(read_env_file(file.path()).unwrap_err().kind, Kind::Usage);
    }
}
