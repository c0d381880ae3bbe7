//! Downloads what the command line names: datasets and a config, the results of a job, or a whole group.

use std::path::PathBuf;

use ncaas_core::bucket::{Bucket, Key};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::files;
use ncaas_core::group::open_group;
use ncaas_core::io_dir::make_group_io_dir;
use ncaas_core::layout::RESULTS;
use ncaas_core::pipe::Output;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Datasets, ErrorInfo, RecordFields};
use ncaas_core::tool::Tool;

use super::job;
use crate::args::{DEFAULT_FILES, PullArgs};
use crate::tree_transfer::{Direction, Tree};
use ncaas_core::folder::Folder;
use ncaas_core::transfer::Transfer;

/// Downloads it and writes the outcome to `output`.
pub(crate) async fn pull(tool: Tool, target: &str, args: &PullArgs, output: &Output) -> Result<()> {
    let (bucket, group) = open_group(target, true).await?;
    let io_dir = files::absolute(&args.io_dir.io_dir)?.join(&group);
    let group = format!("{group}/");
    let request = Request { tool, bucket, io_dir, group, args, output };
    if !args.data.is_empty() || args.config.is_some() {
        return request.pull_inputs().await;
    }
    match &args.results {
        Some(job) => request.pull_results(job).await,
        None => request.pull_tree("").await,
    }
}

struct Request<'a> {
    tool: Tool,
    bucket: Bucket,
    /// The group's folder in the io-dir.
    io_dir: PathBuf,
    group: String,
    args: &'a PullArgs,
    output: &'a Output,
}

impl Request<'_> {
    fn transfer(&self, below: &str) -> Result<Transfer> {
        make_group_io_dir(&self.io_dir)?;
        let folder = Folder::create(&self.io_dir.join(below))?;
        Ok(Transfer::new(self.bucket.clone(), folder, &format!("{}{below}", self.group), self.args.checksum.reread))
    }

    /// Downloads datasets and config. Writes a record for each dataset, with paths of this machine, from which
    /// `ncaas-exec run` starts jobs. A record whose dataset or config cannot be downloaded has the error.
    async fn pull_inputs(&self) -> Result<()> {
        let transfer = self.transfer("")?;
        let config = match &self.args.config {
            Some(name) => self.pull_input(&transfer, name).await.map(Some),
            None => Ok(None),
        };
        // Each dataset is a job.
        let datasets: Vec<Option<&String>> =
            if self.args.data.is_empty() { vec![None] } else { self.args.data.iter().map(Some).collect() };
        for dataset in datasets {
            let inputs = async {
                let config = config.clone()?;
                Ok(match dataset {
                    Some(name) => (Some(self.pull_input(&transfer, name).await?), config),
                    None => (None, config),
                })
            };
            let record = match inputs.await {
                Ok((dataset, config)) => inputs_record(dataset, config),
                Err(failure) => self.failed_record(dataset.cloned(), &failure),
            };
            self.output.emit(&record).await;
        }
        transfer.save_index();
        Ok(())
    }

    fn failed_record(&self, dataset: Option<String>, failure: &Failure) -> Record {
        self.tool.report_failure(failure);
        let mut record = inputs_record(dataset, self.args.config.clone());
        record.fail(self.tool.name(), failure);
        record
    }

    async fn pull_input(&self, transfer: &Transfer, name: &str) -> Result<String> {
        let key = Key::new(name)?;
        let within = name.strip_prefix(&self.group).filter(|within| !within.is_empty()).ok_or_else(|| {
            Failure::new(
                Kind::BadKey,
                format!("`{name}` is not a key of the group `{}`", self.group.trim_end_matches('/')),
            )
            .hint(format!("keys begin with the group: `{}inputs/session1.npy`", self.group))
        })?;
        job::download_input(transfer, &key, within.as_ref()).await?;
        Ok(self.io_dir.join(within).to_string_lossy().into_owned())
    }

    async fn pull_results(&self, job: &str) -> Result<()> {
        if job.is_empty() || job.contains('/') || job.starts_with('.') {
            return Err(Failure::new(Kind::BadKey, format!("`{job}` is not a valid job id")));
        }
        self.pull_tree(&format!("{RESULTS}/{job}")).await
    }

    async fn pull_tree(&self, below: &str) -> Result<()> {
        let transfer = self.transfer(below)?;
        let prefix = if below.is_empty() { self.group.clone() } else { format!("{}{below}/", self.group) };
        let PullArgs { pipe, delete, files, .. } = self.args;
        let tree = Tree { tool: self.tool, transfer: &transfer, prefix: &prefix, direction: Direction::Download };
        let mut total = tree.run(pipe.jobs_or(DEFAULT_FILES), *delete, *files, self.output).await?;
        if total.files == 0 && total.error.is_none() {
            let failure = Failure::new(Kind::ObjectNotFound, format!("`{}` is empty or does not exist", total.place))
                .hint(format!("`ncaas-submit ls {}` lists the bucket's submissions", self.bucket.address()));
            self.tool.report_failure(&failure);
            total.error = Some(ErrorInfo::new(self.tool.name(), &failure));
        }
        self.output.emit(&Record::new(&total)).await;
        Ok(())
    }
}

fn inputs_record(dataset: Option<String>, config: Option<String>) -> Record {
    Record::new(&RecordFields { dataname: dataset.map(Datasets::One), configname: config, ..RecordFields::default() })
}
