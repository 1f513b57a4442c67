//! `make new-service`: what it writes, and which names it refuses. `scripts/try-new-service` compiles and tests what it writes.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use tempfile::TempDir;

use crate::documents::{files, root};

fn copy(of: &str, to: &Path) {
    let (from, to) = (root().join(of), to.join(of));
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let mut copied = Command::new("cp");
    let copied = copied.arg("-r").args([from, to]).status();
    assert!(copied.unwrap().success(), "{of}");
}

/// A copy of what the script reads and writes.
fn scratch() -> TempDir {
    let scratch = tempfile::tempdir().unwrap();
    for of in [
        "Cargo.lock",
        "docker-compose.yml",
        "skaffold.yaml",
        ".env.example",
        "src",
        "siblings",
        "deploy",
        ".github",
        "scripts/new-service",
    ] {
        copy(of, scratch.path());
    }
    scratch
}

fn new_service(scratch: &TempDir, args: &[&str]) -> Output {
    let mut script = Command::new(scratch.path().join("scripts/new-service"));
    script.args(args).output().unwrap()
}

#[test]
fn a_new_service_is_the_template_with_other_names_and_ports() {
    let scratch = scratch();
    let written = new_service(&scratch, &["payments", ""]);
    let told = String::from_utf8(written.stderr).unwrap();
    assert!(written.status.success(), "{told}");
    let folder = scratch.path().join("siblings/payments");
    let all = files(&folder, "");
    assert!(all.len() >= 8, "{all:?}");
    for file in &all {
        let text = fs::read_to_string(file).unwrap().to_lowercase();
        assert!(!text.contains("note"), "{}", file.display());
    }
    let read = |path: &str| fs::read_to_string(scratch.path().join(path)).unwrap();
    let routes = read("siblings/payments/src/payments/routes.rs");
    assert!(routes.contains("async fn update_payment("), "{routes}");
    assert!(read("siblings/payments/src/main.rs").contains(".ports(3003, 9093)"));
    let compose = read("docker-compose.yml");
    let entry = compose.split("\n  payments:").nth(1).unwrap();
    let entry = entry.split("\n\n").next().unwrap();
    for line in [
        "profiles: [payments]",
        "PROGRAM: payments",
        "${PAYMENTS_PORT:-3003}:3003",
    ] {
        assert!(entry.contains(line), "{entry}");
    }
    assert!(compose.contains("\n  notes:"));
    let next = new_service(&scratch, &["people", "person"]);
    assert!(next.status.success());
    assert!(read("siblings/people/src/main.rs").contains(".ports(3004, 9094)"));
}

#[test]
fn a_new_service_is_deployed_as_the_others_are() {
    let scratch = scratch();
    assert!(new_service(&scratch, &["payments", ""]).status.success());
    let image = "- { name: payments, newName: ghcr.io/example/payments, newTag: 0.1.0 }";
    for (file, line) in [
        ("k8s/base/kustomization.yaml", "- payments"),
        ("k8s/base/payments/deployment.yaml", "- name: payments"),
        ("k8s/overlays/dev/kustomization.yaml", "- name: payments"),
        ("k8s/overlays/dev/ingress.yaml", "- path: /api/payments"),
        ("k8s/overlays/production/kustomization.yaml", image),
        (
            "k8s/overlays/production/ingress.yaml",
            "- path: /api/payments",
        ),
        ("prometheus.yml", "- job_name: payments"),
        ("../skaffold.yaml", "- image: payments"),
        ("../skaffold.yaml", "localPort: 3003"),
    ] {
        let text = fs::read_to_string(scratch.path().join("deploy").join(file)).unwrap();
        assert!(text.lines().any(|it| it.trim() == line), "{file}: {text}");
    }
    let images = scratch.path().join(".github/workflows/image.yml");
    let images = fs::read_to_string(images).unwrap();
    assert_eq!(images.matches("program: [").count(), 2, "{images}");
    assert_eq!(images.matches("orders, payments]").count(), 2, "{images}");
}

#[test]
fn a_name_that_cannot_be_used_is_refused_with_its_reason_and_nothing_is_written() {
    let scratch = scratch();
    let before = files(scratch.path(), "").len();
    for (name, singular, reason) in [
        ("", "", "say how it is called"),
        ("pay-ments", "", "letters a to z"),
        ("pay.ments", "", "letters a to z"),
        ("Payments", "", "letters a to z"),
        ("2payments", "", "letters a to z"),
        ("p", "", "letters a to z"),
        (&"s".repeat(31), "", "letters a to z"),
        ("../payments", "", "letters a to z"),
        ("payments", "pay ment", "letters a to z"),
        ("people", "", "SINGULAR=person"),
        ("sheep", "sheep", "the same name"),
        ("types", "", "type is a keyword"),
        ("matches", "", "match is a keyword"),
        ("admin", "adm", "MongoDB's own"),
        ("events", "", "a collection of every service"),
        ("tests", "", "cargo's own"),
        ("tickets", "", "a package"),
        ("metrics", "", "a package"),
        ("orders", "", "is there already"),
        ("notes", "", "is there already"),
        ("ticketing", "ticket", "ticket.>"),
        ("users", "", "already"),
        ("answering", "answer", "already"),
        ("mongo", "mongos", "docker-compose.yml has"),
    ] {
        let refused = new_service(&scratch, &[name, singular]);
        let told = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success(), "{name}");
        assert!(told.contains(reason), "{name}: {told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    assert_eq!(files(scratch.path(), "").len(), before);
}
