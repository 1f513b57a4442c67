//! Where servers that are no test's keep their data and logs.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// Cargo's target directory: it holds a folder for each profile, in which this program is.
///
/// # Panics
/// When this program is elsewhere.
pub fn target() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    program.ancestors().nth(2).unwrap().to_owned()
}

/// Makes the folder, or empties it. What a run that was killed has mounted there goes first.
///
/// # Errors
/// The system's.
pub fn empty(folder: &Path) -> io::Result<()> {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mounted = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    for path in mounted.filter(|path| Path::new(path).starts_with(folder)) {
        Command::new("umount").args(["-l", path]).status()?;
    }
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)
}

/// The program of another package of the workspace, beside this test's own: `cargo nextest run --workspace` builds it, and so does
/// `cargo build` of that package.
///
/// # Panics
/// When it was not built.
pub fn sibling(program: &str) -> PathBuf {
    let path = target().join(program);
    let shown = path.display();
    assert!(
        path.exists(),
        "there is no {shown}: cargo build -p {program}"
    );
    path
}
