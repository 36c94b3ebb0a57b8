//! The first pass: one source in, one `Layer` out, with every fault of that source.
//!
//! Sources are the text of a `splitci.toml`, the environment (as a map; this library never reads it), the command line, and the defaults, which
//! are the example file as it stands. What a value means together with others is not looked at here.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::EXAMPLE;
use super::fault::{FaultKind, Faults, Place};
use super::schema::{KEYS, Key, Layer, NAMED, NamedTable, SECTIONS, SuiteTable};
use super::setting::Raw;

/// The defaults: what the example says in lines that are not commented out.
pub(super) fn defaults() -> (Layer, Faults) {
    read_toml(EXAMPLE, &|_, _| Place::Nowhere)
}

/// Reads the text of a file.
pub(super) fn file(path: &Path, text: &str) -> (Layer, Faults) {
    read_toml(text, &|line, key| Place::File { file: path.to_owned(), line, key: key.to_owned() })
}

type PlaceOf<'a> = dyn Fn(usize, &str) -> Place + 'a;

fn read_toml(text: &str, place: &PlaceOf<'_>) -> (Layer, Faults) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { text, place, within: None, layer: Layer::default(), faults: Faults::default() };
    for error in &errors {
        let line = reader.line(error.span().map_or(0, |span| span.start));
        reader.faults.push(place(line, ""), FaultKind::Syntax(error.message().replace('\n', ", ")));
    }
    // What the parser made of a broken file is a guess; faults found in it would be noise.
    if errors.is_empty() {
        reader.table("", table.get_ref());
    }
    (reader.layer, reader.faults)
}

struct Reader<'a> {
    text: &'a str,
    place: &'a PlaceOf<'a>,
    /// The name that keys stand below, with its section: `environment` and `production`.
    within: Option<(&'static str, &'a str)>,
    layer: Layer,
    faults: Faults,
}

impl Reader<'_> {
    fn line(&self, offset: usize) -> usize {
        1 + self.text.get(..offset).unwrap_or_default().matches('\n').count()
    }

    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let path = if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
            let place = (self.place)(self.line(key.span().start), &self.shown(&path));
            self.key(&path, value.get_ref(), place);
        }
    }

    /// A key as it stands in the file, with the name that it stands below.
    fn shown(&self, path: &str) -> String {
        match self.within.and_then(|(section, name)| Some((section, name, path.strip_prefix(section)?))) {
            Some((section, name, rest)) => format!("{section}.{name}{rest}"),
            None => path.to_owned(),
        }
    }

    /// All things of a section that have names.
    fn named(&mut self, section: &'static str, tables: &DeTable<'_>) {
        for (name, value) in tables {
            let path = format!("{section}.{}", name.get_ref());
            let place = (self.place)(self.line(name.span().start), &path);
            let Some(table) = value.get_ref().as_table() else {
                self.faults.push(place, FaultKind::Nameless { section });
                continue;
            };
            if !is_name(name.get_ref()) {
                self.faults.push(place, FaultKind::BadName { name: name.get_ref().to_string() });
                continue;
            }
            let within = Some((section, name.get_ref().as_ref()));
            let mut reader = Reader { within, layer: Layer::default(), faults: Faults::default(), ..*self };
            reader.table(section, table);
            let (layer, faults) = (Box::new(reader.layer), reader.faults);
            self.faults.extend(faults);
            self.layer.named.push((section, NamedTable { name: name.get_ref().to_string(), place, layer }));
        }
    }

    /// One of several suites.
    fn suite(&mut self, value: &DeValue<'_>, line: usize, list: &Place) {
        let DeValue::Table(table) = value else { return self.faults.push(list.clone(), FaultKind::NotATable(SUITES.to_owned())) };
        let mut reader = Reader { layer: Layer::default(), faults: Faults::default(), ..*self };
        reader.table(SUITES, table);
        let (section, faults) = (reader.layer.suite, reader.faults);
        self.faults.extend(faults);
        self.layer.suites.push(SuiteTable { section, place: (self.place)(line, SUITES) });
    }

    fn key(&mut self, path: &str, value: &DeValue<'_>, place: Place) {
        if !is_section(path) {
            if let Err(kind) = self.layer.set(path, Raw::Toml(value), place.clone()) {
                self.faults.push(place, kind);
            }
            return;
        }
        let of_names = NAMED.iter().find(|section| **section == path).filter(|_| self.within.is_none());
        match value {
            DeValue::Table(table) if let Some(section) = of_names => self.named(section, table),
            DeValue::Table(table) => self.table(path, table),
            DeValue::Array(tables) if path == SUITES && !tables.is_empty() => {
                tables.iter().for_each(|table| self.suite(table.get_ref(), self.line(table.span().start), &place));
            }
            _ => self.faults.push(place, FaultKind::NotATable(path.to_owned())),
        }
    }
}

/// Whether keys stand below it, or below what stands below it.
pub(super) fn is_section(path: &str) -> bool {
    let above = |section: &&str| section.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    SECTIONS.iter().any(above)
}

/// Fit for a part of the name of a container, a tag, and a variable of a shell.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    name.len() <= 40 && name.bytes().all(plain) && name.starts_with(|first: char| first.is_ascii_alphanumeric())
}

/// The section that may be a list of tables: a project may have several suites.
const SUITES: &str = "suite";

/// Reads our variables out of an environment. An empty value is the same as none: that is how CI systems unset things.
pub(super) fn environment(env: &BTreeMap<String, String>) -> (Layer, Faults) {
    let (mut layer, mut faults) = (Layer::default(), Faults::default());
    let ours: BTreeMap<String, Key> = KEYS.iter().filter(|key| !key.is_of_a_name()).map(|key| (key.variable(), *key)).collect();
    for (name, value) in env.iter().filter(|(_, value)| !value.is_empty()) {
        let place = Place::Variable(name.clone());
        match ours.get(name) {
            Some(key) => {
                if let Err(kind) = layer.set(key.path, Raw::Variable(value), place.clone()) {
                    faults.push(place, kind);
                }
            }
            None if in_a_section(name) => faults.push(place, FaultKind::UnknownVariable(name.clone())),
            None => {}
        }
    }
    (layer, faults)
}

/// Whether a variable looks as if it were meant for a key. Other names that begin with `SPLITCI_` are not settings.
fn in_a_section(name: &str) -> bool {
    let section = |section: &str| name.starts_with(&format!("SPLITCI_{}_", section.replace('.', "_").to_ascii_uppercase()));
    SECTIONS.iter().any(|path| section(path))
}

/// The command line's layer, filled option by option.
#[derive(Debug, Default)]
pub struct Flags {
    layer: Layer,
    faults: Faults,
}

impl Flags {
    /// One option with its value. Options for lists may be given again.
    pub fn set(&mut self, key: &str, option: &str, value: &str) {
        let place = Place::Flag(option.to_owned());
        if let Err(kind) = self.layer.set(key, Raw::Flag(value), place.clone()) {
            self.faults.push(place, kind);
        }
    }

    /// What was set, with what was wrong.
    pub fn finish(self) -> (Layer, Faults) {
        (self.layer, self.faults)
    }
}
