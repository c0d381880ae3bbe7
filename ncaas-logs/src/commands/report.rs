//! `ncaas-logs report`: one self-contained HTML page about many jobs, readable without scripts and without a network.

use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use askama::Template;
use jiff::Timestamp;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::files;
use ncaas_core::pipe::{Input, Output, Pipe};
use ncaas_core::quantity::format_count;
use ncaas_core::record::Record;
use ncaas_core::table::shows_table;
use ncaas_core::tool::{ExitStatus, Tool};
use schemars::JsonSchema;
use serde::Serialize;

use crate::args::ReportArgs;
use crate::job_summary::{JobSummary, NOT_RUN, WAITING, describe_class};
use crate::picture;
use crate::runs::Runs;
use crate::saved_files::{SavedFiles, expand_job_folders, read_records};
use crate::timeline::{Row, Timeline, format_utc};

/// The report that was written.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ReportRecord {
    /// Absolute path of the page.
    report: String,
    /// The number of jobs in it.
    jobs: usize,
    /// The number of jobs that failed.
    failed: usize,
}

const COLUMNS: [&str; 11] =
    ["Dataset", "Status", "Cause", "Files", "Start", "Duration", "CPU", "Memory", "Image", "Config", "Job"];

/// The whole page. The template escapes every value but the timeline, which is SVG of this program.
#[derive(Template)]
#[template(path = "report.html")]
struct ReportPage<'a> {
    /// Allows the page's own style and script, and no others.
    nonce: String,
    title: String,
    period: String,
    statuses: Vec<StatusCount>,
    has_timeline: bool,
    timeline: String,
    columns: [&'a str; 11],
    jobs: &'a [JobSummary],
    failures: Vec<&'a JobSummary>,
    version: &'a str,
    written: String,
}

impl ReportPage<'_> {
    /// The parts of a name between which its line may end.
    fn breakable(name: &str) -> impl Iterator<Item = &str> {
        name.split_inclusive(['/', ':', '_', '-', ' '])
    }
}

/// How many jobs have a status.
struct StatusCount {
    class: String,
    name: String,
    colour: &'static str,
    count: usize,
}

pub(crate) async fn write_report(tool: Tool, args: ReportArgs) -> Result<ExitStatus> {
    let path = files::absolute(&args.output)?;
    let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
    let found: RefCell<Runs<(Record, Option<SavedFiles>)>> = RefCell::default();
    let add = |record: &Record, saved: Option<SavedFiles>| {
        found.borrow_mut().add(record, (record.clone(), saved.or_else(|| SavedFiles::for_record(record))));
    };
    let mut status = ExitStatus::SUCCESS;
    if args.files.is_empty() {
        let input = Input::stdin(tool, "cat io-dir/results/*/logs/*.record.json | ncaas-logs report")?;
        let pipe = Pipe { takes_errors: true, ..Pipe::for_args(tool, &args.pipe, 1) };
        status = pipe
            .for_each(input, async |record: &mut Record, _: &Output| {
                add(record, None);
                Ok(())
            })
            .await?;
        // The others are reported beside a record that failed.
        if status.is_interrupted() {
            return Ok(status);
        }
    }
    for file in &expand_job_folders(tool, &args.files)? {
        let records = read_records(file)?;
        for record in &records {
            add(record, if records.len() == 1 { SavedFiles::beside_record(file) } else { None });
        }
    }
    let found = found.into_inner().into_values();
    let timeline = Timeline::new(found.iter().filter_map(|(record, _)| Row::from_record(record)).collect());
    let numbered = (1..).zip(&found);
    let mut jobs: Vec<JobSummary> =
        numbered.map(|(number, (record, saved))| JobSummary::new(record, saved.as_ref(), number, &folder)).collect();
    jobs.sort_by(|a, b| a.start_s.total_cmp(&b.start_s));
    if jobs.is_empty() {
        tool.note(&format!("no records were read: `{}` is not written", path.display()));
        return Ok(status);
    }
    let page = render(&jobs, &timeline)?;
    files::write_whole(&path, page.as_bytes())?;
    let failed = jobs.iter().filter(|job| job.has_failed).count();
    if !shows_table(args.pipe.records.json) {
        tool.note(&format!("wrote `{}`: {}, {failed} failed", path.display(), format_count(jobs.len(), "job")));
    }
    let written = ReportRecord { report: path.to_string_lossy().into_owned(), jobs: jobs.len(), failed };
    let write_status = Pipe::for_args(tool, &args.pipe, 1).write_json(&written).await?;
    Ok(if status == ExitStatus::SUCCESS { write_status } else { status })
}

fn render(jobs: &[JobSummary], timeline: &Timeline) -> Result<String> {
    let classes = picture::STATUSES.map(|(status, colour)| (picture::status_word(status), colour));
    let not_run = [(NOT_RUN.to_owned(), "#b03a00"), (WAITING.to_owned(), "#8a8f98")];
    let statuses = classes.into_iter().chain(not_run).map(|(class, colour)| StatusCount {
        name: describe_class(&class),
        colour,
        count: jobs.iter().filter(|job| job.class == class).count(),
        class,
    });
    let has_timeline = !timeline.rows.is_empty();
    let period = if has_timeline {
        format!("{} to {} UTC", format_utc(timeline.start), format_utc(timeline.end))
    } else {
        "No job has run.".to_owned()
    };
    let page = ReportPage {
        nonce: format!("{:016x}", RandomState::new().hash_one(jobs.len())),
        title: format_count(jobs.len(), "job"),
        period,
        statuses: statuses.collect(),
        has_timeline,
        timeline: if has_timeline { picture::draw_for_page(timeline) } else { String::new() },
        columns: COLUMNS,
        jobs,
        failures: jobs.iter().filter(|job| job.has_failed).collect(),
        version: env!("CARGO_PKG_VERSION"),
        written: Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
    };
    page.render().map_err(|error| Failure::new(Kind::Io, format!("cannot write the report: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_a_job_printed_or_is_named_is_escaped() {
        let hostile = "</title></pre><script>alert(1)</script>\"'&";
        let line = serde_json::json!({
            "dataname": format!("lab/inputs/{hostile}.npy"), "image": hostile, "configname": format!("lab/configs/{hostile}"),
            "job": {"id": hostile.replace('/', "")}, "error": {"tool": hostile, "kind": "io", "message": hostile},
            "container": {"id": "x", "name": hostile, "state": "exited", "status": "failed", "exit_code": 1,
                "started_at": "2026-11-22T10:00:00Z", "finished_at": "2026-11-22T10:00:09Z"}
        });
        let record = Record::parse(line.to_string().as_bytes()).unwrap();
        let mut job = JobSummary::new(&record, None, 1, Path::new("/"));
        job.last_lines = vec![hostile.to_owned(), "\u{1b}[2Jx".to_owned()];
        job.log = Some(hostile.to_owned());
        let timeline = Timeline::new(Row::from_record(&record).into_iter().collect());
        let page = render(&[job], &timeline).unwrap();
        assert_eq!(page.matches("<script").count(), 1, "{page}");
        assert!(!page.contains("alert(1)</script>") && !page.contains("</pre><"), "{page}");
        assert_eq!(page.matches("</title>").count(), 1 + 1, "of the page and of the job's bar");
    }
}
