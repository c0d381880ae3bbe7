//! Checks that a container can start a command: the file exists, may be executed, and has an interpreter that exists.
//!
//! The engine's own messages differ from version to version, and say `no such file` for a script whose interpreter is
//! missing. Each request for a path in the container takes 50 to 90 ms.

use crate::engine::connection::Engine;
use crate::engine::path::{PathInfo, PathKind};
use crate::failure::{Failure, Kind, Result};
use crate::shebang::{self, Executable, MAX_SCRIPTS};

/// The search path if the environment has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Looks up commands in a container as its main process would.
#[derive(Debug, Clone, Copy)]
pub struct CommandLookup<'a> {
    engine: &'a Engine,
    id: &'a str,
    workdir: &'a str,
    path: &'a str,
}

impl<'a> CommandLookup<'a> {
    /// A lookup in a container with this working directory and environment (`NAME=value`).
    pub fn new(engine: &'a Engine, id: &'a str, workdir: &'a str, env: &'a [String]) -> Self {
        let path = env.iter().rev().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
        CommandLookup { engine, id, workdir, path }
    }

    /// The folders in which a command without a `/` is looked up, separated by colons.
    pub fn path(&self) -> &'a str {
        self.path
    }

    /// The absolute path of a relative one.
    pub fn absolute(&self, path: &str) -> String {
        if path.starts_with('/') {
            return path.to_owned();
        }
        format!("{}/{}", self.workdir.trim_end_matches('/'), path.trim_start_matches("./"))
    }

    /// The file that a command means, links resolved; none if there is none.
    ///
    /// # Errors
    /// The engine cannot be reached, or has no such container.
    pub async fn find(&self, command: &str) -> Result<Option<(String, PathInfo)>> {
        if command.contains('/') {
            return self.engine.stat_target(self.id, &self.absolute(command)).await;
        }
        let mut found = None;
        for folder in self.path.split(':') {
            let candidate = self.absolute(&format!("{folder}/{command}"));
            match self.engine.stat_target(self.id, &candidate).await? {
                Some((path, info)) if info.is_executable() => return Ok(Some((path, info))),
                other => found = found.or(other),
            }
        }
        Ok(found)
    }

    /// Fails if a file that exists cannot be started. `subject` begins the message, for example ``the script `x` ``.
    ///
    /// # Errors
    /// [`Kind::ScriptNotFound`], [`Kind::ScriptNotExecutable`], [`Kind::BadInterpreter`]; the engine cannot be reached.
    pub async fn check_start(&self, subject: &str, path: &str, info: &PathInfo) -> Result<()> {
        if info.kind != PathKind::File {
            let kind = if info.kind == PathKind::Directory { "a directory" } else { "not a regular file" };
            return Err(Failure::new(Kind::ScriptNotFound, format!("{subject} is {kind}")));
        }
        if !info.is_executable() {
            return Err(Failure::new(Kind::ScriptNotExecutable, format!("{subject} is not executable")));
        }
        let mut path = path.to_owned();
        for _ in 0..=MAX_SCRIPTS {
            let head = self.engine.read_file(self.id, &path, shebang::HEAD as u64).await?;
            let shebang = match shebang::examine(&head) {
                Ok(Executable::Program) => return Ok(()),
                Ok(Executable::Script(shebang)) => shebang,
                Err(defect) => return Err(defect.failure(subject)),
            };
            let line = shebang.line();
            let missing = |program: &str| {
                let message =
                    format!("{subject} needs the interpreter `{program}`, which is not in the image (`{line}`)");
                let failure = Failure::new(Kind::BadInterpreter, message);
                if program.contains('/') {
                    return failure.hint("install the interpreter, or name another in the `#!` line");
                }
                failure.hint(format!("install the interpreter in one of the folders of PATH: {}", self.path))
            };
            // `env` and the program that it starts must both exist.
            let program = shebang.program();
            if program != shebang.interpreter && !self.is_program(&shebang.interpreter).await? {
                return Err(missing(&shebang.interpreter));
            }
            path = match self.find(program).await? {
                Some((path, info)) if info.kind == PathKind::File && info.is_executable() => path,
                _ => return Err(missing(program)),
            };
        }
        let message = format!("the interpreter of {subject} is itself a script, more than {MAX_SCRIPTS} levels deep");
        Err(Failure::new(Kind::BadInterpreter, message).hint("name a program in the `#!` line"))
    }

    /// Whether a path is a file that can be executed.
    ///
    /// # Errors
    /// The engine cannot be reached, or has no such container.
    pub async fn is_program(&self, path: &str) -> Result<bool> {
        let found = self.engine.stat_target(self.id, path).await?;
        Ok(found.is_some_and(|(_, info)| info.kind == PathKind::File && info.is_executable()))
    }
}
