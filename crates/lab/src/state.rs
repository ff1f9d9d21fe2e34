//! State folders: made by the lab, marked as its own, and only then removed by it.
//!
//! `down` removes its folder with all that is in it, also when a person names the folder with `FAIRLEAD_LAB_DIR`: so
//! one that is not the lab's is refused before anything is written or removed.

use std::fs::{self, DirBuilder, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// The file that says whose folder it is.
const MARK: &str = "fairlead-lab-state";

/// Makes a state folder, or takes one that is empty or the lab's already.
pub fn make(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("making `{}`", dir.display()))?;
    refuse_foreign(dir)?;
    let text = "The lab of Fairlead keeps its state here. Its `down` removes this folder with all that is in it.\n";
    fs::write(dir.join(MARK), text).with_context(|| format!("marking `{}`", dir.display()))
}

/// Removes a state folder with all that is in it.
pub fn remove(dir: &Path) -> Result<()> {
    refuse_foreign(dir)?;
    for entry in fs::read_dir(dir).with_context(|| format!("reading `{}`", dir.display()))? {
        let path = entry.with_context(|| format!("reading `{}`", dir.display()))?.path();
        // The mark last, so that a removal that was interrupted can go on.
        if path.file_name().is_some_and(|name| name == MARK) {
            continue;
        }
        let gone = if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        gone.with_context(|| format!("removing `{}`", path.display()))?;
    }
    fs::remove_dir_all(dir).with_context(|| format!("removing `{}`", dir.display()))
}

/// Fails when there is something in `dir` and it is not the lab's.
pub fn refuse_foreign(dir: &Path) -> Result<()> {
    let mut entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("reading `{}`", dir.display())),
    };
    if dir.join(MARK).is_file() || entries.next().is_none() {
        return Ok(());
    }
    bail!(
        "`{}` has files that are not the lab's, and `down` would remove them\n\
         hint: FAIRLEAD_LAB_DIR=DIR names a folder that is empty or does not exist yet",
        dir.display()
    );
}

/// Makes a folder that nobody else may look into, or takes one that nobody else could write to and closes it.
pub fn make_private(dir: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| format!("making `{}`", dir.display()))?;
    refuse_open(dir)?;
    fs::set_permissions(dir, Permissions::from_mode(0o700)).with_context(|| format!("closing `{}`", dir.display()))
}

/// Fails unless `dir` is the caller's and no other can write to it: they could put folders there that name any process
/// as one to be ended.
pub fn refuse_open(dir: &Path) -> Result<()> {
    let found = fs::symlink_metadata(dir).with_context(|| format!("looking at `{}`", dir.display()))?;
    let me = rustix::process::geteuid().as_raw();
    let others = found.mode() & 0o022;
    if found.is_dir() && found.uid() == me && others == 0 {
        return Ok(());
    }
    bail!(
        "`{}` is not a folder that uid {me} alone can write to (it is of uid {}, mode {:o})\nhint: remove it",
        dir.display(),
        found.uid(),
        found.mode() & 0o7777
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_other_files_is_neither_taken_nor_removed() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("thesis"), "years of work").unwrap();
        for refusal in [make(home.path()), remove(home.path())] {
            let error = refusal.unwrap_err().to_string();
            assert!(error.contains("files that are not the lab's") && error.contains("hint: "), "{error}");
        }
        let left: Vec<_> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["thesis"]);

        let dir = home.path().join("lab");
        make(&dir).unwrap();
        fs::write(dir.join("up"), "").unwrap();
        make(&dir).unwrap();
        remove(&dir).unwrap();
        assert!(!dir.exists());
    }

    #[test]
    fn a_folder_that_others_can_reach_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("planes");
        make_private(&dir).unwrap();
        make_private(&dir).unwrap();
        for mode in [0o720, 0o702, 0o1777] {
            fs::set_permissions(&dir, Permissions::from_mode(mode)).unwrap();
            let error = make_private(&dir).unwrap_err().to_string();
            assert!(error.contains(&format!("mode {mode:o}")), "{error}");
        }
        fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
        make_private(&dir).unwrap();
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o7777, 0o700);
        let link = home.path().join("link");
        std::os::unix::fs::symlink(&dir, &link).unwrap();
        assert!(refuse_open(&link).is_err(), "a link may lead anywhere tomorrow");
    }
}
