//! The facts about a whole submission in its certificate.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use ncaas_core::inputs;
use ncaas_core::layout::SUBMISSIONS;
use ncaas_core::record::fields::{Datasets, Job, SetupEvent};
use ncaas_core::record::{MAX_LINE, Record};

/// A submission, as far as a record describes it.
#[derive(Debug, Clone, Default)]
pub(super) struct RecordedSubmission {
    /// Names of all its datasets in their order, as far as they are known.
    pub(super) datanames: Arc<[String]>,
    /// The number of datasets.
    pub(super) datasets: usize,
    pub(super) setup: Vec<SetupEvent>,
}

/// How many submit files are remembered.
const REMEMBERED: usize = 64;

/// The dataset names of submit files: thousands of records may share one, and it is read once.
#[derive(Debug, Default)]
pub(super) struct SubmitFiles {
    datanames: RefCell<HashMap<String, Arc<[String]>>>,
}

impl SubmitFiles {
    /// The submission of a record's job, and the number of the record's dataset in it.
    pub(super) fn submission_of_record(&self, record: &Record) -> (RecordedSubmission, usize) {
        let job = record.job().unwrap_or_default();
        let number = usize::try_from(job.dataset).unwrap_or(1).max(1);
        let datasets = usize::try_from(job.datasets).unwrap_or(1).max(number);
        let own = record.dataname();
        let datanames = match &own {
            // The record of a submission that was refused as a whole names all of its datasets.
            Some(Datasets::Many(names)) => names.clone().into(),
            _ if datasets > 1 => {
                let names = self.datanames(record, &job);
                if names.len() == datasets { names } else { Arc::default() }
            }
            _ => Arc::default(),
        };
        let setup = record.fields().ok().and_then(|known| known.setup).unwrap_or_default();
        (RecordedSubmission { datanames, datasets, setup }, number)
    }

    fn datanames(&self, record: &Record, job: &Job) -> Arc<[String]> {
        let io_dir = record.text("io_dir").unwrap_or_default();
        let key = format!("{io_dir}\0{}\0{}", job.id, job.submission.as_deref().unwrap_or_default());
        if let Some(names) = self.datanames.borrow().get(&key) {
            return Arc::clone(names);
        }
        let names: Arc<[String]> = datanames_of_submit_file(record).unwrap_or_default().into();
        let mut remembered = self.datanames.borrow_mut();
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(key, Arc::clone(&names));
        names
    }
}

/// The names of all datasets, from the submit file in the io-dir.
fn datanames_of_submit_file(record: &Record) -> Option<Vec<String>> {
    let key = record.job()?.submission?;
    let path = inputs::locate(record, &key, SUBMISSIONS).ok()?;
    let submit: Record = Record::parse(&inputs::read(record, &path, MAX_LINE as u64).ok()?).ok()?;
    match submit.dataname()? {
        Datasets::Many(names) => Some(names),
        Datasets::One(_) => None,
    }
}
