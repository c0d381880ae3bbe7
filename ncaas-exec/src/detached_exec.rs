//! Commands that continue in a container after `ncaas-exec in --detach` has ended.
//!
//! The engine keeps neither output nor exit code of such a command. So a shell in the container redirects the output to
//! the container's log, where `ncaas-logs` finds it with timestamps, and writes the exit code to a file in the io-dir's
//! `logs` folder (or `/tmp`). This needs a shell in the container and no process on this machine.

use std::time::Duration;

use futures_util::StreamExt;
use ncaas_core::engine::{Engine, EngineContext, Subject, labels};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::layout;
use ncaas_core::record::fields::DetachedExec;
use ncaas_core::time::current_timestamp;
use tokio::time::sleep;

use crate::docker_exec::{Exec, ExecEnd, ExecRequest, maybe_start_error};
use crate::start_failure;

/// Starts `$3...` under the name `$1` and writes its exit code to the folder `$2`, else to `/tmp`. Prints the path of
/// that file and of the output. Only the user of the container's first process can write to the container's log.
const START: &str = r#"
name=$1; folder=$2; shift 2
for folder in "$folder" /tmp "$HOME" /; do
    if [ -d "$folder" ] && [ -w "$folder" ]; then break; fi
done
exit=${folder%/}/$name.exit out=/proc/1/fd/1 err=/proc/1/fd/2
( : >>"$out"; : >>"$err" ) 2>/dev/null || { out=${folder%/}/$name.out; err=${folder%/}/$name.err; }
( "$@" >>"$out" 2>>"$err"; echo "$?" >"$exit" ) </dev/null >/dev/null 2>&1 &
printf '%s\n%s\n' "$exit" "$out"
"#;

/// How often to check whether a command has ended.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// Maximum size of the file with the exit code, in bytes.
const EXIT_FILE_LIMIT: u64 = 8;

/// Starts a detached command. Fails with [`Kind::ScriptNotFound`] if the container has no shell.
pub(crate) async fn start_detached(engine: &Engine, request: ExecRequest) -> Result<DetachedExec> {
    let inspected = engine.inspect(&request.container).await?;
    let labels = inspected.config.and_then(|config| config.labels).unwrap_or_default();
    let io_dir = labels.get(labels::IO_DIR).map_or(layout::CONTAINER_IO_DIR, String::as_str);
    let name = format!("exec-{}-{}", current_timestamp(), layout::short_hash(&std::process::id().to_string()));
    let command = request.command.clone();
    let (container, workdir) = (request.container.clone(), request.workdir.clone());
    let mut words: Vec<String> = ["sh", "-c", START, "sh", &name].map(str::to_owned).to_vec();
    words.push(format!("{io_dir}/{}", layout::LOGS));
    words.extend(command.iter().cloned());
    let exec = Exec::create(engine, ExecRequest { command: words, ..request }).await?;
    let mut streams = exec.start().await?;
    let mut printed = Vec::new();
    while let Some(piece) = streams.output.next().await {
        let piece = piece.engine_context("run a command in", Subject::Container(&container))?;
        printed.extend_from_slice(&piece.into_bytes());
    }
    let printed = String::from_utf8_lossy(&printed).into_owned();
    let end = exec.end_state(maybe_start_error(printed.as_bytes())).await?;
    match (end, printed.lines().collect::<Vec<_>>().as_slice()) {
        (ExecEnd::Exited(0), [exit_file, output]) => Ok(DetachedExec {
            name,
            command,
            output: (!output.starts_with("/proc/")).then(|| (*output).to_owned()),
            exit_file: (*exit_file).to_owned(),
            exit_code: None,
        }),
        (ExecEnd::NotStarted(_), _) => {
            start_failure::check_workdir(engine, &container, workdir.as_deref()).await?;
            let message = format!("a detached command needs a shell, and `{container}` has none");
            Err(Failure::new(Kind::ScriptNotFound, message))
        }
        _ => Err(Failure::new(
            Kind::EngineError,
            format!("cannot start a detached command in `{container}`: {}", printed.trim()),
        )),
    }
}

/// Waits until a detached command has ended, and returns its exit code. Fails with [`Kind::Killed`] if its container
/// ended first.
pub(crate) async fn wait_for_detached(engine: &Engine, container: &str, detached: &DetachedExec) -> Result<i64> {
    loop {
        // Checked before the file: an ended container writes nothing more.
        let ended = engine.container(container).await?.has_ended();
        match engine.read_file(container, &detached.exit_file, EXIT_FILE_LIMIT).await {
            Ok(code) => {
                if let Ok(code) = String::from_utf8_lossy(&code).trim().parse() {
                    return Ok(code);
                }
            }
            Err(failure) if failure.kind == Kind::FileNotFound => {}
            Err(failure) => return Err(failure),
        }
        if ended {
            let message = format!("the container ended before its command `{}`", detached.command.join(" "));
            return Err(Failure::new(Kind::Killed, message));
        }
        sleep(CHECK_INTERVAL).await;
    }
}
