//! No files of a package import each other in a circle, and neither do its rooms, the modules at its root: what uses a file is
//! never used by it, so that each can be read with those below it alone.
//!
//! ```text
//! lib.rs ──mod──► files ──`use` and paths──► who uses whom ──without ends, again and again──► circles
//! ```
//!
//! A name that a file only hands on (`pub use child::Name`) is no use of it: who takes the name uses the file that defines it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, Item, ItemUse, UseTree, Visibility};

/// Packages, and their files that may import each other.
const PACKAGES: &[(&str, &[&str])] = &[
    // A clock makes alarms, which ask it for the time.
    ("src", &["clock", "clock/alarm", "clock/timer"]),
    (
        "pipelines/world",
        &[
            // What a footer claims of its world's identity is a part's; what is held against it, a view's.
            "oracle/pins",
            "oracle/view_files",
            // One service, in several files.
            "service",
            "service/lanes",
            "service/stream",
            "service/worker",
        ],
    ),
    ("pipelines/observe", &[]),
    ("pipelines/reference", &[]),
    ("pipelines/matrix", &[]),
];

/// The path of a module.
type ModPath = Vec<String>;

/// What a module's file has in it.
#[derive(Default)]
struct Module {
    children: BTreeSet<String>,
    imports: Vec<Import>,
    /// Outside of imports: identifiers that begin with a capital, and others that are called.
    names: BTreeSet<String>,
    /// Paths outside of imports that begin at a module.
    paths: Vec<ModPath>,
}

/// One name that is imported.
struct Import {
    path: ModPath,
    name: String,
    handed_on: bool,
}

type Modules = BTreeMap<ModPath, Module>;
/// Who uses whom, by which name.
type Uses = BTreeMap<ModPath, BTreeMap<ModPath, String>>;

#[test]
fn no_files_and_no_rooms_import_each_other_in_a_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut wrong = String::new();
    for (package, may) in PACKAGES {
        let mut modules = Modules::new();
        read(&mut modules, Vec::new(), &root.join(package).join("lib.rs"));
        assert!(modules.len() > 3, "{package}: its files were not found");
        let mut uses = uses(&modules);
        let of_rooms = rooms(&uses);
        for (file, of) in &mut uses {
            of.retain(|other, _| !(may.contains(&&*file.join("/")) && may.contains(&&*other.join("/"))));
        }
        for (file, of) in circles(uses).into_iter().chain(circles(of_rooms)) {
            for (other, name) in of {
                // A string takes whatever is written to it.
                let _ = writeln!(wrong, "{package}: {} uses {name} of {}", file.join("/"), other.join("/"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "these files import each other in a circle; move what they share into one below:\n{wrong}"
    );
}

#[test]
fn a_circle_is_seen_and_a_name_handed_on_is_none() {
    let module = |text: &str, children: &[&str]| {
        let mut module = Module { children: children.iter().map(ToString::to_string).collect(), ..Module::default() };
        fill(&mut module, &syn::parse_file(text).unwrap().items);
        module
    };
    let path = |text: &str| text.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect::<ModPath>();
    let circle = |above: &str, below: &str, other: &str| {
        let modules = Modules::from([
            (path(""), module("", &["a"])),
            (path("a"), module(above, &["b", "c"])),
            (path("a/b"), module(below, &[])),
            (path("a/c"), module(other, &[])),
        ]);
        circles(uses(&modules)).into_keys().map(|file| file.join("/")).collect::<Vec<_>>()
    };
    let none: [&str; 0] = [];
    assert_eq!(circle("pub use b::B; pub struct A;", "use super::A; pub struct B(A);", ""), none);
    assert_eq!(circle("pub use b::B; pub struct A(B);", "use super::A; pub struct B(A);", ""), ["a", "a/b"]);
    assert_eq!(circle("pub use b::B;", "use crate::a::C; pub struct B;", "use super::B; pub struct C;"), none);
    assert_eq!(
        circle("pub use b::B; pub use c::C;", "use crate::a::{C as D}; pub struct B;", "use super::B; pub struct C;"),
        ["a/b", "a/c"]
    );
    assert_eq!(circle("fn f() { b::g() }", "pub fn g() { super::super::a::f() }", ""), ["a", "a/b"]);
    let handed_on = "pub use b::g; fn f() { let g = 1; x.g() }";
    assert_eq!(circle(handed_on, "use super::f; pub fn g() { f() }", ""), none);
    assert_eq!(circle("pub use b::g; fn f() { g() }", "use super::f; pub fn g() { f() }", ""), ["a", "a/b"]);
    assert_eq!(circle("fn f() { b::g() }", "#[cfg(test)] mod tests { use crate::a::f; }", ""), none);
}

/// Reads the file of a module, and those of the modules below it.
fn read(modules: &mut Modules, at: ModPath, file: &Path) {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let items = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display())).items;
    let own = ["lib.rs", "mod.rs"].iter().any(|name| file.ends_with(name));
    let folder = if own { file.parent().unwrap_or(Path::new("")).to_owned() } else { file.with_extension("") };
    let mut module = Module::default();
    for item in &items {
        // One with a path of its own is another face of a module of that name.
        if let Item::Mod(child) = item
            && child.content.is_none()
            && !child.attrs.iter().any(|attribute| attribute.path().is_ident("path") || is_test(attribute))
        {
            let name = child.ident.to_string();
            let flat = folder.join(format!("{name}.rs"));
            let file = if flat.exists() { flat } else { folder.join(&name).join("mod.rs") };
            read(modules, [&at[..], &[name.clone()]].concat(), &file);
            module.children.insert(name);
        }
    }
    fill(&mut module, &items);
    modules.insert(at, module);
}

/// Notes what `items` import and name.
fn fill(module: &mut Module, items: &[Item]) {
    let mut tokens = Vec::new();
    for item in items.iter().filter(|item| !attributes(item).iter().any(is_test)) {
        match item {
            Item::Use(item) => import(item, &mut module.imports),
            Item::Mod(item) if item.content.is_none() => {}
            item => flatten(item.to_token_stream(), &mut tokens),
        }
    }
    let is_name = |token: &str| token.starts_with(|c: char| c.is_alphabetic() || c == '_');
    for (at, name) in tokens.iter().enumerate().filter(|(_, token)| is_name(token)) {
        // Variables, fields and methods may have a function's name.
        let is_called = tokens.get(at + 1).is_some_and(|next| next == "(")
            && !at.checked_sub(1).is_some_and(|before| matches!(&*tokens[before], "." | "fn"));
        if is_called || name.starts_with(char::is_uppercase) {
            module.names.insert(name.clone());
        }
    }
    for (at, first) in tokens.iter().enumerate() {
        let begins = matches!(&**first, "crate" | "super" | "self") || module.children.contains(first);
        // `pub(in crate::room)` says who may, not who does.
        let is_visibility = at > 1 && tokens[at - 1] == "in" && tokens[at - 2] == "(";
        if !begins || is_visibility || at > 0 && tokens[at - 1] == ":" {
            continue;
        }
        let mut path = vec![first.clone()];
        let mut rest = &tokens[at + 1..];
        while let [one, two, name, behind @ ..] = rest
            && one == ":"
            && two == ":"
            && is_name(name)
        {
            path.push(name.clone());
            rest = behind;
        }
        if path.len() > 1 {
            module.paths.push(path);
        }
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// `#[cfg(test)]`, alone or among others.
fn is_test(attribute: &Attribute) -> bool {
    let mut tokens = Vec::new();
    flatten(attribute.meta.to_token_stream(), &mut tokens);
    tokens.first().is_some_and(|first| first == "cfg") && tokens.iter().any(|token| token == "test")
}

fn flatten(stream: TokenStream, out: &mut Vec<String>) {
    for tree in stream {
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = if group.delimiter() == Delimiter::Parenthesis { ("(", ")") } else { ("{", "}") };
                out.push(open.to_owned());
                flatten(group.stream(), out);
                out.push(close.to_owned());
            }
            TokenTree::Ident(ident) => out.push(ident.to_string()),
            TokenTree::Punct(punct) => out.push(punct.as_char().to_string()),
            TokenTree::Literal(_) => out.push("\"".to_owned()),
        }
    }
}

fn import(item: &ItemUse, imports: &mut Vec<Import>) {
    fn walk(tree: &UseTree, path: &ModPath, add: &mut dyn FnMut(ModPath, String)) {
        let with = |name: &dyn ToString| [&path[..], &[name.to_string()]].concat();
        match tree {
            UseTree::Path(of) => walk(&of.tree, &with(&of.ident), add),
            UseTree::Group(group) => group.items.iter().for_each(|item| walk(item, path, add)),
            UseTree::Name(name) if name.ident == "self" => add(path.clone(), path.last().cloned().unwrap_or_default()),
            UseTree::Name(name) => add(with(&name.ident), name.ident.to_string()),
            UseTree::Rename(name) if name.ident == "self" => add(path.clone(), name.rename.to_string()),
            UseTree::Rename(name) => add(with(&name.ident), name.rename.to_string()),
            UseTree::Glob(_) => add(path.clone(), "*".to_owned()),
        }
    }
    let handed_on = !matches!(item.vis, Visibility::Inherited);
    walk(&item.tree, &Vec::new(), &mut |path, name| imports.push(Import { path, name, handed_on }));
}

/// Who uses whom.
fn uses(modules: &Modules) -> Uses {
    let mut uses = Uses::new();
    for (at, module) in modules {
        let imported = module.imports.iter().filter(|import| !import.handed_on || module.names.contains(&import.name));
        for path in imported.map(|import| &import.path).chain(&module.paths) {
            if let Some(of) = definition(modules, at, path, &mut BTreeSet::new())
                && of != *at
            {
                uses.entry(at.clone()).or_default().insert(of, path.last().cloned().unwrap_or_default());
            }
        }
    }
    uses
}

/// The module whose file defines what `path` means in the module `at`; `None` for what is of another package.
fn definition(
    modules: &Modules,
    at: &ModPath,
    path: &[String],
    seen: &mut BTreeSet<(ModPath, String)>,
) -> Option<ModPath> {
    let (mut module, mut rest) = (at.clone(), path);
    match path.first()?.as_str() {
        "crate" => {
            module.clear();
            rest = &path[1..];
        }
        "self" => rest = &path[1..],
        "super" => {
            while let [first, behind @ ..] = rest
                && first == "super"
            {
                module.pop()?;
                rest = behind;
            }
        }
        first if modules[at].children.contains(first) => {}
        first => return imported(modules, at, first, &path[1..], seen),
    }
    while let [name, behind @ ..] = rest {
        if modules.get(&module)?.children.contains(name) {
            module.push(name.clone());
            rest = behind;
            continue;
        }
        let is_imported = modules[&module].imports.iter().any(|import| import.name == *name);
        return if is_imported { imported(modules, &module, name, behind, seen) } else { Some(module) };
    }
    Some(module)
}

/// The same for a name that the module `at` imports, and `behind` below it.
fn imported(
    modules: &Modules,
    at: &ModPath,
    name: &str,
    behind: &[String],
    seen: &mut BTreeSet<(ModPath, String)>,
) -> Option<ModPath> {
    if !seen.insert((at.clone(), name.to_owned())) {
        return None;
    }
    let import = modules[at].imports.iter().find(|import| import.name == name)?;
    definition(modules, at, &[&import.path[..], behind].concat(), seen)
}

/// The same of rooms.
fn rooms(uses: &Uses) -> Uses {
    let mut of_rooms = Uses::new();
    for (file, of) in uses {
        for (other, name) in of {
            if let (Some(room), Some(other)) = (file.first(), other.first())
                && room != other
            {
                of_rooms.entry(vec![room.clone()]).or_default().insert(vec![other.clone()], name.clone());
            }
        }
    }
    of_rooms
}

/// What is left when files that use no other, and those that no other uses, are taken away again and again.
fn circles(mut uses: Uses) -> Uses {
    loop {
        let users: BTreeSet<ModPath> = uses.keys().cloned().collect();
        let used: BTreeSet<ModPath> = uses.values().flat_map(BTreeMap::keys).cloned().collect();
        let before: usize = uses.values().map(BTreeMap::len).sum();
        uses.retain(|file, of| {
            of.retain(|other, _| users.contains(other));
            used.contains(file) && !of.is_empty()
        });
        if uses.values().map(BTreeMap::len).sum::<usize>() == before {
            return uses;
        }
    }
}
