//! README, SECURITY.md and docs/ say what is so: their tests, defaults and numbers are those of the code.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use service::{FLUSH_LIMIT, READ_INTERVAL, Timing};
use web::{BODY_LIMIT_BYTES, LEEWAY_SECONDS};

use crate::{harness::Place, process::command};

/// The tree that cargo is called in: `scripts/try-new-service` does so in a copy, for which nothing is built anew.
pub(crate) fn root() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").unwrap().into()
}

pub(crate) fn read(page: &str) -> String {
    fs::read_to_string(root().join(page)).unwrap()
}

/// Every file below `folder` whose name ends so, but for what was built or fetched.
pub(crate) fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            found.extend(files(&path, ending));
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
    found
}

/// The file and the name of every test of the workspace.
pub(crate) fn tests() -> Vec<(PathBuf, String)> {
    let mut tests = Vec::new();
    for file in files(&root(), ".rs") {
        let source = fs::read_to_string(&file).unwrap();
        let mut is_test = false;
        for line in source.lines().map(str::trim) {
            is_test |= line == "#[test]" || line.starts_with("#[tokio::test");
            let name = line.trim_start_matches("async ").strip_prefix("fn ");
            if let Some(name) = name.and_then(|it| it.split('(').next()) {
                if is_test {
                    tests.push((file.clone(), name.to_owned()));
                }
                is_test = false;
            }
        }
    }
    tests
}

/// What stands in backticks and is written as the path of a function: only tests are.
fn named_tests(page: &str) -> BTreeSet<String> {
    let is_path = |text: &str| {
        let is_name = |part: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        text.contains("::") && text.split("::").all(is_name)
    };
    let in_backticks = page.split('`').skip(1).step_by(2);
    let named = in_backticks.filter(|text| is_path(text) && *text != "module::name");
    named.map(str::to_owned).collect()
}

pub(crate) fn pages() -> Vec<PathBuf> {
    let mut pages = files(&root().join("docs"), ".md");
    pages.extend(files(&root().join("siblings"), ".md"));
    pages.extend(["README.md", "SECURITY.md"].map(|page| root().join(page)));
    pages
}

#[test]
fn every_test_that_a_page_names_is_there() {
    // The module is the file's, without its folders.
    let module = |file: &Path| file.file_stem().unwrap().to_str().unwrap().to_owned();
    let tests = tests().into_iter();
    let tests: BTreeSet<String> = tests
        .map(|(file, name)| format!("{}::{name}", module(&file)))
        .collect();
    for page in pages() {
        let named = named_tests(&fs::read_to_string(&page).unwrap());
        let missing: Vec<_> = named.difference(&tests).collect();
        assert!(missing.is_empty(), "{page:?} names no tests: {missing:#?}");
    }
    assert!(!named_tests(&read("SECURITY.md")).is_empty());
}

/// Each variable's default, as README tells it.
fn documented_defaults() -> BTreeMap<String, String> {
    let readme = read("README.md");
    let section = readme.split("\n## Configuration\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    let of_row = cells.flat_map(|cells| {
        let variables = cells[1]
            .split(", ")
            .map(|it| it.trim_matches('`').to_owned());
        let default = cells[2].trim_matches('`').to_owned();
        variables.map(move |variable| (variable, default.clone()))
    });
    of_row.collect()
}

/// Each variable's default, as `--help` tells it.
fn defaults_of_help() -> BTreeMap<String, String> {
    let mut help = command(&Place::new());
    let names: Vec<_> = help.get_envs().map(|(name, _)| name.to_owned()).collect();
    for name in names {
        help.env_remove(name);
    }
    let help = help.args(["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (options, secrets) = help.split_once("\nSecrets, ").unwrap();
    let default = |text: &str| {
        let is_required = text.contains("Required");
        if is_required { "required" } else { "none" }.to_owned()
    };
    // An option's lines are one text, wherever they are wrapped.
    let unwrapped = |it: &str| it.split_whitespace().collect::<Vec<_>>().join(" ");
    let of_option = options
        .split("\n      --")
        .map(unwrapped)
        .filter_map(|option| {
            let (text, variable) = option.split_once("[env: ")?;
            let (variable, rest) = variable.split_once(']')?;
            let told = rest.split_once("[default: ").map(|it| it.1);
            let default = match told.and_then(|it| it.split_once(']')) {
                Some((told, _)) => told.to_owned(),
                None => default(text),
            };
            Some((variable.trim_end_matches('=').to_owned(), default))
        });
    let of_secret = secrets.split("\n\n").map(unwrapped).flat_map(|secret| {
        let (names, text) = secret.split_once(": ").unwrap_or_default();
        let names = names.split(", or the path of its file in ");
        let names = names.filter(|name| !name.is_empty());
        let default = default(text);
        names
            .map(|name| (name.to_owned(), default.clone()))
            .collect::<Vec<_>>()
    });
    of_option.chain(of_secret).collect()
}

#[test]
fn every_default_in_readme_is_that_of_help_and_every_variable_is_in_readme() {
    assert_eq!(documented_defaults(), defaults_of_help());
}

/// What a page says before its list of tests, which says it again. Without line breaks, so that a sentence is found however it
/// is wrapped.
fn sentences(page: &str) -> String {
    let page = read(page);
    let (text, _tests) = page.split_once("\n## Held by\n").unwrap();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_times_and_limits_that_security_and_operations_tell_are_those_of_the_code() {
    let timing = Timing::default();
    let http = timing.http;
    let end = timing.drain + FLUSH_LIMIT;
    let stop_delay = &documented_defaults()["STOP_DELAY"];
    let stop_delay = stop_delay.trim_end_matches('s');
    let told = [
        (
            "SECURITY.md",
            format!("head has {} s to arrive", http.head.as_secs()),
        ),
        (
            "SECURITY.md",
            format!("body {} s (408)", http.body.as_secs()),
        ),
        ("SECURITY.md", format!("{} KiB", BODY_LIMIT_BYTES / 1024)),
        (
            "SECURITY.md",
            format!("asked for {} s", http.work.as_secs()),
        ),
        (
            "SECURITY.md",
            format!("answer for {} s", http.write.as_secs()),
        ),
        ("SECURITY.md", format!("{LEEWAY_SECONDS} s apart")),
        (
            "docs/operations.md",
            format!(
                "than {} s after the first",
                timing.db.attempts_end.as_secs()
            ),
        ),
        (
            "docs/operations.md",
            format!("`STOP_DELAY` ({stop_delay} s)"),
        ),
        (
            "docs/operations.md",
            format!("has {} s to be finished", timing.http_drain.as_secs()),
        ),
        (
            "docs/operations.md",
            format!("`STOP_DELAY` + {} s", end.as_secs()),
        ),
        (
            "docs/operations.md",
            format!("ours ({} s)", http.idle.as_secs()),
        ),
        (
            "docs/operations.md",
            format!("every {} s", READ_INTERVAL.as_secs()),
        ),
    ];
    for (page, told) in told {
        assert!(
            sentences(page).contains(&told),
            "{page} does not say: {told}"
        );
    }
}

#[test]
fn the_options_of_mongo_uri_in_operations_are_those_of_the_code() {
    let page = read("docs/operations.md");
    let table = page.split("\n| option | |").nth(1).unwrap();
    let rows = table.lines().skip(2).take_while(|row| row.starts_with('|'));
    let row = |option: &db::uri::UriOption| {
        let db::uri::UriOption { name, rule, why } = option;
        format!("| `{name}` | {rule} | {why} |")
    };
    let wanted: Vec<String> = db::uri::OPTIONS.iter().map(row).collect();
    let is_so = rows.eq(wanted.iter().map(String::as_str));
    assert!(is_so, "write it so:\n{}", wanted.join("\n"));
}

#[test]
fn every_metric_that_operations_names_is_one_of_ours() {
    let page = read("docs/operations.md");
    let ours = ["db/src/metrics", "messaging/src/metrics", "web/src/observe"];
    let ours = ours.map(|of| read(&format!("crates/{of}.rs"))).concat();
    let in_backticks = page.split('`').skip(1).step_by(2);
    let names = in_backticks.filter_map(|text| {
        let name = text.split('{').next()?;
        let is_ours = ["outbox_", "inbox_", "http_server_", "mongodb_", "nats_"];
        is_ours
            .iter()
            .any(|prefix| name.starts_with(prefix))
            .then_some(name)
    });
    let names: BTreeSet<&str> = names.collect();
    assert!(names.len() > 5, "{names:?}");
    for name in names {
        assert!(ours.contains(&format!("\"{name}\"")), "{name}");
    }
}

#[test]
fn every_file_that_a_page_names_is_there() {
    let is_path = |text: &&str| {
        let folder = text.split_once('/').map(|it| it.0);
        let within = "src crates tests chaos docs scripts deploy siblings";
        folder.is_some_and(|folder| within.split(' ').any(|it| it == folder))
    };
    let mut named = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let in_backticks = text.split('`').skip(1).step_by(2);
        for path in in_backticks.filter(is_path) {
            // A pattern or a placeholder names no file.
            if path.contains(|c: char| "*{ <…".contains(c) || c.is_ascii_uppercase()) {
                continue;
            }
            named += 1;
            let folders = [page.parent().unwrap(), &root()];
            let is_there = folders.iter().any(|folder| folder.join(path).exists());
            assert!(is_there, "{}: {path}", page.display());
        }
    }
    assert!(named > 50, "{named}");
}
