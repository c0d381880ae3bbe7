//! Whether a container can run a script: what would fail at a job's start, on another machine and days later, is found
//! before anything is saved.

use std::path::Path;

use bollard::models::ContainerInspectResponse;
use ncaas_core::engine::Engine;
use ncaas_core::engine::path::{PathInfo, PathKind};
use ncaas_core::failure::{Failure, Kind, Result};

/// How much of a script is looked at, in bytes.
const HEAD: u64 = 1 << 20;
/// Where programs are looked for in a container that sets no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Makes sure that the script can be run, and gives its absolute path in the container.
///
/// # Errors
/// [`Kind::ScriptNotFound`], [`Kind::ScriptNotExecutable`], [`Kind::BadInterpreter`].
pub(super) async fn check(engine: &Engine, inspected: &ContainerInspectResponse, script: &str) -> Result<String> {
    let id = inspected.id.as_deref().unwrap_or_default();
    let config = inspected.config.as_ref();
    let path = absolute(config.and_then(|config| config.working_dir.as_deref()).unwrap_or("/"), script);
    let mounts = || inspected.mounts.iter().flatten().filter_map(|mount| mount.destination.as_deref());
    let nothing = |why: &str| Failure::new(Kind::ScriptNotFound, format!("no script `{path}` in the container{why}"));
    let (real, info) = match engine.stat_target(id, &path).await? {
        None => return Err(nothing("").hint("name it by its path in the container, not on this machine")),
        Some((real, info)) => (real, info),
    };
    if info.kind != PathKind::File {
        return Err(nothing(": that is a folder or a special file"));
    }
    // What can be seen there now is not in the image.
    if let Some(mount) = mounts().find(|mount| Path::new(&real).starts_with(mount)) {
        return Err(nothing(&format!(" itself: it is in the mount `{mount}`, which the image will not have"))
            .hint("copy it to a folder of the container, and name it there"));
    }
    if !info.is_executable() {
        return Err(Failure::new(Kind::ScriptNotExecutable, format!("the script `{path}` is not executable"))
            .hint(format!("in the container: `chmod +x {path}`")));
    }
    let content = engine.read_file(id, &real, HEAD).await?;
    let path_variable = config
        .and_then(|config| config.env.as_ref())
        .and_then(|env| env.iter().find_map(|variable| variable.strip_prefix("PATH=")))
        .unwrap_or(DEFAULT_PATH);
    match first_line(&path, &content)? {
        Interpreter::None => {}
        Interpreter::At(interpreter) => {
            if !is_program(engine, id, &interpreter).await? {
                return Err(missing(&path, &interpreter));
            }
        }
        Interpreter::Named(name) => {
            let mut found = false;
            for folder in path_variable.split(':').filter(|folder| folder.starts_with('/')) {
                found = found || is_program(engine, id, &format!("{}/{name}", folder.trim_end_matches('/'))).await?;
            }
            if !found {
                return Err(
                    missing(&path, &name).hint(format!("it is in none of the folders of PATH: {path_variable}"))
                );
            }
        }
    }
    Ok(path)
}

/// What runs a script.
#[derive(Debug, PartialEq, Eq)]
enum Interpreter {
    /// The machine itself: it is a program.
    None,
    /// The program at a path.
    At(String),
    /// A program that `env` looks for.
    Named(String),
}

fn first_line(path: &str, content: &[u8]) -> Result<Interpreter> {
    if content.starts_with(b"\x7fELF") {
        return Ok(Interpreter::None);
    }
    let line = content.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let bad = |why: &str| Failure::new(Kind::BadInterpreter, format!("the script `{path}` {why}"));
    let Some(interpreter) = line.strip_prefix(b"#!") else {
        return Err(bad("names no interpreter").hint("its first line has to be one like `#!/bin/bash`"));
    };
    if content.windows(2).any(|pair| pair == b"\r\n") {
        return Err(bad("has the line endings of Windows (CRLF)").hint(format!(
            "in the container: `sed -i 's/\\r$//' {path}`; in git: `*.sh text eol=lf` in .gitattributes"
        )));
    }
    let line = String::from_utf8_lossy(interpreter);
    let mut words = line.split_whitespace();
    match words.next() {
        None => Err(bad("names no interpreter after `#!`")),
        Some(program) if !program.starts_with('/') => {
            Err(bad(&format!("names the interpreter `{program}`, which is no absolute path")))
        }
        Some(program) if program.ends_with("/env") => {
            // `env -S name ...` and `env VARIABLE=value name` come to the same.
            let name = words.find(|word| !word.starts_with('-') && !word.contains('='));
            Ok(name.map_or_else(|| Interpreter::At(program.to_owned()), |name| Interpreter::Named(name.to_owned())))
        }
        Some(program) => Ok(Interpreter::At(program.to_owned())),
    }
}

fn missing(script: &str, interpreter: &str) -> Failure {
    Failure::new(
        Kind::BadInterpreter,
        format!("the script `{script}` is for the interpreter `{interpreter}`, which the container does not have"),
    )
}

async fn is_program(engine: &Engine, id: &str, path: &str) -> Result<bool> {
    let found: Option<(String, PathInfo)> = engine.stat_target(id, path).await?;
    Ok(found.is_some_and(|(_, info)| info.kind == PathKind::File && info.is_executable()))
}

/// A path as the container's main process would take it.
fn absolute(working_dir: &str, path: &str) -> String {
    if path.starts_with('/') {
        return path.to_owned();
    }
    let folder = if working_dir.starts_with('/') { working_dir.trim_end_matches('/') } else { "" };
    format!("{folder}/{}", path.trim_start_matches("./"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test whose script is refused has failed")]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_says_what_runs_a_script() {
        let line = |text: &str| first_line("/s", text.as_bytes());
        assert_eq!(line("#!/bin/bash\n").unwrap(), Interpreter::At("/bin/bash".to_owned()));
        assert_eq!(line("#! /bin/sh -e").unwrap(), Interpreter::At("/bin/sh".to_owned()));
        assert_eq!(line("#!/usr/bin/env python3\n").unwrap(), Interpreter::Named("python3".to_owned()));
        assert_eq!(line("#!/usr/bin/env -S A=1 python3 -u\n").unwrap(), Interpreter::Named("python3".to_owned()));
        assert_eq!(line("\x7fELF...").unwrap(), Interpreter::None);
        for bad in ["", "echo", "#!", "#!\n", "#!bash\n", "#!/bin/bash\r\necho\r\n", "#!/bin/sh\necho\r\n"] {
            assert_eq!(line(bad).unwrap_err().kind, Kind::BadInterpreter, "{bad:?}");
        }
    }

    #[test]
    fn a_relative_path_is_the_working_directorys() {
        assert_eq!(absolute("/home/neurocaasdev", "./pca/run.sh"), "/home/neurocaasdev/pca/run.sh");
        assert_eq!(absolute("", "run.sh"), "/run.sh");
        assert_eq!(absolute("/w", "/run.sh"), "/run.sh");
    }
}
