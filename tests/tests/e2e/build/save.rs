//! `ncaas-build save`, `load`, `ls` and `rm`.

use ncaas_tests::build_context::{ncaas_build, single, write_file};
use ncaas_tests::engine::{CleanUp, FIXTURE, docker};
use ncaas_tests::unique;

#[test]
fn save_and_load_carry_an_image_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let name = unique("carried");
    let image = format!("neurocaas/contrib:{name}.356d78a");
    let mut clean = CleanUp::new();
    clean.image(&image);
    docker(&["tag", FIXTURE, &image]);
    let listed = ncaas_build().arg("ls").run().ok().json();
    let listed = listed.iter().find(|record| record["image"] == image.as_str()).unwrap();
    assert_eq!((listed["analysis"].as_str(), listed["commit"].as_str()), (Some(name.as_str()), Some("356d78a")));
    assert!(listed["size"].as_u64().unwrap() > 1_000_000 && listed["age_s"].is_u64(), "{listed}");

    let file = folder.path().join("a/b.tar");
    let saved = single(ncaas_build().args(["save", &image, "-o"]).arg(&file).run().ok().json());
    assert_eq!(saved["size"].as_u64().unwrap(), std::fs::metadata(&file).unwrap().len());
    ncaas_build().args(["rm", &image]).run().ok();
    let loaded = single(ncaas_build().arg("load").arg(&file).run().ok().json());
    assert_eq!((loaded["image"].as_str(), &loaded["image_id"]), (Some(image.as_str()), &saved["image_id"]));

    write_file(folder.path(), "rubbish", "rubbish");
    let ran = ncaas_build().arg("load").arg(folder.path().join("rubbish")).run();
    assert_eq!((ran.status, single(ran.json())["error"]["kind"].as_str().unwrap()), (1, "engine-error"));
    let ran = ncaas_build().args(["save", "no/such:image", "-o"]).arg(folder.path().join("x")).run();
    assert_eq!((ran.status, single(ran.json())["error"]["kind"].as_str().unwrap()), (1, "image-not-found"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing half-written is left");
}
