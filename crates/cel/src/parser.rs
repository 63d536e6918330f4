//! Tokens into a tree. Macros are expanded as their calls are read.
//!
//! At a syntax error the text is given up; what is wrong with it is found out in [`syntax`].

use crate::ast::{Call, Entry, Expr, Field, Id, Kind, Literal, Select, op};
use crate::decl::RESERVED;
use crate::lexer::{self, MAX_CODE_POINTS, Span, Token};
use crate::macros;
use crate::source::{Issue, Issues, Lines, MAX_ISSUES};
use crate::syntax;

/// Deepest nesting of expressions in each other, and longest chain of operators and selections (cel-go's default).
const MAX_RECURSION: usize = 250;

/// What is told of a name in backticks, which Kubernetes has not switched on.
pub(crate) const ESCAPED: &str = "unsupported syntax: '`'";

/// Deepest tree after macros are expanded. Everything that walks trees recurses this deep at most.
const MAX_DEPTH: u16 = 600;

/// Most nodes of one tree: macros copy, and a text may be full of them.
const MAX_NODES: usize = 200_000;

/// What the parser must know of the environment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Syntax {
    /// Macros of libraries are there from some minor of Kubernetes on.
    pub(crate) minor: u32,
}

/// A tree, and where in the text each node is.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) root: Expr,
    pub(crate) offsets: Vec<u32>,
    pub(crate) lines: Lines,
}

/// The text was given up.
pub(crate) struct Stop;

pub(crate) type Result<T> = std::result::Result<T, Stop>;

pub(crate) fn parse(text: &str, syntax: Syntax) -> std::result::Result<Parsed, Issues> {
    let chars: Vec<char> = text.chars().take(MAX_CODE_POINTS + 1).collect();
    if chars.len() > MAX_CODE_POINTS {
        let size = text.chars().count();
        let message = format!("expression code point size exceeds limit: size: {size}, limit {MAX_CODE_POINTS}");
        return Err(Issues::new(text, vec![Issue { line: -1, column: -1, message }]));
    }
    let lines = Lines::new(&chars);
    let mut issues = Vec::new();
    let tokens = lexer::tokens(&chars, &lines, &mut issues);
    let mut parser = Parser {
        chars: &chars,
        lines,
        tokens,
        at: 0,
        issues,
        offsets: Vec::new(),
        nesting: 0,
        chain: 0,
        is_broken: false,
        syntax,
    };
    let root = parser.start();
    match root {
        Ok(root) if parser.issues.is_empty() => Ok(Parsed { root, offsets: parser.offsets, lines: parser.lines }),
        _ => {
            let Parser { mut issues, lines, tokens, is_broken, .. } = parser;
            if is_broken {
                // What was told of before the place of the error is found again.
                let found = syntax::errors(&chars, &lines, &tokens);
                issues.retain(|issue| !found.contains(issue));
                issues.extend(found);
            }
            Err(Issues::new(text, issues))
        }
    }
}

pub(crate) struct Parser<'a> {
    chars: &'a [char],
    lines: Lines,
    tokens: Vec<Span>,
    at: usize,
    issues: Vec<Issue>,
    offsets: Vec<u32>,
    nesting: usize,
    chain: usize,
    /// There is a syntax error.
    is_broken: bool,
    syntax: Syntax,
}

impl Parser<'_> {
    fn start(&mut self) -> Result<Expr> {
        let root = self.expr()?;
        if self.token() == Token::End {
            return Ok(root);
        }
        Err(self.broken())
    }

    fn token(&self) -> Token {
        self.span().token
    }

    fn span(&self) -> Span {
        self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn ahead(&self, count: usize) -> Token {
        self.tokens[(self.at + count).min(self.tokens.len() - 1)].token
    }

    fn word(&self, span: Span) -> String {
        self.chars[span.start as usize..span.end as usize].iter().collect()
    }

    fn advance(&mut self) -> Span {
        let span = self.span();
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        span
    }

    fn eat(&mut self, token: Token) -> Option<Span> {
        (self.token() == token).then(|| self.advance())
    }

    fn broken(&mut self) -> Stop {
        self.is_broken = true;
        Stop
    }

    fn push(&mut self, issue: Issue) {
        if self.issues.len() < MAX_ISSUES {
            self.issues.push(issue);
        }
    }

    /// Reports, and reads on behind a node that stands for what is wrong.
    pub(crate) fn error(&mut self, offset: u32, message: impl Into<String>) -> Expr {
        let issue = self.lines.issue(offset, message);
        self.push(issue);
        let id = self.offsets.len() as Id;
        self.offsets.push(offset);
        Expr { id, depth: 1, kind: Kind::Error }
    }

    fn too_deep(&mut self) -> Stop {
        let message = format!("expression recursion limit exceeded: {MAX_RECURSION}");
        self.push(Issue { line: -1, column: -1, message });
        Stop
    }

    fn expect(&mut self, token: Token) -> Result<Span> {
        self.eat(token).ok_or_else(|| self.broken())
    }

    pub(crate) fn offset_of(&self, id: Id) -> u32 {
        self.offsets.get(id as usize).copied().unwrap_or_default()
    }

    pub(crate) fn syntax(&self) -> Syntax {
        self.syntax
    }

    pub(crate) fn node(&mut self, offset: u32, kind: Kind) -> Result<Expr> {
        let id = self.offsets.len() as Id;
        if self.offsets.len() >= MAX_NODES {
            let message = format!("expression has more than {MAX_NODES} nodes");
            self.push(Issue { line: -1, column: -1, message });
            return Err(Stop);
        }
        self.offsets.push(offset);
        let mut expr = Expr { id, depth: 0, kind };
        let mut depth = 0;
        expr.for_each_child(&mut |child| depth = depth.max(child.depth));
        expr.depth = depth + 1;
        if expr.depth > MAX_DEPTH {
            return Err(self.too_deep());
        }
        Ok(expr)
    }

    pub(crate) fn call(&mut self, offset: u32, function: &str, args: Vec<Expr>) -> Result<Expr> {
        let call = Call { target: None, function: function.to_owned(), args };
        self.node(offset, Kind::Call(Box::new(call)))
    }

    pub(crate) fn literal(&mut self, offset: u32, literal: Literal) -> Result<Expr> {
        self.node(offset, Kind::Literal(literal))
    }

    pub(crate) fn expr(&mut self) -> Result<Expr> {
        self.nesting += 1;
        if self.nesting > MAX_RECURSION {
            return Err(self.too_deep());
        }
        let condition = self.operators()?;
        let result = match self.eat(Token::Question) {
            None => condition,
            Some(mark) => {
                let yes = self.operators()?;
                self.expect(Token::Colon)?;
                let no = self.expr()?;
                self.call(mark.start, op::CONDITIONAL, vec![condition, yes, no])?
            }
        };
        self.nesting -= 1;
        Ok(result)
    }

    /// Operands and what joins them, by precedence and from left to right. One frame for all levels: nesting costs stack.
    fn operators(&mut self) -> Result<Expr> {
        let chain = self.chain;
        let mut operands = vec![Some(self.unary()?)];
        let mut pending: Vec<(u8, &'static str, u32)> = Vec::new();
        while let Some((level, function)) = operator(self.token()) {
            if level <= AND_LEVEL {
                self.chain = chain;
            } else {
                self.lengthen()?;
            }
            let joins = |top: u8| if level <= AND_LEVEL { top > level } else { top >= level };
            while pending.last().is_some_and(|(top, ..)| joins(*top)) {
                self.join(&mut operands, &mut pending)?;
            }
            let span = self.advance();
            pending.push((level, function, span.start));
            operands.push(Some(self.unary()?));
        }
        while !pending.is_empty() {
            self.join(&mut operands, &mut pending)?;
        }
        self.chain = chain;
        match operands.pop() {
            Some(Some(expr)) => Ok(expr),
            _ => Err(Stop),
        }
    }

    /// Makes a call of the last operator and its operands; of && and ||, of the whole chain.
    fn join(&mut self, operands: &mut Vec<Option<Expr>>, pending: &mut Vec<(u8, &'static str, u32)>) -> Result<()> {
        let Some((level, function, _)) = pending.last().copied() else { return Ok(()) };
        let count = match level {
            0 | AND_LEVEL => pending.iter().rev().take_while(|(other, ..)| *other == level).count(),
            _ => 1,
        };
        let offsets: Vec<u32> = pending.split_off(pending.len() - count).into_iter().map(|(.., at)| at).collect();
        let mut terms = operands.split_off(operands.len() - count - 1);
        let joined = self.balanced(function, &mut terms, &offsets, 0, count - 1)?;
        operands.push(Some(joined));
        Ok(())
    }

    /// Chains of && and || become balanced trees, so that they may be long.
    fn balanced(
        &mut self,
        function: &str,
        terms: &mut [Option<Expr>],
        offsets: &[u32],
        low: usize,
        high: usize,
    ) -> Result<Expr> {
        let middle = (low + high).div_ceil(2);
        let left = if middle == low {
            terms[middle].take()
        } else {
            Some(self.balanced(function, terms, offsets, low, middle - 1)?)
        };
        let right = if middle == high {
            terms[middle + 1].take()
        } else {
            Some(self.balanced(function, terms, offsets, middle + 1, high)?)
        };
        self.call(offsets[middle], function, left.into_iter().chain(right).collect())
    }

    fn lengthen(&mut self) -> Result<()> {
        self.chain += 1;
        if self.chain > MAX_RECURSION { Err(self.too_deep()) } else { Ok(()) }
    }

    fn unary(&mut self) -> Result<Expr> {
        let (token, function) = match self.token() {
            Token::Not => (Token::Not, op::NOT),
            // A sign in front of a number is part of it.
            Token::Minus if !matches!(self.ahead(1), Token::Int | Token::Float) => (Token::Minus, op::NEGATE),
            _ => return self.member(),
        };
        let start = self.span().start;
        let mut count = 0;
        while self.eat(token).is_some() {
            count += 1;
        }
        let operand = self.member()?;
        if count % 2 == 0 { Ok(operand) } else { self.call(start, function, vec![operand]) }
    }

    fn member(&mut self) -> Result<Expr> {
        let mut operand = self.primary()?;
        let chain = self.chain;
        loop {
            match self.token() {
                Token::Dot => {
                    self.lengthen()?;
                    operand = self.select(operand)?;
                }
                Token::LeftBracket => {
                    self.lengthen()?;
                    let open = self.advance();
                    let optional = self.eat(Token::Question).is_some();
                    let index = self.expr()?;
                    self.expect(Token::RightBracket)?;
                    let function = if optional { op::OPT_INDEX } else { op::INDEX };
                    operand = self.call(open.start, function, vec![operand, index])?;
                }
                _ => break,
            }
        }
        self.chain = chain;
        Ok(operand)
    }

    fn select(&mut self, operand: Expr) -> Result<Expr> {
        let dot = self.advance();
        let optional = self.eat(Token::Question).is_some();
        let name = self.span();
        match name.token {
            Token::Ident => {
                self.advance();
            }
            Token::EscapedIdent => {
                self.advance();
                let error = self.error(name.start, ESCAPED);
                return Ok(error);
            }
            _ => return Err(self.broken()),
        }
        let field = self.word(name);
        if optional {
            let field = self.literal(name.start, Literal::String(field))?;
            return self.call(dot.start, op::OPT_SELECT, vec![operand, field]);
        }
        if self.token() != Token::LeftParen {
            return self.node(dot.start, Kind::Select(Box::new(Select { operand, field, test: false })));
        }
        let open = self.advance();
        let args = self.args()?;
        macros::member_call(self, open.start, field, operand, args)
    }

    /// The arguments of a call whose parenthesis is open.
    fn args(&mut self) -> Result<Vec<Expr>> {
        let mut args = Vec::new();
        if self.eat(Token::RightParen).is_some() {
            return Ok(args);
        }
        loop {
            args.push(self.expr()?);
            if self.eat(Token::Comma).is_none() {
                break;
            }
        }
        self.expect(Token::RightParen)?;
        Ok(args)
    }

    fn primary(&mut self) -> Result<Expr> {
        let span = self.span();
        match span.token {
            Token::Dot if self.ahead(1) == Token::Ident => {
                self.advance();
                self.name(true)
            }
            Token::Ident => self.name(false),
            Token::LeftParen => {
                self.advance();
                let inside = self.expr()?;
                self.expect(Token::RightParen)?;
                Ok(inside)
            }
            Token::LeftBracket => self.list(),
            Token::LeftBrace => self.map(),
            Token::Minus
            | Token::Int
            | Token::Uint
            | Token::Float
            | Token::String
            | Token::Bytes
            | Token::True
            | Token::False
            | Token::Null => self.constant(),
            _ => Err(self.broken()),
        }
    }

    fn constant(&mut self) -> Result<Expr> {
        let span = self.advance();
        let (sign, number) = if span.token == Token::Minus { ("-", self.advance()) } else { ("", span) };
        let chars = &self.chars[number.start as usize..number.end as usize];
        let text = || -> String { sign.chars().chain(chars.iter().copied()).collect() };
        let literal = match number.token {
            Token::True => Ok(Literal::Bool(true)),
            Token::False => Ok(Literal::Bool(false)),
            Token::Null => Ok(Literal::Null),
            Token::Int => {
                let text = text().replacen("0x", "", usize::from(chars.get(1) == Some(&'x')));
                let radix = if chars.get(1) == Some(&'x') { 16 } else { 10 };
                i64::from_str_radix(&text, radix).map(Literal::Int).map_err(|_| "invalid int literal")
            }
            Token::Uint => {
                let text: String = chars[..chars.len() - 1].iter().collect();
                let parsed = match text.strip_prefix("0x") {
                    Some(hex) => u64::from_str_radix(hex, 16),
                    None => text.parse(),
                };
                parsed.map(Literal::Uint).map_err(|_| "invalid uint literal")
            }
            Token::Float => match text().parse::<f64>() {
                Ok(value) if value.is_finite() => Ok(Literal::Double(value)),
                _ => Err("invalid double literal"),
            },
            Token::String => lexer::unescape(chars, false).map(|bytes| {
                // The text was UTF-8, and escapes of strings are whole code points.
                Literal::String(String::from_utf8_lossy(&bytes).into_owned())
            }),
            Token::Bytes => lexer::unescape(chars, true).map(Literal::Bytes),
            _ => return Err(self.broken()),
        };
        match literal {
            Ok(literal) => self.literal(span.start, literal),
            Err(message) => Ok(self.error(span.start, message)),
        }
    }

    fn name(&mut self, leading_dot: bool) -> Result<Expr> {
        let span = self.advance();
        let word = self.word(span);
        if let Some(end) = self.message_name() {
            return self.message(leading_dot, word, end);
        }
        let is_reserved = RESERVED.binary_search(&word.as_str()).is_ok();
        let name = if leading_dot { format!(".{word}") } else { word.clone() };
        let open = self.eat(Token::LeftParen);
        let expr = match open {
            None if is_reserved => self.error(span.start, format!("reserved identifier: {word}")),
            None => self.node(span.start, Kind::Ident(name))?,
            Some(open) => {
                let args = self.args()?;
                if is_reserved {
                    self.error(span.start, format!("reserved identifier: {word}"))
                } else {
                    macros::global_call(self, open.start, name, args)?
                }
            }
        };
        Ok(expr)
    }

    /// Whether `.b.c {` follows a name; the place of the brace.
    fn message_name(&self) -> Option<usize> {
        let mut at = self.at;
        while self.tokens[at].token == Token::Dot && self.tokens.get(at + 1)?.token == Token::Ident {
            at += 2;
        }
        (self.tokens.get(at)?.token == Token::LeftBrace).then_some(at)
    }

    fn message(&mut self, leading_dot: bool, first: String, brace: usize) -> Result<Expr> {
        let mut name = if leading_dot { format!(".{first}") } else { first };
        while self.at < brace {
            let span = self.advance();
            if span.token == Token::Ident {
                name.push('.');
                name.push_str(&self.word(span));
            }
        }
        let open = self.advance();
        let (first, mut fields) = (self.span().start, Vec::new());
        while !self.close(Token::RightBrace, fields.is_empty()) {
            let optional = self.eat(Token::Question).is_some();
            let field = self.advance();
            match field.token {
                Token::Ident => {}
                Token::EscapedIdent => {
                    self.error(first, ESCAPED);
                }
                _ => return Err(self.broken()),
            }
            let field_name = self.word(field);
            let colon = self.expect(Token::Colon)?;
            let value = self.expr()?;
            let id = self.offsets.len() as Id;
            self.offsets.push(colon.start);
            fields.push(Field { id, name: field_name, value, optional });
            self.separator(Token::RightBrace)?;
        }
        self.node(open.start, Kind::Struct { name, fields })
    }

    /// Whether the literal ends here; a literal may be a lone comma.
    fn close(&mut self, closing: Token, empty: bool) -> bool {
        if empty && self.token() == Token::Comma && self.ahead(1) == closing {
            self.advance();
        }
        self.eat(closing).is_some()
    }

    /// What stands behind an element of a literal.
    fn separator(&mut self, closing: Token) -> Result<()> {
        if self.eat(Token::Comma).is_some() || self.token() == closing {
            return Ok(());
        }
        Err(self.broken())
    }

    fn list(&mut self) -> Result<Expr> {
        let open = self.advance();
        let mut elements = Vec::new();
        let mut optional = Vec::new();
        while !self.close(Token::RightBracket, elements.is_empty()) {
            optional.push(self.eat(Token::Question).is_some());
            elements.push(self.expr()?);
            self.separator(Token::RightBracket)?;
        }
        self.node(open.start, Kind::List { elements, optional })
    }

    fn map(&mut self) -> Result<Expr> {
        let open = self.advance();
        let mut entries = Vec::new();
        while !self.close(Token::RightBrace, entries.is_empty()) {
            let optional = self.eat(Token::Question).is_some();
            let key = self.expr()?;
            self.expect(Token::Colon)?;
            let value = self.expr()?;
            entries.push(Entry { key, value, optional });
            self.separator(Token::RightBrace)?;
        }
        self.node(open.start, Kind::Map(entries))
    }
}

/// The precedence of &&; that of || is 0.
const AND_LEVEL: u8 = 1;

fn operator(token: Token) -> Option<(u8, &'static str)> {
    Some(match token {
        Token::Or => (0, op::OR),
        Token::And => (AND_LEVEL, op::AND),
        Token::Less => (2, op::LESS),
        Token::LessEqual => (2, op::LESS_EQUALS),
        Token::GreaterEqual => (2, op::GREATER_EQUALS),
        Token::Greater => (2, op::GREATER),
        Token::Equal => (2, op::EQUALS),
        Token::NotEqual => (2, op::NOT_EQUALS),
        Token::In => (2, op::IN),
        Token::Plus => (3, op::ADD),
        Token::Minus => (3, op::SUBTRACT),
        Token::Star => (4, op::MULTIPLY),
        Token::Slash => (4, op::DIVIDE),
        Token::Percent => (4, op::MODULO),
        _ => return None,
    })
}
