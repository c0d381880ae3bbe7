//! Placing records on a cluster: a scheduler's job runs the rest of the pipe on a node, against the node's own engine, and the
//! data travels through the bucket.
//!
//! - [`request`]: what a record asks of the scheduler
//! - [`batch_script`]: the script that runs the rest of the pipe on a node
//! - [`slurm`], [`queue_entry`], [`queue`]: Slurm's commands and its queue
//! - [`batch`]: a queue of AWS Batch; [`no_batch`] stands in for it in a build without the feature `batch`
//! - [`scheduler`]: one of the two
//! - [`next_step`]: the decision what to do next about a record
//! - [`placer`]: one record from its submission to its end

#[cfg(feature = "batch")]
pub(crate) mod batch;
pub(crate) mod batch_script;
mod next_step;
#[cfg(any(not(feature = "batch"), test))]
pub(crate) mod no_batch;
pub(crate) mod placer;
mod queue;
mod queue_entry;
mod request;
pub(crate) mod scheduler;
pub(crate) mod slurm;

#[cfg(not(feature = "batch"))]
pub(crate) use no_batch as batch;
