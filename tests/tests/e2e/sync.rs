//! ncaas-sync: files out of containers, to buckets and back.

mod checksums;
mod collect;
mod collect_hostile;
mod hostile;
mod jobs;
mod resume;
mod trees;
