//! An engine reached by ssh: no path of this machine means anything there. Here it is the same machine, by loopback.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ncaas_tests::engine::{FIXTURE, docker};
use ncaas_tests::wait_until;

use crate::exec_run::Place;

/// An sshd of the test's own, and an `ssh` that knows its keys.
struct Loopback {
    sshd: Child,
    dir: tempfile::TempDir,
    port: u16,
}

impl Loopback {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        for key in ["host", "key"] {
            let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &at(key)]).status();
            assert!(made.unwrap().success());
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
             PermitRootLogin yes\nStrictModes no\nUsePAM no\n",
            at("host"),
            at("key.pub")
        );
        fs::write(at("config"), config).unwrap();
        let ssh = format!(
            "#!/bin/sh\nexec /usr/bin/ssh -i {} -o StrictHostKeyChecking=no -o UserKnownHostsFile={} \"$@\"\n",
            at("key"),
            at("known")
        );
        fs::write(at("ssh"), ssh).unwrap();
        fs::set_permissions(at("ssh"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir_all("/run/sshd").unwrap();
        let mut sshd = Command::new("/usr/sbin/sshd");
        sshd.args(["-D", "-f", &at("config")]).stdin(Stdio::null()).stderr(Stdio::null());
        let sshd = sshd.spawn().expect("sshd, of Debian's openssh-server");
        wait_until("sshd", Duration::from_secs(10), || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Loopback { sshd, dir, port }
    }

    fn host(&self) -> String {
        format!("ssh://root@127.0.0.1:{}", self.port)
    }

    fn path(&self) -> String {
        format!("{}:{}", self.dir.path().display(), std::env::var("PATH").unwrap())
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        drop(self.sshd.kill());
        drop(self.sshd.wait());
    }
}

#[test]
#[ignore = "needs sshd and root: `make test-engines` runs it"]
fn a_remote_engine_is_brought_its_inputs_and_sees_no_path_of_this_machine() {
    let (place, remote) = (Place::new(), Loopback::new());
    fs::create_dir_all(place.path().join("set/sub")).unwrap();
    fs::write(place.path().join("set/a"), "1\n").unwrap();
    fs::write(place.path().join("set/sub/b $(c)"), "2\n").unwrap();
    fs::write(place.path().join("c.yaml"), "n: 3\n").unwrap();
    fs::set_permissions(place.path().join("set/a"), fs::Permissions::from_mode(0o600)).unwrap();
    let script = r#"find "$1" -type f | sort | while read -r file; do cat "$file"; done; cat "$2"
                    echo r > io-dir/results/r && echo l > io-dir/logs/l"#;
    let exec = |arguments: &[&str]| place.exec(arguments).env("DOCKER_HOST", remote.host()).env("PATH", remote.path());
    let started = exec(&["run", FIXTURE, "--data", "set", "--config", "c.yaml", "--", "bash", "-c", script]).run();
    let ended = exec(&["wait"]).stdin(started.stdout).run().ok();
    let container = ended.record().container.unwrap();
    assert_eq!(docker(&["logs", &container.id]), "1\n2\nn: 3");
    assert_eq!(docker(&["inspect", "--format", "{{len .Mounts}}", &container.id]), "0");
    docker(&["cp", &format!("{}:/home/neurocaasdev/io-dir/results/r", container.id), "-"]);
    exec(&["rm"]).stdin(ended.stdout).run().ok();
    assert!(Path::new(&place.path().join("io-dir/results")).exists());
}
