//! Samples the engine's statistics of one container while it runs.

use std::time::Duration;

use bollard::models::ContainerStatsResponse;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use ncaas_core::engine::Engine;
use ncaas_core::record::fields::Container;
use tokio::time::sleep;

use super::sample::Gauge;

/// Time between attempts while the engine does not answer or the container does not run.
const PAUSE: Duration = Duration::from_secs(1);

/// Samples a container about once a second.
pub(crate) struct Sampler {
    engine: Engine,
    id: String,
    answers: Option<BoxStream<'static, Result<ContainerStatsResponse, bollard::errors::Error>>>,
    gauge: Gauge,
}

impl Sampler {
    pub(crate) fn new(engine: &Engine, container: &Container) -> Self {
        let started = container.started_at.as_deref().and_then(|at| at.parse().ok());
        Sampler { engine: engine.clone(), id: container.id.clone(), answers: None, gauge: Gauge::new(started) }
    }

    /// Waits for the next sample. Failures are retried: a missing sample does not affect the job.
    pub(crate) async fn next(&mut self) {
        loop {
            let answers = self.answers.get_or_insert_with(|| self.engine.stats(&self.id));
            match answers.next().await {
                Some(Ok(stats)) => {
                    if self.gauge.add(&stats).is_some() {
                        return;
                    }
                }
                Some(Err(_)) | None => {
                    self.answers = None;
                    sleep(PAUSE).await;
                }
            }
        }
    }

    pub(crate) fn gauge(&self) -> &Gauge {
        &self.gauge
    }
}
