//! What the five ncaas tools share.
//!
//! - [`record`]: what is known about one job, as one JSON object on one line
//! - [`pipe`]: how records come in, are worked on side by side, and go out
//! - [`failure`]: every way in which a tool can fail, with exit status and hint
//! - [`tool`]: how each program starts and ends
//! - [`layout`]: where things lie in a bucket and in an io-dir
//! - [`io_dir`]: the io-dir of a record
//! - [`lease`]: whether a watcher of this machine still holds the claims of its records
//! - [`image_labels`]: the labels by which the author of an image says how its jobs are run
//! - [`inputs`]: where a dataset and a config lie on this machine and in the container
//! - [`certificate`], [`status_file`]: the platform's files about a job's progress
//! - [`config`]: what a job's config says to the platform
//! - [`outcome`]: the line for people that says how a job ended
//! - [`usage_record`]: the record of a job's use that the platform's cost tools read
//! - [`time`]: times on a command line
//! - [`table`]: tables for people at a terminal
//! - [`text`]: text from outside, made fit to be shown
//! - [`files`]: files that appear whole or not at all
//! - [`folder`]: the same below a folder that no link can escape, and locks
//! - [`shebang`]: how the kernel starts a script
//! - `engine`: the Docker Engine (feature `engine`)
//! - [`blocking`]: blocking work on threads of its own
//! - `bucket`: `s3://` and directories behind one type (feature `bucket`)
//! - `cancellation`: the marker of a cancelled submission (feature `bucket`)
//! - `claim`: which watcher is responsible for a submission (feature `bucket`)
//! - `transfer`: files to and from buckets, resumed and checked (feature `bucket`)

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
pub mod image_labels;
pub mod inputs;
pub mod io_dir;
pub mod layout;
pub mod lease;
pub mod outcome;
pub mod pipe;
pub mod quantity;
pub mod record;
pub mod shebang;
pub mod status_file;
pub mod table;
pub mod text;
pub mod time;
pub mod tool;
#[cfg(feature = "bucket")]
pub mod transfer;
pub mod usage_record;
