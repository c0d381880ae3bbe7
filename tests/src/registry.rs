//! A registry on loopback that requires a password.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::build_context::{ncaas_build, single, write_file};
use crate::{Run, wait_until};

/// With the two letters in it in which base64's alphabets differ.
pub const PASSWORD: &str = "a>>>b???c~~~";

/// `htpasswd -Bbn me 'a>>>b???c~~~'`.
pub const HTPASSWD: &str = "me:$2y$05$zywwDJhaQQ/UT/ivL2ewLuahyVpiikKgZ9dkRMRaDBGHmMoHa2E9.\n";

/// A registry that ends with the test.
pub struct Registry {
    child: Child,
    folder: tempfile::TempDir,
    /// Host and port.
    pub address: String,
}

impl Registry {
    /// Starts it.
    pub fn start() -> Self {
        let packages = concat!(env!("CARGO_MANIFEST_DIR"), "/services/packages");
        assert!(Command::new(packages).arg("docker-registry").status().unwrap().success());
        let folder = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let path = folder.path().display();
        write_file(folder.path(), "htpasswd", HTPASSWD);
        let config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {path}/data}}}}\nhttp: {{addr: '{address}'}}\n\
             auth: {{htpasswd: {{realm: test, path: {path}/htpasswd}}}}\n"
        );
        write_file(folder.path(), "config.yml", &config);
        // It ends with this thread, even if the test is killed.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "docker-registry", "serve"])
            .arg(folder.path().join("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_until("the registry", Duration::from_secs(20), || std::net::TcpStream::connect(&address).is_ok());
        Registry { child, folder, address }
    }

    /// The folder with the docker CLI's configuration and credential helpers.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The docker CLI's configuration from now on.
    pub fn configure(&self, config: &str) {
        write_file(self.path(), "docker/config.json", config);
    }

    /// Stores a password where `docker login` stores it.
    pub fn log_in(&self, password: &str) {
        let encoded =
            Command::new("bash").args(["-c", "printf %s \"$0\" | base64 -w0", &format!("me:{password}")]).output();
        let encoded = String::from_utf8(encoded.unwrap().stdout).unwrap();
        self.configure(&format!(r#"{{"auths":{{"{}":{{"auth":"{encoded}"}}}}}}"#, self.address));
    }

    /// A run of `ncaas-build` with that configuration.
    pub fn build(&self) -> Run {
        let path = format!("{}:{}", self.path().join("bin").display(), std::env::var("PATH").unwrap());
        ncaas_build().env("DOCKER_CONFIG", self.path().join("docker")).env("PATH", path)
    }

    /// Runs `ncaas-build`, which has to fail with this kind of error. Its record.
    #[track_caller]
    pub fn fails(&self, arguments: [&str; 2], kind: &str) -> Value {
        let ran = self.build().args(arguments).run();
        let record = single(ran.json());
        assert_eq!((ran.status, record["error"]["kind"].as_str()), (1, Some(kind)), "{arguments:?}: {record}");
        assert!(!ran.stderr.contains(PASSWORD) && !ran.text().contains(PASSWORD));
        record
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
