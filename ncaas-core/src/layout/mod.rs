//! The layout of files: the same in a group's folder of a bucket and in an io-dir.
//!
//! ```text
//! inputs/  configs/  submissions/
//! results/<job id>/
//!   process_results/         what the analysis produced; the config; end.txt, last
//!   logs/                    certificate.txt, DATASET_NAME:<label>_STATUS.txt, <label>.log, <label>.record.json,
//!                            <label>.results.jsonl if the results are too many for the record
//! .ncaas/work/<job id>/<dataset>/  io-dir only: the folders mounted in a job's container, until collect
//!   results/  logs/          what the container writes
//!   inputs/                  inputs that are not mounted in place
//!   superseded               another machine has ended the job
//!   earlier-<time>/          files of an earlier run that were not collected
//! ```

mod container_name;
mod dataset_labels;
mod folder_modes;
mod job_folder;
mod names;
mod work_folder;

pub use container_name::container_name;
pub use dataset_labels::dataset_labels;
pub(crate) use dataset_labels::file_label;
pub use folder_modes::{MODE_PRIVATE, MODE_SHARED};
pub use job_folder::JobFolder;
pub use names::*;
pub use work_folder::remove_ended_work;
