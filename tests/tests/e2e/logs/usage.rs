//! `ncaas-logs usage`.

use ncaas_tests::engine::{CleanUp, FIXTURE, docker, is_podman};
use ncaas_tests::{Run, unique};

#[test]
fn usage_samples_a_container_until_it_ends() {
    let mut clean_up = CleanUp::new();
    let name = unique("usage");
    clean_up.container(&name);
    docker(&[
        "run",
        "-d",
        "--name",
        &name,
        FIXTURE,
        "bash",
        "-c",
        // Podman gives a sample every five seconds.
        &format!("end=$((SECONDS + {})); while ((SECONDS < end)); do :; done", if is_podman() { 11 } else { 4 }),
    ]);
    let samples = Run::tool("ncaas-logs").args(["usage", &name]).run().ok().json();
    assert!(samples.len() >= 2, "{samples:?}");
    let last = samples.last().unwrap();
    assert!(last["cpu_percent"].as_f64().unwrap() > 1.0 && last["cpu_s"].as_f64().unwrap() > 0.1, "{last}");
    assert!(last["memory_peak_bytes"].as_u64().unwrap() >= last["memory_bytes"].as_u64().unwrap());
}
