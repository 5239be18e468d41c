//! Renders a tree.
//!
//! Contract: every step, every call and every byte that is made counts against a limit.

use std::{sync::Arc, time::Instant};

use super::{
    Limits, RenderError,
    parse::{Branch, Command, Node, Operand, Pipeline, Tree},
    value::Value,
};

/// Nodes and pipelines within each other, calls of templates included.
const DEEPEST: usize = 200;
/// Bytes of all texts that are made on the way, per byte of output that is allowed.
const MADE_PER_OUTPUT: usize = 16;
/// Steps between two looks at the clock.
const STEPS: u32 = 64;

/// What went wrong; the line is added on the way out.
pub(super) type Failed = String;

/// How a list of nodes ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

/// One rendering.
pub(super) struct Run<'a> {
    tree: &'a Tree,
    out: String,
    /// Names and values of the variables; the first is `$`.
    variables: Vec<(&'a str, Value)>,
    is_known: fn(&str) -> bool,
    line: usize,
    depth: usize,
    steps: u32,
    budget: Budget,
    until: Instant,
    limits: Limits,
}

/// Memory that may still be used.
pub(super) struct Budget {
    left: usize,
    longest: usize,
}

impl Budget {
    /// The longest text that may be made.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// Takes note of a text of `len` bytes.
    pub(super) fn spend(&mut self, len: usize) -> Result<(), Failed> {
        match self.left.checked_sub(len) {
            Some(left) if len <= self.longest => {
                self.left = left;
                Ok(())
            }
            _ => Err("the text gets too long".to_owned()),
        }
    }
}

impl<'a> Run<'a> {
    pub(super) fn new(tree: &'a Tree, values: &Value, is_known: fn(&str) -> bool, limits: Limits) -> Self {
        Self {
            tree,
            out: String::new(),
            variables: vec![("$", values.clone())],
            is_known,
            line: 1,
            depth: 0,
            steps: 0,
            budget: Budget {
                left: limits.output.saturating_mul(MADE_PER_OUTPUT),
                longest: limits.output,
            },
            until: Instant::now() + limits.time,
            limits,
        }
    }

    pub(super) fn finish(mut self) -> Result<String, RenderError> {
        let values = self.variables[0].1.clone();
        match self.nodes(&self.tree.root, &values) {
            Ok(_) => Ok(self.out),
            Err(reason) => Err(RenderError {
                line: self.line,
                reason,
            }),
        }
    }

    fn step(&mut self) -> Result<(), Failed> {
        self.steps += 1;
        if self.steps.is_multiple_of(STEPS) && Instant::now() >= self.until {
            return Err(format!("not finished within {} ms", self.limits.time.as_millis()));
        }
        Ok(())
    }

    fn deeper<T>(&mut self, run: impl FnOnce(&mut Self) -> Result<T, Failed>) -> Result<T, Failed> {
        if self.depth >= DEEPEST {
            return Err("nested too deeply".to_owned());
        }
        self.depth += 1;
        let done = run(self);
        self.depth -= 1;
        done
    }

    fn write(&mut self, text: &str) -> Result<(), Failed> {
        if self.out.len() + text.len() > self.limits.output {
            return Err(format!("more than {} bytes of output", self.limits.output));
        }
        self.out.push_str(text);
        Ok(())
    }

    fn nodes(&mut self, nodes: &'a [Node], dot: &Value) -> Result<Flow, Failed> {
        for node in nodes {
            self.step()?;
            let flow = match node {
                Node::Text(text) => self.write(text).map(|()| Flow::On)?,
                Node::Print(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    if pipeline.variables.is_empty() {
                        self.print(&value)?;
                    }
                    Flow::On
                }
                Node::If(branch) | Node::With(branch) | Node::Range(branch) => {
                    let scope = self.variables.len();
                    let flow = self.deeper(|run| run.branch(node, branch, dot))?;
                    self.variables.truncate(scope);
                    flow
                }
                Node::Template { line, name, argument } => {
                    self.template(*line, name, argument.as_ref(), dot)?;
                    Flow::On
                }
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn print(&mut self, value: &Value) -> Result<(), Failed> {
        if let Value::Text(text) = value {
            return self.write(text);
        }
        let mut text = String::new();
        value.print(&mut text);
        self.write(&text)
    }

    fn branch(&mut self, node: &Node, branch: &'a Branch, dot: &Value) -> Result<Flow, Failed> {
        let value = self.pipeline(&branch.subject, dot)?;
        if let Node::Range(_) = node {
            return self.range(branch, value, dot);
        }
        if !value.is_true() {
            return self.nodes(&branch.otherwise, dot);
        }
        match node {
            Node::With(_) => self.nodes(&branch.then, &value),
            _ => self.nodes(&branch.then, dot),
        }
    }

    fn range(&mut self, branch: &'a Branch, value: Value, dot: &Value) -> Result<Flow, Failed> {
        let mut entered = false;
        let mut turn = |run: &mut Self, key: Value, element: Value| {
            entered = true;
            run.turn(branch, key, element)
        };
        match &value {
            Value::List(values) => {
                for (index, element) in values.iter().enumerate() {
                    let key = Value::Int(i64::try_from(index).unwrap_or(i64::MAX));
                    if turn(self, key, element.clone())? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Map(entries) => {
                for (name, element) in entries.iter() {
                    if turn(self, Value::text(name.as_str()), element.clone())? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Int(_) if branch.subject.variables.len() > 1 => {
                return Err("a number gives only one variable to range over".to_owned());
            }
            Value::Int(end) => {
                for number in 0..(*end).max(0) {
                    if turn(self, Value::Int(number), Value::Int(number))? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Missing | Value::Nil => {}
            other => {
                return Err(format!(
                    "range can't iterate over a value of type {}",
                    other.type_name()
                ));
            }
        }
        match entered {
            true => Ok(Flow::On),
            false => self.nodes(&branch.otherwise, dot),
        }
    }

    /// One pass through the body of a range.
    fn turn(&mut self, branch: &'a Branch, key: Value, element: Value) -> Result<Flow, Failed> {
        self.step()?;
        let scope = self.variables.len();
        match branch.subject.variables.as_slice() {
            [] => {}
            [only] => self.set(only, element.clone())?,
            [index, only, ..] => {
                self.set(index, key)?;
                self.set(only, element.clone())?;
            }
        }
        let flow = self.nodes(&branch.then, &element)?;
        self.variables.truncate(scope);
        Ok(flow)
    }

    fn template(
        &mut self,
        line: usize,
        name: &str,
        argument: Option<&'a Pipeline>,
        dot: &Value,
    ) -> Result<(), Failed> {
        self.line = line;
        let Some(body) = self.tree.named.get(name) else {
            return Err(format!("template {name:?} not defined"));
        };
        let value = match argument {
            Some(pipeline) => self.pipeline(pipeline, dot)?,
            None => Value::Missing,
        };
        let outer = std::mem::replace(&mut self.variables, vec![("$", value.clone())]);
        self.deeper(|run| run.nodes(body, &value))?;
        self.variables = outer;
        Ok(())
    }

    /// Sets the innermost variable of that name.
    fn set(&mut self, name: &str, value: Value) -> Result<(), Failed> {
        let known = self.variables.iter_mut().rev().find(|known| known.0 == name);
        let variable = known.ok_or_else(|| format!("undefined variable {name:?}"))?;
        variable.1 = value;
        Ok(())
    }

    fn variable(&self, name: &str) -> Result<Value, Failed> {
        let found = self.variables.iter().rev().find(|known| known.0 == name);
        found
            .map(|known| known.1.clone())
            .ok_or_else(|| format!("undefined variable {name:?}"))
    }

    fn pipeline(&mut self, pipeline: &'a Pipeline, dot: &Value) -> Result<Value, Failed> {
        self.step()?;
        self.line = pipeline.line;
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.deeper(|run| run.command(command, dot, value))?);
        }
        let value = value.unwrap_or(Value::Missing);
        for name in &pipeline.variables {
            match pipeline.assigns {
                true => self.set(name, value.clone())?,
                false => self.variables.push((name, value.clone())),
            }
        }
        Ok(value)
    }

    /// Evaluates a command; `piped` is the result of the one before.
    fn command(&mut self, command: &'a Command, dot: &Value, piped: Option<Value>) -> Result<Value, Failed> {
        self.line = command.line;
        let Some((first, arguments)) = command.operands.split_first() else {
            return Err("empty command".to_owned());
        };
        if let Operand::Function(function) = first {
            let mut call = Call {
                run: self,
                arguments,
                dot,
                piped,
            };
            let called = function.call(&mut call);
            self.line = command.line;
            return called;
        }
        if !arguments.is_empty() || piped.is_some() {
            return Err("a value that is no function has arguments".to_owned());
        }
        if let Operand::Nil = first {
            return Err("nil is not a command".to_owned());
        }
        self.operand(first, dot)
    }

    fn operand(&mut self, operand: &'a Operand, dot: &Value) -> Result<Value, Failed> {
        match operand {
            Operand::Dot => Ok(dot.clone()),
            Operand::Nil => Ok(Value::Nil),
            Operand::Constant(value) => Ok(value.clone()),
            Operand::Field(names) => self.fields(dot.clone(), names),
            Operand::Variable(name, names) => self.fields(self.variable(name)?, names),
            Operand::Nested(pipeline, names) => {
                let value = self.pipeline(pipeline, dot)?;
                self.fields(value, names)
            }
            Operand::Function(function) => function.call(&mut Call {
                run: self,
                arguments: &[],
                dot,
                piped: None,
            }),
        }
    }

    fn fields(&self, value: Value, names: &[String]) -> Result<Value, Failed> {
        names.iter().try_fold(value, |value, name| match value {
            Value::Map(entries) => Ok(self.entry(&entries, name)),
            Value::Missing => Ok(Value::Missing),
            other => Err(format!(
                "can't evaluate field {name} in a value of type {}",
                other.type_name()
            )),
        })
    }

    /// An entry of a map. What another event would have is empty instead of missing.
    fn entry(&self, entries: &Arc<super::value::Entries>, name: &str) -> Value {
        match entries.get(name) {
            Some(value) => value.clone(),
            None if (self.is_known)(name) => Value::text(""),
            None => Value::Missing,
        }
    }
}

/// A call of a function: arguments that are evaluated when asked for.
pub(super) struct Call<'r, 'a> {
    run: &'r mut Run<'a>,
    arguments: &'a [Operand],
    dot: &'r Value,
    piped: Option<Value>,
}

impl Call<'_, '_> {
    /// How many arguments there are.
    pub(super) fn len(&self) -> usize {
        self.arguments.len() + usize::from(self.piped.is_some())
    }

    /// The next argument, evaluated; the piped value is the last.
    pub(super) fn next(&mut self) -> Option<Result<Value, Failed>> {
        match self.arguments.split_first() {
            Some((first, rest)) => {
                self.arguments = rest;
                let dot = self.dot;
                Some(self.run.deeper(|run| run.operand(first, dot)))
            }
            None => self.piped.take().map(Ok),
        }
    }

    /// All remaining arguments.
    pub(super) fn all(&mut self) -> Result<Vec<Value>, Failed> {
        let mut all = Vec::with_capacity(self.len());
        while let Some(value) = self.next() {
            all.push(value?);
        }
        Ok(all)
    }

    /// An entry of a map, as a field would find it.
    pub(super) fn entry(&self, entries: &Arc<super::value::Entries>, name: &str) -> Value {
        self.run.entry(entries, name)
    }

    pub(super) fn budget(&mut self) -> &mut Budget {
        &mut self.run.budget
    }
}
