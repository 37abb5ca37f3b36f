//! The text of a PTX module as declarations and statements, without knowledge of what they do.

use std::collections::HashMap;

/// What can stand in the place of an operand.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// A register, a special register, a label or a variable.
    Name(String),
    /// An integer, as 64 bits of two's complement.
    Integer(u64),
    /// `0f…`: the bits of a f32.
    Float(u32),
    /// `0d…`: the bits of a f64.
    Double(u64),
    /// `[base + offset]`; the base is a register or a variable, empty for a number.
    Address { base: String, offset: i64 },
    /// `{a, b, …}`, and `(a, b, …)` of a call.
    List(Vec<Operand>),
}

/// One instruction.
#[derive(Debug, Clone)]
pub struct Statement {
    /// Predicate register, and whether it is negated.
    pub guard: Option<(String, bool)>,
    /// With all modifiers: `ld.global.v4.f32`.
    pub opcode: String,
    pub operands: Vec<Operand>,
    /// Index in [`Module::places`].
    pub place: u32,
}

/// What stands in a function's body.
#[derive(Debug, Clone)]
pub enum Item {
    Label(String),
    Statement(Statement),
    /// Registers: name, how many (0: the name itself), type.
    Registers(String, u32, String),
    Variable(Variable),
    /// `{` and `}` around names of their own.
    Open,
    Close,
}

/// A variable, or a parameter.
#[derive(Debug, Clone, Default)]
pub struct Variable {
    pub name: String,
    /// `shared`, `local`, `global`, `const`, `param`.
    pub space: String,
    pub external: bool,
    pub align: u32,
    /// `u32`, `b8` …
    pub kind: String,
    pub bytes: u32,
    /// What it starts with, padded with zeros; empty where nothing is said.
    pub initial: Vec<u8>,
}

/// A kernel or a function.
#[derive(Debug, Clone, Default)]
pub struct Function {
    pub name: String,
    pub entry: bool,
    pub returns: Vec<Variable>,
    pub parameters: Vec<Variable>,
    /// `.maxntid`, 0 where it is not given.
    pub max_threads: u32,
    /// `.minnctapersm`, 0 where it is not given.
    pub min_blocks: u32,
    pub body: Vec<Item>,
}

/// Where a statement comes from: line of a file, and the place it was inlined at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Place {
    pub file: u32,
    pub line: u32,
    pub column: u32,
    /// File, line and column of the call; zeros where there is none.
    pub caller: (u32, u32, u32),
}

/// A whole text.
#[derive(Debug, Clone, Default)]
pub struct Module {
    pub version: String,
    pub target: String,
    pub files: HashMap<u32, String>,
    pub places: Vec<Place>,
    pub variables: Vec<Variable>,
    pub functions: Vec<Function>,
}

impl Module {
    /// Parses a text; the error names the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser {
            rest: text,
            whole: text,
            module: Self::default(),
            places: HashMap::new(),
            place: 0,
        };
        parser.place_of(Place::default());
        parser.module().map_err(|what| {
            let at = parser.whole.len() - parser.rest.len();
            let line = parser.whole[..at].matches('\n').count() + 1;
            format!("line {line} of the PTX: {what}")
        })?;
        Ok(parser.module)
    }

    /// `file:line`, innermost first, then who called it.
    pub fn place(&self, index: u32) -> String {
        let mut place = self.places[index as usize];
        let name = |file: u32| {
            let path = self.files.get(&file).map_or("?", String::as_str);
            path.rsplit('/').next().unwrap_or(path).to_owned()
        };
        if place.file == 0 {
            return "an unknown line".to_owned();
        }
        let mut text = format!("{}:{}", name(place.file), place.line);
        // Each place that is a caller has its own statement or was noted as one.
        for _ in 0..16 {
            let (file, line, column) = place.caller;
            if file == 0 {
                break;
            }
            text.push_str(&format!(" in {}:{line}", name(file)));
            let outer = self.places.iter().find(|one| {
                (one.file, one.line, one.column) == (file, line, column) && one.caller.0 != 0
            });
            match outer {
                Some(outer) if *outer != place => place = *outer,
                _ => break,
            }
        }
        text
    }
}

struct Parser<'a> {
    rest: &'a str,
    whole: &'a str,
    module: Module,
    places: HashMap<Place, u32>,
    place: u32,
}

type Result<T, E = String> = std::result::Result<T, E>;

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '%' | '.' | ':')
}

impl<'a> Parser<'a> {
    fn place_of(&mut self, place: Place) -> u32 {
        let next = self.module.places.len() as u32;
        let index = *self.places.entry(place).or_insert(next);
        if index == next {
            self.module.places.push(place);
        }
        index
    }

    fn skip(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            if self.rest.starts_with("//") {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.rest = &self.rest[end..];
            } else if self.rest.starts_with("/*") {
                let end = self.rest.find("*/").map_or(self.rest.len(), |at| at + 2);
                self.rest = &self.rest[end..];
            } else {
                return;
            }
        }
    }

    fn peek(&mut self) -> Option<char> {
        self.skip();
        self.rest.chars().next()
    }

    fn take(&mut self, mark: char) -> bool {
        let found = self.peek() == Some(mark);
        if found {
            self.rest = &self.rest[mark.len_utf8()..];
        }
        found
    }

    fn want(&mut self, mark: char) -> Result<()> {
        if self.take(mark) {
            return Ok(());
        }
        let near: String = self.rest.chars().take(30).collect();
        Err(format!("`{mark}` is expected before `{near}`"))
    }

    /// A run of word characters; empty at anything else. A `:` belongs to a word only inside, as in
    /// `.global::cta`, never at its end.
    fn word(&mut self) -> &'a str {
        self.skip();
        let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        let mut word = &self.rest[..end];
        while word.ends_with(':') {
            word = &word[..word.len() - 1];
        }
        self.rest = &self.rest[word.len()..];
        word
    }

    fn line(&mut self) -> &'a str {
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        let (line, rest) = self.rest.split_at(end);
        self.rest = rest;
        line
    }

    fn module(&mut self) -> Result<()> {
        while self.peek().is_some() {
            let before = self.rest;
            match self.word() {
                ".version" => self.module.version = self.word().to_owned(),
                ".target" => self.module.target = self.line().trim().to_owned(),
                ".address_size" => drop(self.word()),
                ".file" => self.file()?,
                ".section" => self.section()?,
                ".visible" | ".weak" | ".common" => {}
                ".extern" => {
                    let next = self.word();
                    match next {
                        ".func" => self.function(false)?,
                        _ => {
                            let variable = self.variable(next, true)?;
                            self.module.variables.push(variable);
                        }
                    }
                }
                ".entry" => self.function(true)?,
                ".func" => self.function(false)?,
                space @ (".global" | ".const" | ".shared") => {
                    let variable = self.variable(space, false)?;
                    self.module.variables.push(variable);
                }
                word => {
                    self.rest = before;
                    return Err(format!("`{word}` is not known at the top level"));
                }
            }
        }
        Ok(())
    }

    /// `.file 1 "name"` and perhaps a time and a size.
    fn file(&mut self) -> Result<()> {
        let number = self.word().parse().map_err(|_| "a file without a number")?;
        let line = self.line();
        let name = line.split('"').nth(1).ok_or("a file without a name")?;
        self.module.files.insert(number, name.to_owned());
        Ok(())
    }

    /// Debug information: passed over.
    fn section(&mut self) -> Result<()> {
        self.word();
        self.want('{')?;
        let end = self.rest.find('}').ok_or("a section without an end")?;
        self.rest = &self.rest[end + 1..];
        Ok(())
    }

    fn number(&mut self) -> Result<u64> {
        let word = self.word();
        integer(word).ok_or_else(|| format!("`{word}` is no number"))
    }

    /// What follows the space of a variable, to its semicolon.
    fn variable(&mut self, space: &str, external: bool) -> Result<Variable> {
        let variable = self.declaration(space, external)?;
        self.want(';')?;
        Ok(variable)
    }

    fn declaration(&mut self, space: &str, external: bool) -> Result<Variable> {
        let mut variable = Variable {
            space: space.trim_start_matches('.').to_owned(),
            external,
            ..Variable::default()
        };
        let mut width = 0;
        loop {
            let word = self.word();
            match word {
                ".align" => variable.align = self.number()? as u32,
                // What a pointer parameter points to.
                ".ptr" | ".global" | ".shared" | ".local" | ".const" => {}
                _ if word.starts_with('.') => {
                    width = type_bytes(&word[1..]).ok_or_else(|| format!("the type `{word}`"))?;
                    variable.kind = word[1..].to_owned();
                }
                "" => return Err("a variable without a name".to_owned()),
                _ => {
                    variable.name = word.to_owned();
                    break;
                }
            }
        }
        let mut count = 1;
        while self.take('[') {
            count *= if self.peek() == Some(']') {
                0
            } else {
                self.number()? as u32
            };
            self.want(']')?;
        }
        variable.bytes = width * count;
        variable.align = variable.align.max(width);
        if self.take('=') {
            self.initial(&mut variable.initial, width as usize)?;
            variable.initial.resize(variable.bytes as usize, 0);
        }
        Ok(variable)
    }

    fn initial(&mut self, to: &mut Vec<u8>, width: usize) -> Result<()> {
        if self.take('{') {
            loop {
                self.initial(to, width)?;
                if !self.take(',') {
                    return self.want('}');
                }
            }
        }
        let value = match self.operand()? {
            Operand::Integer(value) | Operand::Double(value) => value,
            Operand::Float(bits) => u64::from(bits),
            other => return Err(format!("a variable that starts with {other:?}")),
        };
        to.extend(&value.to_le_bytes()[..width]);
        Ok(())
    }

    fn parameters(&mut self) -> Result<Vec<Variable>> {
        let mut found = Vec::new();
        if !self.take('(') {
            return Ok(found);
        }
        while !self.take(')') {
            let space = self.word();
            found.push(self.declaration(space, false)?);
            self.take(',');
        }
        Ok(found)
    }

    fn function(&mut self, entry: bool) -> Result<()> {
        let returns = if entry { Vec::new() } else { self.parameters()? };
        let mut function = Function {
            name: self.word().to_owned(),
            entry,
            returns,
            parameters: self.parameters()?,
            ..Function::default()
        };
        loop {
            if self.take(';') {
                // Declared only: its body follows, or it is one of the system's.
                return Ok(());
            }
            if self.take('{') {
                break;
            }
            match self.word() {
                ".maxntid" => {
                    function.max_threads = 1;
                    loop {
                        function.max_threads *= self.number()? as u32;
                        if !self.take(',') {
                            break;
                        }
                    }
                }
                ".minnctapersm" => function.min_blocks = self.number()? as u32,
                ".noreturn" => {}
                word => return Err(format!("`{word}` is not known at a function's head")),
            }
        }
        self.body(&mut function.body)?;
        self.module.functions.push(function);
        Ok(())
    }

    fn body(&mut self, body: &mut Vec<Item>) -> Result<()> {
        let mut depth = 0;
        loop {
            if self.take('{') {
                depth += 1;
                body.push(Item::Open);
                continue;
            }
            if self.take('}') {
                if depth == 0 {
                    return Ok(());
                }
                depth -= 1;
                body.push(Item::Close);
                continue;
            }
            if self.take(';') {
                continue; // an empty statement, as inline assembly ends with
            }
            if self.peek().is_none() {
                return Err("the text ends inside a function".to_owned());
            }
            self.item(body)?;
        }
    }

    fn item(&mut self, body: &mut Vec<Item>) -> Result<()> {
        if self.take('@') {
            let negated = self.take('!');
            let guard = (self.word().to_owned(), negated);
            let opcode = self.word().to_owned();
            return self.statement(body, Some(guard), opcode);
        }
        let word = self.word();
        match word {
            ".loc" => {
                self.location()?;
                Ok(())
            }
            ".pragma" => {
                let end = self.rest.find(';').ok_or("a pragma without an end")?;
                self.rest = &self.rest[end + 1..];
                Ok(())
            }
            ".reg" => self.registers(body),
            ".shared" | ".local" | ".param" => {
                let variable = self.variable(word, false)?;
                body.push(Item::Variable(variable));
                Ok(())
            }
            "" => {
                let near: String = self.rest.chars().take(30).collect();
                Err(format!("no statement begins with `{near}`"))
            }
            _ if word.starts_with('.') => Err(format!("`{word}` is not known in a function")),
            _ if self.take(':') => {
                body.push(Item::Label(word.to_owned()));
                Ok(())
            }
            _ => self.statement(body, None, word.to_owned()),
        }
    }

    /// `.loc file line column[, function_name label[+n], inlined_at file line column]`.
    fn location(&mut self) -> Result<()> {
        let line = self.line();
        let (own, inlined) = match line.split_once("inlined_at") {
            Some((own, inlined)) => (own, inlined),
            None => (line, ""),
        };
        let triple = |text: &str| {
            let words = text.split([' ', '\t', ',']).filter(|word| !word.is_empty());
            let mut numbers = words.map_while(|word| word.parse::<u32>().ok());
            let mut next = || numbers.next().unwrap_or(0);
            (next(), next(), next())
        };
        let (file, line, column) = triple(own);
        self.place = self.place_of(Place {
            file,
            line,
            column,
            caller: triple(inlined),
        });
        Ok(())
    }

    /// `.reg .b32 %r<40>;` and `.reg .b64 %SP, %SPL;`.
    fn registers(&mut self, body: &mut Vec<Item>) -> Result<()> {
        let kind = self.word().trim_start_matches('.').to_owned();
        loop {
            let name = self.word().to_owned();
            let mut count = 0;
            if self.take('<') {
                count = self.number()? as u32;
                self.want('>')?;
            }
            body.push(Item::Registers(name, count, kind.clone()));
            if !self.take(',') {
                return self.want(';');
            }
        }
    }

    fn statement(
        &mut self,
        body: &mut Vec<Item>,
        guard: Option<(String, bool)>,
        opcode: String,
    ) -> Result<()> {
        let mut operands = Vec::new();
        while !self.take(';') {
            operands.push(self.operand()?);
            // `p|q` names two predicates; they are listed one after the other.
            if !self.take(',') && !self.take('|') {
                self.want(';')?;
                break;
            }
        }
        body.push(Item::Statement(Statement {
            guard,
            opcode,
            operands,
            place: self.place,
        }));
        Ok(())
    }

    fn operand(&mut self) -> Result<Operand> {
        for (open, close) in [('{', '}'), ('(', ')')] {
            if self.take(open) {
                let mut list = Vec::new();
                while !self.take(close) {
                    list.push(self.operand()?);
                    self.take(',');
                }
                return Ok(Operand::List(list));
            }
        }
        if self.take('[') {
            let address = self.address()?;
            self.want(']')?;
            return Ok(address);
        }
        let negative = self.take('-');
        let inverted = !negative && self.take('!');
        let word = self.word();
        if inverted {
            return Ok(Operand::Name(format!("!{word}")));
        }
        let value = |value: u64| {
            Operand::Integer(if negative { value.wrapping_neg() } else { value })
        };
        if let Some(bits) = word.strip_prefix("0f").or_else(|| word.strip_prefix("0F")) {
            let bits = u32::from_str_radix(bits, 16).map_err(|_| format!("the float `{word}`"))?;
            return Ok(Operand::Float(bits));
        }
        if let Some(bits) = word.strip_prefix("0d").or_else(|| word.strip_prefix("0D")) {
            let bits = u64::from_str_radix(bits, 16).map_err(|_| format!("the float `{word}`"))?;
            return Ok(Operand::Double(bits));
        }
        if let Some(number) = integer(word) {
            return Ok(value(number));
        }
        if word.is_empty() || negative {
            let near: String = self.rest.chars().take(30).collect();
            return Err(format!("no operand begins with `{near}`"));
        }
        Ok(Operand::Name(word.to_owned()))
    }

    fn address(&mut self) -> Result<Operand> {
        let word = self.word();
        let (base, mut offset) = match integer(word) {
            Some(number) => (String::new(), number as i64),
            None => (word.to_owned(), 0),
        };
        if self.take('+') {
            let negative = self.take('-');
            let number = self.number()? as i64;
            offset += if negative { -number } else { number };
        } else if self.take('-') {
            offset -= self.number()? as i64;
        }
        Ok(Operand::Address { base, offset })
    }
}

fn integer(word: &str) -> Option<u64> {
    let word = word.strip_suffix(['U', 'u']).unwrap_or(word);
    match word.get(..2) {
        Some("0x" | "0X") => u64::from_str_radix(&word[2..], 16).ok(),
        Some("0b" | "0B") => u64::from_str_radix(&word[2..], 2).ok(),
        _ => word.parse().ok(),
    }
}

/// Bytes of a fundamental type; `None` for a name that is none.
pub fn type_bytes(kind: &str) -> Option<u32> {
    Some(match kind {
        "b8" | "u8" | "s8" => 1,
        "b16" | "u16" | "s16" | "f16" | "bf16" => 2,
        "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" => 4,
        "b64" | "u64" | "s64" | "f64" => 8,
        "b128" => 16,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_read() {
        let text = "
.version 9.5
.target sm_80
.address_size 64
.global .align 4 .b8 table[8] = {5, 0, 0, 0, 255};
.visible .entry k(
    .param .u64 k_param_0,
    .param .align 8 .b8 k_param_1[16]
)
.maxntid 64, 1, 1
{
    .reg .b32 %r<3>;
    .loc 1 4 2, function_name $L__info_string0, inlined_at 1 9 3
    // begin inline asm
    { .reg .pred p; setp.ne.u32 p, %r1, 0; }
    @!%p1 bra $L__BB0_1;
    ld.global.v2.f32 {%f1, %f2}, [%rd1+-8];
$L__BB0_1:
    ret;
}
.file 1 \"/somewhere/k.cu\"
";
        let module = Module::parse(text).unwrap();
        assert_eq!(module.variables[0].initial, [5, 0, 0, 0, 255, 0, 0, 0]);
        let kernel = &module.functions[0];
        assert_eq!((kernel.max_threads, kernel.parameters[1].bytes), (64, 16));
        let statements = kernel.body.iter().filter_map(|item| match item {
            Item::Statement(statement) => Some(statement),
            _ => None,
        });
        let statements: Vec<&Statement> = statements.collect();
        assert_eq!(statements.len(), 4);
        assert_eq!(statements[1].guard, Some(("%p1".into(), true)));
        assert_eq!(module.place(statements[1].place), "k.cu:4 in k.cu:9");
        let Operand::Address { base, offset } = &statements[2].operands[1] else {
            panic!("{:?}", statements[2])
        };
        assert_eq!((base.as_str(), *offset), ("%rd1", -8));
    }

    #[test]
    fn what_is_wrong_has_a_line() {
        let error = Module::parse(".version 9.5\n.nothing 1\n").unwrap_err();
        assert!(error.starts_with("line 2 of the PTX"), "{error}");
    }
}
