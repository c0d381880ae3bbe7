//! Whether a container gets a GPU.

use bollard::models::SystemInfo;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::record::fields::Gpus;

/// What a container gets for its `gpus` setting.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum GpuRequest {
    /// No GPU, as requested.
    None,
    /// No GPU, because the engine has none; with the warning for the user.
    Unavailable(String),
    /// One GPU.
    One,
}

impl GpuRequest {
    /// # Errors
    /// [`Kind::GpuUnavailable`] if a GPU is required and the engine has none.
    pub(crate) fn new(setting: Option<Gpus>, engine: &SystemInfo) -> Result<Self> {
        let has_runtime = || engine.runtimes.iter().flatten().any(|(name, _)| name.contains("nvidia"));
        match setting.unwrap_or_default() {
            Gpus::None => Ok(GpuRequest::None),
            Gpus::Auto | Gpus::Require if has_runtime() => Ok(GpuRequest::One),
            Gpus::Auto => Ok(GpuRequest::Unavailable(
                "the engine has no GPU runtime: the container runs without a GPU".to_owned(),
            )),
            Gpus::Require => {
                Err(Failure::new(Kind::GpuUnavailable, "a GPU is required, but the engine has no GPU runtime")
                    .hint("install the NVIDIA container toolkit on the engine's machine, or use `--gpus auto`"))
            }
        }
    }

    /// The warning for the user, if there is one.
    pub(crate) fn warning(&self) -> Option<&str> {
        match self {
            GpuRequest::Unavailable(warning) => Some(warning),
            _ => None,
        }
    }

    /// The first GPU, for a container that does not wait for a free one.
    pub(crate) fn first_gpu(&self) -> Option<String> {
        (*self == GpuRequest::One).then(|| "0".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_gpu_auto_continues_and_require_fails() {
        let engine = SystemInfo::default();
        assert!(GpuRequest::new(Some(Gpus::Auto), &engine).is_ok_and(|request| request.warning().is_some()));
        let required = GpuRequest::new(Some(Gpus::Require), &engine);
        assert_eq!(required.map_err(|failure| failure.kind), Err(Kind::GpuUnavailable));
    }
}
