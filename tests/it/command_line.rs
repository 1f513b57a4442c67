//! The command line: which value counts, what help shows, and the exit codes.

use std::{
    fs,
    net::TcpListener,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use crate::{harness::Place, process::command};

fn told(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    format!("{out}{err}")
}

/// An address that nobody else can listen on meanwhile.
fn taken() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

#[test]
fn a_flag_goes_before_the_environment_and_the_environment_before_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let [by_flag, by_environment, by_file] = [taken(), taken(), taken()];
    let file = format!("LISTEN_ADDR={}\n", by_file.1);
    fs::write(folder.path().join(".env"), file).unwrap();
    let refused = |adjust: &dyn Fn(&mut Command)| {
        let mut service = command(&Place::new());
        service.current_dir(&folder).env_remove("LISTEN_ADDR");
        adjust(service.arg("serve"));
        told(&service.output().unwrap())
    };
    let cannot_listen =
        |(_, address): &(TcpListener, String)| format!("cannot listen on {address}");
    let told = refused(&|_| {});
    assert!(told.contains(&cannot_listen(&by_file)), "{told}");
    let told = refused(&|it| {
        it.env("LISTEN_ADDR", &by_environment.1);
    });
    assert!(told.contains(&cannot_listen(&by_environment)), "{told}");
    let told = refused(&|it| {
        it.env("LISTEN_ADDR", &by_environment.1)
            .args(["--listen-addr", &by_flag.1]);
    });
    assert!(told.contains(&cannot_listen(&by_flag)), "{told}");
}

#[test]
fn help_shows_no_secret_that_is_in_the_environment() {
    for of in ["serve", "publish", "token", "outbox", ""] {
        let mut help = command(&Place::new());
        help.env("MONGO_URI", "mongodb://user:s3cret@127.0.0.1/tickets")
            .env("NATS_URL", "nats://user:s3cret@127.0.0.1")
            .env("JWKS_URL", "https://id.example.com/jwks?key=s3cret")
            .env("JWT_KEY", "s3cret of thirty-two bytes or more")
            .env("JWT_KEY_PREVIOUS", "s3cret of thirty-two bytes or more");
        let help = help.args(of.split_whitespace()).arg("--help").output();
        let help = help.unwrap();
        assert_eq!(help.status.code(), Some(0), "{of}");
        assert!(!told(&help).contains("s3cret"), "{of}");
    }
}

#[test]
fn exit_codes_are_0_for_done_1_for_failed_and_2_for_what_was_asked_wrongly() {
    let code = |args: &[&str]| {
        let mut command = command(&Place::new());
        command.args(args).output().unwrap().status.code()
    };
    assert_eq!(code(&["openapi"]), Some(0));
    assert_eq!(code(&["token", "--user", "alice"]), Some(0));
    let (_listener, taken) = taken();
    assert_eq!(code(&["serve", "--listen-addr", &taken]), Some(1));
    assert_eq!(code(&["serve", "--listen-addr", "3000"]), Some(2));
    assert_eq!(code(&["serve", "--no-such-flag"]), Some(2));
    assert_eq!(code(&["no-such-command"]), Some(2));
}

#[test]
fn a_secret_of_31_bytes_is_refused_and_one_of_32_is_taken() {
    let key = "0123456789 abcdefghij KLMNOPQRST";
    for (length, code) in [(31, 2), (32, 0)] {
        let mut token = command(&Place::new());
        let token = token.env("JWT_KEY", &key[..length]);
        let token = token.args(["token", "--user", "alice"]).output().unwrap();
        assert_eq!(token.status.code(), Some(code), "{length}");
    }
}

#[test]
fn the_health_check_gives_up_after_three_seconds_without_an_answer() {
    // Connections to it are taken by the system, and nobody answers.
    let (_silent, address) = taken();
    let began = Instant::now();
    let mut healthcheck = command(&Place::new());
    let healthcheck = healthcheck.env("LISTEN_ADDR", address).arg("healthcheck");
    let gave_up = healthcheck.output().unwrap();
    assert_eq!(gave_up.status.code(), Some(1));
    assert!(told(&gave_up).contains("no answer in 3 s"));
    let took = began.elapsed();
    assert!(
        (Duration::from_secs(3)..Duration::from_secs(10)).contains(&took),
        "{took:?}"
    );
}

#[test]
fn the_bounds_of_a_variable_are_taken_and_what_lies_beyond_is_refused() {
    let (_listener, taken) = taken();
    let code = |variable: &str, value: &str| {
        let mut service = command(&Place::new());
        let service = service.env("LISTEN_ADDR", &taken).env(variable, value);
        service.output().unwrap().status.code()
    };
    for (variable, bounds, beyond) in [
        ("RATE_LIMIT", ["0", "1000000"], ["-1", "1000001"]),
        ("WRITE_RATE_LIMIT", ["0", "1000000"], ["-1", "1000001"]),
        ("CONCURRENCY_LIMIT", ["1", "1000"], ["0", "1001"]),
        ("STOP_DELAY", ["0s", "9s"], ["-1s", "9001ms"]),
        ("EVENT_RETENTION", ["1s", "68y"], ["999ms", "69y"]),
        ("NATS_REPLICAS", ["1", "5"], ["4", "7"]),
        ("NATS_DUPLICATE_WINDOW", ["100ms", "1h"], ["99ms", "1"]),
    ] {
        // What it takes fails later: the address is taken.
        assert_eq!(
            bounds.map(|it| code(variable, it)),
            [Some(1); 2],
            "{variable}"
        );
        assert_eq!(
            beyond.map(|it| code(variable, it)),
            [Some(2); 2],
            "{variable}"
        );
    }
}

#[test]
fn a_reader_that_has_read_enough_is_no_failure() {
    let mut openapi = command(&Place::new());
    let openapi = openapi.arg("openapi").stdout(Stdio::piped());
    let mut child = openapi.stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(told(&ended), "");
    assert_eq!(ended.status.code(), Some(0));
}
