//! Three pipes with their own io-dirs share an engine and a bucket, and a stage is killed every two seconds.
//!
//! `make test-endurance` runs more submissions: `NCAAS_ENDURANCE_SUBMISSIONS` is their number, by default 6.

use std::path::Path;
use std::time::{Duration, Instant};

use ncaas_tests::background_pipe::BackgroundPipe;
use ncaas_tests::bucket::{TestBucket, files_below};
use ncaas_tests::certificate::certificate_dataset_lines;
use ncaas_tests::engine::{CleanUp, containers_labelled};
use ncaas_tests::pipeline::{pipeline_script, put_submission};
use ncaas_tests::{pipe_in, unique, wait_until};

const MACHINES: usize = 3;
const STAGES: [&str; 7] = [
    "ncaas-submit watch",
    "ncaas-sync pull",
    "ncaas-exec run",
    "ncaas-logs save",
    "ncaas-sync collect",
    "ncaas-sync push",
    "ncaas-exec rm",
];
const PERIOD: Duration = Duration::from_secs(2);
/// The largest number of submissions of a short run.
const SHORT: usize = 6;
/// How long the whole run may take.
const LIMIT: Duration = Duration::from_secs(540);

/// Half of its results are in its folder for results, half anywhere else.
const ANALYSIS: &str = r#"
sleep 1
cp "$1" "$HOME/io-dir/results/result"
mkdir -p "$HOME/out" && cp "$1" "$HOME/out/elsewhere"
echo "done with $(cat "$1")"
"#;

/// A sequence of numbers that is the same in each run.
struct Sequence(u64);

impl Sequence {
    fn next_below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

fn submissions() -> usize {
    std::env::var("NCAAS_ENDURANCE_SUBMISSIONS").ok().map_or(SHORT, |count| count.parse().unwrap())
}

/// What the tools have left below an io-dir beside results and logs.
fn left_in(io_dir: &Path) -> Vec<String> {
    let mut left = files_below(io_dir);
    let is_scrap =
        |path: &String| [".ncaas-part", ".ncaas-stage", ".ncaas-owner"].iter().any(|name| path.contains(name));
    left.retain(is_scrap);
    let work = std::fs::read_dir(io_dir.join("lab/.ncaas/work")).into_iter().flatten().flatten();
    left.extend(work.map(|folder| format!("work/{}", folder.file_name().to_string_lossy())));
    left
}

#[test]
fn killed_stages_lose_no_submission_run_none_twice_and_leave_nothing() {
    let bucket = TestBucket::directory(&unique("endure"));
    let home = tempfile::tempdir().unwrap();
    bucket.put("lab/configs/c.json", "{}");
    let count = submissions();
    let names: Vec<String> = (0..count).map(|number| format!("{number:03}")).collect();
    let jobs: Vec<String> = names.iter().map(|name| format!("job__{}_{name}", bucket.analysis())).collect();
    let mut clean_up = CleanUp::new();
    for (name, job) in names.iter().zip(&jobs) {
        clean_up.labelled(&format!("org.neurocaas.job={job}"));
        bucket.put(&format!("lab/inputs/{name}.txt"), name);
    }
    // The engine itself remembers its last 256 events only.
    let format = r#"{{index .Actor.Attributes "org.neurocaas.job"}}"#;
    let listen =
        format!("docker events --filter event=start --filter label=org.neurocaas.job --format '{format}' >starts");
    let events = BackgroundPipe::start(home.path(), &listen);
    let folders: Vec<_> = (0..MACHINES).map(|machine| home.path().join(machine.to_string())).collect();
    let script = pipeline_script(&bucket.address(), "", ANALYSIS).replace("ncaas-exec run", "ncaas-exec run -j 2");
    let start = |machine: usize| BackgroundPipe::start(&folders[machine], &script);
    folders.iter().for_each(|folder| std::fs::create_dir(folder).unwrap());
    let mut pipes: Vec<_> = (0..MACHINES).map(|machine| Some(start(machine))).collect();
    for name in &names {
        put_submission(&bucket, name, &format!("lab/inputs/{name}.txt").into(), "lab/configs/c.json");
    }

    let stderr = || -> String {
        let of_machine =
            |folder: &std::path::PathBuf| std::fs::read_to_string(folder.join("stderr")).unwrap_or_default();
        folders.iter().map(of_machine).collect::<Vec<_>>().join("\n---\n")
    };
    let end = |job: &String| format!("lab/results/{job}/process_results/end.txt");
    let unended = || -> Vec<&String> { jobs.iter().filter(|job| bucket.get(&end(job)).is_none()).collect() };
    let mut sequence = Sequence(7);
    let mut kills = 0;
    let began = Instant::now();
    while !unended().is_empty() {
        assert!(began.elapsed() < LIMIT, "not ended after {kills} kills: {:?}\n{}", unended(), stderr());
        std::thread::sleep(PERIOD);
        // The short run ends in peace: a longer one is killed until its end.
        if kills < 3 || count > SHORT {
            let (machine, stage) = (sequence.next_below(MACHINES), STAGES[sequence.next_below(STAGES.len())]);
            if let Some(pipe) = pipes[machine].take() {
                pipe.kill_stage(stage);
                // As `serve` does: the rest ends in good order, and all of it starts again.
                pipe.terminate();
            }
            pipes[machine] = Some(start(machine));
            kills += 1;
        }
    }
    assert!(kills >= 2, "it ended before a stage was killed twice");
    let containers = || -> Vec<String> {
        jobs.iter().flat_map(|job| containers_labelled(&format!("org.neurocaas.job={job}"))).collect()
    };
    let left = || -> Vec<String> { folders.iter().flat_map(|folder| left_in(&folder.join("io-dir"))).collect() };
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline && !(containers().is_empty() && left().is_empty()) {
        std::thread::sleep(Duration::from_millis(200));
    }
    pipes.into_iter().flatten().for_each(BackgroundPipe::terminate);
    // The next submission of a machine clears its io-dir, and removes the containers that a killed `rm` has left.
    let has_forgotten = !containers().is_empty();
    for (machine, folder) in
        folders.iter().enumerate().filter(|(_, folder)| has_forgotten || !left_in(&folder.join("io-dir")).is_empty())
    {
        let name = format!("last{machine}");
        clean_up.labelled(&format!("org.neurocaas.job=job__{}_{name}", bucket.analysis()));
        put_submission(&bucket, &name, &"lab/inputs/000.txt".into(), "lab/configs/c.json");
        let ran = pipe_in(folder, &pipeline_script(&bucket.address(), "--once", ANALYSIS), &[]);
        assert_eq!(ran.status, 0, "{}", ran.stderr);
    }
    assert_eq!((containers(), left()), (Vec::new(), Vec::new()), "{}", stderr());
    for (name, job) in names.iter().zip(&jobs) {
        for result in ["result", "out/elsewhere"] {
            let key = format!("lab/results/{job}/process_results/{result}");
            assert_eq!(bucket.get(&key), Some(name.as_bytes().to_vec()), "{key}\n{:#?}\n{}", bucket.keys(), stderr());
        }
        let certificate = bucket.text(&format!("lab/results/{job}/logs/certificate.txt"));
        assert!(certificate_dataset_lines(&certificate)[0].contains("| STATUS: SUCCESS |"), "{certificate}");
        let log = bucket.text(&format!("lab/results/{job}/logs/{name}.txt.log"));
        assert_eq!(log.matches(&format!("done with {name}")).count(), 1, "{log}");
    }
    drop(events);
    let starts = std::fs::read_to_string(home.path().join("starts")).unwrap();
    let count = |job: &String| (job.clone(), starts.lines().filter(|line| line == job).count());
    let repeated: Vec<_> = jobs.iter().map(count).filter(|(_, starts)| *starts > 1).collect();
    assert!(repeated.is_empty(), "jobs that were started more than once: {repeated:?}\n{}", stderr());
    assert!(starts.contains(jobs.last().unwrap()), "no events: {starts}");
    let probes = || bucket.keys().into_iter().filter(|key| key.contains("probe")).count();
    wait_until("the removal of probe objects", Duration::from_secs(5), || probes() == 0);
}
