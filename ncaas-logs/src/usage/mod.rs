//! `ncaas-logs usage`: what a container uses of the machine.

mod sample;
mod sampler;

pub(crate) use sample::Sample;
pub(crate) use sampler::Sampler;
