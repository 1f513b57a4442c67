//! A disk that can lose its power: a file system in a file. What was not written through to the file is lost. Only root can have one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

/// It goes when this is dropped; its file stays.
pub struct Image {
    path: PathBuf,
    file: PathBuf,
}

impl Image {
    /// Puts an empty ext4 of `megabytes` at `path`; its file lies beside.
    ///
    /// # Errors
    /// When that can't be had here.
    pub fn new(path: &Path, megabytes: u64) -> anyhow::Result<Self> {
        fs::create_dir_all(path)?;
        let file = path.with_extension("img");
        fs::File::create(&file)?.set_len(megabytes * 1024 * 1024)?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&file))?;
        let image = Self {
            path: path.to_owned(),
            file,
        };
        image.mount()?;
        Ok(image)
    }

    /// All that the kernel has not written to the file yet is gone. Whoever writes there has to be dead.
    ///
    /// # Errors
    /// When it can't be copied or mounted.
    pub fn lose_power(&mut self) -> anyhow::Result<()> {
        let left = self.file.with_extension("left");
        run(Command::new("cp")
            .arg("--sparse=always")
            .arg(&self.file)
            .arg(&left))?;
        run(Command::new("umount").arg(&self.path))?;
        fs::rename(&left, &self.file)?;
        self.mount()
    }

    fn mount(&self) -> anyhow::Result<()> {
        let mount = ["-t", "ext4", "-o", "loop"];
        run(Command::new("mount")
            .args(mount)
            .arg(&self.file)
            .arg(&self.path))
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let says = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}", says.trim());
    Ok(())
}

impl Drop for Image {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.path).status());
    }
}
