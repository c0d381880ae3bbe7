//! Whether a container gets a GPU.

use bollard::models::SystemInfo;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::record::fields::Gpus;

/// The GPU that a container gets for its `gpus` setting.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum GpuRequest {
    /// No GPU, as requested.
    None,
    /// No GPU, because the engine has none; with the warning for the user.
    Unavailable(String),
    One,
}

impl GpuRequest {
    /// Fails with [`Kind::GpuUnavailable`] if a GPU is required and the engine has none.
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

    pub(crate) fn warning(&self) -> Option<&str> {
        match self {
            GpuRequest::Unavailable(warning) => Some(warning),
            _ => None,
        }
    }

    /// The first GPU, for a container that does not wait for a free one.
    pub(crate) fn first_gpu(&self) -> Option<String> {
        let first = || visible_gpus().and_then(|gpus| gpus.into_iter().next()).unwrap_or("0".to_owned());
        (*self == GpuRequest::One).then(first)
    }
}

/// The GPUs that the environment assigns to this process, as a scheduler does for the jobs on a node.
pub(crate) fn visible_gpus() -> Option<Vec<String>> {
    ["NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"].iter().find_map(|name| parse_gpus(&std::env::var(name).ok()?))
}

fn parse_gpus(text: &str) -> Option<Vec<String>> {
    let gpus: Vec<String> = text.split(',').map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned).collect();
    let is_no_list = matches!(gpus.as_slice(), [] | [_]) && matches!(text.trim(), "" | "all" | "none" | "void" | "-1");
    (!is_no_list).then_some(gpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_assigns_gpus_by_id() {
        assert_eq!(parse_gpus("2, GPU-1f"), Some(vec!["2".to_owned(), "GPU-1f".to_owned()]));
        assert!(["", "all", "void"].iter().all(|text| parse_gpus(text).is_none()));
    }

    #[test]
    fn without_a_gpu_auto_continues_and_require_fails() {
        let engine = SystemInfo::default();
        assert!(GpuRequest::new(Some(Gpus::Auto), &engine).is_ok_and(|request| request.warning().is_some()));
        let required = GpuRequest::new(Some(Gpus::Require), &engine);
        assert_eq!(required.map_err(|failure| failure.kind), Err(Kind::GpuUnavailable));
    }
}
