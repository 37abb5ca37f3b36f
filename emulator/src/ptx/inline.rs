//! A kernel with all it calls as one list of statements: calls are replaced by the function's body,
//! parameters of calls by registers. A function that calls itself is refused, for its stack has no
//! bound.

use std::collections::HashMap;

use super::syntax::{Function, Item, Module, Operand, Statement, Variable, type_bytes};

/// One list.
#[derive(Debug, Default)]
pub struct Flat {
    pub statements: Vec<Statement>,
    /// Index of the statement that a label stands before.
    pub labels: HashMap<String, usize>,
    /// Type of each register, by its name in `statements`.
    pub registers: HashMap<String, String>,
    /// Variables in shared and local memory.
    pub variables: Vec<Variable>,
}

/// Functions that every driver brings along.
const SYSTEM: [&str; 2] = ["vprintf", "__assertfail"];

/// Flattens `kernel`.
pub fn flatten(module: &Module, kernel: &Function) -> Result<Flat, String> {
    let mut work = Inliner {
        module,
        flat: Flat::default(),
        instances: 0,
        calls: vec![kernel.name.clone()],
    };
    work.function(kernel, HashMap::new(), None)?;
    Ok(work.flat)
}

struct Inliner<'a> {
    module: &'a Module,
    flat: Flat,
    instances: u32,
    calls: Vec<String>,
}

/// Names of a scope, and what they are called in the list.
#[derive(Default)]
struct Scope {
    names: HashMap<String, String>,
    /// `%r<40>`: prefix, count, what is put behind.
    ranges: Vec<(String, u32, String)>,
}

struct Scopes {
    stack: Vec<Scope>,
    /// Put behind the labels of this copy of the function.
    suffix: String,
    labels: Vec<String>,
}

impl Scopes {
    fn resolve(&self, name: &str) -> String {
        if let Some(rest) = name.strip_prefix('!') {
            return format!("!{}", self.resolve(rest));
        }
        for scope in self.stack.iter().rev() {
            if let Some(found) = scope.names.get(name) {
                return found.clone();
            }
            let prefix = name.trim_end_matches(|c: char| c.is_ascii_digit());
            let Ok(number) = name[prefix.len()..].parse::<u32>() else {
                continue;
            };
            let range = scope
                .ranges
                .iter()
                .find(|one| one.0 == prefix && number < one.1);
            if let Some((_, _, suffix)) = range {
                return format!("{name}{suffix}");
            }
        }
        if self.labels.iter().any(|label| label == name) {
            return format!("{name}{}", self.suffix);
        }
        name.to_owned()
    }

    fn operand(&self, operand: &Operand) -> Operand {
        match operand {
            Operand::Name(name) => Operand::Name(self.resolve(name)),
            Operand::Address { base, offset } => Operand::Address {
                base: self.resolve(base),
                offset: *offset,
            },
            Operand::List(list) => {
                Operand::List(list.iter().map(|one| self.operand(one)).collect())
            }
            other => other.clone(),
        }
    }
}

impl Inliner<'_> {
    /// Appends a copy of `function`, whose parameters have the names in `bound`; it returns to `end`.
    fn function(
        &mut self,
        function: &Function,
        bound: HashMap<String, String>,
        end: Option<&str>,
    ) -> Result<(), String> {
        let instance = self.instances;
        self.instances += 1;
        let suffix = if instance == 0 {
            String::new()
        } else {
            format!("@{instance}")
        };
        let labels = function.body.iter().filter_map(|item| match item {
            Item::Label(name) => Some(name.clone()),
            _ => None,
        });
        let mut scopes = Scopes {
            stack: vec![
                Scope {
                    names: bound,
                    ranges: Vec::new(),
                },
                Scope::default(),
            ],
            labels: labels.collect(),
            suffix: suffix.clone(),
        };
        for (index, item) in function.body.iter().enumerate() {
            match item {
                Item::Open => {
                    self.instances += 1;
                    scopes.stack.push(Scope::default());
                }
                Item::Close => drop(scopes.stack.pop()),
                Item::Label(name) => {
                    let name = scopes.resolve(name);
                    self.flat.labels.insert(name, self.flat.statements.len());
                }
                Item::Registers(name, count, kind) => {
                    let own = self.own_suffix(&scopes, &suffix);
                    self.registers(&mut scopes, own, (name, *count, kind));
                }
                Item::Variable(variable) => {
                    // Shared memory is the same in every copy of the function.
                    let own = match variable.space.as_str() {
                        "shared" => format!("@{index} of {}", function.name),
                        _ => self.own_suffix(&scopes, &suffix),
                    };
                    self.variable(&mut scopes, own, variable);
                }
                Item::Statement(statement) => self.statement(statement, &scopes, end)?,
            }
        }
        Ok(())
    }

    /// What makes names of the innermost scope differ from those of others.
    fn own_suffix(&self, scopes: &Scopes, function: &str) -> String {
        if scopes.stack.len() == 2 {
            function.to_owned()
        } else {
            format!("@{}", self.instances)
        }
    }

    fn registers(
        &mut self,
        scopes: &mut Scopes,
        suffix: String,
        (name, count, kind): (&str, u32, &str),
    ) {
        let scope = scopes.stack.last_mut().expect("a function has a scope");
        if count == 0 {
            let unique = format!("{name}{suffix}");
            self.flat.registers.insert(unique.clone(), kind.to_owned());
            scope.names.insert(name.to_owned(), unique);
            return;
        }
        for number in 0..count {
            let unique = format!("{name}{number}{suffix}");
            self.flat.registers.insert(unique, kind.to_owned());
        }
        scope.ranges.push((name.to_owned(), count, suffix));
    }

    fn variable(&mut self, scopes: &mut Scopes, suffix: String, variable: &Variable) {
        let unique = format!("{}{suffix}", variable.name);
        let scope = scopes.stack.last_mut().expect("a function has a scope");
        scope.names.insert(variable.name.clone(), unique.clone());
        if variable.space != "param" {
            self.flat.variables.push(Variable {
                name: unique,
                ..variable.clone()
            });
        }
    }

    fn push(&mut self, like: &Statement, opcode: String, operands: Vec<Operand>) {
        self.flat.statements.push(Statement {
            guard: like.guard.clone(),
            opcode,
            operands,
            place: like.place,
        });
    }

    fn statement(
        &mut self,
        statement: &Statement,
        scopes: &Scopes,
        end: Option<&str>,
    ) -> Result<(), String> {
        let mut resolved = statement.clone();
        resolved.operands = statement
            .operands
            .iter()
            .map(|one| scopes.operand(one))
            .collect();
        if let Some((name, _)) = &mut resolved.guard {
            *name = scopes.resolve(name);
        }
        let root = resolved.opcode.split('.').next().unwrap_or_default();
        let is_parameter = resolved.opcode.contains(".param");
        match root {
            "call" => self.call(&resolved),
            "ret" if end.is_some() => {
                let end = Operand::Name(end.expect("just seen").to_owned());
                self.push(&resolved, "bra".into(), vec![end]);
                Ok(())
            }
            "st" if is_parameter => self.parameter_move(&resolved, true),
            "ld" if is_parameter => {
                let Some(Operand::Address { base, .. }) = resolved.operands.last() else {
                    return Err(format!("`{}` without an address", resolved.opcode));
                };
                if !base.contains('@') && !self.is_call_parameter(base, scopes) {
                    self.flat.statements.push(resolved); // of the kernel itself
                    return Ok(());
                }
                self.parameter_move(&resolved, false)
            }
            _ => {
                self.flat.statements.push(resolved);
                Ok(())
            }
        }
    }

    /// Whether the name was bound by a call (and not declared as a kernel's parameter).
    fn is_call_parameter(&self, name: &str, scopes: &Scopes) -> bool {
        scopes
            .stack
            .iter()
            .any(|scope| scope.names.values().any(|one| one == name))
    }

    /// A parameter of a call is a register for each offset that is written.
    fn parameter_move(&mut self, statement: &Statement, store: bool) -> Result<(), String> {
        let kind = statement.opcode.rsplit('.').next().unwrap_or_default();
        let width =
            type_bytes(kind).ok_or_else(|| format!("the type of `{}`", statement.opcode))?;
        let (address, values) = if store {
            (&statement.operands[0], &statement.operands[1])
        } else {
            (&statement.operands[1], &statement.operands[0])
        };
        let Operand::Address { base, offset } = address else {
            return Err(format!("`{}` without an address", statement.opcode));
        };
        let values = match values {
            Operand::List(list) => list.clone(),
            one => vec![one.clone()],
        };
        let size = if width < 4 {
            "b16"
        } else if width == 8 {
            "b64"
        } else {
            "b32"
        };
        for (i, value) in values.into_iter().enumerate() {
            let name = format!("{base}+{}", offset + (i as u32 * width) as i64);
            self.flat
                .registers
                .entry(name.clone())
                .or_insert(size.to_owned());
            let name = Operand::Name(name);
            let operands = if store {
                vec![name, value]
            } else {
                vec![value, name]
            };
            self.push(statement, format!("mov.{size}"), operands);
        }
        Ok(())
    }

    fn call(&mut self, statement: &Statement) -> Result<(), String> {
        let mut lists: Vec<Vec<String>> = Vec::new();
        let mut name = None;
        for operand in &statement.operands {
            match operand {
                Operand::Name(one) => name = Some(one.clone()),
                Operand::List(list) => {
                    let names = list.iter().map(|one| match one {
                        Operand::Name(name) => Ok(name.clone()),
                        other => Err(format!("an argument of a call that is {other:?}")),
                    });
                    let names = names.collect::<Result<Vec<_>, _>>()?;
                    if name.is_none() {
                        lists.insert(0, names);
                    } else {
                        lists.resize(1, Vec::new());
                        lists.push(names);
                    }
                }
                other => return Err(format!("a call of {other:?}")),
            }
        }
        lists.resize(2, Vec::new());
        let name = name.ok_or("a call of nothing")?;
        let (returns, arguments) = (&lists[0], &lists[1]);
        if SYSTEM.contains(&name.as_str()) {
            let arguments = arguments
                .iter()
                .map(|one| Operand::Name(format!("{one}+0")));
            self.push(statement, name, arguments.collect());
            for one in returns {
                let result = format!("{one}+0");
                self.flat.registers.insert(result.clone(), "b32".into());
                self.push(
                    statement,
                    "mov.b32".into(),
                    vec![Operand::Name(result), Operand::Integer(0)],
                );
            }
            return Ok(());
        }
        let module = self.module;
        let function = module
            .functions
            .iter()
            .find(|one| !one.entry && one.name == name);
        let function =
            function.ok_or_else(|| format!("`{name}` is called and not in the module"))?;
        if self.calls.contains(&name) {
            return Err(format!(
                "`{name}` calls itself: its stack has no bound (stack overflow)"
            ));
        }
        if statement.guard.is_some() {
            return Err(format!("a guarded call of `{name}`"));
        }
        let formal = function.returns.iter().chain(&function.parameters);
        let actual = returns.iter().chain(arguments);
        let bound = formal
            .zip(actual)
            .map(|(formal, actual)| (formal.name.clone(), actual.clone()));
        let end = format!("end of {name}@{}", self.instances);
        self.calls.push(name);
        self.function(function, bound.collect(), Some(&end))?;
        self.calls.pop();
        self.flat.labels.insert(end, self.flat.statements.len());
        Ok(())
    }
}
