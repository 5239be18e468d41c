//! Cuts a template into text and tokens.
//!
//! Contract: never panics and keeps the line of every token, so that each complaint can name it.

use super::BadTemplate;

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) line: usize,
}

/// What a piece is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// Text outside of actions.
    Text(String),
    /// `{{`
    Open,
    /// `}}`
    Close,
    /// White space within an action; it separates arguments.
    Space,
    /// A keyword or the name of a function.
    Word(String),
    /// `.name`
    Field(String),
    /// `$` or `$name`
    Variable(String),
    Dot,
    Quoted(String),
    Char(char),
    Number(String),
    LeftParen,
    RightParen,
    Pipe,
    Comma,
    /// `=`
    Assign,
    /// `:=`
    Declare,
    /// Any other character.
    Odd(char),
    End,
}

impl Kind {
    /// As complaints name it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Text(_) => "text".to_owned(),
            Self::Open => "{{".to_owned(),
            Self::Close => "}}".to_owned(),
            Self::Space => "space".to_owned(),
            Self::Word(word) => format!("{word:?}"),
            Self::Field(name) => format!("\".{name}\""),
            Self::Variable(name) => format!("{name:?}"),
            Self::Dot => "\".\"".to_owned(),
            // Texts in templates may be secrets.
            Self::Quoted(_) => "a text in quotes".to_owned(),
            Self::Char(c) => format!("{c:?}"),
            Self::Number(text) => format!("{text:?}"),
            Self::LeftParen => "\"(\"".to_owned(),
            Self::RightParen => "\")\"".to_owned(),
            Self::Pipe => "\"|\"".to_owned(),
            Self::Comma => "\",\"".to_owned(),
            Self::Assign => "\"=\"".to_owned(),
            Self::Declare => "\":=\"".to_owned(),
            Self::Odd(c) => format!("{c:?}"),
            Self::End => "the end of the template".to_owned(),
        }
    }
}

/// White space that trim markers remove and that separates arguments.
const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

/// Cuts `source` up. The last token is [`Kind::End`].
pub(super) fn tokens(source: &str) -> Result<Vec<Token>, BadTemplate> {
    let mut lexer = Lexer {
        rest: source,
        line: 1,
        tokens: Vec::new(),
        parens: 0,
    };
    lexer.run()?;
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Token>,
    parens: usize,
}

impl Lexer<'_> {
    fn run(&mut self) -> Result<(), BadTemplate> {
        // Whether the action before this text ended with a trim marker.
        let mut trim = false;
        loop {
            if trim {
                let spaces = self.rest.len() - self.rest.trim_start_matches(SPACES).len();
                self.take(spaces);
            }
            let Some(at) = self.rest.find("{{") else {
                let text = self.rest;
                self.text(text);
                self.take(text.len());
                self.push(Kind::End);
                return Ok(());
            };
            let text = &self.rest[..at];
            let trims = self.rest[at + 2..]
                .strip_prefix('-')
                .is_some_and(|rest| rest.starts_with(SPACES));
            self.text(if trims {
                text.trim_end_matches(SPACES)
            } else {
                text
            });
            self.take(at + 2 + if trims { 2 } else { 0 });
            trim = if self.rest.starts_with("/*") {
                self.comment()?
            } else {
                self.push(Kind::Open);
                self.action()?
            };
        }
    }

    fn text(&mut self, text: &str) {
        if !text.is_empty() {
            self.push(Kind::Text(text.to_owned()));
        }
    }

    /// Takes a comment; yields whether what follows is trimmed.
    fn comment(&mut self) -> Result<bool, BadTemplate> {
        let Some(end) = self.rest[2..].find("*/") else {
            return Err(self.bad("unclosed comment"));
        };
        let after = &self.rest[end + 4..];
        let trims = trim_marker(after);
        if !trims && !after.starts_with("}}") {
            return Err(self.bad("comment ends before closing delimiter"));
        }
        self.take(end + 4 + if trims { 4 } else { 2 });
        Ok(trims)
    }

    /// Takes the inside of an action; yields whether what follows is trimmed.
    fn action(&mut self) -> Result<bool, BadTemplate> {
        self.parens = 0;
        loop {
            let trims = trim_marker(self.rest);
            if trims || self.rest.starts_with("}}") {
                if self.parens > 0 {
                    return Err(self.bad("unclosed left paren"));
                }
                self.take(if trims { 4 } else { 2 });
                self.push(Kind::Close);
                return Ok(trims);
            }
            let Some(c) = self.rest.chars().next() else {
                return Err(self.bad("unclosed action"));
            };
            self.token(c)?;
        }
    }

    fn token(&mut self, c: char) -> Result<(), BadTemplate> {
        let second = self.rest[c.len_utf8()..].chars().next();
        match c {
            _ if SPACES.contains(&c) => {
                let all = self.rest.len() - self.rest.trim_start_matches(SPACES).len();
                // The last space may belong to a trim marker.
                let marked = all > 0 && trim_marker(&self.rest[all - 1..]);
                let spaces = if marked { all - 1 } else { all };
                if spaces > 0 {
                    self.push(Kind::Space);
                    self.take(spaces);
                }
                Ok(())
            }
            ':' if second == Some('=') => self.fixed(Kind::Declare, 2),
            '=' => self.fixed(Kind::Assign, 1),
            '|' => self.fixed(Kind::Pipe, 1),
            ',' => self.fixed(Kind::Comma, 1),
            '(' => {
                self.parens += 1;
                self.fixed(Kind::LeftParen, 1)
            }
            ')' => {
                let Some(parens) = self.parens.checked_sub(1) else {
                    return Err(self.bad("unexpected right paren"));
                };
                self.parens = parens;
                self.fixed(Kind::RightParen, 1)
            }
            '"' => self.quoted(),
            '`' => self.raw(),
            '\'' => self.char(),
            '.' if !second.is_some_and(|c| c.is_ascii_digit()) => {
                let name = self.name(1);
                self.terminated(1 + name.len())?;
                match name.is_empty() {
                    true => self.fixed(Kind::Dot, 1),
                    false => {
                        let len = 1 + name.len();
                        self.fixed(Kind::Field(name), len)
                    }
                }
            }
            '$' => {
                let name = format!("${}", self.name(1));
                self.terminated(name.len())?;
                let len = name.len();
                self.fixed(Kind::Variable(name), len)
            }
            '+' | '-' | '.' | '0'..='9' => self.number(),
            _ if is_name(c) => {
                let name = self.name(0);
                self.terminated(name.len())?;
                let len = name.len();
                self.fixed(Kind::Word(name), len)
            }
            _ => self.fixed(Kind::Odd(c), c.len_utf8()),
        }
    }

    fn fixed(&mut self, kind: Kind, len: usize) -> Result<(), BadTemplate> {
        self.push(kind);
        self.take(len);
        Ok(())
    }

    /// The letters, digits and underscores from `at` on.
    fn name(&self, at: usize) -> String {
        self.rest[at..].chars().take_while(|c| is_name(*c)).collect()
    }

    /// A name that ends `len` further on must be followed by something that can follow a name.
    fn terminated(&self, len: usize) -> Result<(), BadTemplate> {
        let rest = &self.rest[len..];
        match rest.chars().next() {
            None => Ok(()),
            Some(c) if SPACES.contains(&c) || ".,|:)(".contains(c) || rest.starts_with("}}") => Ok(()),
            Some(c) => Err(self.bad(format!("bad character U+{:04X} {c:?}", u32::from(c)))),
        }
    }

    fn number(&mut self) -> Result<(), BadTemplate> {
        let mut len = usize::from(self.rest.starts_with(['+', '-']));
        let hexadecimal = self.rest[len..].starts_with("0x") || self.rest[len..].starts_with("0X");
        let mut before = ' ';
        for c in self.rest[len..].chars() {
            let sign = matches!(c, '+' | '-')
                && match before {
                    'e' | 'E' => !hexadecimal,
                    'p' | 'P' => true,
                    _ => false,
                };
            if !(c.is_ascii_digit() || c == '.' || is_name(c) || sign) {
                break;
            }
            before = c;
            len += c.len_utf8();
        }
        let text = self.rest[..len].to_owned();
        let rest = &self.rest[len..];
        if text.len() > 1 && rest.starts_with(['+', '-']) {
            return Err(self.bad(format!("bad number syntax: {:?}", &self.rest[..=len])));
        }
        self.fixed(Kind::Number(text), len)
    }

    fn raw(&mut self) -> Result<(), BadTemplate> {
        let Some(end) = self.rest[1..].find('`') else {
            return Err(self.bad("unterminated raw quoted string"));
        };
        let text = self.rest[1..=end].replace('\r', "");
        self.fixed(Kind::Quoted(text), end + 2)
    }

    fn quoted(&mut self) -> Result<(), BadTemplate> {
        let Some(len) = closing(self.rest, '"') else {
            return Err(self.bad("unterminated quoted string"));
        };
        let inside = &self.rest[1..len];
        let Some(bytes) = unescaped(inside, '"') else {
            return Err(self.bad("invalid escape in a text in quotes"));
        };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        self.fixed(Kind::Quoted(text), len + 1)
    }

    fn char(&mut self) -> Result<(), BadTemplate> {
        let Some(len) = closing(self.rest, '\'') else {
            return Err(self.bad("unterminated character constant"));
        };
        let inside = &self.rest[1..len];
        let malformed = || self.bad(format!("malformed character constant: '{inside}'"));
        let bytes = unescaped(inside, '\'').ok_or_else(malformed)?;
        // An escape for one byte is the character of that number.
        let c = match (bytes.as_slice(), inside.starts_with('\\')) {
            ([byte], true) => char::from(*byte),
            (bytes, _) => {
                let mut chars = std::str::from_utf8(bytes).map_err(|_| malformed())?.chars();
                match (chars.next(), chars.next()) {
                    (Some(c), None) => c,
                    _ => return Err(malformed()),
                }
            }
        };
        self.fixed(Kind::Char(c), len + 1)
    }

    fn push(&mut self, kind: Kind) {
        self.tokens.push(Token {
            kind,
            line: self.line,
        });
    }

    fn take(&mut self, len: usize) {
        let (taken, rest) = self.rest.split_at(len);
        self.line += taken.matches('\n').count();
        self.rest = rest;
    }

    fn bad(&self, reason: impl Into<String>) -> BadTemplate {
        BadTemplate::new(self.line, reason)
    }
}

fn is_name(c: char) -> bool {
    c == '_' || c.is_alphabetic() || c.is_numeric()
}

/// Whether a space, a minus and the closing delimiter are next.
fn trim_marker(rest: &str) -> bool {
    rest.strip_prefix(SPACES)
        .is_some_and(|rest| rest.starts_with("-}}"))
}

/// Where the constant that begins `rest` with `quote` ends; it must do so on its line.
fn closing(rest: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '\n' => return None,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return Some(at),
            _ => {}
        }
    }
    None
}

/// The bytes that a constant stands for.
fn unescaped(inside: &str, quote: char) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(inside.len());
    let mut utf8 = [0; 4];
    let mut rest = inside.chars();
    while let Some(c) = rest.next() {
        let wide = if c == '\\' {
            let kind = rest.next()?;
            let mut digits = |first: u32, n: usize, radix: u32| {
                (0..n).try_fold(first, |sum, _| Some(sum * radix + rest.next()?.to_digit(radix)?))
            };
            match kind {
                'a' => '\u{7}',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\u{b}',
                '\\' => '\\',
                'x' => {
                    out.push(u8::try_from(digits(0, 2, 16)?).ok()?);
                    continue;
                }
                '0'..='7' => {
                    out.push(u8::try_from(digits(kind.to_digit(8)?, 2, 8)?).ok()?);
                    continue;
                }
                'u' => char::from_u32(digits(0, 4, 16)?)?,
                'U' => char::from_u32(digits(0, 8, 16)?)?,
                _ if kind == quote => quote,
                _ => return None,
            }
        } else {
            c
        };
        out.extend_from_slice(wide.encode_utf8(&mut utf8).as_bytes());
    }
    Some(out)
}
