//! Reading one table of the file, while collecting everything that is wrong with it.

use std::{path::Path, sync::Arc};

use operator_model::suggestion;
use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::{
    Fault, KeyPath, Origin, Origins,
    value::{Parsed, Wrong},
};

/// A file that is being read, and what has been found in it so far.
pub(super) struct Reading<'a> {
    pub(super) path: Arc<Path>,
    pub(super) text: &'a str,
    pub(super) origins: Origins,
    pub(super) faults: Vec<Fault>,
    /// Every key that the parser has asked for, whether the file has it or not.
    #[cfg(test)]
    pub(super) asked: std::collections::BTreeSet<KeyPath>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(path: &Path, text: &'a str) -> Self {
        Self {
            path: Arc::from(path),
            text,
            origins: Origins::default(),
            faults: Vec::new(),
            #[cfg(test)]
            asked: std::collections::BTreeSet::new(),
        }
    }

    /// The place of a byte of the file.
    pub(super) fn place(&self, byte: usize) -> Origin {
        let before = self.text.get(..byte).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Origin::File {
            path: Arc::clone(&self.path),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    pub(super) fn wrong(&mut self, byte: usize, key: KeyPath, wrong: Wrong) {
        self.faults.push(Fault {
            origin: self.place(byte),
            key: Some(key),
            what: wrong.what,
            fix: wrong.fix,
        });
    }
}

type Entry<'a> = (&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>);

/// One table of the file. Only the keys that the parser asks for are valid settings.
pub(super) struct Section<'a> {
    pub(super) at: KeyPath,
    /// Where the table itself was written.
    pub(super) start: usize,
    table: &'a DeTable<'a>,
    asked: Vec<&'static str>,
}

impl<'a> Section<'a> {
    pub(super) fn new(at: KeyPath, start: usize, table: &'a DeTable<'a>) -> Self {
        Self {
            at,
            start,
            table,
            asked: Vec::new(),
        }
    }

    fn ask(&mut self, key: &'static str, reading: &mut Reading<'_>) {
        self.asked.push(key);
        #[cfg(test)]
        reading.asked.insert(self.at.join(key));
        #[cfg(not(test))]
        let _ = reading;
    }

    /// The value of a key, parsed; none when it is absent or wrong.
    pub(super) fn take<T>(
        &mut self,
        key: &'static str,
        reading: &mut Reading<'_>,
        parse: impl Fn(&DeValue<'_>) -> Parsed<T>,
    ) -> Option<T> {
        self.ask(key, reading);
        let (written, value) = self.table.get_key_value(key)?;
        let path = self.at.join(key);
        match parse(value.get_ref()) {
            Ok(parsed) => {
                let place = reading.place(written.span().start);
                reading.origins.note(path, place);
                Some(parsed)
            }
            Err(wrong) => {
                reading.wrong(value.span().start, path, wrong);
                None
            }
        }
    }

    /// Puts the value of a key where it belongs, if the file has one.
    pub(super) fn set<T>(
        &mut self,
        key: &'static str,
        target: &mut T,
        reading: &mut Reading<'_>,
        parse: impl Fn(&DeValue<'_>) -> Parsed<T>,
    ) {
        if let Some(value) = self.take(key, reading, parse) {
            *target = value;
        }
    }

    /// The table under a key.
    pub(super) fn section(
        &mut self,
        key: &'static str,
        reading: &mut Reading<'_>,
    ) -> Option<Section<'a>> {
        self.ask(key, reading);
        let entry = self.table.get_key_value(key)?;
        self.open(entry, reading)
    }

    /// Whether the file has the key at all.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The tables of a list, each named by its place.
    pub(super) fn sections(
        &mut self,
        key: &'static str,
        reading: &mut Reading<'_>,
    ) -> Vec<Section<'a>> {
        self.ask(key, reading);
        let Some((written, value)) = self.table.get_key_value(key) else {
            return Vec::new();
        };
        let path = self.at.join(key);
        let place = reading.place(written.span().start);
        reading.origins.note(path.clone(), place);
        let Some(items) = value.get_ref().as_array() else {
            let wrong = Wrong::new("it is not a list", "write it like [{ ... }, { ... }]");
            reading.wrong(value.span().start, path, wrong);
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (place, item) in items.iter().enumerate() {
            let path = path.join(place.to_string());
            let start = item.span().start;
            match item.get_ref().as_table() {
                Some(table) => sections.push(Section::new(path, start, table)),
                None => reading.wrong(
                    start,
                    path,
                    Wrong::new("it is not a table", "write it like { ... }"),
                ),
            }
        }
        sections
    }

    /// Every table of a section whose keys people choose, in the order of the file.
    pub(super) fn named(&self, reading: &mut Reading<'_>) -> Vec<(&'a str, Section<'a>)> {
        self.entries()
            .into_iter()
            .filter_map(|entry| Some((entry.0.get_ref().as_ref(), self.open(entry, reading)?)))
            .collect()
    }

    /// All entries in the order of the file.
    pub(super) fn entries(&self) -> Vec<Entry<'a>> {
        let mut entries: Vec<_> = self.table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        entries
    }

    fn open(&self, (key, value): Entry<'a>, reading: &mut Reading<'_>) -> Option<Section<'a>> {
        let path = self.at.join(key.get_ref().as_ref());
        let start = key.span().start;
        let Some(table) = value.get_ref().as_table() else {
            let fix = format!("write it as a table: [{path}]");
            reading.wrong(start, path, Wrong::new("it is not a table", fix));
            return None;
        };
        let place = reading.place(start);
        reading.origins.note(path.clone(), place);
        Some(Section::new(path, start, table))
    }

    /// Refuses every key that is not a setting.
    pub(super) fn finish(self, reading: &mut Reading<'_>) {
        for (key, _) in self.entries() {
            let name = key.get_ref().as_ref();
            if !self.asked.contains(&name) {
                let fix = suggestion(name, self.asked.iter().copied());
                let wrong = Wrong::new("there is no such setting", fix);
                reading.wrong(key.span().start, self.at.join(name), wrong);
            }
        }
    }
}
