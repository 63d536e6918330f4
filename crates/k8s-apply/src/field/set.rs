//! A set of paths, as a tree whose nodes are sorted.
//!
//! A node is in the set itself (`member`), has members below it, or both. A node that is neither does not stay in the tree.

use k8s_schema::Typed;

use super::element::{Element, Path};

/// A set of paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) element: Element,
    pub(super) member: bool,
    pub(super) below: Set,
}

impl Set {
    /// Paths of plain fields.
    pub fn of_fields(paths: &[&[&str]]) -> Set {
        let mut set = Set::default();
        for path in paths {
            set.insert(&Path::fields(path));
        }
        set
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The elements at the root, and whether each is a member itself.
    pub(crate) fn elements(&self) -> impl Iterator<Item = (&Element, bool)> {
        self.nodes.iter().map(|node| (&node.element, node.member))
    }

    fn find(&self, element: &Element) -> Result<usize, usize> {
        self.nodes.binary_search_by(|node| node.element.cmp(element))
    }

    /// The members below an element, if there are any.
    pub fn below(&self, element: &Element) -> Option<&Set> {
        let at = self.find(element).ok()?;
        Some(&self.nodes[at].below).filter(|below| !below.is_empty())
    }

    /// Whether the path of this one element is in the set.
    pub fn has_element(&self, element: &Element) -> bool {
        self.find(element).is_ok_and(|at| self.nodes[at].member)
    }

    /// Whether a path is in the set. The empty path, the whole object, never is.
    pub fn has(&self, path: &Path) -> bool {
        let Some((last, parents)) = path.0.split_last() else { return false };
        let mut set = self;
        for element in parents {
            match set.below(element) {
                Some(below) => set = below,
                None => return false,
            }
        }
        set.has_element(last)
    }

    /// Adds a path. The empty path is nobody's.
    pub fn insert(&mut self, path: &Path) {
        let Some((last, parents)) = path.0.split_last() else { return };
        let mut set = self;
        for element in parents {
            set = &mut set.node(element).below;
        }
        set.node(last).member = true;
    }

    fn node(&mut self, element: &Element) -> &mut Node {
        let at = match self.find(element) {
            Ok(at) => at,
            Err(at) => {
                self.nodes.insert(at, Node { element: element.clone(), member: false, below: Set::default() });
                at
            }
        };
        &mut self.nodes[at]
    }

    /// Adds a node, which replaces nothing: what is there already stays.
    pub(crate) fn put(&mut self, element: Element, member: bool, below: Set) {
        if !member && below.is_empty() {
            return;
        }
        let node = Node { element, member, below };
        // Walks come in order, mostly.
        if self.nodes.last().is_none_or(|last| last.element < node.element) {
            return self.nodes.push(node);
        }
        match self.find(&node.element) {
            Ok(at) => {
                self.nodes[at].member |= node.member;
                self.nodes[at].below.add(node.below);
            }
            Err(at) => self.nodes.insert(at, node),
        }
    }

    /// Adds all paths of another set.
    pub fn add(&mut self, other: Set) {
        if self.nodes.is_empty() {
            *self = other;
            return;
        }
        if other.nodes.is_empty() {
            return;
        }
        let mut own = std::mem::take(&mut self.nodes).into_iter().peekable();
        let mut new = other.nodes.into_iter().peekable();
        self.nodes.reserve(own.len() + new.len());
        loop {
            let order = match (own.peek(), new.peek()) {
                (Some(a), Some(b)) => a.element.cmp(&b.element),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (None, None) => return,
            };
            let (a, b) = match order {
                std::cmp::Ordering::Less => (own.next(), None),
                std::cmp::Ordering::Greater => (None, new.next()),
                std::cmp::Ordering::Equal => (own.next(), new.next()),
            };
            match (a, b) {
                (Some(mut a), Some(b)) => {
                    a.member |= b.member;
                    a.below.add(b.below);
                    self.nodes.push(a);
                }
                (one, other) => self.nodes.extend(one.or(other)),
            }
        }
    }

    /// Takes away the paths of another set.
    pub fn subtract(&mut self, other: &Set) {
        self.walk_with(other, &mut |node, other| {
            node.member &= !other.member;
            node.below.subtract(&other.below);
        });
    }

    /// Takes away the paths of another set and everything below them.
    pub fn subtract_trees(&mut self, other: &Set) {
        self.walk_with(other, &mut |node, other| {
            if other.member {
                node.member = false;
                node.below = Set::default();
            } else {
                node.below.subtract_trees(&other.below);
            }
        });
    }

    fn walk_with(&mut self, other: &Set, change: &mut dyn FnMut(&mut Node, &Node)) {
        if self.nodes.is_empty() || other.nodes.is_empty() {
            return;
        }
        let mut others = other.nodes.iter().peekable();
        self.nodes.retain_mut(|node| {
            while others.next_if(|other| other.element < node.element).is_some() {}
            if let Some(other) = others.peek().filter(|other| other.element == node.element) {
                change(node, other);
            }
            node.member || !node.below.is_empty()
        });
    }

    /// Paths that are in both sets.
    pub fn intersection(&self, other: &Set) -> Set {
        let mut nodes = Vec::new();
        let mut others = other.nodes.iter().peekable();
        for node in &self.nodes {
            while others.next_if(|other| other.element < node.element).is_some() {}
            let Some(other) = others.peek().filter(|other| other.element == node.element) else { continue };
            let member = node.member && other.member;
            let below = node.below.intersection(&other.below);
            if member || !below.is_empty() {
                nodes.push(Node { element: node.element.clone(), member, below });
            }
        }
        Set { nodes }
    }

    /// All paths: at each level first those that end there, then those that go on.
    pub fn paths(&self) -> Vec<Path> {
        let mut paths = Vec::new();
        self.collect(&mut Path::default(), &mut paths);
        paths
    }

    fn collect(&self, prefix: &mut Path, paths: &mut Vec<Path>) {
        for node in self.nodes.iter().filter(|node| node.member) {
            let mut path = prefix.clone();
            path.0.push(node.element.clone());
            paths.push(path);
        }
        for node in self.nodes.iter().filter(|node| !node.below.is_empty()) {
            prefix.0.push(node.element.clone());
            node.below.collect(prefix, paths);
            prefix.0.pop();
        }
    }

    /// The set with every declared field that has members below it as a member: removing those removes it too.
    pub(crate) fn with_named_parents(&self, typed: Option<Typed<'_>>) -> Set {
        let map = typed.and_then(Typed::map);
        let list = typed.and_then(Typed::list);
        let nodes = self.nodes.iter().map(|node| {
            let mut member = node.member;
            let below = match (&node.element, &map, &list) {
                (Element::Field(name), Some(map), _) => {
                    let step = map.step(name);
                    member |= !node.below.is_empty() && matches!(step, k8s_schema::Step::Field(_));
                    step.into_type()
                }
                (Element::Key(_), _, Some(list)) => Some(list.item),
                _ => None,
            };
            Node { element: node.element.clone(), member, below: node.below.with_named_parents(below) }
        });
        Set { nodes: nodes.collect() }
    }

    /// Keeps what one of the patterns allows; a pattern that has come to its end allows everything below.
    pub(crate) fn keep_matching(&mut self, patterns: &[&[&str]]) {
        self.nodes.retain_mut(|node| {
            let matching = patterns.iter().filter(|pattern| {
                let head = pattern.first().copied().unwrap_or("*");
                head == "*" || matches!(&node.element, Element::Field(name) if **name == *head)
            });
            let rest: Vec<&[&str]> = matching.map(|pattern| pattern.get(1..).unwrap_or(&[])).collect();
            if rest.is_empty() {
                return false;
            }
            if !rest.iter().any(|rest| rest.is_empty()) {
                node.below.keep_matching(&rest);
            }
            node.member || !node.below.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(value: serde_json::Value) -> Set {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn sets_are_added_subtracted_and_intersected() {
        let a = set(json!({"f:a": {}, "f:b": {".": {}, "f:c": {}, "f:d": {}}, "k:{\"n\":1}": {"f:x": {}}}));
        let b = set(json!({"f:b": {"f:c": {}, "f:e": {}}, "k:{\"n\":1}": {".": {}}, "v:1": {}}));
        let mut sum = a.clone();
        sum.add(b.clone());
        assert_eq!(
            sum.to_string(),
            r#"{"f:a":{},"f:b":{".":{},"f:c":{},"f:d":{},"f:e":{}},"k:{\"n\":1}":{".":{},"f:x":{}},"v:1":{}}"#
        );
        let mut rest = a.clone();
        rest.subtract(&b);
        assert_eq!(rest.to_string(), r#"{"f:a":{},"f:b":{".":{},"f:d":{}},"k:{\"n\":1}":{"f:x":{}}}"#);
        assert_eq!(a.intersection(&b).to_string(), r#"{"f:b":{"f:c":{}}}"#);
        let mut rest = a.clone();
        rest.subtract_trees(&set(json!({"f:b": {}, "k:{\"n\":1}": {"f:x": {}}})));
        assert_eq!(rest.to_string(), r#"{"f:a":{}}"#);
        rest.subtract(&a);
        assert!(rest.is_empty());
    }

    #[test]
    fn paths_come_level_by_level() {
        let set = set(
            json!({"f:a": {"f:x": {}}, "f:b": {}, "f:c": {".": {}, "k:{\"n\":\"q\",\"p\":80}": {}, "v:\"t\"": {}}}),
        );
        let texts: Vec<String> = set.paths().iter().map(ToString::to_string).collect();
        assert_eq!(texts, [".b", ".c", ".a.x", ".c[n=\"q\",p=80]", ".c[=\"t\"]"]);
        assert!(set.has(&Path::fields(&["a", "x"])) && !set.has(&Path::fields(&["a"])) && !set.has(&Path::default()));
    }

    #[test]
    fn patterns_keep_what_they_allow() {
        let mut some = set(
            json!({"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:image": {}, "f:resources": {"f:limits": {}}}}, "f:x": {}}, "f:status": {}}),
        );
        some.keep_matching(&[&["spec", "containers", "*", "resources"], &["spec", "containers", "*", "resizePolicy"]]);
        assert_eq!(
            some.to_string(),
            r#"{"f:spec":{"f:containers":{"k:{\"name\":\"a\"}":{".":{},"f:resources":{"f:limits":{}}}}}}"#
        );
    }
}
