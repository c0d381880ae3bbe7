//! Checks before a job's container is created, when there is nothing to clean up.

use std::path::Path;

use bollard::models::{ImageInspect, SystemInfo};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::files::{MIN_FREE, check_free_space};
use ncaas_core::inputs::{InputPath, is_folder};
use ncaas_core::record::Record;
use ncaas_core::record::fields::RunSettings;

use super::job_inputs::JobInputs;

/// Both results, or one failure that names all that is wrong, so that people can correct it at once.
pub(super) fn both<A, B>(a: Result<A>, b: Result<B>) -> Result<(A, B)> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(failure), Ok(_)) | (Ok(_), Err(failure)) => Err(failure),
        // The work is tried again.
        (Err(_), Err(second)) if second.kind.is_transient() => Err(second),
        (Err(first), Err(second)) => {
            let hint = first.hint.or(second.hint);
            Err(Failure { message: format!("{}; {}", first.message, second.message), hint, ..first })
        }
    }
}

/// Checks that dataset and config exist, and that a name which ends in `/` is a folder's.
pub(super) fn check_inputs(record: &Record, inputs: &JobInputs) -> Result<()> {
    let check = |what: &str, input: &InputPath| {
        if !is_folder(record, input, what)? && input.is_folder {
            let path = input.host.display();
            return Err(Failure::new(Kind::FileNotFound, format!("the {what} `{path}` is not a folder"))
                .hint("remove the `/` at the end of the name"));
        }
        Ok(())
    };
    let dataset = inputs.data.iter().try_for_each(|path| check("dataset", path));
    both(dataset, inputs.config.iter().try_for_each(|path| check("config", path))).map(|_| ())
}

/// Checks that the disk of the io-dir has the free space that the config asks for.
pub(super) fn check_disk_space(io_dir: &Path, needed: Option<u64>) -> Result<()> {
    check_free_space(io_dir, needed.unwrap_or_default().max(MIN_FREE), "the job")
}

/// Checks that the image is for the engine's architecture, or for the requested platform.
pub(super) fn check_platform(image: &ImageInspect, settings: &RunSettings, engine: &SystemInfo) -> Result<()> {
    let (Some(image_arch), Some(engine_arch)) = (&image.architecture, &engine.architecture) else { return Ok(()) };
    let os = image.os.as_deref().unwrap_or("linux");
    if let Some(requested) = &settings.platform {
        // `linux/arm64/v8`, `linux/arm64`, or `arm64` alone.
        if requested.split('/').any(|part| docker_architecture(part) == docker_architecture(image_arch)) {
            return Ok(());
        }
        return Err(Failure::new(
            Kind::WrongPlatform,
            format!("the image is for `{os}/{image_arch}`, not for the requested platform `{requested}`"),
        )
        .hint(format!("pull or build it for `{requested}`")));
    }
    if docker_architecture(image_arch) == docker_architecture(engine_arch) {
        return Ok(());
    }
    Err(Failure::new(
        Kind::WrongPlatform,
        format!("the image is for `{os}/{image_arch}`, but the engine runs `{}`", docker_architecture(engine_arch)),
    )
    .hint(format!("pull or build it for this one, or use `--platform {os}/{image_arch}` if the engine emulates it")))
}

/// Docker's name for an architecture that the kernel names otherwise.
fn docker_architecture(name: &str) -> &str {
    match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "armv7l" | "armv6l" => "arm",
        "i386" | "i686" => "386",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_for_another_architecture_is_refused_unless_it_is_requested() {
        let of = |architecture: &str| Some(architecture.to_owned());
        let image = ImageInspect { architecture: of("arm64"), os: of("linux"), ..Default::default() };
        let engine = |name: &str| SystemInfo { architecture: of(name), ..Default::default() };
        let settings = RunSettings::default();
        assert!(check_platform(&image, &settings, &engine("aarch64")).is_ok());
        let refused = check_platform(&image, &settings, &engine("x86_64"));
        assert_eq!(refused.map_err(|failure| failure.kind), Err(Kind::WrongPlatform));
        let requested = |name: &str| RunSettings { platform: of(name), ..RunSettings::default() };
        assert!(check_platform(&image, &requested("linux/arm64/v8"), &engine("x86_64")).is_ok());
        let another = check_platform(&image, &requested("linux/amd64"), &engine("x86_64"));
        assert_eq!(another.map_err(|failure| failure.kind), Err(Kind::WrongPlatform));
    }

    #[test]
    fn a_job_that_needs_more_disk_space_than_free_is_refused() {
        assert!(check_disk_space(Path::new("/"), None).is_ok());
        assert_eq!(
            check_disk_space(Path::new("/"), Some(u64::MAX)).map_err(|failure| failure.kind),
            Err(Kind::DiskFull)
        );
    }
}
