//! A small Slurm cluster of a test's own: a controller and nodes, each with a Docker Engine.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

use crate::end_command::EndCommand;
use crate::engine::FIXTURE;
use crate::{Ran, tools};

/// The host name of the machine with the controller.
pub const CONTROLLER: &str = "head";

/// How many seconds a command on a machine may take, other than a pipe.
const COMMAND_LIMIT: &str = "120";

/// A cluster that ends with the test.
pub struct Cluster {
    /// Ends all machines. It is the first field, because fields are dropped in order.
    _down: EndCommand,
    folder: TempDir,
    nodes: Vec<String>,
    /// How many requests have gone to LocalStack.
    pub s3_requests: Arc<AtomicUsize>,
}

impl Cluster {
    /// Starts a controller and these nodes, with the fixture image on each.
    ///
    /// # Panics
    /// When it does not start; only root can make namespaces.
    pub fn start(nodes: &[&str]) -> Self {
        Cluster::start_with(nodes, &[])
    }

    /// The same with an accounting database. Slurm forgets ended jobs after seconds.
    pub fn start_with_accounts(nodes: &[&str]) -> Self {
        Cluster::start_with(nodes, &[("ACCOUNTS", "yes")])
    }

    fn start_with(nodes: &[&str], variables: &[(&str, &str)]) -> Self {
        // Not below a folder that only one user may enter.
        let folder = tempfile::Builder::new().prefix("ncaas-cluster-").tempdir_in("/tmp").unwrap();
        let cluster = Cluster {
            _down: EndCommand::new([service().as_os_str(), "remove".as_ref(), folder.path().as_os_str()]),
            folder,
            nodes: nodes.iter().map(|&name| name.to_owned()).collect(),
            s3_requests: Arc::default(),
        };
        cluster.script_with(&["up"], nodes, variables);
        let image = cluster.folder.path().join("fixture.tar");
        let saved =
            Command::new("docker").args(["save", "--output", image.to_str().unwrap(), FIXTURE]).output().unwrap();
        assert!(saved.status.success(), "{saved:?}");
        for node in nodes {
            cluster.run(node, Path::new("/"), &["docker", "load", "--quiet", "--input", image.to_str().unwrap()]);
        }
        cluster
    }

    /// A folder that all machines share.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A command on one of the machines, with the tools on its PATH.
    pub fn command(&self, machine: &str, folder: &Path, words: &[&str]) -> Command {
        let mut path = tools().into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut command = Command::new(service());
        command.args(["in", self.folder.path().to_str().unwrap(), machine]).args(words);
        command.current_dir(folder).env("PATH", path).env_remove("DOCKER_HOST").env_remove("AWS_ENDPOINT_URL");
        command
    }

    /// Runs a command on one of the machines, and returns its stdout.
    ///
    /// # Panics
    /// When it fails, or does not end.
    pub fn run(&self, machine: &str, folder: &Path, words: &[&str]) -> String {
        let bounded = [&["timeout", COMMAND_LIMIT], words].concat();
        let output = self.command(machine, folder, &bounded).stdin(Stdio::null()).output().unwrap();
        stdout_of_success(&format!("{machine}: {words:?}"), &output)
    }

    /// Runs a line of bash on one of the machines. Its exit status, stdout and stderr; the status is 124 if it does not
    /// end.
    pub fn bash(&self, machine: &str, script: &str) -> Ran {
        let script = format!("set -o pipefail; {script}");
        let mut command = self.command(machine, self.folder(), &["timeout", COMMAND_LIMIT, "bash", "-c", &script]);
        Ran::new(&command.stdin(Stdio::null()).output().unwrap())
    }

    /// The power of a node fails.
    pub fn cut(&self, node: &str) {
        self.script(&["cut"], &[node]);
    }

    /// The node has power again.
    pub fn restore(&self, node: &str) {
        self.script(&["node"], &[node]);
    }

    /// Cuts a node off from the network, or connects it again. Its processes continue.
    pub fn link(&self, node: &str, is_up: bool) {
        self.script(&["link"], &[node, if is_up { "up" } else { "down" }]);
    }

    /// Kills the scheduler's controller.
    pub fn kill_controller(&self) {
        self.script(&["controller"], &["stop"]);
    }

    /// Starts it again.
    pub fn start_controller(&self) {
        self.script(&["controller"], &["start"]);
    }

    /// Makes LocalStack available to all machines. Its URL there.
    pub fn relay_s3(&self) -> String {
        let server = std::env::var("AWS_ENDPOINT_URL").expect("`make test` sets it").replace("http://", "");
        let socket = self.folder().join("s3.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let requests = Arc::clone(&self.s3_requests);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(upstream) = TcpStream::connect(&server) else { return };
                let requests = Arc::clone(&requests);
                let (from_client, to_client) = (client.try_clone().unwrap(), client);
                let (from_server, to_server) = (upstream.try_clone().unwrap(), upstream);
                std::thread::spawn(move || {
                    let mut buffer = vec![0; 64 << 10];
                    while let Ok(read @ 1..) = (&from_client).read(&mut buffer) {
                        let lines = buffer[..read].windows(11).filter(|text| text == b" HTTP/1.1\r\n").count();
                        requests.fetch_add(lines, Ordering::Relaxed);
                        if (&to_server).write_all(&buffer[..read]).is_err() {
                            break;
                        }
                    }
                    drop(to_server.shutdown(Shutdown::Both));
                });
                std::thread::spawn(move || {
                    drop(std::io::copy(&mut &from_server, &mut &to_client));
                    drop(to_client.shutdown(Shutdown::Both));
                });
            }
        });
        self.script(&["relay"], &[socket.to_str().unwrap()]);
        "http://10.77.0.1:4566".to_owned()
    }

    /// Names of the containers that a node's engine has, ended ones included.
    pub fn containers(&self, node: &str) -> Vec<String> {
        let names = self.run(node, Path::new("/"), &["docker", "ps", "--all", "--format", "{{.Names}}"]);
        names.lines().map(str::to_owned).collect()
    }

    fn script(&self, verb: &[&str], arguments: &[&str]) {
        self.script_with(verb, arguments, &[]);
    }

    fn script_with(&self, verb: &[&str], arguments: &[&str], variables: &[(&str, &str)]) {
        let mut command = Command::new(service());
        command.args(verb).arg(self.folder.path()).args(arguments).stdin(Stdio::null());
        command.envs(variables.iter().copied());
        // Daemons that it starts must not hold a pipe of ours open.
        let log = self.folder.path().join("cluster.log");
        let output = std::fs::File::create(&log).unwrap();
        let status = command.stdout(output.try_clone().unwrap()).stderr(output).status().unwrap();
        assert!(status.success(), "cluster {verb:?} {arguments:?}: {}", std::fs::read_to_string(&log).unwrap());
    }

    /// The nodes' names.
    pub fn nodes(&self) -> &[String] {
        &self.nodes
    }
}

fn service() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("services/cluster")
}

fn stdout_of_success(what: &str, output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{what}: {}\n{}", output.status, text(&output.stderr));
    text(&output.stdout)
}
