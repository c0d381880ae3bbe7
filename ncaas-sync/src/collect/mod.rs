//! How the files of a job become its results.
//!
//! Everything that the job wrote becomes a list of [`findings`]: files in mounted folders are found by [`walk`]; all
//! others are copied into the [`staging`] folder, from the engine's storage ([`overlay_diff`]) or from its archives
//! ([`fetch`], [`unpack`]). Files that are as in the image are left out ([`image_files`]). Then [`result_names`] assigns each
//! a path in the results, and [`journal`] records the moves before [`file_moves`] carries them out, so that a collection that
//! was interrupted at any point can be finished.

pub(crate) mod container_changes;
pub(crate) mod container_paths;
pub(crate) mod expected_results;
pub(crate) mod fetch;
mod file_moves;
pub(crate) mod findings;
pub(crate) mod image_files;
pub(crate) mod job_directory;
pub(crate) mod journal;
pub(crate) mod overlay_diff;
pub(crate) mod result_names;
pub(crate) mod selection;
pub(crate) mod staging;
pub(crate) mod unpack;
pub(crate) mod walk;
