//! Which way is taken where several begin alike: by as many tokens as it takes to tell them apart.

use super::grammar::{COMPARISON, COMPARISONS, Choose, FACTOR, FACTORS, Place, Rule, State, TERM, TERMS};
use super::{Fault, Walk};
use crate::lexer::Token;

impl Walk<'_> {
    pub(super) fn choose(&self, choose: Choose, ways: &[Place], optional: bool) -> Result<usize, Fault> {
        let (first, second) = (self.token(0), self.token(1));
        // Of a loop, the way on is the second.
        let again = |again: bool| Ok(usize::from(!again));
        let no_way = |ahead: usize| Err(Fault::NoWay(self.at, self.at + ahead));
        match choose {
            Choose::Next => {
                let begins = if optional { &ways[..ways.len() - 1] } else { ways };
                let found = begins.iter().position(|way| self.network.next(*way).contains(first));
                match found {
                    Some(way) => Ok(way),
                    None if optional => Ok(ways.len() - 1),
                    None => no_way(0),
                }
            }
            Choose::Relation => again(COMPARISONS.contains(&first) && self.precedence() <= COMPARISON),
            Choose::Calc => {
                let factor = FACTORS.contains(&first) && self.precedence() <= FACTOR;
                again(factor || TERMS.contains(&first) && self.precedence() <= TERM)
            }
            Choose::Unary => match (first, second) {
                (Token::Not, _) => Ok(1),
                // The sign of a number is part of it.
                (Token::Minus, Token::Int | Token::Float) => Ok(0),
                (Token::Minus, _) if self.begins(Rule::Member, second) => Ok(2),
                (Token::Minus, _) => no_way(1),
                _ if self.begins(Rule::Member, first) => Ok(0),
                _ => no_way(0),
            },
            Choose::Sign => match first {
                Token::Minus if self.begins(Rule::Member, second) => again(true),
                Token::Minus => no_way(1),
                _ if self.begins(Rule::Member, first) => again(false),
                _ => no_way(0),
            },
            Choose::Member => again(matches!(first, Token::Dot | Token::LeftBracket)),
            Choose::Selection => match (first, second) {
                (Token::LeftBracket, _) => Ok(2),
                (Token::Dot, Token::Ident) if self.token(2) == Token::LeftParen => Ok(1),
                (Token::Dot, Token::Ident | Token::EscapedIdent | Token::Question) => Ok(0),
                (Token::Dot, _) => no_way(1),
                _ => no_way(0),
            },
            Choose::Primary => self.primary(),
            Choose::Literal => match (first, second) {
                (Token::Minus, Token::Int) | (Token::Int, _) => Ok(0),
                (Token::Minus, Token::Float) | (Token::Float, _) => Ok(2),
                (Token::Minus, _) => no_way(1),
                (Token::Uint, _) => Ok(1),
                (Token::String, _) => Ok(3),
                (Token::Bytes, _) => Ok(4),
                (Token::True, _) => Ok(5),
                (Token::False, _) => Ok(6),
                (Token::Null, _) => Ok(7),
                _ => no_way(0),
            },
            Choose::More => match self.network.state(ways[0]) {
                State::Match(_, behind) => again(first == Token::Comma && self.network.next(*behind).contains(second)),
                _ => no_way(0),
            },
        }
    }

    fn begins(&self, rule: Rule, token: Token) -> bool {
        self.network.first(rule).contains(token)
    }

    /// A name may be that of a variable, of a function, or of a type.
    fn primary(&self) -> Result<usize, Fault> {
        let dot = usize::from(self.token(0) == Token::Dot);
        match self.token(dot) {
            Token::Ident => {}
            _ if dot == 1 => return Err(Fault::NoWay(self.at, self.at + 1)),
            Token::LeftParen => return Ok(2),
            Token::LeftBracket => return Ok(3),
            Token::LeftBrace => return Ok(4),
            other if self.begins(Rule::Literal, other) => return Ok(6),
            _ => return Err(Fault::NoWay(self.at, self.at)),
        }
        let mut behind = dot + 1;
        if self.token(behind) == Token::LeftParen {
            return Ok(1);
        }
        while self.token(behind) == Token::Dot && self.token(behind + 1) == Token::Ident {
            behind += 2;
        }
        Ok(if self.token(behind) == Token::LeftBrace { 5 } else { 0 })
    }
}
