//! What is on a disk in memory: what processes see, what is durable, and the changes between the two.
//!
//! ```text
//! bytes = durable + unsynced writes        names = durable + unsynced changes of names
//!                     └── power loss: any part of them ──┘
//! ```

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::path::{Component, Path};

use super::{Kind, Meta};

/// What a disk writes as a whole, in bytes.
const SECTOR: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Content {
    /// By number. The first one is the root.
    pub(super) nodes: Vec<Node>,
    pub(super) changes: i64,
    pub(super) handles: u64,
    pub(super) losses: u64,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) changed: i64,
    /// The handle that has locked it.
    pub(super) lock: Option<u64>,
    pub(super) data: Data,
}

#[derive(Debug)]
pub(super) enum Data {
    File(FileData),
    Folder(FolderData),
}

#[derive(Debug, Default)]
pub(super) struct FileData {
    pub(super) bytes: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Debug)]
pub(super) enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Debug, Default)]
pub(super) struct FolderData {
    pub(super) names: Names,
    durable: Names,
    /// Names that an operation sets or removes; all of them or none.
    unsynced: Vec<Vec<(OsString, Option<usize>)>>,
}

pub(super) type Names = BTreeMap<OsString, usize>;

impl FileData {
    pub(super) fn change(&mut self, change: Change) {
        change.apply(&mut self.bytes);
        self.unsynced.push(change);
    }

    pub(super) fn sync(&mut self) {
        self.durable.clone_from(&self.bytes);
        self.unsynced.clear();
    }

    pub(super) fn lose(&mut self, below: &mut dyn FnMut(u64) -> u64) {
        for change in self.unsynced.drain(..) {
            match (below(5), change) {
                (0, _) => {}
                (2, Change::Write { offset, mut bytes }) => {
                    bytes.truncate(below(bytes.len() as u64 + 1) as usize);
                    Change::Write { offset, bytes }.apply(&mut self.durable);
                }
                (3, Change::Write { offset, bytes }) => {
                    for (number, sector) in bytes.chunks(SECTOR).enumerate().filter(|_| below(2) == 0) {
                        let offset = offset + number * SECTOR;
                        Change::Write { offset, bytes: sector.to_vec() }.apply(&mut self.durable);
                    }
                }
                (4, Change::Write { offset, bytes }) => {
                    let len = self.durable.len().max(offset + bytes.len());
                    Change::Length(len).apply(&mut self.durable);
                }
                (_, change) => change.apply(&mut self.durable),
            }
        }
        self.bytes.clone_from(&self.durable);
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                content.resize(content.len().max(end), 0);
                content[*offset..end].copy_from_slice(bytes);
            }
            Self::Length(len) => content.resize(*len, 0),
        }
    }
}

impl FolderData {
    pub(super) fn change(&mut self, names: Vec<(OsString, Option<usize>)>) {
        set(&mut self.names, &names);
        self.unsynced.push(names);
    }

    pub(super) fn sync(&mut self) {
        self.durable.clone_from(&self.names);
        self.unsynced.clear();
    }

    pub(super) fn lose(&mut self, below: &mut dyn FnMut(u64) -> u64) {
        for names in self.unsynced.drain(..) {
            if below(2) == 0 {
                set(&mut self.durable, &names);
            }
        }
        self.names.clone_from(&self.durable);
    }
}

fn set(names: &mut Names, changes: &[(OsString, Option<usize>)]) {
    for (name, node) in changes {
        match node {
            Some(node) => names.insert(name.clone(), *node),
            None => names.remove(name),
        };
    }
}

impl Content {
    pub(super) fn find(&self, path: &Path) -> io::Result<usize> {
        let mut node = 0;
        for name in names_of(path)? {
            node = *self.folder(node)?.names.get(name).ok_or(ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    /// The folder that `path` is in, and its name there.
    pub(super) fn find_parent<'a>(&self, path: &'a Path) -> io::Result<(usize, &'a OsStr)> {
        let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
        let folder = self.find(path.parent().unwrap_or(Path::new("")))?;
        self.folder(folder)?;
        Ok((folder, name))
    }

    pub(super) fn folder(&self, node: usize) -> io::Result<&FolderData> {
        match &self.nodes[node].data {
            Data::Folder(folder) => Ok(folder),
            Data::File(_) => Err(ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn folder_mut(&mut self, node: usize) -> io::Result<&mut FolderData> {
        match &mut self.nodes[node].data {
            Data::Folder(folder) => Ok(folder),
            Data::File(_) => Err(ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn file(&self, node: usize) -> io::Result<&FileData> {
        match &self.nodes[node].data {
            Data::File(file) => Ok(file),
            Data::Folder(_) => Err(ErrorKind::IsADirectory.into()),
        }
    }

    pub(super) fn change_file(&mut self, node: usize, change: impl FnOnce(&FileData) -> Change) {
        self.changes += 1;
        let node = &mut self.nodes[node];
        node.changed = self.changes;
        if let Data::File(file) = &mut node.data {
            file.change(change(file));
        }
    }

    pub(super) fn create(&mut self, folder: usize, name: &OsStr, data: Data) -> io::Result<usize> {
        self.changes += 1;
        self.nodes.push(Node { changed: self.changes, lock: None, data });
        let node = self.nodes.len() - 1;
        self.folder_mut(folder)?.change(vec![(name.to_owned(), Some(node))]);
        Ok(node)
    }

    pub(super) fn meta(&self, node: usize) -> Meta {
        let Node { changed, data, .. } = &self.nodes[node];
        let (kind, len) = match data {
            Data::File(file) => (Kind::File, file.bytes.len() as u64),
            Data::Folder(_) => (Kind::Folder, 0),
        };
        Meta { kind, len, modified: (*changed, 0), changed: (*changed, 0), device: 0, inode: node as u64 }
    }
}

/// The names on the way from the root to `path`.
pub(super) fn names_of(path: &Path) -> io::Result<Vec<&OsStr>> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(Ok(name)),
        Component::RootDir | Component::CurDir => None,
        Component::ParentDir | Component::Prefix(_) => Some(Err(ErrorKind::Unsupported.into())),
    });
    names.collect()
}
