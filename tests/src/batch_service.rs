//! AWS Batch for a test: moto, whose jobs are real containers on this machine's engine.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::engine::docker;
use crate::{tools, unique};

/// AWS Batch with a queue `queue` and a job definition `job`, whose image has the five tools.
pub struct BatchService {
    server: Child,
    url: String,
    /// The image of the jobs.
    image: String,
    /// The image of the analysis.
    pub analysis: String,
    folder: TempDir,
}

impl BatchService {
    /// Starts the service for a number of placers: each of them looks for a job before the first one submits it.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(analysis: &str, rivals: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (image, analysis_image) = (unique("ncaas/batch-tools"), unique("ncaas/batch-analysis"));
        let made = Command::new(tests.join("../.ci/image")).arg(tools()).arg(&image).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        std::fs::write(folder.path().join("Dockerfile"), analysis).unwrap();
        docker(&["build", "--quiet", "--no-cache", "--tag", &analysis_image, folder.path().to_str().unwrap()]);
        let mut server = Command::new(tests.join("services/batch"));
        server
            .env("RIVALS", rivals.to_string())
            .arg(folder.path())
            .arg(&image)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let log = std::fs::File::create(folder.path().join("server.log")).unwrap();
        server.stderr(log);
        let mut server = server.spawn().unwrap();
        let mut url = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut url).unwrap();
        assert!(url.starts_with("http://"), "the server does not start: {url:?}");
        BatchService { server, url: url.trim().to_owned(), image, analysis: analysis_image, folder }
    }

    /// A watch, or another source of records, and the placer, and what reports for it.
    pub fn pipe(&self, source: &str) -> Command {
        let (analysis, folder) = (&self.analysis, self.folder.path().display());
        let script = format!(
            "set -o pipefail
             {source} |
             ncaas-submit place --on batch:queue/job --image {analysis} --io-dir {folder} --poll 500ms |
             ncaas-logs save | ncaas-sync push"
        );
        let mut path = tools().into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut command = Command::new("bash");
        // A separate process group, as a shell starts it.
        command.args(["-c", &script]).current_dir(self.folder.path()).process_group(0);
        command.env("PATH", path).env("AWS_ENDPOINT_URL_BATCH", &self.url);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// The server's output on stderr.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default()
    }

    /// Work folders and marks of placements that are left on the machine of the jobs.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let root = self.folder.path().join("lab/.ncaas/work");
        let marks = self.folder.path().join(".ncaas/placements");
        let children = |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|it| it.path());
        let hosts: Vec<PathBuf> = children(marks).collect();
        children(root).chain(hosts.into_iter().flat_map(children)).collect()
    }
}

impl Drop for BatchService {
    fn drop(&mut self) {
        drop(self.server.stdin.take());
        drop(self.server.wait());
        for image in [&self.image, &self.analysis] {
            drop(Command::new("docker").args(["rmi", "--force", image]).output());
        }
    }
}
