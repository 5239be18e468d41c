//! From tokens to a tree.
//!
//! Contract: a template that parses names only functions and variables that exist; how deep it nests is bounded.

use std::collections::HashMap;

use super::{
    BadTemplate,
    functions::Function,
    number::{self, BadNumber, Constant},
    token::{Kind, Token, tokens},
    value::Value,
};

/// Lists, parentheses and branches within each other.
const DEEPEST: usize = 60;
/// Longest source, in bytes.
const LONGEST: usize = 256 * 1024;

/// A parsed template with those that it defines.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree {
    pub(super) root: Vec<Node>,
    pub(super) named: HashMap<String, Vec<Node>>,
}

#[derive(Debug, Clone)]
pub(super) enum Node {
    Text(String),
    Print(Pipeline),
    If(Branch),
    With(Branch),
    Range(Branch),
    Template {
        line: usize,
        name: String,
        argument: Option<Pipeline>,
    },
    Break,
    Continue,
}

#[derive(Debug, Clone)]
pub(super) struct Branch {
    pub(super) subject: Pipeline,
    pub(super) then: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

/// Commands of which each gets the result of the one before.
#[derive(Debug, Clone)]
pub(super) struct Pipeline {
    pub(super) line: usize,
    /// Variables that take the result.
    pub(super) variables: Vec<String>,
    /// Whether the variables exist already.
    pub(super) assigns: bool,
    pub(super) commands: Vec<Command>,
}

/// An operand and its arguments; never empty.
#[derive(Debug, Clone)]
pub(super) struct Command {
    pub(super) line: usize,
    pub(super) operands: Vec<Operand>,
}

#[derive(Debug, Clone)]
pub(super) enum Operand {
    Dot,
    Nil,
    Constant(Value),
    Function(Function),
    /// Fields of the present value.
    Field(Vec<String>),
    Variable(String, Vec<String>),
    Nested(Pipeline, Vec<String>),
}

/// How a list of nodes ended.
enum Stop {
    End,
    Else,
    EndOfTemplate,
}

pub(super) fn parse(source: &str) -> Result<Tree, BadTemplate> {
    if source.len() > LONGEST {
        return Err(BadTemplate::new(1, "the template is too long"));
    }
    let mut parser = Parser {
        tokens: tokens(source)?,
        at: 0,
        variables: vec!["$".to_owned()],
        loops: 0,
        depth: 0,
        tree: Tree::default(),
    };
    let mut root = Vec::new();
    match parser.nodes(&mut root, true)? {
        Stop::EndOfTemplate => {}
        Stop::End => return Err(parser.bad("unexpected {{end}}")),
        Stop::Else => return Err(parser.bad("unexpected {{else}}")),
    }
    parser.tree.root = root;
    Ok(parser.tree)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    /// The variables in scope.
    variables: Vec<String>,
    /// How many loops the present node stands in.
    loops: usize,
    depth: usize,
    tree: Tree,
}

impl Parser {
    fn peek(&self) -> &Kind {
        self.tokens.get(self.at).map_or(&Kind::End, |token| &token.kind)
    }

    fn peek_after_space(&mut self) -> &Kind {
        self.skip_space();
        self.peek()
    }

    fn next(&mut self) -> Kind {
        let kind = self.peek().clone();
        if kind != Kind::End {
            self.at += 1;
        }
        kind
    }

    fn skip_space(&mut self) {
        while *self.peek() == Kind::Space {
            self.at += 1;
        }
    }

    fn line(&self) -> usize {
        let last = self.tokens.len().saturating_sub(1);
        self.tokens.get(self.at.min(last)).map_or(1, |token| token.line)
    }

    /// A complaint about the present place.
    fn bad(&self, reason: impl Into<String>) -> BadTemplate {
        BadTemplate::new(self.line(), reason)
    }

    fn unexpected(&self, place: &str) -> BadTemplate {
        self.bad(format!("unexpected {} in {place}", self.peek().shown()))
    }

    fn deeper<T>(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<T, BadTemplate>,
    ) -> Result<T, BadTemplate> {
        if self.depth >= DEEPEST {
            return Err(self.bad("nested too deeply"));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// Parses nodes until something ends them; an `{{else` is left before what follows its keyword.
    fn nodes(&mut self, out: &mut Vec<Node>, top: bool) -> Result<Stop, BadTemplate> {
        loop {
            match self.next() {
                Kind::End => return Ok(Stop::EndOfTemplate),
                Kind::Text(text) => out.push(Node::Text(text)),
                Kind::Open => {
                    if let Some(stop) = self.action(out, top)? {
                        return Ok(stop);
                    }
                }
                _ => return Err(self.bad("unexpected text")),
            }
        }
    }

    fn action(&mut self, out: &mut Vec<Node>, top: bool) -> Result<Option<Stop>, BadTemplate> {
        let keyword = match self.peek_after_space() {
            Kind::Word(word) => word.clone(),
            _ => String::new(),
        };
        let is_keyword = matches!(
            keyword.as_str(),
            "end" | "else" | "if" | "with" | "range" | "template" | "block" | "define" | "break" | "continue"
        );
        if !is_keyword {
            let pipeline = self.pipeline("command", &Kind::Close)?;
            out.push(Node::Print(pipeline));
            return Ok(None);
        }
        let line = self.line();
        self.at += 1;
        match keyword.as_str() {
            "end" => {
                self.close("end")?;
                return Ok(Some(Stop::End));
            }
            "else" => return Ok(Some(Stop::Else)),
            "if" | "with" | "range" => {
                let node = self.deeper(|parser| parser.branch(&keyword))?;
                out.push(node);
            }
            "template" => {
                let name = self.name("template clause")?;
                let argument = match self.peek_after_space() {
                    Kind::Close => {
                        self.at += 1;
                        None
                    }
                    _ => Some(self.pipeline("template clause", &Kind::Close)?),
                };
                out.push(Node::Template { line, name, argument });
            }
            "block" => {
                let name = self.name("block clause")?;
                let argument = Some(self.pipeline("block clause", &Kind::Close)?);
                self.definition(name.clone(), "block clause")?;
                out.push(Node::Template { line, name, argument });
            }
            "define" if top => {
                let name = self.name("define clause")?;
                self.close("define clause")?;
                self.definition(name, "define clause")?;
            }
            "define" => return Err(BadTemplate::new(line, "{{define}} within another action")),
            word => {
                self.close(word)?;
                if self.loops == 0 {
                    return Err(BadTemplate::new(
                        line,
                        format!("{{{{{word}}}}} outside {{{{range}}}}"),
                    ));
                }
                out.push(if word == "break" {
                    Node::Break
                } else {
                    Node::Continue
                });
            }
        }
        Ok(None)
    }

    fn close(&mut self, place: &str) -> Result<(), BadTemplate> {
        match self.peek_after_space() {
            Kind::Close => {
                self.at += 1;
                Ok(())
            }
            _ => Err(self.unexpected(place)),
        }
    }

    fn name(&mut self, place: &str) -> Result<String, BadTemplate> {
        match self.peek_after_space().clone() {
            Kind::Quoted(name) => {
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.unexpected(place)),
        }
    }

    /// The body of a template with a name of its own, up to its `{{end}}`.
    fn definition(&mut self, name: String, place: &str) -> Result<(), BadTemplate> {
        let variables = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let loops = std::mem::take(&mut self.loops);
        let mut body = Vec::new();
        let stop = self.deeper(|parser| parser.nodes(&mut body, false))?;
        (self.variables, self.loops) = (variables, loops);
        match stop {
            Stop::End => {}
            Stop::Else => return Err(self.bad(format!("unexpected {{{{else}}}} in {place}"))),
            Stop::EndOfTemplate => return Err(self.bad(format!("unexpected end of the template in {place}"))),
        }
        // A definition of nothing but white space gives way to any other.
        let is_empty = |body: &[Node]| {
            body.iter()
                .all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()))
        };
        match self.tree.named.get(&name) {
            Some(earlier) if !is_empty(earlier) && !is_empty(&body) => {
                Err(self.bad(format!("multiple definition of template {name:?}")))
            }
            Some(earlier) if !is_empty(earlier) => Ok(()),
            _ => {
                self.tree.named.insert(name, body);
                Ok(())
            }
        }
    }

    /// What follows `if`, `with` or `range`, up to the `{{end}}`.
    fn branch(&mut self, keyword: &str) -> Result<Node, BadTemplate> {
        let scope = self.variables.len();
        let subject = self.pipeline(keyword, &Kind::Close)?;
        let mut then = Vec::new();
        let mut otherwise = Vec::new();
        let loops = usize::from(keyword == "range");
        self.loops += loops;
        let stop = self.nodes(&mut then, false)?;
        self.loops -= loops;
        match stop {
            Stop::End => {}
            Stop::EndOfTemplate => return Err(self.unclosed(keyword)),
            Stop::Else => self.otherwise(keyword, &mut otherwise)?,
        }
        self.variables.truncate(scope);
        let branch = Branch {
            subject,
            then,
            otherwise,
        };
        Ok(match keyword {
            "if" => Node::If(branch),
            "with" => Node::With(branch),
            _ => Node::Range(branch),
        })
    }

    fn unclosed(&self, keyword: &str) -> BadTemplate {
        self.bad(format!(
            "unexpected end of the template: {{{{{keyword}}}}} has no {{{{end}}}}"
        ))
    }

    /// What follows `{{else`: a branch that shares the `{{end}}`, or a list.
    fn otherwise(&mut self, keyword: &str, out: &mut Vec<Node>) -> Result<(), BadTemplate> {
        let chains = matches!(self.peek_after_space(), Kind::Word(word) if word == keyword);
        if chains && keyword != "range" {
            self.at += 1;
            let node = self.deeper(|parser| parser.branch(keyword))?;
            out.push(node);
            return Ok(());
        }
        self.close("else")?;
        match self.nodes(out, false)? {
            Stop::End => Ok(()),
            Stop::Else => Err(self.bad("expected {{end}}; found {{else}}")),
            Stop::EndOfTemplate => Err(self.unclosed(keyword)),
        }
    }

    /// Parses a pipeline and takes the `end` after it.
    fn pipeline(&mut self, place: &str, end: &Kind) -> Result<Pipeline, BadTemplate> {
        self.skip_space();
        let line = self.line();
        let (variables, assigns) = self.variables_before(place)?;
        let mut commands: Vec<Command> = Vec::new();
        loop {
            if self.peek_after_space() == end {
                self.at += 1;
                break;
            }
            let command = self.command(place)?;
            let constant = matches!(
                command.operands.first(),
                Some(Operand::Constant(_) | Operand::Nil | Operand::Dot)
            );
            if constant && !commands.is_empty() {
                let stage = commands.len() + 1;
                return Err(self.bad(format!("non executable command in pipeline stage {stage}")));
            }
            commands.push(command);
        }
        if commands.is_empty() {
            return Err(self.bad(format!("missing value for {place}")));
        }
        for name in &variables {
            // Whether what is assigned to exists is found out when it happens, as in the original: in a branch that
            // is never taken it does no harm.
            if !assigns || !self.variables.contains(name) {
                self.variables.push(name.clone());
            }
        }
        Ok(Pipeline {
            line,
            variables,
            assigns,
            commands,
        })
    }

    fn known(&self, name: &str) -> Result<(), BadTemplate> {
        match self.variables.iter().any(|known| known == name) {
            true => Ok(()),
            false => Err(self.bad(format!("undefined variable {name:?}"))),
        }
    }

    /// `$x :=`, `$x =`, and in a range `$i, $x :=`.
    fn variables_before(&mut self, place: &str) -> Result<(Vec<String>, bool), BadTemplate> {
        let start = self.at;
        let mut names = Vec::new();
        while let Kind::Variable(name) = self.peek_after_space().clone() {
            self.at += 1;
            names.push(name);
            match self.peek_after_space() {
                Kind::Declare | Kind::Assign => {
                    let assigns = *self.peek() == Kind::Assign;
                    self.at += 1;
                    return Ok((names, assigns));
                }
                Kind::Comma if place == "range" && names.len() < 2 => self.at += 1,
                Kind::Comma => return Err(self.bad(format!("too many declarations in {place}"))),
                _ if names.len() > 1 => return Err(self.bad("range can only initialize variables")),
                _ => break,
            }
        }
        if names.len() > 1 {
            return Err(self.bad("range can only initialize variables"));
        }
        self.at = start;
        Ok((Vec::new(), false))
    }

    /// An operand and its arguments, and the `|` after them if there is one.
    fn command(&mut self, place: &str) -> Result<Command, BadTemplate> {
        self.skip_space();
        let line = self.line();
        let mut operands = Vec::new();
        loop {
            let operand = self.operand(place)?;
            operands.push(operand);
            match self.peek() {
                Kind::Space => {
                    if matches!(self.peek_after_space(), Kind::Close | Kind::RightParen) {
                        break;
                    }
                    if *self.peek() == Kind::Pipe {
                        self.at += 1;
                        break;
                    }
                }
                Kind::Pipe => {
                    self.at += 1;
                    break;
                }
                Kind::Close | Kind::RightParen => break,
                _ => return Err(self.unexpected("operand")),
            }
        }
        Ok(Command { line, operands })
    }

    fn operand(&mut self, place: &str) -> Result<Operand, BadTemplate> {
        let operand = match self.peek().clone() {
            Kind::Word(word) => match word.as_str() {
                "true" => Operand::Constant(Value::Bool(true)),
                "false" => Operand::Constant(Value::Bool(false)),
                "nil" => Operand::Nil,
                "if" | "else" | "end" | "range" | "with" | "template" | "block" | "define" | "break"
                | "continue" => return Err(self.unexpected(place)),
                name => Operand::Function(
                    Function::named(name)
                        .ok_or_else(|| self.bad(format!("function {name:?} not defined")))?,
                ),
            },
            Kind::Dot => Operand::Dot,
            Kind::Field(name) => Operand::Field(vec![name]),
            Kind::Variable(name) => {
                self.known(&name)?;
                Operand::Variable(name, Vec::new())
            }
            Kind::Quoted(text) => Operand::Constant(Value::text(text)),
            Kind::Char(c) => Operand::Constant(Value::Int(i64::from(u32::from(c)))),
            Kind::Number(text) => Operand::Constant(match number::parse(&text) {
                Ok(Constant::Int(whole)) => Value::Int(whole),
                Ok(Constant::Float(float)) => Value::Float(float),
                Err(BadNumber::Syntax) => return Err(self.bad(format!("bad number syntax: {text:?}"))),
                Err(BadNumber::Overflow) => return Err(self.bad(format!("integer overflow: {text:?}"))),
            }),
            Kind::LeftParen => {
                self.at += 1;
                let nested =
                    self.deeper(|parser| parser.pipeline("parenthesized pipeline", &Kind::RightParen))?;
                // The closing parenthesis is taken already.
                self.at -= 1;
                Operand::Nested(nested, Vec::new())
            }
            _ => return Err(self.unexpected(place)),
        };
        self.at += 1;
        self.fields_after(operand)
    }

    /// The `.a.b` that stand right after an operand.
    fn fields_after(&mut self, mut operand: Operand) -> Result<Operand, BadTemplate> {
        while let Kind::Field(name) = self.peek().clone() {
            match &mut operand {
                Operand::Field(names) | Operand::Variable(_, names) | Operand::Nested(_, names) => {
                    names.push(name);
                }
                _ => return Err(self.bad("unexpected . after a constant or a name")),
            }
            self.at += 1;
        }
        Ok(operand)
    }
}
