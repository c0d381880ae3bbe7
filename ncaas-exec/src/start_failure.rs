//! Why a container, or a command in a container, could not be started.
//!
//! The engines' messages differ from version to version, say `no such file` for a script whose interpreter is missing,
//! and some engines start the container of such a script, which then exits with 1. So the file is examined here. Each
//! request takes 50 to 90 ms: system programs are examined only after a failure.

use ncaas_core::engine::Engine;
use ncaas_core::engine::path::{PathInfo, PathKind};
use ncaas_core::failure::{Failure, Kind, Result};

/// The search path if the environment has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How much of a script is read to find its interpreter, in bytes: as much as the kernel reads.
const FIRST_LINE: u64 = 256;

/// Folders of system programs.
const SYSTEM_FOLDERS: [&str; 6] = ["/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/", "/usr/local/bin/", "/usr/local/sbin/"];

/// Whether a command is to be examined before the start: any path outside the system's folders.
pub(crate) fn needs_examination(command: &str) -> bool {
    command.contains('/') && !SYSTEM_FOLDERS.iter().any(|folder| command.starts_with(folder))
}

/// Examines the program of a created container.
///
/// # Errors
/// [`Kind::ScriptNotFound`], [`Kind::ScriptNotExecutable`] or [`Kind::BadInterpreter`] if it cannot be started.
pub(crate) async fn examine_program(engine: &Engine, id: &str) -> Result<()> {
    let no_cause = Failure::new(Kind::EngineError, "");
    match explain_start(engine, id, no_cause.clone()).await {
        found if found == no_cause => Ok(()),
        found => Err(found),
    }
}

/// The cause of a container's failed start if it can be found, else `failure`.
pub(crate) async fn explain_start(engine: &Engine, id: &str, failure: Failure) -> Failure {
    let Ok(inspected) = engine.inspect(id).await else { return failure };
    let config = inspected.config.unwrap_or_default();
    let command = inspected.path.unwrap_or_default();
    let search = CommandSearch {
        engine,
        id,
        workdir: config.working_dir.as_deref().unwrap_or_default(),
        env: config.env.as_deref().unwrap_or_default(),
    };
    search.explain(&command, failure).await
}

/// The cause of a failed start of a command in a running container if it can be found, else `failure`.
pub(crate) async fn explain_exec(
    engine: &Engine,
    id: &str,
    command: &str,
    workdir: Option<&str>,
    failure: Failure,
) -> Failure {
    let Ok(inspected) = engine.inspect(id).await else { return failure };
    let config = inspected.config.unwrap_or_default();
    let search = CommandSearch {
        engine,
        id,
        workdir: workdir.or(config.working_dir.as_deref()).unwrap_or_default(),
        env: config.env.as_deref().unwrap_or_default(),
    };
    search.explain(command, failure).await
}

/// How the kernel finds a command in a container.
struct CommandSearch<'a> {
    engine: &'a Engine,
    id: &'a str,
    workdir: &'a str,
    env: &'a [String],
}

impl CommandSearch<'_> {
    /// The cause that is found, else `failure`.
    async fn explain(&self, command: &str, failure: Failure) -> Failure {
        match self.find(command).await {
            Ok(None) if command.is_empty() => failure,
            Ok(None) => Failure::new(Kind::ScriptNotFound, format!("cannot start `{command}`: it is not in the image"))
                .hint(if command.contains('/') {
                    "check the path: a relative path starts at the image's working directory"
                } else {
                    "a command without a `/` is searched for in the image's PATH; write `./NAME` for a script"
                }),
            Ok(Some((path, info))) => self.examine(command, &path, &info).await.unwrap_or(failure),
            Err(_) => failure,
        }
    }

    /// The file of a command, if it exists.
    async fn find(&self, command: &str) -> Result<Option<(String, PathInfo)>> {
        if command.contains('/') {
            return self.engine.stat_target(self.id, &self.absolute(command)).await;
        }
        let path = self.env.iter().rev().find_map(|variable| variable.strip_prefix("PATH="));
        let mut found = None;
        for folder in path.unwrap_or(DEFAULT_PATH).split(':') {
            let candidate = self.absolute(&format!("{folder}/{command}"));
            match self.engine.stat_target(self.id, &candidate).await? {
                Some((path, info)) if info.is_executable() => return Ok(Some((path, info))),
                other => found = found.or(other),
            }
        }
        Ok(found)
    }

    fn absolute(&self, path: &str) -> String {
        if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", self.workdir.trim_end_matches('/')) }
    }

    /// Why an existing file cannot be executed, if it cannot.
    async fn examine(&self, command: &str, path: &str, info: &PathInfo) -> Option<Failure> {
        let cannot = format!("cannot start `{command}`");
        if info.kind == PathKind::Directory {
            return Some(Failure::new(Kind::ScriptNotFound, format!("{cannot}: it is a directory")));
        }
        if !info.is_executable() {
            return Some(Failure::new(Kind::ScriptNotExecutable, format!("{cannot}: it is not executable")));
        }
        let start = self.engine.read_file(self.id, path, FIRST_LINE).await.ok()?;
        match file_format(&start) {
            FileFormat::Binary => None,
            FileFormat::Unknown => Some(
                Failure::new(Kind::BadInterpreter, format!("{cannot}: it has no `#!` line"))
                    .hint("start the script with a line such as `#!/bin/bash`"),
            ),
            FileFormat::Script(interpreter, argument) if interpreter.ends_with('\r') || argument.ends_with('\r') => {
                Some(
                    Failure::new(
                        Kind::BadInterpreter,
                        format!("{cannot}: its lines end in CR LF (Windows line endings)"),
                    )
                    .hint("`sed -i 's/\\r$//' SCRIPT`, and build or commit the image again"),
                )
            }
            FileFormat::Script(interpreter, argument) => {
                // The interpreter is the program that `env` searches for.
                let wanted = if interpreter.ends_with("/env") && !argument.is_empty() && !argument.starts_with('-') {
                    argument
                } else {
                    interpreter
                };
                let missing = matches!(self.find(&wanted).await, Ok(None));
                missing.then(|| {
                    let message = format!("{cannot}: its interpreter `{wanted}` is not in the image");
                    Failure::new(Kind::BadInterpreter, message)
                        .hint("install the interpreter in the image, or change the script's `#!` line")
                })
            }
        }
    }
}

/// The format of an executable file.
#[derive(Debug, PartialEq, Eq)]
enum FileFormat {
    /// An ELF binary.
    Binary,
    /// A script: interpreter, and its argument (empty if there is none).
    Script(String, String),
    /// Neither.
    Unknown,
}

fn file_format(start: &[u8]) -> FileFormat {
    if start.starts_with(b"\x7fELF") {
        return FileFormat::Binary;
    }
    let Some(line) = start.strip_prefix(b"#!") else { return FileFormat::Unknown };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line).into_owned();
    // To the kernel a carriage return is a part of the name, not white space.
    let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
    match words.next() {
        Some(name) => FileFormat::Script(name.to_owned(), words.next().unwrap_or_default().to_owned()),
        None => FileFormat::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interpreter_is_the_first_word_of_the_first_line() {
        let script = |name: &str, argument: &str| FileFormat::Script(name.to_owned(), argument.to_owned());
        assert_eq!(file_format(b"#! /usr/bin/env bash\necho"), script("/usr/bin/env", "bash"));
        assert_eq!(file_format(b"#!/bin/sh\r\necho"), script("/bin/sh\r", ""));
        assert_eq!(file_format(b"echo hello\n"), FileFormat::Unknown);
        assert_eq!(file_format(b""), FileFormat::Unknown);
        assert_eq!(file_format(b"\x7fELF\x02"), FileFormat::Binary);
    }
}
