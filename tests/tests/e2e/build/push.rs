//! `ncaas-build push`, `pull`, `tag` and `rm`, with a registry that requires a password.

use ncaas_tests::build_context::{single, write_file};
use ncaas_tests::engine::{CleanUp, FIXTURE, docker};
use ncaas_tests::registry::{PASSWORD, Registry};
use ncaas_tests::unique;

#[test]
fn push_and_pull_keep_the_digest_of_an_image() {
    let registry = Registry::start();
    let image = format!("{}/lab/{}:1", registry.address, unique("push"));
    let mut clean = CleanUp::new();
    clean.image(&image);
    registry.log_in(PASSWORD);
    let record = single(registry.build().args(["tag", FIXTURE, &image]).run().ok().json());
    let id = record["image_id"].as_str().unwrap().to_owned();
    assert_eq!(id, docker(&["image", "inspect", "--format", "{{.Id}}", FIXTURE]));

    // By pipe, as after `ncaas-build image`.
    let pushed = single(
        registry.build().arg("push").stdin(format!("{{\"image\":\"{image}\",\"mine\":1.50}}\n")).run().ok().json(),
    );
    let digest = pushed["digest"].as_str().unwrap();
    assert!(digest.starts_with("sha256:") && serde_json::to_string(&pushed["mine"]).unwrap() == "1.50", "{pushed}");
    registry.build().args(["rm", &image]).run().ok();
    assert_eq!(docker(&["image", "ls", "-q", &image]), "");
    let pulled = single(registry.build().args(["pull", &image]).run().ok().json());
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
fn push_uses_docker_credential_helpers() {
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
    write_file(registry.path(), "bin/docker-credential-fake", &helper);
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
