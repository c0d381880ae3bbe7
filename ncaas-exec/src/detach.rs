//! A command that goes on in a container by itself, and what becomes of it.
//!
//! The engine keeps neither output nor exit code of such a command. So a shell in the container does: what the command
//! says goes to the container's own log, where `ncaas-logs` finds it with its times, and its exit code into a file in
//! the io-dir's `logs` (or `/tmp`). It takes a shell and nothing else, and no process of ours has to stay.

use std::time::Duration;

use futures_util::StreamExt;
use ncaas_core::engine::{Engine, EngineContext, Subject, labels};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::layout;
use ncaas_core::record::fields::DetachedExec;
use tokio::time::sleep;

use crate::exec::{Asks, Exec, Outcome, may_be_the_engines_word};

/// Starts `$3...` under the name `$1`, keeps its exit code in `$2` or else in `/tmp`, and says where, and where its output
/// goes: a container's log can be written by who runs as its first process does.
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

/// How often to look whether a command has ended.
const LOOK: Duration = Duration::from_millis(500);
/// The longest exit code, with its line break.
const EXIT_CODE: u64 = 8;

/// Starts a command in a container and leaves it to itself.
///
/// # Errors
/// [`Kind::ScriptNotFound`] where the container has no shell.
pub(crate) async fn start(engine: &Engine, asks: Asks) -> Result<DetachedExec> {
    let inspected = engine.inspect(&asks.container).await?;
    let labels = inspected.config.and_then(|config| config.labels).unwrap_or_default();
    let io_dir = labels.get(labels::IO_DIR).map_or(layout::CONTAINER_IO_DIR, String::as_str);
    let name = format!(
        "exec-{}-{}",
        jiff::Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S_%6f"),
        layout::short_hash(&std::process::id().to_string())
    );
    let command = asks.command.clone();
    let about = asks.container.clone();
    let mut words: Vec<String> = ["sh", "-c", START, "sh", &name].map(str::to_owned).to_vec();
    words.push(format!("{io_dir}/{}", layout::LOGS));
    words.extend(command.iter().cloned());
    let exec = Exec::create(engine, Asks { command: words, ..asks }).await?;
    let mut streams = exec.start().await?;
    let mut said = Vec::new();
    while let Some(piece) = streams.output.next().await {
        said.extend_from_slice(&piece.engine_context("run a command in", Subject::Container(&about))?.into_bytes());
    }
    let said = String::from_utf8_lossy(&said).into_owned();
    match (exec.outcome(may_be_the_engines_word(said.as_bytes())).await?, said.lines().collect::<Vec<_>>().as_slice()) {
        (Outcome::Exited(0), [exit_file, output]) => Ok(DetachedExec {
            name,
            command,
            output: (!output.starts_with("/proc/")).then(|| (*output).to_owned()),
            exit_file: (*exit_file).to_owned(),
            exit_code: None,
        }),
        (Outcome::NotStarted(_), _) => {
            Err(Failure::new(Kind::ScriptNotFound, format!("a detached command takes a shell, and `{about}` has none")))
        }
        _ => Err(Failure::new(Kind::EngineError, format!("cannot detach a command in `{about}`: {}", said.trim()))),
    }
}

/// Waits until a detached command has ended. Its exit code.
///
/// # Errors
/// [`Kind::Killed`] where its container ended before it did.
pub(crate) async fn wait(engine: &Engine, container: &str, detached: &DetachedExec) -> Result<i64> {
    loop {
        // In this order: a container that has ended writes no more.
        let ended = engine.container(container).await?.has_ended();
        match engine.read_file(container, &detached.exit_file, EXIT_CODE).await {
            Ok(code) => {
                if let Ok(code) = String::from_utf8_lossy(&code).trim().parse() {
                    return Ok(code);
                }
            }
            Err(failure) if failure.kind == Kind::FileNotFound => {}
            Err(failure) => return Err(failure),
        }
        if ended {
            let words = format!("the container ended before `{}` in it did", detached.command.join(" "));
            return Err(Failure::new(Kind::Killed, words));
        }
        sleep(LOOK).await;
    }
}
