//! A job as its scheduler reports it, and its state: a line of Slurm's `squeue` or `sacct`, or a job of AWS Batch.

/// The columns that are asked for. Each has a width, because `squeue` cuts columns without one at 20 characters.
pub(super) const FORMAT: &str =
    "JobID:32,Name:200,State:32,Reason:100,NodeList:100,RestartCnt:16,SubmitTime:32,EndTime:32,Comment:64";

const WIDTHS: [usize; 9] = [32, 200, 32, 100, 100, 16, 32, 32, 64];

/// The columns that `sacct` is asked for. It separates them by `|`.
pub(super) const ACCOUNTING_FORMAT: &str = "JobIDRaw,JobName,State,ExitCode,NodeList,Submit,End";

/// The comment of a job that the placer submitted: `ncaas:<how many times it has been submitted>`.
const COMMENT: &str = "ncaas:";

/// A job in Slurm's queue, or one that ended within the last minutes (`MinJobAge`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScheduledJob {
    pub(super) id: String,
    pub(super) name: String,
    /// The scheduler's state in lower case: `pending`, `running`, `node_fail`, ...
    pub(super) state: String,
    pub(super) reason: Option<String>,
    pub(super) node: Option<String>,
    /// How many times the scheduler has started it again.
    pub(super) restarts: u64,
    pub(super) submitted_at: Option<String>,
    pub(super) ended_at: Option<String>,
    /// How many times the placer had submitted the record when it submitted this job, from 1.
    pub(super) submissions: u64,
}

impl ScheduledJob {
    /// Reads a line of `squeue --noheader --Format=FORMAT`; none if it is not one.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let characters: Vec<char> = line.chars().collect();
        let mut columns = Vec::with_capacity(WIDTHS.len());
        let mut from = 0;
        for width in WIDTHS {
            let to = (from + width).min(characters.len());
            columns.push(characters[from.min(to)..to].iter().collect::<String>().trim().to_owned());
            from += width;
        }
        let [id, name, state, reason, node, restarts, submitted, ended, comment] = columns.try_into().ok()?;
        if id.is_empty() || name.is_empty() || state.is_empty() {
            return None;
        }
        Some(ScheduledJob {
            id,
            name,
            state: state.to_ascii_lowercase(),
            reason: known(reason),
            node: known(node),
            restarts: restarts.parse().unwrap_or(0),
            submitted_at: known(submitted),
            ended_at: known(ended),
            submissions: comment.strip_prefix(COMMENT).and_then(|count| count.parse().ok()).unwrap_or(1),
        })
    }

    /// Reads a line of `sacct --noheader --parsable2 --format=ACCOUNTING_FORMAT`; none if it is not one.
    pub(super) fn parse_accounting(line: &str) -> Option<Self> {
        let columns: Vec<&str> = line.split('|').collect();
        let [id, name, state, exit_code, node, submitted, ended] = columns.try_into().ok()?;
        // `CANCELLED by 1000`
        let (state, details) = state.split_once(' ').unwrap_or((state, ""));
        let comma = if details.is_empty() { "" } else { ", " };
        Some(ScheduledJob {
            id: id.to_owned(),
            name: name.to_owned(),
            state: state.to_ascii_lowercase(),
            reason: Some(format!("{details}{comma}exit code {exit_code} (sacct)")),
            node: known(node.to_owned()),
            restarts: 0,
            submitted_at: known(submitted.to_owned()),
            ended_at: known(ended.to_owned()),
            submissions: 1,
        })
    }

    /// Whether the job waits, runs or is about to: anything but an end.
    pub(super) fn is_active(&self) -> bool {
        const ACTIVE: [&str; 15] = [
            // AWS Batch
            "submitted",
            "runnable",
            "starting",
            // Slurm
            "pending",
            "configuring",
            "running",
            "completing",
            "suspended",
            "stopped",
            "signaling",
            "stage_out",
            "requeued",
            "requeue_fed",
            "requeue_hold",
            "resizing",
        ];
        ACTIVE.contains(&self.state.as_str()) || self.state == "special_exit" || self.state == "resv_del_hold"
    }
}

/// A value, unless it is one of Slurm's words for none.
fn known(text: String) -> Option<String> {
    const NONE: [&str; 7] = ["", "N/A", "None", "NONE", "None assigned", "Unknown", "(null)"];
    (!NONE.contains(&text.as_str())).then_some(text)
}

/// The comment for a job that is the record's `submissions`-th.
pub(super) fn comment(submissions: u64) -> String {
    format!("{COMMENT}{submissions}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(columns: [&str; 9]) -> String {
        columns.iter().zip(WIDTHS).map(|(column, width)| format!("{column:<width$}")).collect()
    }

    #[test]
    fn a_line_of_squeue_becomes_an_entry() {
        let running =
            line(["720", "job__pca_1-1-ab", "RUNNING", "None", "n1", "2", "2026-11-27T12:12:23", "NONE", "ncaas:3"]);
        let entry = ScheduledJob::parse(&running).unwrap();
        assert_eq!((entry.id.as_str(), entry.state.as_str(), entry.node.as_deref()), ("720", "running", Some("n1")));
        assert_eq!((entry.reason, entry.restarts, entry.submissions), (None, 2, 3));
        assert_eq!((entry.submitted_at.as_deref(), entry.ended_at), (Some("2026-11-27T12:12:23"), None));
    }

    #[test]
    fn a_job_submitted_by_another_placer_counts_as_the_first_submission() {
        let entry =
            ScheduledJob::parse(&line(["7", "x", "PENDING", "BeginTime", "", "0", "", "NONE", "(null)"])).unwrap();
        assert_eq!((entry.submissions, entry.reason.as_deref()), (1, Some("BeginTime")));
        assert_eq!(ScheduledJob::parse("slurm_load_jobs error"), None);
    }

    #[test]
    fn a_line_of_sacct_becomes_an_entry() {
        let parse = |line: &str| ScheduledJob::parse_accounting(line).unwrap();
        let killed = parse("720|x|OUT_OF_MEMORY|0:125|n1|2026-11-27T12:12:23|2026-11-27T12:13:00");
        assert_eq!(
            (killed.id.as_str(), killed.state.as_str(), killed.node.as_deref()),
            ("720", "out_of_memory", Some("n1"))
        );
        assert_eq!(killed.reason.as_deref(), Some("exit code 0:125 (sacct)"));
        assert_eq!(killed.ended_at.as_deref(), Some("2026-11-27T12:13:00"));

        let cancelled = parse("720|x|CANCELLED by 1000|0:0|None assigned|2026-11-27T12:12:23|Unknown");
        assert_eq!((cancelled.state.as_str(), cancelled.node, cancelled.ended_at), ("cancelled", None, None));
        assert_eq!(cancelled.reason.as_deref(), Some("by 1000, exit code 0:0 (sacct)"));
        assert_eq!(ScheduledJob::parse_accounting("Slurm accounting storage is disabled"), None);
    }

    #[test]
    fn only_ended_jobs_are_not_active() {
        for (state, active) in [
            ("PENDING", true),
            ("RUNNING", true),
            ("COMPLETING", true),
            ("REQUEUED", true),
            ("SUSPENDED", true),
            ("COMPLETED", false),
            ("FAILED", false),
            ("CANCELLED", false),
            ("TIMEOUT", false),
            ("NODE_FAIL", false),
            ("PREEMPTED", false),
            ("OUT_OF_MEMORY", false),
            ("DEADLINE", false),
            ("BOOT_FAIL", false),
        ] {
            let entry = ScheduledJob::parse(&line(["7", "x", state, "", "", "", "", "", ""])).unwrap();
            assert_eq!(entry.is_active(), active, "{state}");
        }
    }
}
