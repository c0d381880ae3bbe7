//! `ncaas-submit place`: jobs of a real Slurm, whose nodes have engines of their own.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use ncaas_tests::cluster::{CONTROLLER, Cluster};
use ncaas_tests::{Ran, Run, wait_until};
use serde_json::Value;

/// Writes the dataset's content into its results, twice as slowly as the dataset says, and fails where it says so.
const ANALYSIS: &str = r#"FROM ncaas/fixture
ENTRYPOINT ["sh", "-c", "cat $1 >io-dir/results/out.txt; sleep $(sed -n 1p $1); ! grep -q fail $1", "analysis"]
CMD []
"#;

/// A bucket directory on the file system that the cluster shares, and submissions in it.
struct Lab {
    cluster: Cluster,
    bucket: String,
}

impl Lab {
    fn new(nodes: &[&str]) -> Self {
        let cluster = Cluster::start(nodes);
        let folder = cluster.folder().to_owned();
        std::fs::write(folder.join("Dockerfile"), ANALYSIS).unwrap();
        for node in nodes {
            cluster.run(node, &folder, &["sh", "-c", "docker build --quiet --tag lab/analysis - <Dockerfile"]);
        }
        let bucket = folder.join("pca").to_str().unwrap().to_owned();
        Run::tool("ncaas-submit").args(["init", &bucket, "--group", "lab"]).run().ok();
        std::fs::write(format!("{bucket}/lab/configs/config.json"), "{}").unwrap();
        Lab { cluster, bucket }
    }

    /// Puts datasets into the bucket, and a submission of them.
    fn submit(&self, timestamp: &str, datasets: &[(&str, &str)]) {
        for (name, content) in datasets {
            std::fs::write(format!("{}/lab/inputs/{name}", self.bucket), content).unwrap();
        }
        let names: Vec<String> = datasets.iter().map(|(name, _)| format!("lab/inputs/{name}")).collect();
        let submission =
            serde_json::json!({"dataname": names, "configname": "lab/configs/config.json", "timestamp": timestamp});
        let file = format!("{}/lab/submissions/{timestamp}_submit.json", self.bucket);
        std::fs::write(file, submission.to_string()).unwrap();
    }

    /// The watch and the placer, on the controller's machine, until all submissions have ended.
    fn place(&self, options: &str) -> Ran {
        let (bucket, folder) = (&self.bucket, self.cluster.folder().display());
        let script = format!(
            "ncaas-submit watch {bucket} --once | \
             ncaas-submit place --on slurm --image lab/analysis --io-dir {folder}/io-dir-$RANDOM --poll 500ms {options}"
        );
        self.cluster.bash(CONTROLLER, &script)
    }

    fn read(&self, job: &str, path: &str) -> String {
        let path = format!("{}/lab/results/{job}/{path}", self.bucket);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

fn records(ran: &Ran) -> Vec<Value> {
    let text = String::from_utf8_lossy(&ran.stdout);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The state of the container in the last record of a dataset.
fn last_status(records: &[Value], dataname: &str) -> Value {
    let last = records.iter().rfind(|record| record["dataname"] == dataname).unwrap();
    assert_eq!(last["pushed"], true, "{last}");
    last["container"]["status"].clone()
}

#[test]
fn datasets_run_on_the_nodes_of_a_cluster_and_their_results_come_back() {
    let lab = Lab::new(&["n1", "n2"]);
    lab.submit("1", &[("a.txt", "1\na"), ("b.txt", "1\nb"), ("c.txt", "0\nfail")]);
    lab.submit("2", &[("d.txt", "0\nd")]);

    let ran = lab.place("");
    let records = records(&ran);
    assert_eq!(ran.status, 1, "one analysis failed: {}", ran.stderr);
    for (dataname, status) in [("a.txt", "success"), ("b.txt", "success"), ("c.txt", "failed"), ("d.txt", "success")] {
        assert_eq!(last_status(&records, &format!("lab/inputs/{dataname}")), status, "{dataname}");
    }
    let states: Vec<&str> = records
        .iter()
        .filter(|record| record["dataname"] == "lab/inputs/d.txt")
        .filter_map(|record| record["placement"]["state"].as_str())
        .collect();
    assert_eq!(states.first(), Some(&"pending"), "{states:?}");

    assert_eq!(lab.read("job__pca_1", "process_results/a.txt/out.txt"), "1\na");
    assert_eq!(lab.read("job__pca_1", "process_results/b.txt/out.txt"), "1\nb");
    assert_eq!(lab.read("job__pca_2", "process_results/out.txt"), "0\nd");
    lab.read("job__pca_1", "process_results/end.txt");
    lab.read("job__pca_2", "process_results/end.txt");
    let certificate = lab.read("job__pca_1", "logs/certificate.txt");
    let statuses: Vec<&str> =
        certificate.lines().filter_map(|line| line.split(" | STATUS: ").nth(1)?.split(' ').next()).collect();
    assert_eq!(statuses, ["SUCCESS", "SUCCESS", "FAILED"], "{certificate}");
    for node in lab.cluster.nodes() {
        assert_eq!(lab.cluster.containers(node), [""; 0], "{node}");
    }

    // A placer that comes after the end submits nothing.
    let again = lab.place("");
    assert_eq!((again.status, String::from_utf8_lossy(&again.stdout).as_ref()), (0, ""), "{}", again.stderr);
}

#[test]
fn a_job_that_the_scheduler_cancels_is_reported_by_its_node() {
    let lab = Lab::new(&["n1"]);
    lab.submit("1", &[("long.txt", "600\nx")]);
    let folder = lab.cluster.folder().to_owned();
    let mut placer = lab.cluster.command(CONTROLLER, &folder, &["bash", "-c", &format!(
        "ncaas-submit watch {} --once | ncaas-submit place --on slurm --image lab/analysis --io-dir {}/io-dir --poll 500ms",
        lab.bucket, folder.display()
    )]);
    let mut placer = placer.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("the container runs", Duration::from_secs(60), || !lab.cluster.containers("n1").is_empty());
    lab.cluster.run(CONTROLLER, &folder, &["scancel", "--me"]);
    let lines: Vec<String> = BufReader::new(placer.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
    assert_eq!(placer.wait().unwrap().code(), Some(1));
    let last: Value = serde_json::from_str(lines.last().unwrap()).unwrap();
    assert_eq!(last["container"]["status"], "killed", "{last}");
    assert_eq!(last["error"], Value::Null);
    lab.read("job__pca_1", "process_results/end.txt");
    assert_eq!(lab.cluster.containers("n1"), [""; 0]);
}
