//! What `make faults` puts in.

use std::{collections::BTreeSet, fs, path::Path};

use crate::documents::{files, root, tests};

/// As nextest tells a test in this file: with the module that unit tests have in a file of code, and without.
fn paths(file: &Path, name: &str) -> [String; 2] {
    let file = file.with_extension("");
    let folders: Vec<&str> = file.iter().filter_map(|part| part.to_str()).collect();
    let root = folders
        .iter()
        .rposition(|part| ["src", "it"].contains(part))
        .unwrap_or_default();
    let modules = &folders[root + 1..];
    let modules = modules
        .iter()
        .filter(|part| ![&"mod", &"lib", &"main"].contains(part));
    let module: String = modules.map(|part| format!("{part}::")).collect();
    [format!("{module}tests::{name}"), format!("{module}{name}")]
}

#[test]
fn every_test_that_has_to_catch_a_fault_is_there() {
    let tests = tests().into_iter();
    let tests: BTreeSet<String> = tests.flat_map(|(file, name)| paths(&file, &name)).collect();
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
