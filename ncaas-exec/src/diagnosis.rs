//! Why a container, or a command in one, could not be started.
//!
//! Engines say that in words that differ from version to version, say `no such file` of a script whose interpreter is
//! missing, and let such a script's container start and end with 1. So we look ourselves. Each look costs the engine 50
//! to 90 ms: a program of the system is looked at only when it has failed.

use ncaas_core::engine::Engine;
use ncaas_core::engine::path::{PathInfo, PathKind};
use ncaas_core::failure::{Failure, Kind, Result};

/// Where the kernel and the engine look for a command where the environment does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How much of a script is read to find its interpreter: as much as the kernel reads.
const FIRST_LINE: u64 = 256;

/// Where programs are, and no scripts of an analysis.
const PROGRAMS: [&str; 6] = ["/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/", "/usr/local/bin/", "/usr/local/sbin/"];

/// Whether it takes a look to know that a command can be started.
pub(crate) fn is_doubtful(command: &str) -> bool {
    command.contains('/') && !PROGRAMS.iter().any(|folder| command.starts_with(folder))
}

/// Looks at what a container that was made is to run.
///
/// # Errors
/// [`Kind::ScriptNotFound`], [`Kind::ScriptNotExecutable`], [`Kind::BadInterpreter`]: it cannot start.
pub(crate) async fn ahead(engine: &Engine, id: &str) -> Result<()> {
    let nothing = Failure::new(Kind::EngineError, "");
    match of_start(engine, id, nothing.clone()).await {
        found if found == nothing => Ok(()),
        found => Err(found),
    }
}

/// The failure of a container's start, as exactly as it can be told.
pub(crate) async fn of_start(engine: &Engine, id: &str, failure: Failure) -> Failure {
    let Ok(inspected) = engine.inspect(id).await else { return failure };
    let config = inspected.config.unwrap_or_default();
    let command = inspected.path.unwrap_or_default();
    let place = Place {
        engine,
        id,
        workdir: config.working_dir.as_deref().unwrap_or_default(),
        env: config.env.as_deref().unwrap_or_default(),
    };
    place.explain(&command, failure).await
}

/// The failure of a command that could not be started in a running container.
pub(crate) async fn of_exec(
    engine: &Engine,
    id: &str,
    command: &str,
    workdir: Option<&str>,
    failure: Failure,
) -> Failure {
    let Ok(inspected) = engine.inspect(id).await else { return failure };
    let config = inspected.config.unwrap_or_default();
    let place = Place {
        engine,
        id,
        workdir: workdir.or(config.working_dir.as_deref()).unwrap_or_default(),
        env: config.env.as_deref().unwrap_or_default(),
    };
    place.explain(command, failure).await
}

/// Where a command is looked for.
struct Place<'a> {
    engine: &'a Engine,
    id: &'a str,
    workdir: &'a str,
    env: &'a [String],
}

impl Place<'_> {
    /// The reason that we find, or else the engine's.
    async fn explain(&self, command: &str, failure: Failure) -> Failure {
        match self.find(command).await {
            Ok(None) if command.is_empty() => failure,
            Ok(None) => Failure::new(Kind::ScriptNotFound, format!("cannot start `{command}`: it is not in the image"))
                .hint(match command.contains('/') {
                    true => "check the path: a relative one begins at the image's working directory",
                    false => "a command without a `/` is looked for in the image's PATH; write `./NAME` for a script",
                }),
            Ok(Some((path, info))) => self.examine(command, &path, &info).await.unwrap_or(failure),
            Err(_) => failure,
        }
    }

    /// The file that a command means, if there is one.
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
        match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("{}/{path}", self.workdir.trim_end_matches('/')),
        }
    }

    /// What keeps a file that is there from being run.
    async fn examine(&self, command: &str, path: &str, info: &PathInfo) -> Option<Failure> {
        let cannot = format!("cannot start `{command}`");
        if info.kind == PathKind::Directory {
            return Some(Failure::new(Kind::ScriptNotFound, format!("{cannot}: it is a folder")));
        }
        if !info.is_executable() {
            return Some(Failure::new(Kind::ScriptNotExecutable, format!("{cannot}: it is not executable")));
        }
        let start = self.engine.read_file(self.id, path, FIRST_LINE).await.ok()?;
        match interpreter(&start) {
            Start::Program => None,
            Start::Nothing => Some(
                Failure::new(Kind::BadInterpreter, format!("{cannot}: its first line names no interpreter"))
                    .hint("begin the script with `#!/bin/bash`, or what else is to run it"),
            ),
            Start::Script(interpreter, argument) if interpreter.ends_with('\r') || argument.ends_with('\r') => Some(
                Failure::new(Kind::BadInterpreter, format!("{cannot}: its lines end in CR LF, as on Windows"))
                    .hint("`sed -i 's/\\r$//' SCRIPT`, and build or commit the image again"),
            ),
            Start::Script(interpreter, argument) => {
                // What `env` is told to look for is the interpreter.
                let wanted = if interpreter.ends_with("/env") && !argument.is_empty() && !argument.starts_with('-') {
                    argument
                } else {
                    interpreter
                };
                let missing = matches!(self.find(&wanted).await, Ok(None));
                missing.then(|| {
                    let words = format!("{cannot}: its interpreter `{wanted}` is not in the image");
                    Failure::new(Kind::BadInterpreter, words)
                        .hint("install the interpreter in the image, or name another in the script's first line")
                })
            }
        }
    }
}

/// How a file that is to be run begins.
#[derive(Debug, PartialEq, Eq)]
enum Start {
    /// As a program for some processor.
    Program,
    /// With the line that names its interpreter, and perhaps an argument for it.
    Script(String, String),
    /// As neither.
    Nothing,
}

fn interpreter(start: &[u8]) -> Start {
    if start.starts_with(b"\x7fELF") {
        return Start::Program;
    }
    let Some(line) = start.strip_prefix(b"#!") else { return Start::Nothing };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line).into_owned();
    // A carriage return is no space to the kernel: it is a part of the name.
    let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
    match words.next() {
        Some(name) => Start::Script(name.to_owned(), words.next().unwrap_or_default().to_owned()),
        None => Start::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interpreter_is_the_first_word_of_the_first_line() {
        let script = |name: &str, argument: &str| Start::Script(name.to_owned(), argument.to_owned());
        assert_eq!(interpreter(b"#! /usr/bin/env bash\necho"), script("/usr/bin/env", "bash"));
        assert_eq!(interpreter(b"#!/bin/sh\r\necho"), script("/bin/sh\r", ""));
        assert_eq!(interpreter(b"echo hello\n"), Start::Nothing);
        assert_eq!(interpreter(b""), Start::Nothing);
        assert_eq!(interpreter(b"\x7fELF\x02"), Start::Program);
    }
}
