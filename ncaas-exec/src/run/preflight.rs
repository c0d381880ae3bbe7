//! What is made sure of before a job's container is made, so that nothing has to be cleaned up after it.

use std::path::Path;

use bollard::models::{ImageInspect, SystemInfo};
use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::inputs::{InputPath, is_folder};
use ncaas_core::record::Record;
use ncaas_core::record::fields::RunSettings;

use super::job::Inputs;

/// Room that any job needs on the disk, in bytes.
const LEAST_ROOM: u64 = 64 << 20;

/// The dataset and the config are there, and are what their names say: a file, or with a `/` at the end a folder.
pub(super) fn inputs(record: &Record, inputs: &Inputs) -> Result<()> {
    let check = |what: &str, place: &InputPath| {
        if !is_folder(record, place, what)? && place.is_folder {
            let path = place.host.display();
            return Err(Failure::new(Kind::FileNotFound, format!("the {what} `{path}` is no folder"))
                .hint("a name that ends in `/` is a folder's; leave the `/` out"));
        }
        Ok(())
    };
    inputs.data.iter().try_for_each(|place| check("dataset", place))?;
    inputs.config.iter().try_for_each(|place| check("config", place))
}

/// There is room on the disk of the io-dir: as much as the config says that the job needs.
pub(super) fn room(io_dir: &Path, needed: Option<u64>) -> Result<()> {
    let needed = needed.unwrap_or_default().max(LEAST_ROOM);
    let disk = rustix::fs::statvfs(io_dir).map_err(std::io::Error::from).doing("look at the disk of", io_dir)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free >= needed {
        return Ok(());
    }
    let in_gb = |bytes: u64| bytes as f64 / 1e9;
    Err(Failure::new(
        Kind::DiskFull,
        format!(
            "the disk of `{}` has {:.2} GB free, and the job needs {:.2} GB",
            io_dir.display(),
            in_gb(free),
            in_gb(needed)
        ),
    ))
}

/// The image is for the engine's processor, or for the platform that `--platform` says is meant.
pub(super) fn platform(image: &ImageInspect, settings: &RunSettings, engine: &SystemInfo) -> Result<()> {
    let (Some(of_image), Some(of_engine)) = (&image.architecture, &engine.architecture) else { return Ok(()) };
    let os = image.os.as_deref().unwrap_or("linux");
    if let Some(meant) = &settings.platform {
        // `linux/arm64/v8`, `linux/arm64`, or `arm64` alone.
        if meant.split('/').any(|part| architecture(part) == architecture(of_image)) {
            return Ok(());
        }
        return Err(Failure::new(
            Kind::WrongPlatform,
            format!("the image is for `{os}/{of_image}`, and `--platform {meant}` is asked for"),
        )
        .hint(format!("pull or build it for `{meant}`")));
    }
    if architecture(of_image) == architecture(of_engine) {
        return Ok(());
    }
    Err(Failure::new(
        Kind::WrongPlatform,
        format!("the image is for `{os}/{of_image}`, and the engine's processor is `{}`", architecture(of_engine)),
    )
    .hint(format!("pull or build it for this one, or say `--platform {os}/{of_image}` where the engine emulates it")))
}

/// The kernel's names of processors as Go's, which images have.
fn architecture(name: &str) -> &str {
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
    fn an_image_for_another_processor_is_refused_unless_it_is_meant() {
        let of = |architecture: &str| Some(architecture.to_owned());
        let image = ImageInspect { architecture: of("arm64"), os: of("linux"), ..Default::default() };
        let engine = |name: &str| SystemInfo { architecture: of(name), ..Default::default() };
        let settings = RunSettings::default();
        assert!(platform(&image, &settings, &engine("aarch64")).is_ok());
        let refused = platform(&image, &settings, &engine("x86_64"));
        assert_eq!(refused.map_err(|failure| failure.kind), Err(Kind::WrongPlatform));
        let meant = |name: &str| RunSettings { platform: of(name), ..RunSettings::default() };
        assert!(platform(&image, &meant("linux/arm64/v8"), &engine("x86_64")).is_ok());
        let another = platform(&image, &meant("linux/amd64"), &engine("x86_64"));
        assert_eq!(another.map_err(|failure| failure.kind), Err(Kind::WrongPlatform));
    }

    #[test]
    fn a_job_that_needs_more_room_than_there_is_is_refused() {
        assert!(room(Path::new("/"), None).is_ok());
        assert_eq!(room(Path::new("/"), Some(u64::MAX)).map_err(|failure| failure.kind), Err(Kind::DiskFull));
    }
}
