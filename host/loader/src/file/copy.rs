//! The content of a plugin file: read only if nobody else can change it, and copied to a private directory.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::{fs::OFlags, process::geteuid};
use sha2::{Digest, Sha256};

use crate::file::error::LoadError;

/// The largest plugin that is read. Bytes.
const MAX_FILE: u64 = 512 << 20;
/// The mode bits with which a group or everybody can write.
const OTHERS_WRITE: u32 = 0o022;
/// The mode bit of a directory in which only the owner of a file can replace it.
const STICKY: u32 = 0o1000;

/// The content of a plugin file that only root and this user can write to.
pub(crate) struct PluginFile {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    /// Lower case hexadecimal.
    pub(crate) sha256: String,
}

impl PluginFile {
    pub(crate) fn read(path: &Path) -> Result<Self, LoadError> {
        let refuse = |why: String| LoadError::new(path, why);
        let cannot = |error: io::Error| refuse(format!("cannot be read: {error}"));
        // Without NONBLOCK, opening a FIFO blocks until it has a writer.
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(path)
            .map_err(cannot)?;
        let metadata = file.metadata().map_err(cannot)?;
        if !metadata.is_file() {
            return Err(refuse(
                "is not a regular file; give the path of the library".into(),
            ));
        }
        check_trust(path, &metadata).map_err(refuse)?;
        let mut bytes = Vec::new();
        Read::take(&mut file, MAX_FILE + 1)
            .read_to_end(&mut bytes)
            .map_err(cannot)?;
        if bytes.len() as u64 > MAX_FILE {
            let mib = MAX_FILE >> 20;
            return Err(refuse(format!(
                "is larger than {mib} MiB; strip its debug information"
            )));
        }
        Ok(Self {
            path: path.to_owned(),
            sha256: sha256(&bytes),
            bytes,
        })
    }

    /// An error unless the content has this hash.
    pub(crate) fn check_pin(&self, pin: &str) -> Result<(), LoadError> {
        if pin.eq_ignore_ascii_case(&self.sha256) {
            return Ok(());
        }
        let why = format!(
            "has sha256 {}, but {pin} is pinned; if you trust the new content, pin its hash",
            self.sha256
        );
        Err(LoadError::new(&self.path, why))
    }

    /// Writes the examined bytes into a private directory. The file is named by their hash.
    ///
    /// So each content has its own path, and the dynamic linker never takes an old library for a new one; and the bytes that
    /// are loaded are those that were examined.
    pub(crate) fn copy_into(&self, copies: &Path) -> Result<PathBuf, LoadError> {
        let failed = |error: io::Error| {
            let why = format!("cannot be copied into {}: {error}", copies.display());
            LoadError::new(&self.path, why)
        };
        private_dir(copies).map_err(failed)?;
        // A worker has another working directory.
        let copies = copies.canonicalize().map_err(failed)?;
        let copy = copies.join(format!(
            "{}.{}",
            self.sha256,
            std::env::consts::DLL_EXTENSION
        ));
        if !self.is_content_of(&copy) {
            self.write(&copies, &copy).map_err(failed)?;
        }
        Ok(copy)
    }

    fn is_content_of(&self, copy: &Path) -> bool {
        let Ok(metadata) = fs::symlink_metadata(copy) else {
            return false;
        };
        metadata.is_file()
            && metadata.uid() == geteuid().as_raw()
            && metadata.mode() & OTHERS_WRITE == 0
            && fs::read(copy).is_ok_and(|bytes| bytes == self.bytes)
    }

    fn write(&self, copies: &Path, copy: &Path) -> io::Result<()> {
        let draft = copies.join(format!(".{}.{}", self.sha256, unique()));
        let written = write_new(&draft, &self.bytes).and_then(|()| fs::rename(&draft, copy));
        if written.is_err() {
            let _ = fs::remove_file(&draft);
        }
        written
    }
}

/// Creates a directory that only this user can access, or restricts an existing one to this user.
pub(crate) fn private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let metadata = fs::metadata(dir)?;
    if metadata.uid() != geteuid().as_raw() {
        return Err(io::Error::other("the directory belongs to another user"));
    }
    if metadata.mode() & 0o077 != 0 {
        fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.set_permissions(Permissions::from_mode(0o500))
}

fn unique() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{count}", std::process::id())
}

fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Whoever can write to the file or replace it can run code as this user.
fn check_trust(path: &Path, file: &fs::Metadata) -> Result<(), String> {
    let real = fs::canonicalize(path).map_err(|error| format!("cannot be read: {error}"))?;
    let dir = real.parent().unwrap_or(Path::new("/"));
    let metadata = fs::metadata(dir)
        .map_err(|error| format!("its directory {} cannot be read: {error}", dir.display()))?;
    if file.mode() & OTHERS_WRITE != 0 {
        return Err(format!(
            "others can write to it; run `chmod go-w {}`",
            real.display()
        ));
    }
    if !is_trusted(file.uid()) {
        return Err(format!(
            "belongs to user {}, who could change it; run `chown root {}`",
            file.uid(),
            real.display()
        ));
    }
    if metadata.mode() & OTHERS_WRITE != 0 && metadata.mode() & STICKY == 0 {
        return Err(format!(
            "others can replace it; run `chmod go-w {}`",
            dir.display()
        ));
    }
    if !is_trusted(metadata.uid()) {
        return Err(format!(
            "lies in a directory of user {}, who could replace it; move it, or run `chown root {}`",
            metadata.uid(),
            dir.display()
        ));
    }
    Ok(())
}

fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == geteuid().as_raw()
}
