//! `ncaas-logs plot`: draws when jobs ran, how they ended and what they used.

use std::cell::RefCell;

use ncaas_core::failure::Result;
use ncaas_core::files;
use ncaas_core::pipe::{Input, Output, Pipe};
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};
use schemars::JsonSchema;
use serde::Serialize;

use crate::args::PlotArgs;
use crate::picture;
use crate::runs::Runs;
use crate::saved_files::{expand_job_folders, read_records};
use crate::timeline::{Row, Timeline};

/// The picture that was drawn.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PlotRecord {
    /// Absolute path of the picture.
    plot: String,
    /// The number of jobs in it.
    jobs: usize,
    /// The number of records that are not in it because their jobs never ran.
    without_a_run: usize,
}

pub(crate) async fn plot_jobs(tool: Tool, args: PlotArgs) -> Result<ExitStatus> {
    let input = if args.files.is_empty() {
        Input::stdin(tool, "cat io-dir/results/*/logs/*.record.json | ncaas-logs plot")?
    } else {
        let records =
            expand_job_folders(tool, &args.files)?.iter().map(|path| read_records(path)).collect::<Result<Vec<_>>>()?;
        Input::records(records.into_iter().flatten())
    };
    let found: RefCell<Runs<Option<Row>>> = RefCell::default();
    let pipe = Pipe { takes_errors: true, ..Pipe::for_args(tool, &args.pipe, 1) };
    let status = pipe
        .for_each(input, async |record: &mut Record, _: &Output| {
            found.borrow_mut().add(record, Row::from_record(record));
            Ok(())
        })
        .await?;
    // The others are drawn beside a record that failed.
    if status.is_interrupted() {
        return Ok(status);
    }
    let found = found.into_inner().into_values();
    let jobs = found.len();
    let rows: Vec<Row> = found.into_iter().flatten().collect();
    let without_a_run = jobs - rows.len();
    if rows.is_empty() && without_a_run == 0 {
        tool.note(&format!("no records were read: `{}` is not written", args.output.display()));
        return Ok(status);
    }
    let timeline = Timeline::new(rows);
    if timeline.rows.is_empty() {
        tool.note("no job has run: the plot is empty");
    }
    let is_png = args.output.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"));
    let picture = if is_png { picture::draw_png(&timeline)? } else { picture::draw_svg(&timeline).into_bytes() };
    let path = files::absolute(&args.output)?;
    files::write_whole(&path, &picture)?;
    let plot = path.to_string_lossy().into_owned();
    let written = PlotRecord { plot, jobs: timeline.rows.len(), without_a_run };
    let write_status = Pipe::for_args(tool, &args.pipe, 1).write_json(&written).await?;
    Ok(if status == ExitStatus::SUCCESS { write_status } else { status })
}
