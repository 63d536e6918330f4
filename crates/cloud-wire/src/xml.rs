//! XML as the AWS protocols use it: elements, attributes and text. Must never resolve external entities or document types.

/// Deepest nesting of elements in a request; AWS's shapes stay below twenty.
const MAX_DEPTH: usize = 64;

/// One element.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Element {
    /// Without its prefix.
    pub name: String,
    /// Names with their prefix (`xsi:type`), values with entities resolved.
    pub attributes: Vec<(String, String)>,
    /// In document order.
    pub children: Vec<Element>,
    /// All text directly inside, entities resolved.
    pub text: String,
}

impl Element {
    /// Reads a document.
    ///
    /// # Errors
    /// A sentence on what is not well-formed, or too deep.
    pub fn parse(text: &str) -> Result<Element, String> {
        let mut parser = Parser { rest: text.strip_prefix('\u{feff}').unwrap_or(text) };
        parser.skip_misc()?;
        let root = parser.element(0)?;
        parser.skip_misc()?;
        if parser.rest.is_empty() { Ok(root) } else { Err("there is text after the root element".to_owned()) }
    }

    /// The first child with this name.
    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn take_until(&mut self, end: &str) -> Result<&'a str, String> {
        let (taken, rest) = self.rest.split_once(end).ok_or_else(|| format!("{end:?} is missing"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn eat(&mut self, token: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(token) else { return false };
        self.rest = rest;
        true
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn skip_misc(&mut self) -> Result<(), String> {
        loop {
            self.skip_space();
            if self.eat("<?") {
                self.take_until("?>")?;
            } else if self.eat("<!--") {
                self.take_until("-->")?;
            } else if self.rest.starts_with("<!") {
                return Err("document types are not allowed".to_owned());
            } else {
                return Ok(());
            }
        }
    }

    fn name(&mut self) -> Result<&'a str, String> {
        let end = self
            .rest
            .find(|c: char| c.is_whitespace() || matches!(c, '>' | '/' | '=' | '<'))
            .unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        if name.is_empty() { Err("a name is missing".to_owned()) } else { Ok(name) }
    }

    fn element(&mut self, depth: usize) -> Result<Element, String> {
        if depth == MAX_DEPTH {
            return Err(format!("elements nest deeper than {MAX_DEPTH}"));
        }
        if !self.eat("<") {
            return Err("an element is missing".to_owned());
        }
        let qualified = self.name()?;
        let mut element = Element { name: local(qualified).to_owned(), ..Element::default() };
        loop {
            self.skip_space();
            if self.eat("/>") {
                return Ok(element);
            }
            if self.eat(">") {
                break;
            }
            let name = self.name()?.to_owned();
            self.skip_space();
            if !self.eat("=") {
                return Err(format!("the attribute {name:?} has no value"));
            }
            self.skip_space();
            let quote = if self.eat("\"") {
                "\""
            } else if self.eat("'") {
                "'"
            } else {
                return Err("a quote is missing".to_owned());
            };
            let value = unescape(self.take_until(quote)?)?;
            element.attributes.push((name, value));
        }
        self.content(&mut element, qualified, depth)?;
        Ok(element)
    }

    fn content(&mut self, element: &mut Element, qualified: &str, depth: usize) -> Result<(), String> {
        loop {
            let start = self.rest.find('<').ok_or_else(|| format!("<{qualified}> is not closed"))?;
            let (text, rest) = self.rest.split_at(start);
            element.text.push_str(&unescape(text)?);
            self.rest = rest;
            if self.eat("</") {
                let closed = self.take_until(">")?.trim_end();
                return if closed == qualified {
                    Ok(())
                } else {
                    Err(format!("<{qualified}> is closed by </{closed}>"))
                };
            } else if self.eat("<!--") {
                self.take_until("-->")?;
            } else if self.eat("<![CDATA[") {
                element.text.push_str(self.take_until("]]>")?);
            } else if self.eat("<?") {
                self.take_until("?>")?;
            } else {
                element.children.push(self.element(depth + 1)?);
            }
        }
    }
}

fn local(qualified: &str) -> &str {
    qualified.rsplit(':').next().unwrap_or(qualified)
}

fn unescape(text: &str) -> Result<String, String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        plain.push_str(before);
        let (entity, after) = after.split_once(';').ok_or("an & does not start an entity")?;
        plain.push(match entity {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            _ => {
                let number = entity.strip_prefix('#').and_then(|number| match number.strip_prefix('x') {
                    Some(hex) => u32::from_str_radix(hex, 16).ok(),
                    None => number.parse().ok(),
                });
                number.and_then(char::from_u32).ok_or_else(|| format!("&{entity}; is unknown"))?
            }
        });
        rest = after;
    }
    plain.push_str(rest);
    Ok(plain)
}

/// Appends text with the characters escaped that XML reserves, or that parsers would normalise away.
pub fn escape_into(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#xD;"),
            '\u{85}' => out.push_str("&#x85;"),
            '\u{2028}' => out.push_str("&#x2028;"),
            // XML 1.0 has no way to write the other control characters; AWS replaces them too.
            c if c < ' ' && !matches!(c, '\t' | '\n') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}

/// Appends `<name>text</name>`.
pub fn leaf(out: &mut String, name: &str, text: &str) {
    open(out, name, &[]);
    escape_into(out, text);
    close(out, name);
}

/// Appends a start tag.
pub fn open(out: &mut String, name: &str, attributes: &[(String, String)]) {
    out.push('<');
    out.push_str(name);
    for (name, value) in attributes {
        out.push(' ');
        out.push_str(name);
        out.push_str("=\"");
        escape_into(out, value);
        out.push('"');
    }
    out.push('>');
}

/// Appends an end tag.
pub fn close(out: &mut String, name: &str) {
    out.push_str("</");
    out.push_str(name);
    out.push('>');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_become_trees() {
        let text = "<?xml version='1.0'?><!-- c --><n:a x=\"1 &lt; 2\"> t<b/><![CDATA[<&]]>&#x41;&#66;</n:a>\n";
        let root = Element::parse(text).expect("well formed");
        assert_eq!((root.name.as_str(), root.text.as_str()), ("a", " t<&AB"));
        assert_eq!(root.attributes, [("x".to_owned(), "1 < 2".to_owned())]);
        assert!(root.child("b").is_some() && root.child("c").is_none());
    }

    #[test]
    fn malformed_documents_are_refused() {
        let deep = "<a>".repeat(MAX_DEPTH + 1);
        for text in [
            "",
            "<a>",
            "<a></b>",
            "<a/>x",
            "<a x/>",
            "<a>&nope;</a>",
            "<a>&</a>",
            "<!DOCTYPE a><a/>",
            "<a><!DOCTYPE b></a>",
            &deep,
        ] {
            assert!(Element::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn written_text_is_read_back() {
        let mut out = String::new();
        leaf(&mut out, "a", "<&>\"'\r\u{2028}\ttext");
        assert_eq!(Element::parse(&out).map(|a| a.text), Ok("<&>\"'\r\u{2028}\ttext".to_owned()));
    }
}
