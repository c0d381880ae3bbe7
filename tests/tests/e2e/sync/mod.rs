//! ncaas-sync: files out of containers, to buckets and back.

mod attacks;
mod checksums;
mod collect;
mod collect_hostile;
mod hostile;
mod jobs;
mod many;
mod resume;
mod trees;
