//! Fixtures: an engine, an image, and containers that are removed at the end of a test, even if it fails.

use std::collections::HashMap;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::CreateContainerOptions;
use ncaas_core::engine::{Engine, EngineContext, Subject, labels};
use ncaas_core::failure::Result;

/// An image with only BusyBox, created once and kept.
const IMAGE: &str = "ncaas/engine-test:latest";

/// The image's name.
pub(crate) fn image() -> &'static str {
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| {
        let script = r#"docker image inspect "$1" >/dev/null 2>&1 && exit 0
            root=$(mktemp -d) && mkdir -p "$root/bin" "$root/tmp" && cp "$(command -v busybox)" "$root/bin/busybox" &&
            for applet in sh chown chmod sleep cat ls; do ln -s busybox "$root/bin/$applet"; done &&
            tar -C "$root" -c . | docker import - "$1" >/dev/null; status=$?; rm -rf "$root"; exit $status"#;
        let made = Command::new("sh").args(["-c", script, "sh", IMAGE]).status().unwrap();
        assert!(made.success(), "cannot make the test image: is busybox-static installed?");
    });
    IMAGE
}

/// A name that no other test has.
pub(crate) fn unique(word: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("ncaas-test-{word}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A container that is removed when the test ends.
pub(crate) struct TestContainer {
    pub(crate) engine: Engine,
    pub(crate) name: String,
}

/// The settings of a test's container.
#[derive(Default)]
pub(crate) struct ContainerOptions<'a> {
    pub(crate) command: &'a [&'a str],
    pub(crate) labels: &'a [(&'a str, &'a str)],
    pub(crate) host: HostConfig,
}

impl TestContainer {
    pub(crate) async fn create(options: ContainerOptions<'_>) -> Self {
        let engine = Engine::connect().await.unwrap();
        let container = TestContainer { engine, name: unique("container") };
        let mut all: HashMap<_, _> = options.labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        all.insert(labels::TOOL.to_owned(), "ncaas-core tests".to_owned());
        let body = ContainerCreateBody {
            image: Some(image().to_owned()),
            entrypoint: Some(Vec::new()),
            cmd: Some(options.command.iter().map(|word| (*word).to_owned()).collect()),
            labels: Some(all),
            host_config: Some(HostConfig { network_mode: Some("none".to_owned()), ..options.host }),
            ..Default::default()
        };
        let options = CreateContainerOptions { name: Some(container.name.clone()), ..Default::default() };
        container.engine.docker().create_container(Some(options), body).await.unwrap();
        container
    }

    pub(crate) async fn start(&self) -> Result<()> {
        let about = Subject::Container(&self.name);
        self.engine.docker().start_container(&self.name, None).await.engine_context("start", about)
    }

    /// A container of this shell script, started.
    pub(crate) async fn running(script: &str, labels: &[(&str, &str)]) -> Self {
        let wanted = ContainerOptions { command: &["sh", "-c", script], labels, ..ContainerOptions::default() };
        let container = TestContainer::create(wanted).await;
        container.start().await.unwrap();
        container
    }
}

impl Drop for TestContainer {
    fn drop(&mut self) {
        // The runtime may be ending because the test failed: the CLI works regardless.
        let _ = Command::new("docker").args(["rm", "-f", &self.name]).output();
    }
}
