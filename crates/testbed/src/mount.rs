//! A small file system of memory, for what a full disk does. Only root can have one.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

/// It goes when this is dropped.
pub struct Mount {
    path: PathBuf,
}

impl Mount {
    /// Puts an empty file system of `megabytes` at `path`.
    ///
    /// # Errors
    /// When that can't be had here.
    pub fn new(path: &Path, megabytes: u32) -> anyhow::Result<Self> {
        fs::create_dir_all(path)?;
        let size = format!("size={megabytes}m");
        let mount = ["-t", "tmpfs", "-o", &size, "testbed"];
        let mounted = Command::new("mount").args(mount).arg(path).output();
        let mounted = mounted.context("there is no mount")?;
        let says = String::from_utf8_lossy(&mounted.stderr);
        ensure!(mounted.status.success(), "{}", says.trim());
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Fills what is left of it, until [`Self::free`].
    ///
    /// # Errors
    /// When it is not full then.
    pub fn fill(&self) -> anyhow::Result<u64> {
        let chunk = vec![0; 64 * 1024];
        let mut filler = fs::File::create(self.filler())?;
        loop {
            match io::Write::write_all(&mut filler, &chunk) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(filler.metadata()?.len())
    }

    /// # Errors
    /// The system's.
    pub fn free(&self) -> io::Result<()> {
        fs::remove_file(self.filler())
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let lazy = Command::new("umount").arg("-l").arg(&self.path).status();
        drop(lazy);
    }
}
