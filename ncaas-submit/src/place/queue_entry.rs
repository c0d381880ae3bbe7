//! One line of `squeue`: a job as Slurm reports it.

/// The columns that are asked for. Each has a width, because `squeue` cuts columns without one at 20 characters.
pub(super) const FORMAT: &str =
    "JobID:32,Name:200,State:32,Reason:100,NodeList:100,RestartCnt:16,SubmitTime:32,EndTime:32,Comment:64";

const WIDTHS: [usize; 9] = [32, 200, 32, 100, 100, 16, 32, 32, 64];

/// The comment of a job that the placer submitted: `ncaas:<how many times it has been submitted>`.
const COMMENT: &str = "ncaas:";

/// A job in Slurm's queue, or one that ended within the last minutes (`MinJobAge`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QueueEntry {
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

impl QueueEntry {
    /// Reads a line of `squeue --noheader --Format=FORMAT`; none where it is not one.
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
        let known =
            |text: String| (!["", "N/A", "None", "NONE", "Unknown", "(null)"].contains(&text.as_str())).then_some(text);
        Some(QueueEntry {
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
        let entry = QueueEntry::parse(&running).unwrap();
        assert_eq!((entry.id.as_str(), entry.state.as_str(), entry.node.as_deref()), ("720", "running", Some("n1")));
        assert_eq!((entry.reason, entry.restarts, entry.submissions), (None, 2, 3));
        assert_eq!((entry.submitted_at.as_deref(), entry.ended_at), (Some("2026-11-27T12:12:23"), None));
    }

    #[test]
    fn a_job_that_somebody_else_submitted_counts_as_the_first() {
        let entry =
            QueueEntry::parse(&line(["7", "x", "PENDING", "BeginTime", "", "0", "", "NONE", "(null)"])).unwrap();
        assert_eq!((entry.submissions, entry.reason.as_deref()), (1, Some("BeginTime")));
        assert_eq!(QueueEntry::parse("slurm_load_jobs error"), None);
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
            let entry = QueueEntry::parse(&line(["7", "x", state, "", "", "", "", "", ""])).unwrap();
            assert_eq!(entry.is_active(), active, "{state}");
        }
    }
}
