//! What the five ncaas tools share.
//!
//! - [`record`]: everything known about one job, as one JSON object on one line
//! - [`pipe`]: reads records, runs a verb on several at once, and writes them
//! - [`tool`]: start and end of each program
//! - [`failure`]: the kinds of failure with exit status and hint
//! - [`layout`]: the names of files and folders in a bucket and in an io-dir
//! - [`io_dir`]: the io-dir of a record
//! - [`inputs`]: the paths of a dataset and a config on this machine and in the container
//! - [`lease`]: whether a watcher of this machine still holds the claims of its records
//! - [`image_labels`]: the labels by which the author of an image says how its jobs run
//! - [`config`]: the fields of a job's config that the platform reads
//! - [`certificate`], [`status_file`]: the platform's files about a job's progress
//! - [`usage_record`]: the file about a job's use that the platform's cost tools read
//! - [`outcome`]: the line for people about how a job ended
//! - [`text`], [`table`], [`time`], [`quantity`]: text from outside made safe to show; tables; times, sizes and counts
//! - [`files`], [`folder`]: files that appear complete or not at all; folders that no link can leave
//! - [`blocking`]: blocking work on other threads
//! - [`shebang`]: the first line of a script, as the kernel reads it
//! - `engine`: the Docker Engine (feature `engine`)
//! - `bucket`: `s3://` and directories behind one type (feature `bucket`)
//! - `cancellation`: the marker of a cancelled submission (feature `bucket`)
//! - `claim`: which watcher is responsible for a submission (feature `bucket`)
//! - `saved_record`: the records of ended jobs in a bucket (feature `bucket`)
//! - `transfer`: resumable, checked transfers of files (feature `bucket`)

pub mod blocking;
#[cfg(feature = "bucket")]
pub mod bucket;
#[cfg(feature = "bucket")]
pub mod cancellation;
pub mod certificate;
#[cfg(feature = "bucket")]
pub mod claim;
pub mod config;
#[cfg(feature = "engine")]
pub mod engine;
mod exit_status;
pub mod failure;
pub mod files;
pub mod folder;
mod generate;
pub mod globs;
pub mod image_labels;
pub mod inputs;
pub mod io_dir;
pub mod layout;
pub mod lease;
pub mod outcome;
pub mod pipe;
pub mod quantity;
pub mod record;
#[cfg(feature = "bucket")]
pub mod saved_record;
pub mod schema;
pub mod shebang;
pub mod status_file;
pub mod table;
pub mod text;
pub mod time;
pub mod tool;
#[cfg(feature = "bucket")]
pub mod transfer;
pub mod turns;
pub mod usage_record;
