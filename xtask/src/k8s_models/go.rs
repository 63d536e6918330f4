//! Reads API packages in Go: structs with their tags and marker comments, named types, constants, registered kinds.
//!
//! Line by line, because the sources are formatted by gofmt; what does not fit is an error as soon as a kind leads to it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use super::{APIMACHINERY, LEAVES, MODULES, Module};

#[derive(Default)]
pub(super) struct Package {
    /// OpenAPI prefix of its types, API group (`-` for the core group or none) and version.
    pub(super) line: String,
    pub(super) structs: BTreeMap<String, Struct>,
    pub(super) named: BTreeMap<String, Named>,
    /// `type A = B` and `type A pkg.B`, where B is elsewhere.
    aliases: BTreeMap<String, String>,
    pub(super) constants: BTreeMap<String, String>,
    /// Values per type name, in order.
    pub(super) values: BTreeMap<String, BTreeSet<String>>,
    /// Kind to the group and version it is registered in, if that is not the package's own.
    pub(super) kinds: BTreeMap<String, Option<&'static str>>,
}

pub(super) struct Struct {
    pub(super) markers: Vec<String>,
    pub(super) fields: Vec<GoField>,
}

pub(super) struct Named {
    pub(super) ty: String,
    pub(super) enumerated: bool,
}

pub(super) struct GoField {
    pub(super) embedded: bool,
    pub(super) ty: String,
    pub(super) tag: BTreeMap<String, String>,
    pub(super) markers: Vec<String>,
}

pub(super) fn package_folders(module: &Module, dir: &Path) -> anyhow::Result<Vec<String>> {
    if module.name == "apimachinery" {
        return Ok(APIMACHINERY.iter().map(|folder| folder.to_string()).collect());
    }
    let root = dir.join(module.folder);
    let mut folders = Vec::new();
    for group in std::fs::read_dir(&root)? {
        let group = group?.path();
        if !group.is_dir() {
            continue;
        }
        for version in std::fs::read_dir(&group)? {
            let version = version?.path();
            if version.join("generated.proto").exists() {
                let relative = version.strip_prefix(&root)?;
                folders.push(relative.to_str().context("path is not UTF-8")?.to_owned());
            }
        }
    }
    folders.sort();
    Ok(folders)
}

/// `apis/meta/v1` is `meta/v1`, `api/resource` is `resource`: unique over all modules, which the caller checks.
pub(super) fn short_name(folder: &str) -> String {
    let folder = folder.strip_prefix("apis/").unwrap_or(folder);
    folder.strip_prefix("api/").or(folder.strip_prefix("util/")).unwrap_or(folder).to_owned()
}

/// Short name of an import path such as `k8s.io/api/core/v1`, if it is a package of the table.
fn short_of_import(path: &str) -> Option<String> {
    let rest = path.strip_prefix("k8s.io/")?;
    let (module, folder) = rest.split_once('/')?;
    let module = MODULES.iter().find(|m| m.name == module)?;
    let folder =
        if module.folder.is_empty() { folder } else { folder.strip_prefix(module.folder)?.strip_prefix('/')? };
    Some(short_name(folder))
}

pub(super) fn read_package(module: &Module, dir: &Path, folder: &str, short: &str) -> anyhow::Result<Package> {
    let root = dir.join(module.folder).join(folder);
    let mut package = Package::default();
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&root)?.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<_>>()?;
    files.sort();
    let mut group = None;
    for file in files {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let generated = name.starts_with("zz_") || name.starts_with("generated") || name.contains("_generated");
        if !name.ends_with(".go") || name.ends_with("_test.go") || generated {
            continue;
        }
        let text = without_block_comments(&std::fs::read_to_string(&file)?);
        if name == "register.go" {
            group = text.lines().find_map(|line| {
                line.trim().strip_prefix("const GroupName = ").map(|v| v.trim_matches('"').to_owned())
            });
            read_kinds(&text, short, &mut package);
        }
        read_go(&text, short, &mut package).with_context(|| name.clone())?;
    }
    let group = group.filter(|group| !group.is_empty()).unwrap_or_else(|| "-".to_owned());
    let version = folder.rsplit('/').next().filter(|last| last.starts_with('v')).unwrap_or("-");
    package.line = format!("{}{} {group} {version}", module.prefix, folder.replace('/', "."));
    Ok(package)
}

/// Go block comments stand on lines of their own in these sources.
fn without_block_comments(text: &str) -> String {
    let mut inside = false;
    let mut kept = String::with_capacity(text.len());
    for line in text.lines() {
        inside |= line.trim_start().starts_with("/*");
        if !inside {
            kept.push_str(line);
            kept.push('\n');
        }
        inside &= !line.contains("*/");
    }
    kept
}

/// Kinds are what `register.go` adds to a scheme. What `meta/v1` adds for every group is listed in the core group.
fn read_kinds(text: &str, short: &str, package: &mut Package) {
    let mut group = None;
    for line in text.lines().map(str::trim) {
        if line.contains("AddKnownTypes(") || line.contains("AddUnversionedTypes(") || line.contains("optionsTypes = ")
        {
            let common = line.contains("(Unversioned,") || line.contains("optionsTypes = ");
            group = (short == "meta/v1" && common).then_some("-/v1");
        }
        if line.ends_with("&WatchEvent{})") {
            package.kinds.insert("WatchEvent".to_owned(), Some("-/v1"));
        } else if let Some(kind) =
            line.strip_prefix('&').and_then(|line| line.strip_suffix("{},").or(line.strip_suffix("{})")))
            && !kind.contains(['.', '{'])
        {
            package.kinds.insert(kind.to_owned(), group);
        }
    }
}

fn read_go(text: &str, short: &str, package: &mut Package) -> anyhow::Result<()> {
    let mut imports: BTreeMap<String, String> = BTreeMap::new();
    let mut markers: Vec<String> = Vec::new();
    let mut lines = text.lines().peekable();
    let mut in_constants = false;
    let mut in_imports = false;
    while let Some(line) = lines.next() {
        let trimmed = line.trim();
        if let Some(comment) = trimmed.strip_prefix("//") {
            markers.extend(comment.trim().strip_prefix('+').map(str::to_owned));
            continue;
        }
        if trimmed.is_empty() {
            continue;
        }
        if in_imports || (trimmed.starts_with("import ") && trimmed.contains('"')) {
            in_imports &= trimmed != ")";
            if let Some((alias, path)) = import(trimmed.trim_start_matches("import ")) {
                imports.insert(alias, path);
            }
        } else if trimmed == "import (" {
            in_imports = true;
        } else if line == "const (" {
            in_constants = true;
        } else if line == ")" {
            in_constants = false;
        } else if in_constants || line.starts_with("const ") {
            constant(trimmed.strip_prefix("const ").unwrap_or(trimmed), package);
        } else if let Some(declaration) = line.strip_prefix("type ") {
            let (name, rest) = declaration.split_once(' ').with_context(|| format!("cannot read: {line}"))?;
            ensure!(name != "(", "grouped type declarations are not understood");
            let types = std::mem::take(&mut markers);
            if LEAVES.contains(&(short, name))
                || rest.starts_with("interface")
                || rest.starts_with("func")
                || name.contains('[')
            {
                if rest.ends_with('{') {
                    lines.by_ref().take_while(|line| *line != "}").for_each(drop);
                }
            } else if rest.starts_with("struct") {
                let body: Vec<&str> = match rest.ends_with('{') {
                    true => lines.by_ref().take_while(|line| *line != "}").collect(),
                    false => Vec::new(),
                };
                // Helpers of the library have fields of foreign types. They matter only if a kind leads to them.
                if let Ok(fields) = read_fields(&body, short, &imports) {
                    package.structs.insert(name.to_owned(), Struct { markers: types, fields });
                }
            } else {
                read_named(name, rest, &types, short, &imports, package)?;
            }
        }
        markers.clear();
    }
    Ok(())
}

fn read_named(
    name: &str,
    rest: &str,
    markers: &[String],
    short: &str,
    imports: &BTreeMap<String, String>,
    package: &mut Package,
) -> anyhow::Result<()> {
    let rest = rest.split("//").next().unwrap_or_default().trim();
    let (alias, target) = match rest.strip_prefix("= ") {
        Some(target) => (true, target),
        None => (false, rest),
    };
    let Ok(ty) = go_type(target, short, imports) else { return Ok(()) };
    if alias
        || (ty.chars().next().is_some_and(|c| c.is_ascii_alphabetic()) && ty.contains(|c: char| c.is_ascii_uppercase()))
    {
        package.aliases.insert(name.to_owned(), ty);
    } else {
        package.named.insert(name.to_owned(), Named { ty, enumerated: markers.iter().any(|marker| marker == "enum") });
    }
    Ok(())
}

fn import(line: &str) -> Option<(String, String)> {
    let (alias, path) = line.split_once('"')?;
    let path = path.trim_end_matches('"');
    let alias = match alias.trim() {
        "" => path.rsplit('/').next()?,
        alias => alias,
    };
    Some((alias.to_owned(), path.to_owned()))
}

fn constant(line: &str, package: &mut Package) {
    let Some((left, right)) = line.split_once('=') else { return };
    let mut words = left.split_whitespace();
    let (Some(name), ty) = (words.next(), words.next()) else { return };
    let right = right.trim();
    let Some(value) = right.strip_prefix('"').and_then(|rest| rest.split('"').next()) else { return };
    package.constants.insert(name.to_owned(), value.to_owned());
    if let Some(ty) = ty {
        package.values.entry(ty.to_owned()).or_default().insert(value.to_owned());
    }
}

fn read_fields(lines: &[&str], short: &str, imports: &BTreeMap<String, String>) -> anyhow::Result<Vec<GoField>> {
    let mut fields = Vec::new();
    let mut markers = Vec::new();
    for line in lines {
        let trimmed = line.trim();
        if let Some(comment) = trimmed.strip_prefix("//") {
            markers.extend(comment.trim().strip_prefix('+').map(str::to_owned));
            continue;
        }
        if trimmed.is_empty() {
            continue;
        }
        let (declaration, tag) = match trimmed.split_once('`') {
            Some((declaration, rest)) => (declaration.trim(), rest.split('`').next().unwrap_or_default()),
            None => (trimmed.split("//").next().unwrap_or_default().trim(), ""),
        };
        let mut words = declaration.split_whitespace();
        let (first, second) = (words.next().unwrap_or_default(), words.next());
        let embedded = second.is_none();
        let tag = read_tag(tag);
        let unexported = first.starts_with(|c: char| c.is_ascii_lowercase()) && !first.contains('.');
        if unexported || tag.get("json").is_some_and(|json| json == "-") {
            markers.clear();
            continue;
        }
        let ty = go_type(second.unwrap_or(first), short, imports).with_context(|| format!("field {first}"))?;
        fields.push(GoField { embedded, ty, tag, markers: std::mem::take(&mut markers) });
    }
    Ok(fields)
}

fn read_tag(tag: &str) -> BTreeMap<String, String> {
    let mut tags = BTreeMap::new();
    let mut rest = tag.trim();
    while let Some((key, after)) = rest.split_once(":\"") {
        let Some((value, after)) = after.split_once('"') else { break };
        tags.insert(key.trim().to_owned(), value.to_owned());
        rest = after.trim_start();
    }
    tags
}

/// A Go type in the table's notation: `*` pointer, `[]` list, `{key}` map, `bytes`, or a name, qualified if elsewhere.
fn go_type(text: &str, short: &str, imports: &BTreeMap<String, String>) -> anyhow::Result<String> {
    if let Some(rest) = text.strip_prefix('*') {
        return Ok(format!("*{}", go_type(rest, short, imports)?));
    }
    if text == "[]byte" {
        return Ok("bytes".to_owned());
    }
    if let Some(rest) = text.strip_prefix("[]") {
        return Ok(format!("[]{}", go_type(rest, short, imports)?));
    }
    if let Some((key, value)) = text.strip_prefix("map[").and_then(|rest| rest.split_once(']')) {
        return Ok(format!("{{{}}}{}", go_type(key, short, imports)?, go_type(value, short, imports)?));
    }
    if matches!(text, "interface{}" | "any") {
        return Ok("any".to_owned());
    }
    if matches!(
        text,
        "bool" | "string" | "int32" | "int64" | "uint32" | "uint64" | "int" | "float64" | "uint16" | "uint8"
    ) {
        return Ok(text.to_owned());
    }
    match text.split_once('.') {
        Some((alias, name)) => {
            let path = imports.get(alias).with_context(|| format!("package {alias} is not imported"))?;
            let package = short_of_import(path).with_context(|| format!("package {path} is not in the table"))?;
            Ok(if package == short { name.to_owned() } else { format!("{package}.{name}") })
        }
        None => {
            ensure!(
                !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric()),
                "type {text:?} is not understood"
            );
            Ok(text.to_owned())
        }
    }
}

/// The name inside a type expression: its prefix of pointer, list and map marks, and the rest.
fn split_type(ty: &str) -> (&str, &str) {
    let mut at = 0;
    loop {
        let rest = &ty[at..];
        at += match rest.as_bytes() {
            [b'*', ..] => 1,
            [b'[', b']', ..] => 2,
            [b'{', ..] => rest.find('}').map_or(rest.len(), |end| end + 1),
            _ => return ty.split_at(at),
        };
    }
}

fn qualify(name: &str, short: &str) -> String {
    if name.contains('.') || name.starts_with(|c: char| c.is_ascii_lowercase()) {
        name.to_owned()
    } else {
        format!("{short}.{name}")
    }
}

pub(super) fn find<'a>(
    packages: &'a BTreeMap<String, Package>,
    qualified: &str,
) -> Option<(&'a str, &'a Package, String)> {
    let (short, name) = qualified.rsplit_once('.')?;
    packages.get_key_value(short).map(|(short, package)| (short.as_str(), package, name.to_owned()))
}

/// Replaces aliases by what they stand for; `type A pkg.B` becomes a copy of that struct.
pub(super) fn resolve_aliases(packages: &mut BTreeMap<String, Package>) -> anyhow::Result<()> {
    let all: Vec<(String, String, String)> = packages
        .iter()
        .flat_map(|(short, package)| {
            package.aliases.iter().map(move |(name, target)| (short.clone(), name.clone(), qualify(target, short)))
        })
        .collect();
    for (short, name, target) in &all {
        let Some((home, package, target_name)) = find(packages, target) else { continue };
        if let Some(named) = package.named.get(&target_name) {
            let named = Named { ty: named.ty.clone(), enumerated: named.enumerated };
            let values = package.values.get(&target_name).cloned().unwrap_or_default();
            let into = packages.get_mut(short).context("package")?;
            into.named.insert(name.clone(), named);
            into.values.entry(name.clone()).or_default().extend(values);
        } else if let Some(original) = package.structs.get(&target_name) {
            let relocate = |ty: &str| {
                let (prefix, name) = split_type(ty);
                let full = qualify(name, home);
                format!("{prefix}{}", full.strip_prefix(&format!("{short}.")).unwrap_or(&full))
            };
            let fields = original
                .fields
                .iter()
                .map(|f| GoField {
                    embedded: f.embedded,
                    ty: relocate(&f.ty),
                    tag: f.tag.clone(),
                    markers: f.markers.clone(),
                })
                .collect();
            let copy = Struct { markers: original.markers.clone(), fields };
            packages.get_mut(short).context("package")?.structs.insert(name.clone(), copy);
        }
    }
    Ok(())
}

/// Types that a kind, or an options struct of `meta/v1`, can lead to. Everything else is the library's own business.
pub(super) fn reachable(packages: &BTreeMap<String, Package>) -> anyhow::Result<BTreeMap<&str, BTreeSet<String>>> {
    let mut seen: BTreeMap<&str, BTreeSet<String>> =
        packages.keys().map(|short| (short.as_str(), BTreeSet::new())).collect();
    let mut queue: Vec<String> = Vec::new();
    for (short, package) in packages {
        let roots = package.structs.iter().filter(|(name, s)| {
            package.kinds.contains_key(*name)
                || short != "runtime" && s.fields.iter().any(|f| f.embedded && f.ty.ends_with("TypeMeta"))
        });
        queue.extend(roots.map(|(name, _)| format!("{short}.{name}")));
    }
    queue.extend(["Duration", "Time", "MicroTime", "WatchEvent"].map(|name| format!("meta/v1.{name}")));
    while let Some(qualified) = queue.pop() {
        let (short, package, name) =
            find(packages, &qualified).with_context(|| format!("{qualified} is not in the table"))?;
        if !seen.get_mut(short).context("package")?.insert(name.clone()) {
            continue;
        }
        let mut types: Vec<&str> = Vec::new();
        if let Some(found) = package.structs.get(&name) {
            types.extend(found.fields.iter().map(|f| f.ty.as_str()));
        } else if let Some(named) = package.named.get(&name) {
            types.push(&named.ty);
        } else if let Some(props) =
            name.strip_suffix("OrArray").or(name.strip_suffix("OrBool")).or(name.strip_suffix("OrStringArray"))
        {
            types.push(props);
        } else {
            ensure!(
                LEAVES.contains(&(short, name.as_str())),
                "{qualified} is declared in a way that is not understood"
            );
        }
        for ty in types {
            let (prefix, target) = split_type(ty);
            let keys = prefix.split(['{', '}']).filter(|key| key.starts_with(|c: char| c.is_ascii_uppercase()));
            let names = keys.chain(std::iter::once(target)).map(|name| qualify(name, short));
            queue.extend(names.filter(|name| name.contains('.')));
        }
    }
    Ok(seen)
}

pub(super) fn number_of(field: &GoField) -> u32 {
    field.tag.get("protobuf").and_then(|tag| tag.split(',').nth(1)?.parse().ok()).unwrap_or(0)
}

pub(super) fn json_name(field: &GoField) -> &str {
    field.tag.get("json").and_then(|json| json.split(',').next()).unwrap_or_default()
}
