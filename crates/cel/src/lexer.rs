//! Text into tokens. What is no token is reported and skipped, as cel-go does, so that one text yields all its issues.

use crate::source::{Issue, Lines, MAX_ISSUES};

/// Longest expression, in code points (cel-go's default).
pub(crate) const MAX_CODE_POINTS: usize = 100_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    And,
    Bytes,
    Colon,
    Comma,
    Dot,
    End,
    Equal,
    EscapedIdent,
    False,
    Float,
    Greater,
    GreaterEqual,
    Ident,
    In,
    Int,
    LeftBrace,
    LeftBracket,
    LeftParen,
    Less,
    LessEqual,
    Minus,
    Not,
    NotEqual,
    Null,
    Or,
    Percent,
    Plus,
    Question,
    RightBrace,
    RightBracket,
    RightParen,
    Slash,
    Star,
    String,
    True,
    Uint,
}

impl Token {
    /// How the token is named in "expecting …".
    pub(crate) fn display(self) -> &'static str {
        match self {
            Self::And => "'&&'",
            Self::Bytes => "BYTES",
            Self::Colon => "':'",
            Self::Comma => "','",
            Self::Dot => "'.'",
            Self::End => "<EOF>",
            Self::Equal => "'=='",
            Self::EscapedIdent => "ESC_IDENTIFIER",
            Self::False => "'false'",
            Self::Float => "NUM_FLOAT",
            Self::Greater => "'>'",
            Self::GreaterEqual => "'>='",
            Self::Ident => "IDENTIFIER",
            Self::In => "'in'",
            Self::Int => "NUM_INT",
            Self::LeftBrace => "'{'",
            Self::LeftBracket => "'['",
            Self::LeftParen => "'('",
            Self::Less => "'<'",
            Self::LessEqual => "'<='",
            Self::Minus => "'-'",
            Self::Not => "'!'",
            Self::NotEqual => "'!='",
            Self::Null => "'null'",
            Self::Or => "'||'",
            Self::Percent => "'%'",
            Self::Plus => "'+'",
            Self::Question => "'?'",
            Self::RightBrace => "'}'",
            Self::RightBracket => "']'",
            Self::RightParen => "')'",
            Self::Slash => "'/'",
            Self::Star => "'*'",
            Self::String => "STRING",
            Self::True => "'true'",
            Self::Uint => "NUM_UINT",
        }
    }
}

/// A token and the code points that it covers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) token: Token,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// The tokens of a text, the last of which is [`Token::End`].
pub(crate) fn tokens(chars: &[char], lines: &Lines, issues: &mut Vec<Issue>) -> Vec<Span> {
    let mut lexer = Lexer { chars, at: 0 };
    let mut found = Vec::new();
    loop {
        lexer.skip();
        let start = lexer.at;
        if start >= chars.len() {
            break;
        }
        match lexer.next() {
            Ok(token) => found.push(Span { token, start: start as u32, end: lexer.at as u32 }),
            Err(()) => {
                lexer.at = lexer.at.clamp(start + 1, chars.len());
                let text: String = chars[start..lexer.at].iter().collect();
                if issues.len() < MAX_ISSUES {
                    let shown = text.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t");
                    let message = format!("Syntax error: token recognition error at: '{shown}'");
                    issues.push(lines.issue(start as u32, message));
                }
            }
        }
    }
    let end = chars.len() as u32;
    found.push(Span { token: Token::End, start: end, end });
    found
}

struct Lexer<'a> {
    chars: &'a [char],
    at: usize,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn skip(&mut self) {
        while let Some(c) = self.peek(0) {
            if matches!(c, '\t' | ' ' | '\r' | '\n' | '\u{c}') {
                self.at += 1;
            } else if c == '/' && self.peek(1) == Some('/') {
                while self.peek(0).is_some_and(|c| c != '\n') {
                    self.at += 1;
                }
            } else {
                return;
            }
        }
    }

    fn take(&mut self, length: usize, token: Token) -> Result<Token, ()> {
        self.at += length;
        Ok(token)
    }

    /// The token at the current place. After an error, the place is behind what was not understood.
    fn next(&mut self) -> Result<Token, ()> {
        let (first, second) = (self.peek(0).ok_or(())?, self.peek(1));
        match (first, second) {
            ('=', Some('=')) => self.take(2, Token::Equal),
            ('!', Some('=')) => self.take(2, Token::NotEqual),
            ('<', Some('=')) => self.take(2, Token::LessEqual),
            ('>', Some('=')) => self.take(2, Token::GreaterEqual),
            ('&', Some('&')) => self.take(2, Token::And),
            ('|', Some('|')) => self.take(2, Token::Or),
            ('=' | '&' | '|', _) => {
                self.at += 2;
                Err(())
            }
            ('!', _) => self.take(1, Token::Not),
            ('<', _) => self.take(1, Token::Less),
            ('>', _) => self.take(1, Token::Greater),
            ('[', _) => self.take(1, Token::LeftBracket),
            (']', _) => self.take(1, Token::RightBracket),
            ('{', _) => self.take(1, Token::LeftBrace),
            ('}', _) => self.take(1, Token::RightBrace),
            ('(', _) => self.take(1, Token::LeftParen),
            (')', _) => self.take(1, Token::RightParen),
            (',', _) => self.take(1, Token::Comma),
            ('-', _) => self.take(1, Token::Minus),
            ('?', _) => self.take(1, Token::Question),
            (':', _) => self.take(1, Token::Colon),
            ('+', _) => self.take(1, Token::Plus),
            ('*', _) => self.take(1, Token::Star),
            ('/', _) => self.take(1, Token::Slash),
            ('%', _) => self.take(1, Token::Percent),
            ('.', Some(digit)) if digit.is_ascii_digit() => self.number(),
            ('.', _) => self.take(1, Token::Dot),
            ('0'..='9', _) => self.number(),
            ('"' | '\'', _) => self.string(0, false, Token::String),
            ('r' | 'R', Some('"' | '\'')) => self.string(1, true, Token::String),
            ('b' | 'B', Some('"' | '\'')) => self.string(1, false, Token::Bytes),
            ('b' | 'B', Some('r' | 'R')) if matches!(self.peek(2), Some('"' | '\'')) => {
                self.string(2, true, Token::Bytes)
            }
            ('`', _) => self.escaped_ident(),
            (c, _) if c.is_ascii_alphabetic() || c == '_' => Ok(self.word()),
            _ => {
                self.at += 1;
                Err(())
            }
        }
    }

    fn word(&mut self) -> Token {
        let start = self.at;
        while self.peek(0).is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') {
            self.at += 1;
        }
        let is = |word: &str| word.chars().eq(self.chars[start..self.at].iter().copied());
        match () {
            () if is("true") => Token::True,
            () if is("false") => Token::False,
            () if is("null") => Token::Null,
            () if is("in") => Token::In,
            () => Token::Ident,
        }
    }

    fn escaped_ident(&mut self) -> Result<Token, ()> {
        self.at += 1;
        let start = self.at;
        while self.peek(0).is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/' | ' ')) {
            self.at += 1;
        }
        let some = self.at > start;
        let closed = self.peek(0) == Some('`');
        self.at += 1;
        if some && closed { Ok(Token::EscapedIdent) } else { Err(()) }
    }

    fn digits(&mut self) -> bool {
        let start = self.at;
        while self.peek(0).is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        self.at > start
    }

    fn number(&mut self) -> Result<Token, ()> {
        if self.peek(0) == Some('0') && self.peek(1) == Some('x') && self.peek(2).is_some_and(|c| c.is_ascii_hexdigit())
        {
            self.at += 2;
            while self.peek(0).is_some_and(|c| c.is_ascii_hexdigit()) {
                self.at += 1;
            }
            return Ok(self.unsigned_suffix());
        }
        let whole = self.digits();
        let mut float = false;
        if self.peek(0) == Some('.') && self.peek(1).is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
            self.digits();
            float = true;
        }
        if matches!(self.peek(0), Some('e' | 'E')) {
            let sign = usize::from(matches!(self.peek(1), Some('+' | '-')));
            if self.peek(1 + sign).is_some_and(|c| c.is_ascii_digit()) {
                self.at += 1 + sign;
                self.digits();
                float = true;
            }
        }
        if float || !whole { Ok(Token::Float) } else { Ok(self.unsigned_suffix()) }
    }

    fn unsigned_suffix(&mut self) -> Token {
        if matches!(self.peek(0), Some('u' | 'U')) {
            self.at += 1;
            return Token::Uint;
        }
        Token::Int
    }

    fn string(&mut self, prefix: usize, raw: bool, token: Token) -> Result<Token, ()> {
        self.at += prefix;
        let quote = self.peek(0).ok_or(())?;
        let triple = self.peek(1) == Some(quote) && self.peek(2) == Some(quote);
        self.at += if triple { 3 } else { 1 };
        while let Some(c) = self.peek(0) {
            if c == quote {
                if !triple {
                    return self.take(1, token);
                }
                if self.peek(1) == Some(quote) && self.peek(2) == Some(quote) {
                    return self.take(3, token);
                }
            }
            if c == '\\' && !raw {
                self.at += 1;
                self.escape()?;
                continue;
            }
            self.at += 1;
            if !triple && matches!(c, '\n' | '\r') {
                return Err(());
            }
        }
        Err(())
    }

    /// What follows a backslash. Which values are allowed is decided when the literal is read.
    fn escape(&mut self) -> Result<(), ()> {
        let c = self.peek(0).ok_or(())?;
        self.at += 1;
        let (length, valid): (usize, fn(char) -> bool) = match c {
            'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '"' | '\'' | '\\' | '?' | '`' => return Ok(()),
            'x' | 'X' => (2, |c| c.is_ascii_hexdigit()),
            'u' => (4, |c| c.is_ascii_hexdigit()),
            'U' => (8, |c| c.is_ascii_hexdigit()),
            '0'..='3' => (2, |c| matches!(c, '0'..='7')),
            _ => return Err(()),
        };
        for _ in 0..length {
            let c = self.peek(0).ok_or(())?;
            self.at += 1;
            if !valid(c) {
                return Err(());
            }
        }
        Ok(())
    }
}

/// The value of a string or bytes token, or what is wrong with it.
pub(crate) fn unescape(token: &[char], bytes: bool) -> Result<Vec<u8>, &'static str> {
    let mut at = 0;
    let mut raw = false;
    while let Some(c) = token.get(at).filter(|c| !matches!(c, '"' | '\'')) {
        raw |= matches!(c, 'r' | 'R');
        at += 1;
    }
    let triple = token.len() - at >= 6 && token[at] == token[at + 1] && token[at] == token[at + 2];
    let quotes = if triple { 3 } else { 1 };
    let inside = &token[at + quotes..token.len() - quotes];
    let mut out = Vec::with_capacity(inside.len());
    let mut buffer = [0; 4];
    let mut at = 0;
    while let Some(&c) = inside.get(at) {
        at += 1;
        if c == '\r' {
            // All line ends are \n.
            if inside.get(at) == Some(&'\n') {
                at += 1;
            }
            out.push(b'\n');
            continue;
        }
        if c != '\\' || raw {
            out.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
            continue;
        }
        let kind = inside.get(at).copied().unwrap_or('\\');
        at += 1;
        let (digits, radix) = match kind {
            'a' => (0, 7),
            'b' => (0, 8),
            't' => (0, 9),
            'n' => (0, 10),
            'v' => (0, 11),
            'f' => (0, 12),
            'r' => (0, 13),
            'x' | 'X' => (2, 16),
            'u' | 'U' if bytes => return Err("unable to unescape string"),
            'u' => (4, 16),
            'U' => (8, 16),
            '0'..='3' => {
                at -= 1;
                (3, 8)
            }
            other => (0, other as u32),
        };
        if digits == 0 {
            out.push(radix as u8);
            continue;
        }
        let text: String = inside.get(at..at + digits).unwrap_or_default().iter().collect();
        at += digits;
        let value = u32::from_str_radix(&text, radix).map_err(|_| "unable to unescape string")?;
        if bytes {
            out.push(value as u8);
        } else {
            let c = char::from_u32(value).ok_or("invalid unicode code point")?;
            out.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
        }
    }
    Ok(out)
}
