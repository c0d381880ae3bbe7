//! What the command line asks for: datasets and a config, a job's results, or a whole group.

use std::path::PathBuf;

use ncaas_core::bucket::{Bucket, Key, Target};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::files;
use ncaas_core::layout::RESULTS;
use ncaas_core::pipe::Output;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Datasets, Known};
use ncaas_core::tool::Tool;

use super::{job, tree};
use crate::args::PullArgs;
use crate::report::{emit, info};
use ncaas_core::folder::Folder;
use ncaas_core::transfer::Transfer;

/// Brings it; the outcome goes to `output`.
pub(crate) async fn bring(tool: Tool, target: &str, args: &PullArgs, output: &Output) -> Result<()> {
    let target = Target::parse(target)?;
    let bucket = Bucket::open(&target.bucket).await?;
    let io_dir = files::absolute(&args.io_dir.io_dir)?.join(&target.group);
    let group = format!("{}/", target.group);
    let asked = Subject { tool, bucket, io_dir, group, args, output };
    if !args.data.is_empty() || args.config.is_some() {
        return asked.inputs().await;
    }
    match &args.results {
        Some(job) => asked.results(job).await,
        None => asked.everything().await,
    }
}

struct Subject<'a> {
    tool: Tool,
    bucket: Bucket,
    /// The group's folder in the io-dir.
    io_dir: PathBuf,
    /// With its `/`.
    group: String,
    args: &'a PullArgs,
    output: &'a Output,
}

impl Subject<'_> {
    fn transfer(&self, below: &str) -> Result<Transfer> {
        let folder = Folder::make(&self.io_dir.join(below))?;
        Ok(Transfer::new(self.bucket.clone(), folder, &format!("{}{below}", self.group), self.args.checksum.on))
    }

    /// Datasets and config: a record that `ncaas-exec run` can start jobs from, with paths of this machine.
    async fn inputs(&self) -> Result<()> {
        let transfer = self.transfer("")?;
        let mut datasets = Vec::new();
        for name in &self.args.data {
            datasets.push(self.input(&transfer, name).await?);
        }
        let config = match &self.args.config {
            Some(name) => Some(self.input(&transfer, name).await?),
            None => None,
        };
        transfer.save_index();
        // One record for each dataset: each is a job.
        let datasets = if datasets.is_empty() { vec![None] } else { datasets.into_iter().map(Some).collect() };
        for dataset in datasets {
            self.output
                .emit(&Record::new(&Known {
                    dataname: dataset.map(Datasets::One),
                    configname: config.clone(),
                    ..Known::default()
                }))
                .await;
        }
        Ok(())
    }

    async fn input(&self, transfer: &Transfer, name: &str) -> Result<String> {
        let key = Key::new(name)?;
        let within = name.strip_prefix(&self.group).filter(|within| !within.is_empty()).ok_or_else(|| {
            Failure::new(Kind::BadKey, format!("`{name}` is not one of the group's keys"))
                .hint(format!("keys begin with the group: `{}inputs/session1.npy`", self.group))
        })?;
        job::bring_input(transfer, &key, within.as_ref()).await?;
        Ok(self.io_dir.join(within).to_string_lossy().into_owned())
    }

    async fn results(&self, job: &str) -> Result<()> {
        if job.is_empty() || job.contains('/') || job.starts_with('.') {
            return Err(Failure::new(Kind::BadKey, format!("`{job}` is no job's id")));
        }
        self.tree(&format!("{RESULTS}/{job}")).await
    }

    async fn everything(&self) -> Result<()> {
        self.tree("").await
    }

    async fn tree(&self, below: &str) -> Result<()> {
        let transfer = self.transfer(below)?;
        let prefix = if below.is_empty() { self.group.clone() } else { format!("{}{below}/", self.group) };
        let how = tree::How {
            jobs: self.args.pipe.jobs_or(super::FILES_AT_ONCE),
            delete: self.args.delete,
            files: self.args.files,
        };
        let mut total = tree::bring(self.tool, &transfer, &prefix, how, self.output).await?;
        if total.files == 0 && total.error.is_none() {
            let failure = Failure::new(Kind::ObjectNotFound, format!("nothing is at `{}`", total.place))
                .hint(format!("`ncaas-submit ls {}` shows what the bucket holds", self.bucket.address()));
            self.tool.report_failure(&failure);
            total.error = Some(info(&failure, self.tool));
        }
        emit(self.output, &total).await;
        Ok(())
    }
}
