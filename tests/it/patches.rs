//! What `make faults` puts in.

use std::{collections::BTreeSet, fs, path::Path};

use crate::documents::{files, root, tests};

/// As nextest tells a test in this file: unit tests in a file of code have a module of their own there.
fn path(file: &Path, name: &str) -> String {
    let file = file.with_extension("");
    let folders: Vec<&str> = file.iter().filter_map(|part| part.to_str()).collect();
    let top = folders
        .iter()
        .rposition(|part| ["src", "it"].contains(part));
    let (before, modules) = folders.split_at(top.unwrap_or_default() + 1);
    let is_beside_code = before.ends_with(&["src"]) && !modules.contains(&"tests");
    let modules = modules
        .iter()
        .filter(|part| !["mod", "lib", "main"].contains(part));
    let modules = modules.copied().chain(is_beside_code.then_some("tests"));
    let modules: String = modules.map(|part| format!("{part}::")).collect();
    format!("{modules}{name}")
}

#[test]
fn every_test_that_has_to_catch_a_fault_is_there() {
    let tests = tests().into_iter();
    let tests: BTreeSet<String> = tests.map(|(file, name)| path(&file, &name)).collect();
    let patches = files(&root().join("tests/faults"), ".patch");
    assert!(!patches.is_empty());
    for patch in patches {
        let text = fs::read_to_string(&patch).unwrap();
        let test = text
            .lines()
            .find_map(|line| line.strip_prefix("caught-by: "));
        assert!(
            tests.contains(test.unwrap()),
            "{patch:?} names no test: {test:?}"
        );
    }
}
