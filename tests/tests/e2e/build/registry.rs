//! `ncaas-build pull`, `push`, `tag`, `ls`, `rm`, `save`, `load`, against a registry on loopback that wants a password.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ncaas_tests::engine::{CleanUp, FIXTURE, docker};
use ncaas_tests::{Run, unique, wait_until};
use serde_json::Value;

use super::{build, one, write};

/// With the two letters in it in which base64's alphabets differ.
const PASSWORD: &str = "a>>>b???c~~~";
/// `htpasswd -Bbn me 'a>>>b???c~~~'`.
const HTPASSWD: &str = "me:$2y$05$zywwDJhaQQ/UT/ivL2ewLuahyVpiikKgZ9dkRMRaDBGHmMoHa2E9.\n";

struct Registry {
    child: Child,
    folder: tempfile::TempDir,
    address: String,
}

impl Registry {
    fn start() -> Self {
        let packages = concat!(env!("CARGO_MANIFEST_DIR"), "/services/packages");
        assert!(Command::new(packages).arg("docker-registry").status().unwrap().success());
        let folder = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let path = folder.path().display();
        write(folder.path(), "htpasswd", HTPASSWD);
        let config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {path}/data}}}}\nhttp: {{addr: '{address}'}}\n\
             auth: {{htpasswd: {{realm: test, path: {path}/htpasswd}}}}\n"
        );
        write(folder.path(), "config.yml", &config);
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(folder.path().join("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_until("the registry", Duration::from_secs(20), || std::net::TcpStream::connect(&address).is_ok());
        Registry { child, folder, address }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The docker CLI's configuration from now on.
    fn configure(&self, config: &str) {
        write(self.path(), "docker/config.json", config);
    }

    fn log_in(&self, password: &str) {
        let encoded =
            Command::new("bash").args(["-c", "printf %s \"$0\" | base64 -w0", &format!("me:{password}")]).output();
        let encoded = String::from_utf8(encoded.unwrap().stdout).unwrap();
        self.configure(&format!(r#"{{"auths":{{"{}":{{"auth":"{encoded}"}}}}}}"#, self.address));
    }

    fn build(&self) -> Run {
        let path = format!("{}:{}", self.path().join("bin").display(), std::env::var("PATH").unwrap());
        build().env("DOCKER_CONFIG", self.path().join("docker")).env("PATH", path)
    }

    #[track_caller]
    fn fails(&self, arguments: [&str; 2], kind: &str) -> Value {
        let ran = self.build().args(arguments).run();
        let record = one(ran.json());
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

#[test]
fn an_image_comes_back_from_a_registry_with_the_digest_it_went_with() {
    let registry = Registry::start();
    let image = format!("{}/lab/{}:1", registry.address, unique("push"));
    let mut clean = CleanUp::new();
    clean.image(&image);
    registry.log_in(PASSWORD);
    let record = one(registry.build().args(["tag", FIXTURE, &image]).run().ok().json());
    let id = record["image_id"].as_str().unwrap().to_owned();
    assert_eq!(id, docker(&["image", "inspect", "--format", "{{.Id}}", FIXTURE]));

    // By pipe, as after `ncaas-build image`.
    let pushed =
        one(registry.build().arg("push").stdin(format!("{{\"image\":\"{image}\",\"mine\":1.50}}\n")).run().ok().json());
    let digest = pushed["digest"].as_str().unwrap();
    assert!(digest.starts_with("sha256:") && serde_json::to_string(&pushed["mine"]).unwrap() == "1.50", "{pushed}");
    registry.build().args(["rm", &image]).run().ok();
    assert_eq!(docker(&["image", "ls", "-q", &image]), "");
    let pulled = one(registry.build().args(["pull", &image]).run().ok().json());
    assert_eq!((pulled["digest"].as_str().unwrap(), pulled["image_id"].as_str().unwrap()), (digest, id.as_str()));

    registry.fails(["pull", &format!("{}/lab/nothing:1", registry.address)], "image-not-found");
    registry.fails(["push", &format!("{}/lab/nothing:1", registry.address)], "image-not-found");
    registry.log_in("wrong");
    registry.fails(["push", &image], "access-denied");
    registry.build().args(["rm", &image]).run().ok();
    registry.fails(["pull", &image], "access-denied");
    assert_eq!(docker(&["image", "ls", "-q", &image]), "", "nothing is tagged");
}

#[test]
fn credentials_come_from_helpers_too() {
    let registry = Registry::start();
    let image = format!("{}/lab/{}:1", registry.address, unique("push"));
    let mut clean = CleanUp::new();
    clean.image(&image);
    docker(&["tag", FIXTURE, &image]);
    registry.configure("{}");
    registry.fails(["push", &image], "access-denied");
    let helper = format!(
        "#!/bin/bash\nread host\n[[ $1 == get && $host == {} ]] || {{ echo 'credentials not found in native keychain'; exit 1; }}\n\
         echo '{{\"ServerURL\":\"x\",\"Username\":\"me\",\"Secret\":\"{PASSWORD}\"}}'\n",
        registry.address
    );
    write(registry.path(), "bin/docker-credential-fake", &helper);
    let path = registry.path().join("bin/docker-credential-fake");
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for config in
        [r#"{"credsStore":"fake"}"#.to_owned(), format!(r#"{{"credHelpers":{{"{}":"fake"}}}}"#, registry.address)]
    {
        registry.configure(&config);
        registry.build().args(["push", &image]).run().ok();
    }
    registry.configure(r#"{"credsStore":"no-such-helper"}"#);
    registry.fails(["push", &image], "registry-error");
}

#[test]
fn an_image_can_be_carried_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let name = unique("carried");
    let image = format!("neurocaas/contrib:{name}.356d78a");
    let mut clean = CleanUp::new();
    clean.image(&image);
    docker(&["tag", FIXTURE, &image]);
    let listed = build().arg("ls").run().ok().json();
    let listed = listed.iter().find(|record| record["image"] == image.as_str()).unwrap();
    assert_eq!((listed["analysis"].as_str(), listed["commit"].as_str()), (Some(name.as_str()), Some("356d78a")));
    assert!(listed["size"].as_u64().unwrap() > 1_000_000 && listed["age_s"].is_u64(), "{listed}");

    let file = folder.path().join("a/b.tar");
    let saved = one(build().args(["save", &image, "-o"]).arg(&file).run().ok().json());
    assert_eq!(saved["size"].as_u64().unwrap(), std::fs::metadata(&file).unwrap().len());
    build().args(["rm", &image]).run().ok();
    let loaded = one(build().arg("load").arg(&file).run().ok().json());
    assert_eq!((loaded["image"].as_str(), &loaded["image_id"]), (Some(image.as_str()), &saved["image_id"]));

    write(folder.path(), "rubbish", "rubbish");
    let ran = build().arg("load").arg(folder.path().join("rubbish")).run();
    assert_eq!((ran.status, one(ran.json())["error"]["kind"].as_str().unwrap()), (1, "engine-error"));
    let ran = build().args(["save", "no/such:image", "-o"]).arg(folder.path().join("x")).run();
    assert_eq!((ran.status, one(ran.json())["error"]["kind"].as_str().unwrap()), (1, "image-not-found"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing half-written is left");
}
