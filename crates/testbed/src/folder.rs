//! Where servers that are no test's keep their data and logs.

use std::{fs, io, path::Path, path::PathBuf};

/// Cargo's target directory: it holds a folder for each profile, in which this program is.
///
/// # Panics
/// When this program is elsewhere.
pub fn target() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    program.ancestors().nth(2).unwrap().to_owned()
}

/// Makes the folder, or empties it.
///
/// # Errors
/// The system's.
pub fn empty(folder: &Path) -> io::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)
}
