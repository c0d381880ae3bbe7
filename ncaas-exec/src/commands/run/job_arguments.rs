//! The jobs that a command line describes, and what it says about records that lack a field.

use std::path::{Path, PathBuf};

use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::files::{self, make_folder};
use ncaas_core::layout::{self, JobFolder};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Datasets, Job, RecordFields};
use ncaas_core::time::current_timestamp;

use super::job_folders::MadeFolders;
use crate::args::RunArgs;

/// The failure of a command line with the datasets `data` and no image; `rest` ends its message.
pub(super) fn no_image(data: &[PathBuf], rest: &str) -> Failure {
    // `--data` takes all arguments up to the next option.
    let hint = match data.iter().find(|name| !name.exists()) {
        Some(name) => format!("if {0} is the image, write it first: `ncaas-exec run {0} --data FILE`", name.display()),
        None => "name the image: `ncaas-exec run IMAGE --data FILE`".to_owned(),
    };
    Failure::new(Kind::Usage, format!("no image is given{rest}")).hint(hint)
}

/// The records of the jobs that the command line describes: one for each dataset. A job with a name gets its folder,
/// which no other job has: `reserved`.
pub(super) fn command_line_records(args: &RunArgs, image: &str, reserved: &mut MadeFolders) -> Result<Vec<Record>> {
    if args.data.is_empty() && args.command.is_empty() && !args.dry_run {
        let hint = "add `--data FILE`, or a command after `--`; `--dry-run` shows what would run";
        let message = match &args.config {
            Some(config) => format!("the config `{}` is given, but no dataset", config.display()),
            None => "neither a dataset nor a command is given".to_owned(),
        };
        return Err(Failure::new(Kind::Usage, message).hint(hint));
    }
    if args.data.len() < 2 && args.name.is_none() {
        return Ok(vec![Record::default()]);
    }
    let names = args.data.iter().map(|path| path_name(path, true)).collect::<Result<Vec<_>>>()?;
    let timestamp = current_timestamp();
    let id = match &args.name {
        Some(name) => name.clone(),
        None => layout::job_id(&layout::analysis_of_image(image), &timestamp)?,
    };
    if args.name.is_some() {
        let io_dir = files::absolute(&args.settings.io_dir)?;
        let job = Job { id: id.clone(), dataset: 1, datasets: 1, ..Job::default() };
        let mut named = Record::new(&RecordFields { job: Some(job), ..RecordFields::default() });
        named.set("io_dir", &io_dir);
        let as_usage = |failure: Failure| Failure { kind: Kind::Usage, ..failure };
        let folder = JobFolder::for_record(&named).map_err(as_usage)?.root().to_owned();
        let results = io_dir.join(layout::RESULTS);
        if !args.dry_run {
            make_folder(&results)?;
        }
        // Two commands may begin with the same name at the same time.
        let is_free = if args.dry_run { !folder.exists() } else { reserved.make_exclusive(&folder)? };
        if !is_free {
            let message = format!("a job with the name `{id}` exists in `{}`", io_dir.display());
            return Err(Failure::new(Kind::NameInUse, message).hint(format!("choose another name, such as `{id}-2`")));
        }
    }
    let labels = layout::dataset_labels(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let job = Job { id, timestamp: Some(timestamp), dataset: 1, datasets: 1, ..Job::default() };
    if names.is_empty() {
        return Ok(vec![Record::new(&RecordFields { job: Some(job), ..RecordFields::default() })]);
    }
    let datasets = names.len() as u64;
    let records = names.into_iter().zip(labels).zip(1..).map(|((name, label), dataset)| {
        let job = Job { dataset, datasets, label: Some(label), ..job.clone() };
        Record::new(&RecordFields { job: Some(job), dataname: Some(Datasets::One(name)), ..RecordFields::default() })
    });
    Ok(records.collect())
}

/// Fields from the command line, for records that lack them.
pub(super) struct DefaultFields {
    image: Option<String>,
    command: Vec<String>,
    data: Option<String>,
    config: Option<String>,
}

impl DefaultFields {
    pub(super) fn new(args: &RunArgs) -> Result<Self> {
        Ok(DefaultFields {
            image: args.target.clone().or_else(|| args.image.clone()),
            command: args.command.clone(),
            data: args.data.first().map(|data| path_name(data, true)).transpose()?,
            config: args.config.as_deref().map(|config| path_name(config, false)).transpose()?,
        })
    }

    pub(super) fn complete(&self, record: &mut Record) {
        if let Some(image) = &self.image {
            record.fill("image", image);
        }
        if !self.command.is_empty() {
            record.fill("command", &self.command);
        }
        if let Some(data) = &self.data {
            record.fill("dataname", data);
        }
        if let Some(config) = &self.config {
            record.fill("configname", config);
        }
    }
}

/// A path as a name in a record: absolute, and with a final `/` for a folder.
fn path_name(path: &Path, may_be_folder: bool) -> Result<String> {
    if path.starts_with("~") {
        return Err(Failure::new(
            Kind::Usage,
            format!("`{}` is not a path: the shell did not expand `~`", path.display()),
        )
        .hint("write the path without quotes, or with `$HOME`"));
    }
    let path = files::absolute(path)?;
    let is_folder = may_be_folder && path.is_dir();
    let name = path.to_str().ok_or_else(|| {
        Failure::new(Kind::BadKey, format!("`{}` is not UTF-8, which a record requires", path.display()))
    })?;
    Ok(if is_folder { format!("{}/", name.trim_end_matches('/')) } else { name.to_owned() })
}
