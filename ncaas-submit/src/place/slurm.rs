//! Slurm's commands: `squeue` for all jobs at once, `sbatch` for one.

use std::process::Stdio;
use std::time::Duration;

use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::text::one_line;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::queue_entry::{self, QueueEntry};
use super::request::JobRequest;

/// How long one of its commands may take. They give up by themselves earlier where the controller does not answer.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);

/// What Slurm's commands say on stderr where its controller does not answer.
const UNREACHABLE: [&str; 6] = [
    "Unable to contact slurm controller",
    "Connection refused",
    "Socket timed out",
    "Communication connection failure",
    "Zero Bytes were transmitted",
    "slurm_load_",
];

/// All of this user's jobs, those that have ended within the last minutes included.
///
/// # Errors
/// [`Kind::SchedulerUnreachable`]
pub(super) async fn list() -> Result<Vec<QueueEntry>> {
    let format = format!("--Format={}", queue_entry::FORMAT);
    let output = run("squeue", &["--me", "--states=all", "--noheader", &format], None).await?;
    Ok(output.lines().filter_map(QueueEntry::parse).collect())
}

/// Submits a job, and returns its id.
///
/// # Errors
/// [`Kind::SchedulerUnreachable`]; [`Kind::SchedulerRefused`] with the scheduler's own words.
pub(super) async fn submit(request: &JobRequest, script: &str, submissions: u64, with: &[String]) -> Result<String> {
    let mut options = vec!["--parsable".to_owned(), format!("--comment={}", queue_entry::comment(submissions))];
    // Two placers that race for one record get two jobs of one name, which run one after the other: the second finds the
    // saved record of the first.
    options.push("--dependency=singleton".to_owned());
    options.push("--requeue".to_owned());
    options.push("--open-mode=append".to_owned());
    options.extend(request.sbatch_options());
    options.extend(with.iter().cloned());
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let output = run("sbatch", &options, Some(script)).await?;
    // `ID` or `ID;CLUSTER`
    let id = output.trim().split(';').next().unwrap_or_default().to_owned();
    if id.is_empty() {
        return Err(Failure::new(Kind::SchedulerRefused, "`sbatch` printed no job id"));
    }
    Ok(id)
}

/// Whether a job without `--mem` takes all memory of its node, as Slurm's configuration says. None where it does not say.
pub(super) async fn memory_is_unlimited() -> Option<bool> {
    let config = run("scontrol", &["show", "config"], None).await.ok()?;
    let unlimited = |name: &str| {
        let line = config.lines().find(|line| line.split('=').next().is_some_and(|key| key.trim() == name))?;
        Some(line.split('=').nth(1)?.trim() == "UNLIMITED")
    };
    match (unlimited("DefMemPerNode"), unlimited("DefMemPerCPU")) {
        (None, None) => None,
        (node, cpu) => Some(node.unwrap_or(true) && cpu.unwrap_or(true)),
    }
}

async fn run(program: &str, options: &[&str], input: Option<&str>) -> Result<String> {
    let mut child = Command::new(program)
        .args(options)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            let message = format!("cannot run `{program}`: {error}");
            Failure::new(Kind::SchedulerUnreachable, message)
                .hint("run this on a machine with Slurm's commands, for example the login node")
        })?;
    let output = async {
        if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
            // A command that ends early says why on stderr.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = match timeout(COMMAND_TIMEOUT, output).await {
        Ok(output) => output.map_err(|error| Failure::new(Kind::Io, format!("cannot run `{program}`: {error}")))?,
        Err(_) => {
            let seconds = COMMAND_TIMEOUT.as_secs();
            return Err(Failure::new(
                Kind::SchedulerUnreachable,
                format!("`{program}` has not answered for {seconds} s"),
            ));
        }
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = one_line(&String::from_utf8_lossy(&output.stderr));
    let words = if words.is_empty() { format!("{}", output.status) } else { words };
    Err(failure(program, &words))
}

fn failure(program: &str, words: &str) -> Failure {
    if UNREACHABLE.iter().any(|known| words.contains(known)) {
        Failure::new(Kind::SchedulerUnreachable, format!("the Slurm controller does not answer: {words}"))
    } else {
        Failure::new(Kind::SchedulerRefused, format!("`{program}` failed: {words}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_that_is_away_is_told_apart_from_a_refusal() {
        let away = "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)";
        assert_eq!(failure("sbatch", away).kind, Kind::SchedulerUnreachable);
        let refused = failure("sbatch", "sbatch: error: invalid partition specified: gpu");
        assert_eq!(refused.kind, Kind::SchedulerRefused);
        assert_eq!(refused.message, "`sbatch` failed: sbatch: error: invalid partition specified: gpu");
    }
}
