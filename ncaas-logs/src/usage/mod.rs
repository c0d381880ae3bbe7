//! The resources that a container uses: samples, and their summary.

mod sample;
mod sampler;

pub(crate) use sample::Sample;
pub(crate) use sampler::Sampler;
