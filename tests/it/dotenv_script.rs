//! What `make run` and `make run-orders` do before they start a service: `scripts/dotenv` writes its `.env`, by which the tokens of one
//! service hold at the other.

use std::{fs, path::Path, process::Command};

use tempfile::TempDir;

use crate::documents::root;

const SIBLING: &str = "siblings/orders";

/// What the script reads, and a `.env` with these lines.
fn scratch(dotenv: &str) -> TempDir {
    let scratch = tempfile::tempdir().unwrap();
    for file in [
        ".env.example",
        "scripts/dotenv",
        "scripts/packages.bash",
        "scripts/ports.bash",
        "siblings/orders/.env.example",
    ] {
        let to = scratch.path().join(file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(root().join(file), to).unwrap();
    }
    fs::write(scratch.path().join(".env"), dotenv).unwrap();
    scratch
}

/// Runs the script for the folder of the sibling, and returns the lines of its `.env` that say something of tokens.
fn of_sibling(scratch: &Path) -> Vec<String> {
    let mut script = Command::new(scratch.join("scripts/dotenv"));
    let ran = script.arg(SIBLING).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let dotenv = fs::read_to_string(scratch.join(SIBLING).join(".env")).unwrap();
    let lines = dotenv.lines().filter(|line| line.starts_with("JW"));
    lines.map(str::to_owned).collect()
}

#[test]
fn tokens_are_checked_by_a_sibling_as_the_root_checks_them_also_when_that_changes() {
    let scratch = scratch("JWT_KEY=\nJWT_KEY_FILE=keys/jwt\nJWT_ISSUER='me'\n");
    let expected = ["JWT_KEY_FILE=../../keys/jwt", "JWT_ISSUER='me'"];
    assert_eq!(of_sibling(scratch.path()), expected);
    assert_eq!(of_sibling(scratch.path()), expected);
    for line in [
        "JWT_KEY=a-key-of-thirty-two-bytes-or-more",
        "JWT_PUBLIC_KEY_FILE=/keys/public.pem",
        "JWKS_URL=https://id.example.com/jwks.json",
    ] {
        fs::write(scratch.path().join(".env"), format!("{line}\n")).unwrap();
        assert_eq!(of_sibling(scratch.path()), [line]);
    }
}

#[test]
fn a_key_that_a_sibling_has_of_its_own_stays() {
    let scratch = scratch("JWT_KEY=the-key-of-the-root-of-thirty-two-bytes\nJWT_ISSUER=me\n");
    let own = "JWT_KEY=a-key-of-its-own-of-thirty-two-bytes";
    let dotenv = scratch.path().join(SIBLING).join(".env");
    fs::write(dotenv, format!("{own}\n")).unwrap();
    assert_eq!(of_sibling(scratch.path()), [own]);
    assert_eq!(of_sibling(scratch.path()), [own]);
}

#[test]
fn a_root_that_names_a_file_of_keys_is_given_no_key() {
    let scratch = scratch("JWT_KEY=\nJWT_PUBLIC_KEY_FILE=/keys/public.pem\n");
    of_sibling(scratch.path());
    let script = Command::new(scratch.path().join("scripts/dotenv")).status();
    assert!(script.unwrap().success());
    let dotenv = fs::read_to_string(scratch.path().join(".env")).unwrap();
    assert!(dotenv.contains("JWT_KEY=\n"), "{dotenv}");
}

#[test]
fn a_service_that_is_not_there_is_told_in_a_line_that_lists_those_that_are() {
    let mut make = Command::new("make");
    let make = make.args(["--no-print-directory", "run-payment"]);
    let told = make.current_dir(root()).output().unwrap();
    assert!(!told.status.success());
    let told = String::from_utf8(told.stdout).unwrap();
    assert_eq!(told.lines().count(), 1, "{told}");
    for text in ["no service payment;", "make run-notes", "make run-orders"] {
        assert!(told.contains(text), "{told}");
    }
}
