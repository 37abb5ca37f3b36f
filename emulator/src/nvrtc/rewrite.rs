//! The two things of CUDA that C++ macros cannot say: `__shared__` variables and `__global__`
//! functions. Works on preprocessed text and keeps every line where it is.

/// A `__global__` function found in the text.
#[derive(Debug, Clone, PartialEq)]
pub struct Declaration {
    pub name: String,
    /// Expressions of `__launch_bounds__(max threads, min blocks)`.
    pub bounds: Option<(String, String)>,
}

/// Text for the C++ compiler, and its kernels in order of appearance.
#[derive(Debug)]
pub struct Rewritten {
    pub text: String,
    pub kernels: Vec<Declaration>,
}

/// Rewrites `text`; an error is a log line in the compiler's format.
pub fn rewrite(text: &str) -> Result<Rewritten, String> {
    let mut scanner = Scanner {
        text,
        at: 0,
        out: String::with_capacity(text.len()),
        braces: Vec::new(),
        last: ' ',
        kernels: Vec::new(),
        shared: 0,
    };
    scanner.run()?;
    Ok(Rewritten {
        text: scanner.out,
        kernels: scanner.kernels,
    })
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    out: String,
    /// For each open brace, whether it opened a function's body.
    braces: Vec<bool>,
    /// The last character that is no white space.
    last: char,
    kernels: Vec<Declaration>,
    shared: usize,
}

impl<'a> Scanner<'a> {
    fn run(&mut self) -> Result<(), String> {
        while let Some(token) = self.next() {
            match token {
                "__global__" => self.global()?,
                "__shared__" => self.shared("")?,
                "extern" if self.peek_word() == "__shared__" => {
                    self.next_word();
                    self.shared("extern")?;
                }
                "__launch_bounds__" => {
                    return Err(self.error("__launch_bounds__ must follow __global__"));
                }
                _ => self.emit(token),
            }
        }
        Ok(())
    }

    fn emit(&mut self, token: &str) {
        match token {
            "{" => {
                let body = self.last == ')' || self.braces.last() == Some(&true);
                self.braces.push(body);
            }
            "}" => drop(self.braces.pop()),
            _ => {}
        }
        if let Some(last) = token.trim_end().chars().next_back() {
            self.last = last;
        }
        self.out.push_str(token);
    }

    /// The next token: a word, a literal, a line marker, white space or one character.
    fn next(&mut self) -> Option<&'a str> {
        let rest = &self.text[self.at..];
        let first = rest.chars().next()?;
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let length = if word(first) {
            rest.find(|c| !word(c)).unwrap_or(rest.len())
        } else if first.is_whitespace() {
            rest.find(|c: char| !c.is_whitespace())
                .unwrap_or(rest.len())
        } else if first == '#' {
            rest.find('\n').unwrap_or(rest.len())
        } else if first == '"' || first == '\'' {
            literal(rest, first)
        } else {
            first.len_utf8()
        };
        self.at += length;
        Some(&rest[..length])
    }

    fn peek_word(&self) -> &'a str {
        let rest = self.text[self.at..].trim_start();
        &rest[..rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_'))
            .unwrap_or(rest.len())]
    }

    fn next_word(&mut self) -> &'a str {
        let word = self.peek_word();
        let rest = &self.text[self.at..];
        let skipped = rest.len() - rest.trim_start().len();
        self.out.push_str(&rest[..skipped]);
        self.at += skipped + word.len();
        word
    }

    /// After `__global__`: drops launch bounds, finds the name.
    fn global(&mut self) -> Result<(), String> {
        let mut bounds = None;
        let mut name = "";
        while let Some(token) = self.next() {
            match token {
                "__launch_bounds__" => bounds = Some(self.bounds()?),
                "__attribute__" | "alignas" => {
                    let inner = self.parenthesis()?;
                    self.out.push_str(&format!("{token}({inner})"));
                }
                "(" => {
                    self.emit(token);
                    break;
                }
                ";" | "{" => return Err(self.error("no function follows __global__")),
                _ => {
                    if token.starts_with(|c: char| c.is_alphabetic() || c == '_') {
                        name = token;
                    }
                    self.emit(token);
                }
            }
        }
        match self.kernels.iter_mut().find(|kernel| kernel.name == name) {
            Some(known) => known.bounds = bounds.or(known.bounds.take()),
            None => self.kernels.push(Declaration {
                name: name.to_owned(),
                bounds,
            }),
        }
        Ok(())
    }

    fn bounds(&mut self) -> Result<(String, String), String> {
        let inner = self.parenthesis()?;
        let parts = split(&inner);
        let part = |i: usize| {
            parts
                .get(i)
                .map_or("0".to_owned(), |text| text.trim().to_owned())
        };
        Ok((part(0), part(1)))
    }

    /// The text between the parentheses that come next; newlines inside go to the output.
    fn parenthesis(&mut self) -> Result<String, String> {
        let mut depth = 0;
        let mut inner = String::new();
        while let Some(token) = self.next() {
            match token {
                "(" => depth += 1,
                ")" => depth -= 1,
                _ => {}
            }
            let outer = token == "(" && depth == 1 || token == ")" && depth == 0;
            if token.contains('\n') || token.starts_with('#') {
                self.out.push_str(token);
                inner.push(' ');
            } else if !outer {
                inner.push_str(token);
            }
            if depth == 0 && token == ")" {
                return Ok(inner.trim().to_owned());
            }
        }
        Err(self.error("missing `)`"))
    }

    /// A `__shared__` declaration up to its semicolon.
    fn shared(&mut self, storage: &str) -> Result<(), String> {
        let mut statement = String::new();
        let mut newlines = String::new();
        loop {
            let Some(token) = self.next() else {
                return Err(self.error("missing `;` after __shared__"));
            };
            match token {
                ";" => break,
                "__attribute__" | "alignas" => {
                    let inner = self.parenthesis()?;
                    statement.push_str(&format!("{token}({inner})"));
                }
                "=" | "{" => {
                    return Err(self.error("a __shared__ variable cannot have an initial value"));
                }
                _ if token.trim().is_empty() => {
                    newlines.extend(token.chars().filter(|&c| c == '\n'));
                    statement.push(' ');
                }
                // A line marker, put there where a macro of the prelude was expanded.
                _ if token.starts_with('#') => newlines.push_str(token),
                _ => statement.push_str(token),
            }
        }
        if self.braces.last() != Some(&true) {
            return Err(self.error(
                "the emulator wants __shared__ variables inside the function that uses them",
            ));
        }
        let (attributes, rest) = take_attributes(&statement);
        let rest = rest.replace("static ", " ");
        let declarators = split(&rest);
        let (base, _) = name_and_shape(&declarators[0]);
        let mut lines = String::new();
        for (i, declarator) in declarators.iter().enumerate() {
            let (front, shape) = name_and_shape(declarator);
            let front = front.trim();
            let name = front
                .rsplit(|c: char| !(c.is_alphanumeric() || c == '_'))
                .next()
                .unwrap_or(front);
            let own = front[..front.len() - name.len()].trim();
            let ty = match i {
                0 => own.to_owned(),
                _ => base
                    .trim()
                    .rsplit_once(|c: char| !(c.is_alphanumeric() || c == '_'))
                    .map_or(String::new(), |(ty, _)| ty.to_owned()),
            };
            let id = self.shared;
            self.shared += 1;
            if storage == "extern" {
                lines.push_str(&format!("{ty}* {name} = ({ty}*)vitcuda_dynamic_shared();"));
            } else {
                lines.push_str(&format!(
                    "typedef {ty} vitcuda_shared_{id} {shape}; static char vitcuda_key_{id}; \
                     struct {attributes} vitcuda_aligned_{id} {{ vitcuda_shared_{id} value; }}; \
                     static_assert(sizeof(vitcuda_shared_{id}) <= 49152, \"static shared memory is at most 48 KiB\"); \
                     vitcuda_shared_{id}& {name} = *(vitcuda_shared_{id}*)vitcuda_static_shared(&vitcuda_key_{id}, sizeof(vitcuda_shared_{id}), alignof(vitcuda_aligned_{id}), \"{name}\");"
                ));
            }
        }
        self.out.push_str(&lines);
        self.out.push_str(&newlines);
        self.last = ';';
        Ok(())
    }

    /// A log line at the current place, by the line markers written so far.
    fn error(&self, text: &str) -> String {
        let (mut file, mut line) = ("<source>".to_owned(), 1);
        for one in self.text[..self.at].split('\n').map(str::trim_end) {
            line += 1;
            if let Some(marker) = one.strip_prefix("# ") {
                let mut words = marker.splitn(2, ' ');
                line = words.next().and_then(|n| n.parse().ok()).unwrap_or(line);
                file = words
                    .next()
                    .and_then(|rest| rest.split('"').nth(1))
                    .unwrap_or("")
                    .to_owned();
            }
        }
        format!("{file}:{}: error: {text}\n", line - 1)
    }
}

/// Length of the string or character literal that `text` starts with.
fn literal(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (i, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return i + 1,
            _ => {}
        }
    }
    text.len()
}

/// Splits at commas outside parentheses, brackets and template arguments.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for c in text.chars() {
        match c {
            '(' | '[' | '<' => depth += 1,
            ')' | ']' | '>' => depth -= 1,
            _ => {}
        }
        match c == ',' && depth == 0 {
            true => parts.push(String::new()),
            false => parts.last_mut().expect("never empty").push(c),
        }
    }
    parts
}

/// Takes `__attribute__((…))` and `alignas(…)` out of a declaration.
fn take_attributes(statement: &str) -> (String, String) {
    let (mut attributes, mut rest) = (String::new(), statement.to_owned());
    for word in ["__attribute__", "alignas"] {
        while let Some(start) = rest.find(word) {
            let mut depth = 0;
            let length = rest[start..].find(|c| {
                match c {
                    '(' => depth += 1,
                    ')' => depth -= 1,
                    _ => {}
                }
                c == ')' && depth == 0
            });
            let end = length.map_or(rest.len(), |length| start + length + 1);
            attributes.push_str(&format!(" {}", &rest[start..end]));
            rest.replace_range(start..end, " ");
        }
    }
    (attributes, rest)
}

/// "float tile[4][8]" as ("float tile", "[4][8]").
fn name_and_shape(declarator: &str) -> (&str, &str) {
    let at = declarator.find('[').unwrap_or(declarator.len());
    (declarator[..at].trim_end(), &declarator[at..])
}
