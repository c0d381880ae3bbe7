//! The library of the five ncaas tools. ARCHITECTURE.md lists its modules. Those about containers and the Docker Engine
//! belong to the feature `engine`, those about buckets to the feature `bucket`.

#![warn(clippy::missing_errors_doc)]

pub mod blocking;
#[cfg(feature = "bucket")]
pub mod bucket;
#[cfg(feature = "bucket")]
pub mod cancellation;
pub mod certificate;
#[cfg(feature = "bucket")]
pub mod claim;
mod command_line;
pub mod config;
pub mod duration;
pub mod emission_order;
#[cfg(feature = "engine")]
pub mod engine;
pub mod environment;
mod exit_status;
pub mod failure;
pub mod failure_cause;
pub mod file_stamp;
pub mod files;
pub mod folder;
mod generate;
pub mod globs;
#[cfg(feature = "bucket")]
pub mod group;
pub mod image_labels;
pub mod inputs;
pub mod io_dir;
mod json_cause;
pub mod layout;
pub mod lease;
pub mod outcome;
pub mod pipe;
pub mod processes;
pub mod quantity;
pub mod record;
pub mod resources;
pub mod saved_record;
pub mod schema;
pub mod shebang;
mod signals;
pub mod status_file;
mod status_line;
pub mod suggestion;
pub mod table;
pub mod text;
pub mod time;
pub mod tool;
#[cfg(feature = "bucket")]
pub mod transfer;
pub mod turns;
pub mod usage_record;
