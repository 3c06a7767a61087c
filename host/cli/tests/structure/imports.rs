//! Which source file names items of which other file of its crate.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    path::{Path, PathBuf},
};

use syn::{
    Attribute, Item, ItemMod, ItemUse, Macro, UseTree,
    visit::{self, Visit},
};

/// The files that each file names, both as module paths: `config::plugin::fit` for `config/src/plugin/fit.rs`.
///
/// Tests do not count. A crate's `lib.rs` and a folder's `mod.rs` gather what is below them: what they re-export counts as
/// named in the file that defines it, and they are not part of a circle themselves.
pub(crate) struct Imports(BTreeMap<String, BTreeSet<String>>);

impl Imports {
    /// Of Rust sources with paths such as `config/src/plugin/fit.rs`.
    pub(crate) fn of(sources: &[(PathBuf, String)]) -> Self {
        let files: BTreeMap<_, _> = sources
            .iter()
            .map(|(path, text)| (module_of(path), File::parse(path, text)))
            .collect();
        let is_root = |module: &str| {
            let below = format!("{module}::");
            !module.contains("::") || files.keys().any(|other| other.starts_with(&below))
        };
        let mut found = BTreeMap::new();
        for (module, file) in files.iter().filter(|(module, _)| !is_root(module)) {
            let named = file.paths.iter().filter_map(|path| file_of(path, &files));
            let others = named.filter(|other| other != module && !is_root(other));
            found.insert(module.clone(), others.collect());
        }
        Self(found)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }

    /// The shortest circle through each file that is in one, such as `a::x -> a::y -> a::x`.
    pub(crate) fn circles(&self) -> BTreeSet<String> {
        let circles = self.0.keys().filter_map(|module| self.circle(module));
        circles.map(|circle| from_the_first(&circle)).collect()
    }

    fn circle<'a>(&'a self, start: &'a str) -> Option<Vec<&'a str>> {
        let mut came_from: HashMap<&str, &str> = HashMap::new();
        let mut open: VecDeque<&str> = [start].into();
        while let Some(module) = open.pop_front() {
            for next in self.0.get_key_value(module)?.1 {
                if next == start {
                    let back = std::iter::successors(Some(module), |at| came_from.get(at).copied());
                    let mut circle: Vec<_> = back.collect();
                    circle.reverse();
                    return Some(circle);
                }
                if !came_from.contains_key(next.as_str()) {
                    came_from.insert(next, module);
                    open.push_back(next);
                }
            }
        }
        None
    }
}

/// One text for a circle, wherever it was entered.
fn from_the_first(circle: &[&str]) -> String {
    let first = circle.iter().min().expect("a circle has members");
    let place = circle.iter().position(|module| module == first);
    let members = circle.iter().cycle().skip(place.unwrap_or(0));
    let members: Vec<_> = members.take(circle.len() + 1).copied().collect();
    members.join(" -> ")
}

/// The module path of a file; that of a crate's root is the crate's folder alone.
fn module_of(path: &Path) -> String {
    let parts = path.with_extension("");
    let parts = parts.iter().filter_map(|part| part.to_str());
    let parts = parts.filter(|part| !["src", "lib", "main", "mod"].contains(part));
    parts.collect::<Vec<_>>().join("::")
}

/// The file that defines what a path names; re-exports of roots are followed.
fn file_of(path: &[String], files: &BTreeMap<String, File>) -> Option<String> {
    let mut path = path.to_vec();
    // Longer chains of re-exports would be circles.
    for _ in 0..16 {
        let length = (1..=path.len())
            .rev()
            .find(|length| files.contains_key(&path[..*length].join("::")))?;
        let module = path[..length].join("::");
        let alias = path
            .get(length)
            .and_then(|name| files[&module].aliases.get(name));
        let Some(alias) = alias else {
            return Some(module);
        };
        path = [alias, &path[length + 1..]].concat();
    }
    None
}

/// What a file names, all from the root of its crate.
struct File {
    paths: Vec<Vec<String>>,
    /// What its `use` declarations make of a name.
    aliases: HashMap<String, Vec<String>>,
}

impl File {
    fn parse(path: &Path, text: &str) -> Self {
        let syntax = syn::parse_file(text);
        let syntax = syntax.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let module = module_of(path);
        let mut names = Names {
            module: module.split("::").map(str::to_owned).collect(),
            inline: 0,
            paths: Vec::new(),
            aliases: HashMap::new(),
        };
        names.visit_file(&syntax);
        Self {
            paths: names.paths,
            aliases: names.aliases,
        }
    }
}

struct Names {
    /// Where the walk is, inline modules included.
    module: Vec<String>,
    /// How many of its parts are inline modules.
    inline: usize,
    paths: Vec<Vec<String>>,
    aliases: HashMap<String, Vec<String>>,
}

impl Names {
    /// A path that begins with `crate`, `self` or `super`, from the crate's root.
    fn absolute(&self, path: &[String]) -> Option<Vec<String>> {
        let mut from = match path.first()?.as_str() {
            "crate" => vec![self.module[0].clone()],
            "self" => self.module.clone(),
            "super" => self.module[..self.module.len() - 1].to_vec(),
            _ => return None,
        };
        for part in &path[1..] {
            if part == "super" {
                from.pop();
            } else {
                from.push(part.clone());
            }
        }
        Some(from)
    }

    fn take(&mut self, path: &[String]) {
        self.paths.extend(self.absolute(path));
    }

    fn take_use(&mut self, tree: &UseTree, prefix: &[String]) {
        let with = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.take_use(&path.tree, &with(&path.ident)),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.take_use(tree, prefix);
                }
            }
            UseTree::Glob(_) => self.take(prefix),
            UseTree::Name(name) if name.ident == "self" => self.import(prefix, prefix.last()),
            UseTree::Name(name) => self.import(&with(&name.ident), Some(&name.ident.to_string())),
            UseTree::Rename(as_) if as_.ident == "self" => {
                self.import(prefix, Some(&as_.rename.to_string()));
            }
            UseTree::Rename(as_) => self.import(&with(&as_.ident), Some(&as_.rename.to_string())),
        }
    }

    fn import(&mut self, path: &[String], name: Option<&String>) {
        self.take(path);
        // `use child::Item` in a root; of another crate, no file has such a path.
        let below = || [&self.module, path].concat();
        let target = self.absolute(path).unwrap_or_else(below);
        if let Some(name) = name.filter(|_| self.inline == 0) {
            self.aliases.insert(name.clone(), target);
        }
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if module.content.is_some() {
            self.module.push(module.ident.to_string());
            self.inline += 1;
            visit::visit_item_mod(self, module);
            self.inline -= 1;
            self.module.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.take_use(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<_> = path
            .segments
            .iter()
            .map(|part| part.ident.to_string())
            .collect();
        self.take(&parts);
        visit::visit_path(self, path);
    }

    /// The arguments of a macro are not parsed: only what has the form of a path in them is taken.
    fn visit_macro(&mut self, call: &'ast Macro) {
        let text = call.tokens.to_string().replace(' ', "");
        let is_of_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        for path in text
            .split(|c| !is_of_path(c))
            .filter(|path| path.contains("::"))
        {
            let parts: Vec<_> = path.split("::").map(str::to_owned).collect();
            self.take(&parts);
        }
        visit::visit_macro(self, call);
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let condition = attribute
            .path()
            .is_ident("cfg")
            .then(|| attribute.meta.require_list());
        condition.is_some_and(|list| list.is_ok_and(|list| list.tokens.to_string() == "test"))
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(files: &[(&str, &str)]) -> Imports {
        let sources: Vec<_> = files
            .iter()
            .map(|(path, text)| (PathBuf::from(path), (*text).to_owned()))
            .collect();
        Imports::of(&sources)
    }

    #[test]
    fn a_path_of_every_form_is_an_import() {
        for text in [
            "use super::b::B;",
            "use crate::{a::c, b::{B, C}};",
            "use crate::b::*;",
            "pub use super::b;",
            "use super::b::{self as other};",
            "mod inner { use super::super::b::B; }",
            "fn f() { crate::b::g(); }",
            "fn f() -> super::b::B { todo!() }",
            "fn f() { println!(\"{}\", crate::b::g()); }",
            // By the re-exports of the root.
            "use crate::B;",
            "use super::Renamed;",
        ] {
            let found = imports(&[
                (
                    "x/src/lib.rs",
                    "mod a; mod b; pub use b::{B, C as Renamed};",
                ),
                ("x/src/a.rs", text),
                ("x/src/b.rs", ""),
            ]);
            assert_eq!(found.count(), 1, "{text}");
        }
    }

    #[test]
    fn what_tests_and_other_crates_name_is_not_an_import() {
        for text in [
            "use b::B;",
            "use other::b::B;",
            "#[cfg(test)] mod tests { use crate::b::B; }",
            "#[cfg(test)] use crate::b::B;",
            "#[cfg(test)] mod tests;",
        ] {
            let files = [
                ("x/src/lib.rs", ""),
                ("x/src/a.rs", text),
                ("x/src/b.rs", ""),
            ];
            assert_eq!(imports(&files).count(), 0, "{text}");
        }
    }

    #[test]
    fn a_circle_is_named() {
        let found = imports(&[
            ("x/src/lib.rs", "mod a; mod b; mod c; pub use c::C;"),
            ("x/src/a.rs", "use super::b::B;"),
            ("x/src/b.rs", "use crate::C;"),
            ("x/src/c.rs", "fn f() { super::a::g(); }"),
        ]);
        let circles: Vec<_> = found.circles().into_iter().collect();
        assert_eq!(circles, ["x::a -> x::b -> x::c -> x::a"]);
    }
}
