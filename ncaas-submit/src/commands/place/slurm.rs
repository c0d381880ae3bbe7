//! Slurm's commands: `squeue` for all jobs at once, `sbatch` for one, `sacct` for a job that `squeue` has forgotten.

use std::process::Stdio;
use std::time::Duration;

use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::text::one_line;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::request::JobRequest;
use super::scheduled_job::{self, ScheduledJob};

/// How long one of its commands may take. They give up by themselves earlier if the controller does not answer.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a node needs to stop a container, and to upload its log and a few results.
const SHORTEST_KILL_WAIT: Duration = Duration::from_secs(15);

/// Options of `sbatch` that the placer sets by itself, each with its short form. Another value would hide the job from
/// it.
const OWN_OPTIONS: [(&str, &str); 8] = [
    ("--job-name", "-J"),
    ("--comment", "--comment"),
    ("--dependency", "-d"),
    ("--array", "-a"),
    ("--parsable", "--parsable"),
    ("--no-requeue", "--no-requeue"),
    ("--wrap", "--wrap"),
    ("--wait", "-W"),
];

/// Messages of Slurm's commands if its controller does not answer.
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
pub(super) async fn list() -> Result<Vec<ScheduledJob>> {
    let format = format!("--Format={}", scheduled_job::FORMAT);
    let output = run("squeue", &["--me", "--states=all", "--noheader", &format], None).await?;
    Ok(output.lines().filter_map(ScheduledJob::parse).collect())
}

/// The end of a job that `squeue` has forgotten, if the cluster has an accounting database that knows it.
pub(super) async fn ended_job(id: &str) -> Option<ScheduledJob> {
    let format = format!("--format={}", scheduled_job::ACCOUNTING_FORMAT);
    let jobs = format!("--jobs={id}");
    let output = run("sacct", &["--allocations", "--noheader", "--parsable2", &jobs, &format], None).await.ok()?;
    output.lines().find_map(ScheduledJob::parse_accounting).filter(|entry| !entry.is_active())
}

/// Submits a job, and returns its id.
///
/// # Errors
/// [`Kind::SchedulerUnreachable`]; [`Kind::SchedulerRefused`] with the scheduler's own words.
pub(super) async fn submit(request: &JobRequest, script: &str, submissions: u64, with: &[String]) -> Result<String> {
    let mut options = vec!["--parsable".to_owned(), format!("--comment={}", scheduled_job::comment(submissions))];
    // Two placers that race for one record get two jobs of one name, which run one after the other: the second finds
    // the saved record of the first.
    options.push("--dependency=singleton".to_owned());
    options.push("--requeue".to_owned());
    options.push("--open-mode=append".to_owned());
    options.extend(sbatch_options(request));
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

/// The options of `sbatch` for a job.
fn sbatch_options(request: &JobRequest) -> Vec<String> {
    let mut options = vec![format!("--job-name={}", request.name), "--nodes=1".to_owned(), "--ntasks=1".to_owned()];
    options.extend(request.cpus.map(|cpus| format!("--cpus-per-task={cpus}")));
    options.extend(request.memory_mib.map(|memory| format!("--mem={memory}M")));
    options.extend(request.gpu.then(|| "--gres=gpu:1".to_owned()));
    if let Some(minutes) = request.minutes {
        options.push(format!("--time={minutes}"));
        // Without `B:` the signal goes to job steps only, and this script has none.
        options.push("--signal=B:TERM@60".to_owned());
    }
    options
}

/// A message about a setting of Slurm, and a hint.
pub(super) type SettingWarning = (String, &'static str);

/// Warnings about settings of Slurm that make jobs wait or lose their results. None if its configuration cannot be
/// read.
pub(super) async fn check_settings(sets_memory: bool, poll: Duration) -> Vec<SettingWarning> {
    let config = run("scontrol", &["show", "config"], None).await.unwrap_or_default();
    setting_warnings(&config, sets_memory, poll)
}

fn setting_warnings(config: &str, sets_memory: bool, poll: Duration) -> Vec<SettingWarning> {
    let value = |name: &str| {
        let settings = config.lines().filter_map(|line| line.split_once('='));
        settings.map(|(key, value)| (key.trim(), value.trim())).find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let seconds = |name: &str| value(name)?.split(' ').next()?.parse::<u64>().ok().map(Duration::from_secs);
    let mut warnings = Vec::new();
    let defaults = [value("DefMemPerNode"), value("DefMemPerCPU")];
    if !sets_memory && defaults.iter().flatten().count() > 0 && defaults.iter().flatten().all(|it| *it == "UNLIMITED") {
        let message = "on this cluster, a job without a memory limit gets all memory of its node (Slurm's DefMemPerNode and \
                       DefMemPerCPU are unlimited)";
        warnings.push((message.to_owned(), "`--memory 4g` sets a limit"));
    }
    if let Some(wait) = seconds("KillWait").filter(|wait| *wait < SHORTEST_KILL_WAIT) {
        let message = format!(
            "Slurm kills a job {} s after TERM (KillWait), which may be too short to upload the results",
            wait.as_secs()
        );
        warnings.push((message, "set `KillWait=60` in slurm.conf"));
    }
    if let Some(age) = seconds("MinJobAge").filter(|age| *age < poll) {
        let message = format!(
            "Slurm forgets a job {} s after its end (MinJobAge), which is less than `--poll`: `place` may submit a \
             cancelled job again",
            age.as_secs()
        );
        warnings.push((message, "use a shorter `--poll`, or raise `MinJobAge` in slurm.conf"));
    }
    warnings
}

/// Checks options that are passed to `sbatch`.
///
/// # Errors
/// [`Kind::Usage`] for an option with which the placer would lose sight of its job.
pub(crate) fn check_options(options: &[String]) -> Result<()> {
    for option in options {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let is_own = |(long, short): &&(&str, &str)| {
            name == *long || name == *short || short.len() == 2 && !name.starts_with("--") && name.starts_with(short)
        };
        if OWN_OPTIONS.iter().any(|own| is_own(&own)) {
            let message = format!("`--with {option}` is not allowed: `place` finds its job by this option");
            return Err(Failure::new(Kind::Usage, message));
        }
        if name == "--signal" && !value.contains("B:") {
            let message = format!("`--with {option}` would send the signal to job steps, and the job has none");
            return Err(Failure::new(Kind::Usage, message).hint(format!("write `--with --signal=B:{value}`")));
        }
    }
    Ok(())
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
    fn resources_become_options_in_the_units_of_slurm() {
        let request =
            JobRequest { cpus: Some(2), memory_mib: Some(2), gpu: true, minutes: Some(12), name: "j".to_owned() };
        let options = sbatch_options(&request).join(" ");
        assert!(options.ends_with("--cpus-per-task=2 --mem=2M --gres=gpu:1 --time=12 --signal=B:TERM@60"), "{options}");
    }

    #[test]
    fn settings_that_make_jobs_wait_or_lose_results_are_found() {
        let config = |settings: &str| format!("Configuration data as of 2026-11-27\n{settings}\n");
        let poll = Duration::from_secs(10);
        let sound = "DefMemPerNode = UNLIMITED\nDefMemPerCPU = 100\nKillWait = 30 sec\nMinJobAge = 300 sec";
        let cases = [
            // Slurm's settings, whether jobs set their memory, the words of the warnings
            (sound, false, &[][..]),
            ("DefMemPerNode           = UNLIMITED", false, &["gets all memory of its node"]),
            ("DefMemPerNode           = UNLIMITED", true, &[]),
            ("KillWait                = 5 sec", true, &["5 s after TERM (KillWait)"]),
            ("MinJobAge               = 2 sec", true, &["2 s after its end"]),
            ("", false, &[]),
        ];
        for (settings, sets_memory, words) in cases {
            let warnings = setting_warnings(&config(settings), sets_memory, poll);
            assert_eq!(warnings.len(), words.len(), "{settings}: {warnings:?}");
            let has_words = |(warning, words): (&SettingWarning, &&str)| warning.0.contains(words);
            assert!(warnings.iter().zip(words).all(has_words), "{settings}: {warnings:?}");
        }
    }

    #[test]
    fn options_that_hide_a_job_are_refused() {
        let check = |option: &str| check_options(&[option.to_owned()]).map_err(|failure| failure.message);
        for accepted in ["--partition=gpu", "-pgpu", "--mem=4G", "--signal=B:TERM@30", "--signal=RB:USR1@10", "-n1"] {
            assert_eq!(check(accepted), Ok(()), "{accepted}");
        }
        for refused in ["--job-name=x", "-Jx", "-J", "--dependency=afterok:1", "--array=1-3", "--no-requeue"] {
            assert!(check(refused).is_err_and(|message| message.contains("finds its job by this option")), "{refused}");
        }
        assert!(check("--signal=TERM@30").is_err_and(|message| message.contains("the job has none")));
    }

    #[test]
    fn an_unreachable_controller_is_another_failure_than_a_refusal() {
        let away = "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)";
        assert_eq!(failure("sbatch", away).kind, Kind::SchedulerUnreachable);
        let refused = failure("sbatch", "sbatch: error: invalid partition specified: gpu");
        assert_eq!(refused.kind, Kind::SchedulerRefused);
        assert_eq!(refused.message, "`sbatch` failed: sbatch: error: invalid partition specified: gpu");
    }
}
