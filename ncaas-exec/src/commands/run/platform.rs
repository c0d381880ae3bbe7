//! Whether an image can run on the engine: the platform that it was built for.

use bollard::models::{ImageInspect, SystemInfo};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::record::fields::RunSettings;

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
        .hint(format!("pull or build the image for `{requested}`")));
    }
    if docker_architecture(image_arch) == docker_architecture(engine_arch) {
        return Ok(());
    }
    Err(Failure::new(
        Kind::WrongPlatform,
        format!("the image is for `{os}/{image_arch}`, but the engine runs `{}`", docker_architecture(engine_arch)),
    )
    .hint(format!(
        "pull or build the image for this architecture, or use `--platform {os}/{image_arch}` if the engine emulates it"
    )))
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
}
