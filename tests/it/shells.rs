//! What shells, `.env` files and people give the program: each told as a person would tell it.

use std::{
    fs::{self, File},
    net::TcpListener,
    process::{Command, Output, Stdio},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use tempfile::TempDir;

use crate::{harness::Place, process::command};

/// Exit code and what was told on standard error.
fn refused(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command.output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

/// The program in a folder with this `.env`, without what our tests set.
fn with_dotenv(text: &str) -> (TempDir, Command) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".env"), text).unwrap();
    let mut program = command(&Place::new());
    program
        .current_dir(&folder)
        .env_remove("JWT_KEY")
        .env_remove("JWT_ISSUER");
    (folder, program)
}

/// The claims of the token that is printed.
fn claims(program: &mut Command) -> Value {
    let printed = program.args(["token", "--user", "alice"]).output().unwrap();
    assert_eq!(
        printed.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&printed.stderr)
    );
    let token = String::from_utf8(printed.stdout).unwrap();
    let claims = URL_SAFE_NO_PAD
        .decode(token.split('.').nth(1).unwrap())
        .unwrap();
    serde_json::from_slice(&claims).unwrap()
}

const KEY: &str = "JWT_KEY=a-key-of-thirty-two-bytes-or-more\n";

#[test]
fn a_value_in_dotenv_is_literal_and_the_last_of_two_counts_and_is_told() {
    let (_folder, mut program) = with_dotenv(&format!("{KEY}JWT_ISSUER='abc$Zed9tail' # ours\n"));
    assert_eq!(claims(&mut program)["iss"], "abc$Zed9tail");
    let twice = format!("JWT_ISSUER=first\n{KEY}\nJWT_ISSUER='the $last'\n");
    let (_folder, mut program) = with_dotenv(&twice);
    assert_eq!(claims(&mut program)["iss"], "the $last");
    let (_, told) = refused(&mut program);
    assert_eq!(
        told,
        ".env names JWT_ISSUER twice, in lines 1 and 4: the last counts\n"
    );
    // What is empty is not set: neither here nor there.
    let (_folder, mut program) = with_dotenv(&format!("{KEY}JWT_ISSUER=file\nJWT_AUDIENCE=\n"));
    let claims = claims(program.env("JWT_ISSUER", ""));
    assert_eq!(
        (&claims["iss"], &claims["aud"]),
        (&"file".into(), &Value::Null)
    );
}

#[test]
fn a_dollar_in_dotenv_that_compose_would_take_for_a_variable_is_refused_with_its_line() {
    for key in [
        "abc$Zed9tail-of-thirty-two-bytes",
        "\"a-key-of-$HOME-and-thirty-two-bytes\"",
    ] {
        let (_folder, mut program) = with_dotenv(&format!("# settings\nJWT_KEY={key}\n"));
        let (code, told) = refused(program.args(["token", "--user", "alice"]));
        assert_eq!(code, Some(2));
        let wants = ".env, line 2: it wants a value with a $ in single quotes";
        assert!(
            told.starts_with(wants) && !told.contains("thirty"),
            "{told}"
        );
    }
}

#[test]
fn a_dotenv_that_cannot_be_read_is_told_by_its_line_and_that_of_a_parent_is_not_read() {
    let (folder, mut program) = with_dotenv("# settings\nJWT_KEY hunter2\n");
    let (code, told) = refused(program.args(["token", "--user", "alice"]));
    assert_eq!(
        (code, told.as_str()),
        (Some(2), ".env, line 2: it wants NAME=value\n")
    );
    let child = folder.path().join("child");
    fs::create_dir(&child).unwrap();
    let (code, told) = refused(program.current_dir(&child));
    assert_eq!(code, Some(2));
    assert!(
        told.starts_with("JWT_KEY cannot be used: it is not set"),
        "{told}"
    );
}

#[test]
fn whatever_is_set_to_nothing_has_its_default() {
    let help = command(&Place::new())
        .args(["serve", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let variables = help
        .split("[env: ")
        .skip(1)
        .map(|it| it.split(['=', ']']).next().unwrap());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut program = command(&Place::new());
    let mut count = 0;
    for variable in variables {
        let is_required = variable == "LISTEN_ADDR";
        if !is_required {
            program.env(variable, "");
            count += 1;
        }
    }
    assert!(count > 20, "{help}");
    let (code, told) = refused(program.env("LISTEN_ADDR", &address));
    // The stream's subjects are the default's too, which others use: nothing but the address is looked at.
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("cannot listen on"), "{told}");
}

#[test]
fn a_filter_of_the_log_that_matches_nothing_is_refused() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let code = |filter: &str| {
        let mut program = command(&Place::new());
        program.env("LISTEN_ADDR", &address).env("RUST_LOG", filter);
        let (code, told) = refused(&mut program);
        assert_eq!(told.starts_with("RUST_LOG "), code == Some(2), "{told}");
        code
    };
    for nothing in [
        "warning",
        "verbose",
        "info,ticket_s=debug",
        "infos",
        "info, web=debug,nothing=trace",
        "nothing[request]=info",
    ] {
        assert_eq!(code(nothing), Some(2), "{nothing}");
    }
    for fine in [
        "INFO",
        "warn",
        "off",
        "tickets=debug",
        "info,web::limits=trace,hyper=warn",
        "tickets",
        "[request{http.method=GET}]=debug",
        "info,",
        "messaging[publish]=info",
    ] {
        assert_eq!(code(fine), Some(1), "{fine}");
    }
}

#[test]
fn a_token_that_would_be_refused_is_not_printed() {
    let long = "a".repeat(256);
    for (args, told) in [
        (
            &["--user", ""][..],
            "--user wants an id of 1 to 255 bytes\n",
        ),
        (&["--user", &long], "--user wants an id of 1 to 255 bytes\n"),
        (
            &["--user", "a", "--ttl", "18446744073709551615s"],
            "--ttl wants a time such as 5s, 10m or 7d: whole seconds, 10 years at most\n",
        ),
        (
            &["--user", "a", "--ttl", "10ms"],
            "--ttl wants a time such as 5s, 10m or 7d: whole seconds, 10 years at most\n",
        ),
        (
            &["--user", "a", "--ttl", "0s"],
            "--ttl wants a time such as 5s, 10m or 7d: whole seconds, 10 years at most\n",
        ),
    ] {
        let mut program = command(&Place::new());
        assert_eq!(
            refused(program.arg("token").args(args)),
            (Some(2), told.to_owned())
        );
    }
    let mut program = command(&Place::new());
    program.env("JWT_PUBLIC_KEY_FILE", "/etc/hostname");
    let (code, told) = refused(program.args(["token", "--user", "alice"]));
    assert_eq!(code, Some(2));
    assert!(
        told.starts_with("JWT_PUBLIC_KEY_FILE cannot be used: the service checks tokens with it"),
        "{told}"
    );
}

#[test]
fn what_is_wrong_is_said_as_a_person_would_say_it() {
    let folder = tempfile::tempdir().unwrap();
    let der = folder.path().join("key.der");
    fs::write(&der, [0x30, 0x82, 0x01, 0x22, 0xff]).unwrap();
    let mut by_der = command(&Place::new());
    let (code, told) = refused(by_der.env("JWT_PUBLIC_KEY_FILE", &der));
    assert_eq!(code, Some(2));
    assert!(
        told.contains("a DER file becomes a PEM by: openssl"),
        "{told}"
    );
    for (args, expected) in [
        (
            &["outbox", "retry", "deadbeef"][..],
            "ID wants 24 hexadecimal digits, as `outbox list` shows them\n",
        ),
        (
            &["outbox", "skip", "deadbeef", "--reason", "x"],
            "ID wants 24 hexadecimal digits, as `outbox list` shows them\n",
        ),
        (&["serve", "--rate-limit"], "--rate-limit wants a value\n"),
        (&["token", "--user"], "--user wants a value\n"),
    ] {
        let mut program = command(&Place::new());
        let (code, told) = refused(program.args(args));
        assert_eq!((code, told.as_str()), (Some(2), expected));
    }
    let mut secret = command(&Place::new());
    let (code, told) = refused(secret.env(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "http://me:s3cret@127.0.0.1:4318",
    ));
    assert_eq!(code, Some(2));
    assert!(
        told.contains("OTEL_EXPORTER_OTLP_HEADERS") && !told.contains("s3cret"),
        "{told}"
    );
}

#[test]
fn help_fits_80_columns_and_is_a_command_too() {
    let place = Place::new();
    let help = |args: &[&str]| {
        let told = command(&place).args(args).output().unwrap();
        assert_eq!(told.status.code(), Some(0), "{args:?}");
        String::from_utf8(told.stdout).unwrap()
    };
    for args in [
        &["--help"][..],
        &["-h"],
        &["serve", "--help"],
        &["outbox", "--help"],
        &["token", "-h"],
        &["help"],
        &["help", "outbox"],
    ] {
        let told = help(args);
        let long: Vec<_> = told
            .lines()
            .filter(|line| line.chars().count() > 80)
            .collect();
        assert!(long.is_empty(), "{args:?}: {long:#?}");
        assert!(told.contains("Usage:"), "{told}");
    }
}

#[test]
fn a_full_disk_is_one_line_and_exit_code_1() {
    for args in [
        &["openapi"][..],
        &["token", "--user", "alice"],
        &["--help"],
        &["--version"],
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut program = command(&Place::new());
        let (code, told) = refused(program.args(args).stdout(Stdio::from(full)));
        assert_eq!(code, Some(1), "{args:?}");
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(told.contains("No space left on device"), "{told}");
    }
}
