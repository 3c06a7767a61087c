//! A database file that is lost for good, and the new one in its place.
//!
//! Tickets are written by their loops, which still know them. What no loop knows is lost: the audit, approvals, modes and history.
//! So the kill switch is engaged in the new database, until a person lifts it.

use std::{
    fmt, fs,
    io::ErrorKind,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

use operator_model::{Mark, Proposal, ProposalParts, TicketId, Timestamp};

use super::{
    OpenedFile, Quarantined, Store, StoreError, during,
    open::{folder_of, is_writable, private_folder},
    proposals,
};

/// How every `SQLite` file begins.
const MAGIC: [u8; 16] = *b"SQLite format 3\0";

/// What became of a database file while it was in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// It is gone.
    Removed,
    /// Another file is in its place.
    Replaced,
    /// What is there is no database.
    Damaged,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Removed => "removed",
            Self::Replaced => "replaced by another file",
            Self::Damaged => "damaged",
        })
    }
}

/// What a daemon knows of a database that is lost, beside the tickets.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Remains {
    /// Proposals that a person must inspect.
    pub unsettled: Vec<Proposal>,
    /// No ticket had a higher number.
    pub last_ticket: i64,
}

impl Store {
    /// Whether the file is lost. A server's database never counts as lost: it may come back.
    pub fn loss(&self) -> Option<Loss> {
        self.file.as_deref().and_then(OpenedFile::loss)
    }

    /// A database in place of the lost one, with the kill switch engaged by this mark. A damaged file is moved aside. One that
    /// somebody put there is kept as it is, if it is a database; what the daemon knows comes on top.
    pub async fn replace(
        &self,
        loss: Loss,
        remains: &Remains,
        mark: &Mark,
    ) -> Result<Self, StoreError> {
        let Some(file) = self.file.as_deref() else {
            return Ok(self.clone());
        };
        self.close().await;
        if loss != Loss::Replaced {
            move_aside(&file.path)?;
            self.rebuild(&file.path, remains, mark).await?;
        }
        let store = Self::open(&url_of(&file.path)).await?;
        if store.control().await?.kill_switch.is_none() {
            store.engage_kill_switch(mark).await?;
        }
        Ok(store)
    }

    /// Whether there could be a new file: else it is better to go on without one.
    pub fn can_be_replaced(&self) -> bool {
        self.file.as_deref().is_some_and(|file| {
            let folder = folder_of(&file.path);
            private_folder(folder).is_ok() && is_writable(folder)
        })
    }

    /// The new file appears at once and whole: no process finds one without the kill switch. One that another process has put there
    /// meanwhile stays.
    async fn rebuild(&self, path: &Path, remains: &Remains, mark: &Mark) -> Result<(), StoreError> {
        let draft = PathBuf::from(format!("{}.draft-{}", path.display(), std::process::id()));
        let store = Self::open(&url_of(&draft)).await?;
        store.restore(remains, &self.last_quarantined()).await?;
        store.engage_kill_switch(mark).await?;
        // That moves all of it into the one file.
        store.close().await;
        let linked = fs::hard_link(&draft, path);
        let _ = fs::remove_file(&draft);
        match linked {
            Err(source) if source.kind() != ErrorKind::AlreadyExists => Err(StoreError::File {
                path: path.display().to_string(),
                source,
            }),
            _ => Ok(()),
        }
    }

    async fn restore(
        &self,
        remains: &Remains,
        quarantined: &[Quarantined],
    ) -> Result<(), StoreError> {
        for entry in quarantined {
            self.quarantine(entry).await?;
        }
        let mut tx = self.begin().await?;
        let numbers = remains.unsettled.iter().map(|proposal| proposal.id.0);
        let counters = [
            ("ticket", remains.last_ticket),
            ("proposal", numbers.max().unwrap_or_default()),
        ];
        for (counter, least) in counters {
            sqlx::query("UPDATE counters SET value = $1 WHERE name = $2 AND value < $1")
                .bind(least)
                .bind(counter)
                .execute(&mut *tx)
                .await
                .map_err(during("restoring a counter"))?;
        }
        for proposal in &remains.unsettled {
            // The ones that it refers to are lost.
            let mut parts = ProposalParts::clone(proposal);
            (parts.follows, parts.undoes, parts.ticket) = (None, None, None::<TicketId>);
            proposals::put(&mut tx, &Proposal::from(parts)).await?;
        }
        tx.commit().await.map_err(during("restoring what is known"))
    }
}

impl OpenedFile {
    /// What cannot be looked at is not lost: a file system may be away.
    pub(super) fn loss(&self) -> Option<Loss> {
        match fs::metadata(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Some(Loss::Removed),
            Err(_) => None,
            Ok(metadata) if metadata.ino() == self.inode => {
                (!is_database(&self.content)).then_some(Loss::Damaged)
            }
            Ok(_) if fs::File::open(&self.path).is_ok_and(|file| is_database(&file)) => {
                Some(Loss::Replaced)
            }
            Ok(_) => Some(Loss::Damaged),
        }
    }
}

fn url_of(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

fn is_database(file: &fs::File) -> bool {
    let mut head = [0; MAGIC.len()];
    match file.read_exact_at(&mut head, 0) {
        Ok(()) => head == MAGIC,
        Err(error) => error.kind() != ErrorKind::UnexpectedEof,
    }
}

/// The file, and those that `SQLite` keeps beside it. A write-ahead log must not be taken for one of the next file.
fn move_aside(path: &Path) -> Result<(), StoreError> {
    let at = Timestamp::now().0;
    for suffix in ["", "-wal", "-shm"] {
        let from = PathBuf::from(format!("{}{suffix}", path.display()));
        let to = format!("{}.lost-{at}{suffix}", path.display());
        match fs::rename(&from, to) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(StoreError::File {
                    path: from.display().to_string(),
                    source: error,
                });
            }
            _ => {}
        }
    }
    Ok(())
}
