//! `ncaas-exec run --dry-run`: complete the record as a start would, and start nothing.

use bollard::models::SystemInfo;
use ncaas_core::engine::Engine;
use ncaas_core::failure::Result;
use ncaas_core::record::Record;
use ncaas_core::tool::Tool;

use crate::container_spec::ContainerSpec;
use crate::file_sharing::FileSharing;
use crate::gpu::GpuRequest;

/// Writes the specification of the container into the record's field `dry_run`. If the job would be refused for its
/// command, a warning says so, and the rest is described.
pub(super) async fn describe(
    tool: Tool,
    engine: &Engine,
    info: &SystemInfo,
    record: &mut Record,
    mut spec: ContainerSpec,
    command: Result<()>,
) -> Result<()> {
    if let Err(failure) = &command {
        tool.warn(record, Some(&format!("a run would be refused: {failure}")));
    }
    let gpu = GpuRequest::new(spec.settings.gpus, info)?;
    spec.gpu = gpu.first_gpu();
    tool.warn(record, gpu.warning());
    spec.label_record(record);
    // Files that are copied into the container have no equivalent in `docker run`.
    let has_equivalent = FileSharing::new(engine, &spec).await?.copied.is_empty() && command.is_ok();
    record.set("dry_run", &spec.dry_run(has_equivalent));
    Ok(())
}
