//! ncaas-sync: files out of containers, to buckets and back.

mod collect;
mod hostile;
mod jobs;
mod resume;
mod trees;
