//! What is done to a process counts only when it was seen.

use super::*;
use crate::eventually;

/// Sleeps for as long as a test may take.
fn sleeper() -> Process {
    let mut sleeper = Process::logged(Command::new("sleep").arg("600"));
    sleeper.name = "sleeper".to_owned();
    sleeper
}

fn shell(script: &str) -> Process {
    Process::logged(Command::new("sh").args(["-c", script]))
}

#[tokio::test]
async fn a_pause_is_seen_and_so_is_its_end() {
    let mut sleeper = sleeper();
    assert!(!sleeper.is_stopped());

    sleeper.pause().await.unwrap();
    assert!(sleeper.is_stopped());

    sleeper.resume().unwrap();
    sleeper.kill().unwrap();
    assert!(!sleeper.is_stopped());
}

#[tokio::test]
async fn a_process_that_is_not_seen_to_stop_was_not_paused() {
    let ended = shell("exit 0");
    let stat = format!("/proc/{}/stat", ended.pid().unwrap());
    // Nobody has asked for its exit status yet: it takes signals, and does nothing.
    let is_over = async || fs::read_to_string(&stat).unwrap().contains(") Z");
    eventually("it is over", is_over).await;

    ended.pause().await.unwrap_err();
}

#[tokio::test]
async fn what_does_not_run_can_be_neither_killed_nor_paused() {
    let mut ended = sleeper();
    ended.kill().unwrap();

    for failed in [ended.kill(), ended.pause().await, ended.terminate().await] {
        let why = failed.unwrap_err().to_string();
        assert_eq!(why, "sleeper was not running");
    }
    assert_eq!(ended.crashes, 0);
}

#[tokio::test]
async fn a_process_that_ended_by_itself_was_not_killed_but_crashed() {
    let mut crashed = sleeper();
    crashed.signal("-KILL");
    // It is waited for here, so that it has ended for sure, and stays the process's own.
    crashed.child.as_mut().unwrap().wait().unwrap();

    assert!(crashed.kill().is_err());
    assert_eq!(crashed.crashes, 1);
}

#[tokio::test]
async fn a_process_that_does_not_end_well_on_sigterm_has_crashed() {
    let mut stubborn = shell("trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done");
    stubborn.told("ready");
    stubborn.terminate().await.unwrap_err();
    assert_eq!(stubborn.crashes, 1);

    let mut obedient = shell("trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done");
    obedient.told("ready");
    obedient.terminate().await.unwrap();
    assert_eq!(obedient.crashes, 0);
}

#[tokio::test]
async fn a_process_that_is_started_again_goes_on_with_its_log() {
    let mut told = shell("echo once more; exit 7");
    assert_eq!(told.ended().await.code(), Some(7));
    told.start();
    assert_eq!(told.ended().await.code(), Some(7));
    assert_eq!(told.log(), "once more\nonce more\n");
}

#[test]
#[should_panic(expected = "it ended before it said: anything")]
fn a_line_is_not_waited_for_once_the_process_has_ended() {
    shell("echo nothing").told("anything");
}

#[test]
fn no_process_outlives_its_owner() {
    let sleeper = sleeper();
    let process = format!("/proc/{}", sleeper.pid().unwrap());
    assert!(Path::new(&process).exists());
    drop(sleeper);
    assert!(!Path::new(&process).exists());
}
