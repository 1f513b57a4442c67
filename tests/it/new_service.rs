//! `make new-service`: what it writes, and which names it refuses. `scripts/try-new-service` compiles and tests what it writes.
//!
//! Whoever has made services of their own has more than the template: what is expected is derived from what is there.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

use crate::documents::{files, root};

/// A name that nobody gives to a service, and one that sorts before those of the template.
const NAME: &str = "gadgets";
const EARLY: &str = "items";

fn copy(of: &str, to: &Path) {
    let (from, to) = (root().join(of), to.join(of));
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let mut copied = Command::new("cp");
    let copied = copied.arg("-r").args([from, to]).status();
    assert!(copied.unwrap().success(), "{of}");
}

/// A copy of what the script reads and writes, with a cargo that builds nothing: it prints what stands for a document.
fn scratch() -> TempDir {
    let scratch = tempfile::tempdir().unwrap();
    for of in [
        "Cargo.lock",
        "docker-compose.yml",
        "skaffold.yaml",
        ".env.example",
        "src",
        "siblings/notes",
        "siblings/orders",
        "deploy",
        ".github",
        "scripts/new-service",
        "scripts/renaming.py",
    ] {
        copy(of, scratch.path());
    }
    cargo(&scratch, "[ \"$1\" = fmt ] || echo '{}'");
    scratch
}

fn cargo(scratch: &TempDir, does: &str) {
    let cargo = scratch.path().join(".bin/cargo");
    fs::create_dir_all(cargo.parent().unwrap()).unwrap();
    fs::write(&cargo, format!("#!/bin/sh\n{does}\n")).unwrap();
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
}

fn new_service(scratch: &TempDir, args: &[&str]) -> Output {
    let path = std::env::var("PATH").unwrap();
    let bin = scratch.path().join(".bin");
    let mut script = Command::new(scratch.path().join("scripts/new-service"));
    let script = script.env("PATH", format!("{}:{path}", bin.display()));
    script.args(args).output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn make(scratch: &TempDir, args: &[&str]) {
    let made = new_service(scratch, args);
    assert!(made.status.success(), "{}", told(&made));
}

fn read(scratch: &TempDir, path: &str) -> String {
    fs::read_to_string(scratch.path().join(path)).unwrap()
}

/// Every file, with its content.
fn contents(scratch: &TempDir) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = files(scratch.path(), "");
    all.extend(files(&scratch.path().join(".github"), ""));
    all.retain(|path| path.is_file());
    all.into_iter()
        .map(|file| (file.clone(), fs::read(file).unwrap()))
        .collect()
}

/// The ports of a sibling, as `main.rs` has them.
fn ports(scratch: &TempDir, service: &str) -> (u16, u16) {
    let main = read(scratch, &format!("siblings/{service}/src/main.rs"));
    let ports = main.split(".ports(").nth(1).unwrap();
    let (http, admin) = ports.split(')').next().unwrap().split_once(", ").unwrap();
    (http.parse().unwrap(), admin.parse().unwrap())
}

#[test]
fn a_new_service_is_the_template_with_other_names_and_ports() {
    let scratch = scratch();
    make(&scratch, &[NAME, ""]);
    let folder = scratch.path().join("siblings").join(NAME);
    let all = files(&folder, "");
    assert!(all.len() >= 10, "{all:?}");
    for file in &all {
        let text = fs::read_to_string(file).unwrap().to_lowercase();
        assert!(!text.contains("note"), "{}", file.display());
    }
    let routes = read(&scratch, "siblings/gadgets/src/gadgets/routes.rs");
    assert!(routes.contains("async fn update_gadget("), "{routes}");
    let (http, admin) = ports(&scratch, "orders").max(ports(&scratch, "notes"));
    assert_eq!(ports(&scratch, NAME), (http + 1, admin + 1));
    let compose = read(&scratch, "docker-compose.yml");
    let entry = compose.split("\n  gadgets:").nth(1).unwrap();
    let entry = entry.split("\n\n").next().unwrap();
    let published = format!("${{GADGETS_PORT:-{0}}}:{0}", http + 1);
    for line in ["profiles: [gadgets]", "PROGRAM: gadgets", &published] {
        assert!(entry.contains(line), "{entry}");
    }
    assert!(compose.contains("\n  notes:"));
    make(&scratch, &["folk", "person"]);
    assert_eq!(ports(&scratch, "folk"), (http + 2, admin + 2));
}

#[test]
fn a_new_service_is_deployed_as_the_others_are() {
    let scratch = scratch();
    make(&scratch, &[NAME, ""]);
    let image = "- { name: gadgets, newName: ghcr.io/example/gadgets, newTag: 0.1.0 }";
    let local_port = format!("localPort: {}", ports(&scratch, NAME).0);
    for (file, line) in [
        ("deploy/k8s/base/kustomization.yaml", "- gadgets"),
        ("deploy/k8s/base/gadgets/deployment.yaml", "- name: gadgets"),
        (
            "deploy/k8s/overlays/dev/kustomization.yaml",
            "- name: gadgets",
        ),
        (
            "deploy/k8s/overlays/dev/ingress.yaml",
            "- path: /api/gadgets",
        ),
        ("deploy/k8s/overlays/production/kustomization.yaml", image),
        (
            "deploy/k8s/overlays/production/ingress.yaml",
            "- path: /api/gadgets",
        ),
        ("deploy/prometheus.yml", "- job_name: gadgets"),
        ("skaffold.yaml", "- image: gadgets"),
        ("skaffold.yaml", &local_port),
    ] {
        let text = read(&scratch, file);
        assert!(text.lines().any(|it| it.trim() == line), "{file}: {text}");
    }
    let images = read(&scratch, ".github/workflows/image.yml");
    let lists: Vec<_> = images
        .lines()
        .filter(|it| it.contains("program:"))
        .collect();
    assert!(lists.len() >= 2, "{images}");
    for list in lists {
        assert!(list.ends_with(", gadgets]"), "{list}");
    }
}

#[test]
fn what_deploys_a_service_is_that_of_orders_whatever_another_is_called() {
    let scratch = scratch();
    make(&scratch, &[EARLY, ""]);
    make(&scratch, &[NAME, ""]);
    let base = "deploy/k8s/base";
    for file in files(&scratch.path().join(base).join("orders"), "") {
        let name = file.file_name().unwrap().to_str().unwrap();
        let of_orders = read(&scratch, &format!("{base}/orders/{name}"));
        let of_new = read(&scratch, &format!("{base}/{NAME}/{name}"));
        assert_eq!(of_new, of_orders.replace("orders", NAME), "{name}");
        let of_early = read(&scratch, &format!("{base}/{EARLY}/{name}"));
        assert!(!of_early.contains("orders"), "{of_early}");
    }
}

#[test]
fn a_word_of_the_code_can_be_a_name_and_the_two_are_told_apart() {
    let scratch = scratch();
    for name in [
        "users",
        "sessions",
        "documents",
        "messages",
        "files",
        "pages",
        "addresses",
        "tokens",
    ] {
        make(&scratch, &[name, ""]);
    }
    let routes = read(&scratch, "siblings/users/src/users/routes.rs");
    for line in [
        "    user: User,",
        "    let user_doc = UserDoc::new(new, user.id, metadata.created_at);",
        "            let address = format!(\"/api/users/{}\", user_doc.id);",
    ] {
        assert!(routes.lines().any(|it| it == line), "{line}: {routes}");
    }
    let model = read(&scratch, "siblings/users/src/users/model.rs");
    assert!(model.contains("#[schema(as = User)]"), "{model}");
    assert!(read(&scratch, "siblings/users/src/main.rs").contains("users::EVENTS"));
}

#[test]
fn the_english_of_a_new_service_has_its_singular_and_its_article() {
    let scratch = scratch();
    for (name, singular, article) in [
        ("statuses", "status", "A"),
        ("invoices", "invoice", "An"),
        ("entries", "entry", "An"),
        ("units", "unit", "A"),
    ] {
        make(&scratch, &[name, ""]);
        let model = read(&scratch, &format!("siblings/{name}/src/{name}/model.rs"));
        let line = format!("//! {article} {singular} as it comes in,");
        assert!(model.starts_with(&line), "{model}");
    }
}

#[test]
fn a_name_that_cannot_be_used_is_refused_with_its_reason_and_nothing_is_written() {
    let scratch = scratch();
    let before = contents(&scratch);
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
        ("status", "", "SINGULAR=person"),
        ("caches", "", "SINGULAR=person"),
        ("bonuses", "", "SINGULAR=person"),
        ("pies", "", "SINGULAR=person"),
        ("sheep", "sheep", "the same name"),
        ("types", "", "type is a keyword"),
        ("matches", "", "match is a keyword"),
        ("admin", "adm", "MongoDB's own"),
        ("events", "", "a collection of every service"),
        ("problems", "", "a schema of every service"),
        ("tests", "", "cargo's own"),
        ("tickets", "", "a package"),
        ("metrics", "", "a package"),
        ("orders", "", "is there already"),
        ("notes", "", "is there already"),
        ("ticketing", "ticket", "ticket.>"),
        ("mongo", "mongos", "docker-compose.yml has"),
        ("observe", "observer", "a profile observe"),
        ("reservations", "", "RESERVATIONS_STREAM"),
    ] {
        let refused = new_service(&scratch, &[name, singular]);
        let told = told(&refused);
        assert!(!refused.status.success(), "{name}");
        assert!(told.contains(reason), "{name}: {told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    assert!(contents(&scratch) == before);
    let compose = read(&scratch, "docker-compose.yml").replace("\n  notes:", "\n  memos:");
    fs::write(scratch.path().join("docker-compose.yml"), compose).unwrap();
    let told = told(&new_service(&scratch, &[NAME, ""]));
    assert!(told.contains("has no service notes any more"), "{told}");
}

#[test]
fn a_service_that_cannot_be_built_leaves_everything_as_it_was() {
    let scratch = scratch();
    let before = contents(&scratch);
    cargo(&scratch, "echo changed >> Cargo.lock; [ \"$1\" = fmt ]");
    let failed = new_service(&scratch, &[NAME, ""]);
    assert!(!failed.status.success());
    assert!(told(&failed).contains("as it was before"), "{failed:?}");
    assert!(contents(&scratch) == before);
    // Ctrl-C while cargo builds ends both.
    cargo(
        &scratch,
        "[ \"$1\" = fmt ] || { kill -INT $PPID; kill -INT $$; }",
    );
    let stopped = new_service(&scratch, &[NAME, ""]);
    assert!(!stopped.status.success());
    assert!(told(&stopped).contains("stopped"), "{stopped:?}");
    assert!(contents(&scratch) == before);
    cargo(&scratch, "[ \"$1\" = fmt ] || echo '{}'");
    make(&scratch, &[NAME, ""]);
}
