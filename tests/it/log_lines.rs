//! What is logged is explained.

use std::fs;

use crate::documents::{files, read, root};

/// The messages of the macros and calls of this name: of each the last text in its brackets that is a sentence.
fn logged(source: &str, call: &str) -> Vec<String> {
    let calls = source.split(call).skip(1);
    let message = |call: &str| {
        let end = call.find(";\n").unwrap_or(call.len());
        let texts = call[..end].split('"').skip(1).step_by(2);
        let is_sentence = |text: &&str| text.contains(' ') && !text.starts_with('{');
        texts.filter(is_sentence).last().map(str::to_owned)
    };
    calls.filter_map(message).collect()
}

#[test]
fn operations_explains_every_warning_and_error_that_is_logged() {
    let operations = read("docs/operations.md");
    let (_, table) = operations.split_once("### Lines of the log").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let mut count = 0;
    for file in files(&root(), ".rs") {
        let path = file.strip_prefix(root()).unwrap().to_str().unwrap();
        let is_product = path.starts_with("src/") || path.contains("/src/");
        if !is_product
            || ["chaos/", "crates/testbed/"]
                .iter()
                .any(|of| path.starts_with(of))
        {
            continue;
        }
        let source = fs::read_to_string(&file).unwrap();
        for call in ["tracing::warn!(", "tracing::error!(", ".tell("] {
            for message in logged(&source, call) {
                assert!(table.contains(&format!("`{message}`")), "{path}: {message}");
                count += 1;
            }
        }
    }
    assert!(count > 30, "only {count} were found");
}
